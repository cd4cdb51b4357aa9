// SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>

#include "base/parallel.h"
#include "ops/gemm_panel.h"
#include "ops/tap_gemm.h"

namespace pyconv {
namespace {

// Whether the elements of a channel's taps lie side by side, in order.
bool are_adjacent(const std::vector<index_t>& element) {
    for (size_t t = 0; t < element.size(); ++t)
        if (element[t] != element[0] + static_cast<index_t>(t)) return false;
    return true;
}

}  // namespace

template <typename T>
index_t tap_channel_block(const Kernels<T>& kernel, index_t C, index_t taps, index_t ways) {
    if (ways > 1 && C * taps <= kernel.KC * 4 / 3) return std::max<index_t>(C, 1);
    return even_block(C, std::max<index_t>(1, kernel.KC / std::max<index_t>(taps, 1)), 1);
}

index_t tap_row_block(index_t M, index_t MR, index_t other_tasks) {
    return even_block(M, std::max<index_t>(1, M * other_tasks / kEnoughTasks), MR);
}

template <typename T>
void pack_tap_weights(const Kernels<T>& kernel, const TapWeights<T>& w, index_t group, index_t m,
                      index_t rows, index_t c, index_t channels, index_t width, T* panels) {
    const auto taps = static_cast<index_t>(w.element.size());
    if (taps == 0) return;
    const index_t panel_step = width * channels * taps;
    const auto pack = [&](index_t steps, const T* from, index_t step, T* to) {
        if (width == kernel.MR) {
            kernel.pack_a(rows, steps, from, w.m_step, step, panel_step, to);
        } else {
            kernel.pack_b(steps, rows, from, step, w.m_step, panel_step, to);
        }
    };
    const T* from = w.data + group * w.group_step + m * w.m_step + c * w.c_step + w.element[0];
    const bool adjacent = are_adjacent(w.element);
    if (taps == 1) {
        pack(channels, from, w.c_step, panels);
    } else if (adjacent && w.c_step == taps) {
        pack(channels * taps, from, 1, panels);
    } else if (adjacent) {
        for (index_t i = 0; i < channels; ++i)
            pack(taps, from + i * w.c_step, 1, panels + i * taps * width);
    } else {
        for (index_t i = 0; i < channels; ++i)
            for (index_t t = 0; t < taps; ++t)
                pack(1, from + i * w.c_step + w.element[static_cast<size_t>(t)] - w.element[0], 1,
                     panels + (i * taps + t) * width);
    }
}

template <typename T>
PackedTapWeights<T>::PackedTapWeights(const Kernels<T>& kernel, const TapGemm<T>& g,
                                      const TapWeights<T>& weights, index_t channel_block,
                                      index_t width)
    : C_(g.C),
      taps_(static_cast<index_t>(weights.element.size())),
      padded_rows_(round_up(g.M, width)),
      packed_(g.G * C_ * taps_ * padded_rows_) {
    if (packed_.size() == 0) return;
    // A task takes a block of channels and some panels: it reads pieces of memory that are long
    // enough to stream, whichever way the weight lies.
    constexpr index_t kLeastRows = 96;
    const index_t rows = round_up(kLeastRows, width);
    const index_t row_tasks = ceil_div(g.M, rows), channel_tasks = ceil_div(C_, channel_block);
    parallel_for(
        g.G * channel_tasks * row_tasks, static_cast<double>(packed_.size()), [&](index_t task) {
            const index_t m = task % row_tasks * rows;
            const index_t c = task / row_tasks % channel_tasks * channel_block;
            const index_t group = task / (row_tasks * channel_tasks);
            const index_t channels = std::min(channel_block, C_ - c);
            T* to = packed_.data() + (group * C_ + c) * taps_ * padded_rows_ + m * channels * taps_;
            pack_tap_weights(kernel, weights, group, m, std::min(rows, g.M - m), c, channels, width,
                             to);
        });
}

template index_t tap_channel_block(const Kernels<float>&, index_t, index_t, index_t);
template index_t tap_channel_block(const Kernels<double>&, index_t, index_t, index_t);
template void pack_tap_weights(const Kernels<float>&, const TapWeights<float>&, index_t, index_t,
                               index_t, index_t, index_t, index_t, float*);
template void pack_tap_weights(const Kernels<double>&, const TapWeights<double>&, index_t, index_t,
                               index_t, index_t, index_t, index_t, double*);
template class PackedTapWeights<float>;
template class PackedTapWeights<double>;

}  // namespace pyconv
