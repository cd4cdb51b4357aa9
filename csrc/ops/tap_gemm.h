// SPDX-License-Identifier: BSD-3-Clause
// Implicit GEMM: a sum over taps of a plane, the one loop behind the convolution and its input
// gradient.
#pragma once

#include <vector>

#include "base/types.h"
#include "kernels/table.h"

namespace pyconv {

// Where a tap reads, relative to the pixel it contributes to.
struct Tap {
    index_t h, w;
};

// For each image n, row m and pixel (ph, pw) of a PH x PW grid,
//
//   output[n, m, ph, pw] = activation(bias[m] + sum over c, t of
//       A[m, c * taps + t] * source[n, c, ph * stride_h + taps[t].h, pw * stride_w + taps[t].w])
//
// where source is 0 outside its planes. As a GEMM: M rows, C * taps steps, and all pixels of all
// images as columns, so that maps smaller than a tile still fill it.
template <typename T>
struct TapGemm {
    index_t N, M, C, PH, PW;
    std::vector<Tap> taps;
    index_t stride_h, stride_w;
    const T* a_panels;  // M rows packed by pack_a, see TapGemmBlocks for the blocks of k
    const T* bias;      // M values, or nullptr
    Activation activation;
    const T* source;  // planes of H x W values, contiguous
    index_t H, W, source_image;
    T* output;  // any steps between images, rows m, pixel rows and pixels
    index_t output_image, output_m, output_h, output_w;
};

// How the sum over k = (c, t) is cut: whole channels, `channels` at a time. A is packed block by
// block: that of channels c .. c + channels begins at a_panels + round_up(M, MR) * c * taps.
struct TapGemmBlocks {
    index_t channels;
    index_t columns;  // pixels that one task packs at a time
};
template <typename T>
TapGemmBlocks tap_gemm_blocks(const Kernels<T>& kernel, index_t C, index_t taps);

// Tasks cover the groups, the columns and, where those are few, the rows.
template <typename T>
void tap_gemm(const Kernels<T>& kernel, const std::vector<TapGemm<T>>& groups);

}  // namespace pyconv
