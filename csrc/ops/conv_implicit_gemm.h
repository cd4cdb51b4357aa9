// SPDX-License-Identifier: BSD-3-Clause
// Algorithms "implicit_gemm" and "direct" of conv.h, forward and input gradient, and the weight
// gradient of both; same arguments. Auto takes the one that is expected to be faster.
#pragma once

#include "ops/conv.h"

namespace pyconv::implicit_gemm {

template <typename T>
void conv(const ConvShape& s, const T* input, const T* weight, const ConvExtras<T>& extras,
          ConvAlgorithm algorithm, T* output);

template <typename T>
void conv_backward_input(const ConvShape& s, const T* grad_output, const T* weight, const T* bias,
                         Activation activation, ConvAlgorithm algorithm, T* grad_input);

// The input gradient where there are few channels, and whether it is expected to be faster. See
// conv_scatter.cpp.
template <typename T>
void scatter(const ConvShape& s, const T* grad_output, const T* weight, const T* bias,
             Activation activation, T* grad_input);
template <typename T>
bool prefers_scatter(const ConvShape& s);

template <typename T>
void conv_backward_weight(const ConvShape& s, const T* grad_output, const T* input, T* grad_weight);

}  // namespace pyconv::implicit_gemm
