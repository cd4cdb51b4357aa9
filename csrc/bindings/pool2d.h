// SPDX-License-Identifier: BSD-3-Clause
// What the bindings of all pools share.
#pragma once

#include <functional>

#include "bindings/options.h"
#include "ops/pool2d.h"

namespace pyconv::bindings {

inline constexpr const char* kPlaneAxes = "four: (N, C, H, W)";

// How a window list is made from the shape of the input: what sliding, adaptive and global pooling
// differ in.
using MakeShape = std::function<Pool2dShape(const Shape4&)>;

inline MakeShape sliding(const char* function, Pair kernel_size, Pair stride,
                         const PaddingOption& padding, Pair dilation, bool ceil_mode,
                         bool count_include_pad) {
    const Pool2dShape::Options options{kernel_size, stride,    to_padding(padding),
                                       dilation,    ceil_mode, count_include_pad};
    return [=](const Shape4& input) { return Pool2dShape::make(function, input, options); };
}

}  // namespace pyconv::bindings
