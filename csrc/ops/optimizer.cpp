// SPDX-License-Identifier: BSD-3-Clause
#include "ops/optimizer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/parallel.h"
#include "kernels/registry.h"

namespace pyconv {
namespace {

// Nanoseconds a value: what a pass over arrays that lie in memory takes.
constexpr double kUpdate = 1.0, kPass = 0.3;

// A piece of one array, small enough for its values and state to stay in L2 between two uses, and how
// many make up a task that is worth handing out.
constexpr index_t kPiece = index_t{1} << 14;

struct Piece {
    size_t array;
    index_t begin, count;
};

template <typename Array>
std::vector<Piece> cut(std::span<const Array> arrays) {
    std::vector<Piece> pieces;
    for (size_t a = 0; a < arrays.size(); ++a)
        for (index_t begin = 0; begin < arrays[a].size; begin += kPiece)
            pieces.push_back({a, begin, std::min(kPiece, arrays[a].size - begin)});
    return pieces;
}

// Calls body(piece, its number) for all pieces, in parallel: a task is a whole piece of a large array
// or several small ones.
template <typename Body>
void for_each_piece(const std::vector<Piece>& pieces, double nanoseconds, Body&& body) {
    std::vector<size_t> first;  // piece of each task
    index_t values = 0, open = 0;
    for (size_t p = 0; p < pieces.size(); ++p) {
        if (p == 0 || open + pieces[p].count > kPiece) {
            first.push_back(p);
            open = 0;
        }
        open += pieces[p].count;
        values += pieces[p].count;
    }
    const auto tasks = static_cast<index_t>(first.size());
    first.push_back(pieces.size());
    parallel_for(tasks, static_cast<double>(values) * nanoseconds, [&](index_t task) {
        const auto t = static_cast<size_t>(task);
        for (size_t p = first[t]; p < first[t + 1]; ++p) body(pieces[p], p);
    });
}

template <typename T>
T* state_of(const ParameterArrays<T>& parameter, size_t slot, index_t begin) {
    return parameter.state[slot] == nullptr ? nullptr : parameter.state[slot] + begin;
}

template <typename T>
bool all_zero(index_t n, const T* values) {
    bool zero = true;
    for (index_t i = 0; i < n; ++i) zero &= values[i] == 0;  // no early end: vectorised
    return zero;
}

template <typename T>
double exact_sum_of_squares(index_t n, const T* values) {
    double sum = 0;
    for (index_t i = 0; i < n; ++i)
        sum += static_cast<double>(values[i]) * static_cast<double>(values[i]);
    return sum;
}

}  // namespace

template <typename T>
void sgd_step(ParameterList<T> parameters, const SgdOptions& o) {
    const SgdStep<T> step{static_cast<T>(o.lr), static_cast<T>(o.momentum),
                          static_cast<T>(o.weight_decay), static_cast<T>(o.l1), o.nesterov};
    const Kernels<T>& kernel = kernels<T>();
    for_each_piece(cut(parameters), kUpdate, [&](const Piece& piece, size_t) {
        const ParameterArrays<T>& p = parameters[piece.array];
        const index_t i = piece.begin;
        kernel.sgd(piece.count, step, p.grad + i, p.value + i, state_of(p, 0, i));
    });
}

template <typename T>
void adam_step(ParameterList<T> parameters, const AdamOptions& o) {
    const auto t = static_cast<double>(o.step);
    const AdamStep<T> step{.weight_decay = static_cast<T>(o.weight_decay),
                           .l1 = static_cast<T>(o.l1),
                           .shrink = static_cast<T>(1 - o.lr * o.decoupled_weight_decay),
                           .beta1 = static_cast<T>(o.beta1),
                           .beta2 = static_cast<T>(o.beta2),
                           .rest1 = static_cast<T>(1 - o.beta1),
                           .rest2 = static_cast<T>(1 - o.beta2),
                           .rate = static_cast<T>(o.lr / (1 - std::pow(o.beta1, t))),
                           .root = static_cast<T>(1 / std::sqrt(1 - std::pow(o.beta2, t))),
                           .eps = static_cast<T>(o.eps)};
    const Kernels<T>& kernel = kernels<T>();
    for_each_piece(cut(parameters), kUpdate, [&](const Piece& piece, size_t) {
        const ParameterArrays<T>& p = parameters[piece.array];
        const index_t i = piece.begin;
        kernel.adam(piece.count, step, p.grad + i, p.value + i, state_of(p, 0, i),
                    state_of(p, 1, i));
    });
}

template <typename T>
void rmsprop_step(ParameterList<T> parameters, const RmspropOptions& o) {
    const RmspropStep<T> step{.lr = static_cast<T>(o.lr),
                              .weight_decay = static_cast<T>(o.weight_decay),
                              .l1 = static_cast<T>(o.l1),
                              .alpha = static_cast<T>(o.alpha),
                              .rest = static_cast<T>(1 - o.alpha),
                              .eps = static_cast<T>(o.eps),
                              .momentum = static_cast<T>(o.momentum)};
    const Kernels<T>& kernel = kernels<T>();
    for_each_piece(cut(parameters), kUpdate, [&](const Piece& piece, size_t) {
        const ParameterArrays<T>& p = parameters[piece.array];
        const index_t i = piece.begin;
        kernel.rmsprop(piece.count, step, p.grad + i, p.value + i, state_of(p, 0, i),
                       state_of(p, 1, i), state_of(p, 2, i));
    });
}

template <typename T>
double sum_of_squares(ValuesList<T> arrays) {
    const Kernels<T>& kernel = kernels<T>();
    const std::vector<Piece> pieces = cut(arrays);
    std::vector<double> sums(pieces.size());
    for_each_piece(pieces, kPass, [&](const Piece& piece, size_t number) {
        const T* values = arrays[piece.array].values + piece.begin;
        double sum = kernel.reduce_square(piece.count, values);
        // Squares of a T may overflow or vanish where those of a double do not.
        if (!(sum < 1e30) || (sum < 1e-20 && !all_zero(piece.count, values)))
            sum = exact_sum_of_squares(piece.count, values);
        sums[number] = sum;
    });
    double total = 0;
    for (const double sum : sums) total += sum;
    return total;
}

template <typename T>
void scale_values(ValuesList<T> arrays, double factor) {
    const Kernels<T>& kernel = kernels<T>();
    for_each_piece(cut(arrays), kPass, [&](const Piece& piece, size_t) {
        kernel.scale(piece.count, static_cast<T>(factor), arrays[piece.array].values + piece.begin);
    });
}

template <typename T>
void clip_values(ValuesList<T> arrays, double limit) {
    const Kernels<T>& kernel = kernels<T>();
    const auto high = static_cast<T>(limit);
    for_each_piece(cut(arrays), kPass, [&](const Piece& piece, size_t) {
        kernel.clip(piece.count, -high, high, arrays[piece.array].values + piece.begin);
    });
}

template <typename T>
void zero_values(ValuesList<T> arrays) {
    for_each_piece(cut(arrays), kPass, [&](const Piece& piece, size_t) {
        T* values = arrays[piece.array].values + piece.begin;
        std::memset(values, 0, static_cast<size_t>(piece.count) * sizeof(T));
    });
}

#define PYCONV_INSTANTIATE(T)                                            \
    template void sgd_step(ParameterList<T>, const SgdOptions&);         \
    template void adam_step(ParameterList<T>, const AdamOptions&);       \
    template void rmsprop_step(ParameterList<T>, const RmspropOptions&); \
    template double sum_of_squares(ValuesList<T>);                       \
    template void scale_values(ValuesList<T>, double);                   \
    template void clip_values(ValuesList<T>, double);                    \
    template void zero_values(ValuesList<T>);
PYCONV_INSTANTIATE(float)
PYCONV_INSTANTIATE(double)
#undef PYCONV_INSTANTIATE

}  // namespace pyconv
