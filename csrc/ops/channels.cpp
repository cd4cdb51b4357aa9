// SPDX-License-Identifier: BSD-3-Clause
#include "ops/channels.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/checked.h"
#include "base/parallel.h"

namespace pyconv {
namespace {

// Values that a task copies, and nanoseconds a value.
constexpr index_t kPiece = index_t{1} << 15;
constexpr double kCopy = 0.3;

// Calls copy(part, offset in the part, offset in the joined array, count) for pieces of all parts.
template <typename Part, typename Copy>
void for_each_piece(index_t images, std::span<const Part> parts, Copy&& copy) {
    struct Piece {
        size_t part;
        index_t begin, count, joined;
    };
    std::vector<Piece> pieces;
    index_t size = 0;
    for (size_t p = 0; p < parts.size(); ++p) {
        for (index_t begin = 0; begin < parts[p].size; begin += kPiece)
            pieces.push_back({p, begin, std::min(kPiece, parts[p].size - begin), size + begin});
        size += parts[p].size;
    }
    const auto count = static_cast<index_t>(pieces.size());
    parallel_for(images * count, static_cast<double>(images * size) * kCopy, [&](index_t task) {
        const index_t image = task / count;
        const Piece& piece = pieces[static_cast<size_t>(task % count)];
        copy(parts[piece.part], image * parts[piece.part].size + piece.begin,
             image * size + piece.joined, static_cast<size_t>(piece.count));
    });
}

}  // namespace

template <typename T>
void join_channels(index_t images, std::span<const ChannelPart<const T>> parts, T* joined) {
    for_each_piece(images, parts,
                   [&](const ChannelPart<const T>& part, index_t from, index_t to, size_t count) {
                       std::memcpy(joined + to, part.data + from, count * sizeof(T));
                   });
}

template <typename T>
void split_channels(index_t images, const T* joined, std::span<const ChannelPart<T>> parts) {
    for_each_piece(images, parts,
                   [&](const ChannelPart<T>& part, index_t to, index_t from, size_t count) {
                       std::memcpy(part.data + to, joined + from, count * sizeof(T));
                   });
}

template void join_channels(index_t, std::span<const ChannelPart<const float>>, float*);
template void join_channels(index_t, std::span<const ChannelPart<const double>>, double*);
template void split_channels(index_t, const float*, std::span<const ChannelPart<float>>);
template void split_channels(index_t, const double*, std::span<const ChannelPart<double>>);

}  // namespace pyconv
