// SPDX-License-Identifier: BSD-3-Clause
// The im2col matrix, its adjoint, and algorithm "im2col" of conv.h, for all its axes.
//
//   columns[n, (c*KH + kh)*KW + kw, oh*OW + ow] =
//       input[n, c, oh*stride_h - pad_top + kh*dilation_h, ow*stride_w - pad_left + kw*dilation_w]
//
// with 0 outside the input. col2im adds each element of columns to the pixel it came from.
#pragma once

#include "ops/conv.h"

namespace pyconv {

// For a shape with one group and OC = 1 (weight has no part in it). Output overwritten.
template <typename T>
void im2col(const ConvShape& s, const T* input, T* columns);
template <typename T>
void col2im(const ConvShape& s, const T* columns, T* input);

namespace explicit_gemm {

template <typename T>
void conv(const ConvShape& s, const T* input, const T* weight, const ConvExtras<T>& extras,
          T* output);

template <typename T>
void conv_backward_input(const ConvShape& s, const T* grad_output, const T* weight, const T* bias,
                         Activation activation, T* grad_input);

template <typename T>
void conv_backward_weight(const ConvShape& s, const T* grad_output, const T* input, T* grad_weight);

}  // namespace explicit_gemm
}  // namespace pyconv
