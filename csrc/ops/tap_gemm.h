// SPDX-License-Identifier: BSD-3-Clause
// A sum over taps of a plane: the one loop behind the convolution and its input gradient, in two
// ways of feeding the micro-kernel.
#pragma once

#include <vector>

#include "base/types.h"
#include "kernels/registry.h"

namespace pyconv {

// Where the taps read, relative to the pixel that they contribute to: tap (i, j) of rows x cols is
// at (h + i * h_step, w + j * w_step). Steps may be negative.
struct TapGrid {
    index_t h, h_step, rows;
    index_t w, w_step, cols;

    index_t count() const { return rows * cols; }
};

// For each image n, row m and pixel (ph, pw) of a PH x PW grid, with t = i * cols + j,
//
//   output[n, m, ph, pw] = activation(bias[m] + sum over c, t of
//       A[m, c * taps + t] * source[n, c, ph * stride_h + tap_h(i), pw * stride_w + tap_w(j)])
//
// where source is 0 outside its planes. As a GEMM: M rows, C * taps steps, and all pixels of all
// images as columns, so that maps smaller than a tile still fill it.
template <typename T>
struct TapGemm {
    index_t N, M, C, PH, PW;
    TapGrid taps;
    index_t stride_h, stride_w;
    const T* a_panels;  // M rows packed by pack_a, see TapGemmBlocks for the blocks of k
    const T* bias;      // M values, or nullptr
    Activation activation;
    const T* source;  // planes of H x W values, contiguous
    index_t H, W, source_image;
    T* output;  // any steps between images, rows m, pixel rows and pixels
    index_t output_image, output_m, output_h, output_w;

    // Multiply-adds of the whole sum.
    double work() const {
        return static_cast<double>(N * M) * static_cast<double>(PH * PW) *
               static_cast<double>(C * taps.count() + 1);
    }
};

// How the sum over k = (c, t) is cut: whole channels, `channels` at a time. A is packed block by
// block: that of channels c .. c + channels begins at a_panels + round_up(M, MR) * c * taps.
struct TapGemmBlocks {
    index_t channels;
    index_t columns;  // pixels that one task packs at a time
};
template <typename T>
TapGemmBlocks tap_gemm_blocks(const Kernels<T>& kernel, index_t C, index_t taps);

// Rows of A for one task: all M, or fewer when there are too few other tasks to share out.
inline constexpr index_t kEnoughTasks = 4;
index_t tap_row_block(index_t M, index_t MR, index_t other_tasks);

// Implicit GEMM: pixels are packed into panels, tap by tap. Tasks cover the groups (all of the same
// sizes), the columns and, where those are few, the rows.
template <typename T>
void tap_gemm(const Kernels<T>& kernel, const std::vector<TapGemm<T>>& groups);

// Direct: the micro-kernel reads the image rows themselves, from a padded copy where there is
// padding or a stride. Nothing is packed per tap, but tiles do not reach across image rows.
template <typename T>
void tap_direct(const Kernels<T>& kernel, const std::vector<TapGemm<T>>& groups);

// True if tap_direct is expected to be faster.
template <typename T>
bool prefers_direct(const Kernels<T>& kernel, const TapGemm<T>& g);

}  // namespace pyconv
