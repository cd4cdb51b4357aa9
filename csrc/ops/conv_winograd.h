// SPDX-License-Identifier: BSD-3-Clause
// Algorithm "winograd" of conv.h, without dilation: 3 x 3 kernels with stride 1, a quarter of the products (F(4x4, 3x3)) or
// 4 / 9 of them (F(2x2, 3x3)); 5 x 5, 9 / 25 (F(2x2, 5x5)); 3 x 3 with stride 2, 25 / 36; at up to three times the
// rounding error. docs/winograd.md has the derivation.
#pragma once

#include "kernels/winograd_form.h"
#include "ops/conv.h"

namespace pyconv::winograd {

// Whether the algorithm can compute this convolution at all.
bool applies(const ConvShape& s);

// The form that is expected to be the fastest; `cached` says that the weights cost nothing.
const Form& choose_form(const ConvShape& s, Direction direction, bool cached);
// Whether that is expected to be faster than direct summation.
bool is_faster(const ConvShape& s, Direction direction, bool cached);

template <typename T>
void conv(const ConvShape& s, const T* input, const T* weight, const ConvExtras<T>& extras,
          T* output);

template <typename T>
void conv_backward_input(const ConvShape& s, const T* grad_output, const T* weight, const T* bias,
                         Activation activation, T* grad_input);

template <typename T>
void conv_backward_weight(const ConvShape& s, const T* grad_output, const T* input, T* grad_weight);

}  // namespace pyconv::winograd
