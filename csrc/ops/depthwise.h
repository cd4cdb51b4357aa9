// SPDX-License-Identifier: BSD-3-Clause
// Algorithm "depthwise" of conv.h: for groups of few channels. Forward and input gradient are sums over taps
// (tap_depthwise.cpp); the weight gradient is here.
#pragma once

#include "ops/conv.h"

namespace pyconv::depthwise {

// Whether the algorithm can compute this convolution at all.
bool applies(const ConvShape& s);
// Whether it is expected to be faster than the others; `winograd` says that Winograd's is among them.
bool is_faster(const ConvShape& s, Direction direction, bool winograd);

template <typename T>
void conv_backward_weight(const ConvShape& s, const T* grad_output, const T* input, T* grad_weight);

}  // namespace pyconv::depthwise
