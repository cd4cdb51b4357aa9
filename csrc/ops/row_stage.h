// SPDX-License-Identifier: BSD-3-Clause
// Image rows in a padded copy, for the kernels that slide a window over them.
//
//   stage[row][phase][column]     columns `stride_w` apart lie side by side, one phase after the
//                                 other: neighbouring pixels read neighbouring values, and a tap is
//                                 an offset, whatever the strides, the pads and the dilation are
#pragma once

#include <algorithm>
#include <cstdlib>

#include "kernels/registry.h"
#include "ops/gemm_panel.h"
#include "ops/tap_gemm.h"

namespace pyconv {

// Of the taps along one axis: where the first one in the image lies, and how many values from there to
// the last one.
struct TapReach {
    index_t first, extent;

    explicit TapReach(const TapAxis& axis)
        : first(axis.first + std::min<index_t>(axis.step * (axis.count - 1), 0)),
          extent(std::abs(axis.step) * (axis.count - 1) + 1) {}
    void include(const TapReach& other) {
        const index_t end = std::max(first + extent, other.first + other.extent);
        first = std::min(first, other.first);
        extent = end - first;
    }
};

// Pixels of a row of output that are computed from one copy, and the largest copy that is worth it, in bytes
// of double.
inline constexpr index_t kStageColumns = 2048, kMaxStageBytes = index_t{1} << 20;

// Bytes of rows that are copied at once, which stay in L1 beside the output. Of many channels that would be so few rows
// that half of what is copied is their rims, and that no tile fits: rather kEnoughRows from L2 (8 channels a group at
// 56 x 56, stride 2: 1320 -> 1000 us; 32 filters of 5 x 5, backwards: 2900 -> 650).
inline constexpr index_t kStagedBytes = index_t{16} << 10, kMostStagedBytes = index_t{128} << 10;
inline constexpr index_t kEnoughRows = 16;

// Filters that the kernels `window` and `window_gradient` take at once, of those that are left.
inline index_t filters_at_once(index_t left) { return left >= 4 ? 4 : left >= 2 ? 2 : 1; }

struct RowStage {
    TapReach h, w;
    index_t stride_h, stride_w;
    index_t shared = 0;  // zeros
    index_t phase;       // values of each phase

    // For rows of `cols` of the `all` pixels of an image whose rows have W values.
    RowStage(TapReach reach_h, TapReach reach_w, index_t step_h, index_t step_w, index_t cols,
             index_t all, index_t W)
        : h(reach_h), w(reach_w), stride_h(step_h), stride_w(step_w) {
        const index_t values = (cols - 1) * step_w + reach_w.extent;
        // The zeros on the left of a row are also those on the right of the one before it.
        const index_t left = std::max<index_t>(-reach_w.first, 0);
        const index_t right = std::max<index_t>(values - left - W, 0);
        constexpr index_t kMaxShared = 4;
        if (step_w == 1 && cols == all) shared = std::min({left, right, kMaxShared});
        phase = ceil_div(values - shared, step_w);
    }

    index_t row() const { return stride_w * phase; }
    // Values of a copy of one row of pixels, in floating point: pads and dilation may be huge.
    double least_values() const {
        return static_cast<double>(h.extent) * static_cast<double>(phase) *
               static_cast<double>(stride_w);
    }
    // How many of `all` rows of pixels are computed from one copy of some channels, at least so many.
    template <typename T>
    index_t rows_at_once(index_t channels, index_t all, index_t least) const {
        const auto rows_of = [&](index_t bytes) {
            return (bytes / index_t{sizeof(T)} / (channels * row()) - h.extent) / stride_h + 1;
        };
        const index_t few = std::min(rows_of(kMostStagedBytes), kEnoughRows);
        return even_block(all, std::max({rows_of(kStagedBytes), few, least}), 1);
    }
    // Rows staged for `count` rows of pixels.
    index_t rows(index_t count) const { return (count - 1) * stride_h + h.extent; }
    // Where the first pixel reads for a tap at (tap_h, tap_w).
    index_t offset(index_t tap_h, index_t tap_w) const {
        const index_t column = tap_w - w.first;
        return (tap_h - h.first) * row() + column % stride_w * phase + column / stride_w;
    }
    // Copies what `count` rows of pixels need, from pixel (ph, pw) on, of some planes, `slab` values each. Up to
    // a vector behind the copy is overwritten. What lies `ahead` is fetched from memory.
    template <typename T>
    void fill(const Kernels<T>& kernel, index_t planes, index_t plane_step, index_t H, index_t W,
              index_t ph, index_t pw, index_t count, index_t slab, index_t ahead, const T* from,
              T* to) const {
        kernel.stage_rows({.planes = planes,
                           .plane_step = plane_step,
                           .H = H,
                           .W = W,
                           .first_h = ph * stride_h + h.first,
                           .first_w = pw * stride_w + w.first,
                           .rows = rows(count),
                           .phases = stride_w,
                           .phase = phase,
                           .slab = slab,
                           .tail = shared,
                           .ahead = ahead},
                          from, to);
    }
};

}  // namespace pyconv
