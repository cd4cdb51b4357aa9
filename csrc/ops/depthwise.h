// SPDX-License-Identifier: BSD-3-Clause
// Algorithm "depthwise" of conv.h: for groups of few channels. Forward and input gradient are sums over taps
// (tap_depthwise.cpp); the weight gradient is here, and an input gradient of planes with a stride.
#pragma once

#include "ops/conv.h"

namespace pyconv::depthwise {

// Whether the algorithm can compute this convolution at all.
bool applies(const ConvShape& s);
// Whether it is expected to be faster than the others; `winograd` says that Winograd's is among them.
bool is_faster(const ConvShape& s, Direction direction, bool winograd);

// Whether there is a kernel for the input gradient of planes as they lie: windows of stride 2, few filters a group.
bool has_gradient_kernel(const ConvShape& s);
// False, with nothing done, unless there is one. The activation is ReLU or none.
template <typename T>
bool conv_backward_input(const ConvShape& s, const T* grad_output, const T* weight, const T* bias,
                         Activation activation, T* grad_input);

template <typename T>
void conv_backward_weight(const ConvShape& s, const T* grad_output, const T* input, T* grad_weight);

}  // namespace pyconv::depthwise
