// SPDX-License-Identifier: BSD-3-Clause
// Cross-correlation over one, two or three spatial axes, and its three gradients.
//
// Definition, per group, for two of them; a third, d, is as h and w:
//   output[n,oc,oh,ow] = bias[oc]
//       + sum(c,kh,kw) input[n, c, oh*stride_h - pad_top  + kh*dilation_h,
//                                  ow*stride_w - pad_left + kw*dilation_w] * weight[oc,c,kh,kw]
// with input taken as 0 outside its bounds: zeros that are multiplied like any other value, exactly
// as if the image had been padded first (0 * Inf = NaN at the border). Convolution is linear in
// input and in weight, and the two backward functions are its adjoints; the tests test exactly that.
//
// All arrays are contiguous; each function overwrites its last argument, which overlaps no other.
#pragma once

#include "kernels/table.h"
#include "ops/conv_shape.h"
#include "ops/weight_cache.h"

namespace pyconv {

enum class ConvAlgorithm {
    Auto,          // chosen from the shape and the ISA alone
    Im2col,        // the im2col matrix of one image in memory, then gemm: the textbook path
    ImplicitGemm,  // the same sums, packed on the fly
    Direct,        // the same, from padded image rows: where packing costs more than it saves
    Depthwise,     // the same, a few filters at once: for groups of few channels
    Winograd,  // fewer products, at up to three times the rounding error: conv_winograd.h says of which windows
};

enum class Direction { Forward, BackwardInput, BackwardWeight };

// Whether Auto takes sums of products only in this thread, never Winograd. Returns the previous value.
bool set_precise(bool precise);
bool is_precise();

// Throws std::invalid_argument that begins with `function` if the algorithm can not compute this shape.
void check_algorithm(const char* function, const ConvShape& s, ConvAlgorithm algorithm);

// output = activation(sum + bias + residual). `bias` (OC values), `residual` (as output) and `cache` may be
// nullptr; with a cache, Auto takes the weight to be transformed already.
template <typename T>
struct ConvExtras {
    const T* bias = nullptr;
    const T* residual = nullptr;
    Activation activation = Activation::None;
    WeightCache* cache = nullptr;
};

template <typename T>
void conv(const ConvShape& s, const T* input, const T* weight, const ConvExtras<T>& extras,
          ConvAlgorithm algorithm, T* output);

// With `bias` (C values) and `activation`, which a gradient has no use for: transposed convolution.
template <typename T>
void conv_backward_input(const ConvShape& s, const T* grad_output, const T* weight, const T* bias,
                         Activation activation, ConvAlgorithm algorithm, T* grad_input);

template <typename T>
void conv_backward_weight(const ConvShape& s, const T* grad_output, const T* input,
                          ConvAlgorithm algorithm, T* grad_weight);

// grad_bias[oc] = sum(n, pixel) grad_output[n, oc, pixel]
template <typename T>
void conv_backward_bias(index_t N, index_t OC, index_t pixels, const T* grad_output, T* grad_bias);

}  // namespace pyconv
