// SPDX-License-Identifier: BSD-3-Clause
// The sizes of one convolution: the only source of them, for allocation and loops alike.
#pragma once

#include <array>
#include <span>

#include "base/types.h"

namespace pyconv {

using Pair = std::array<index_t, 2>;    // vertical, horizontal
using Shape4 = std::array<index_t, 4>;  // N, C, H, W or OC, C / G, KH, KW

using Sizes = std::span<const index_t>;  // one value for each spatial axis, or a whole shape

// Explicit pads, or "same": as many zeros as make OH = ceil(H / stride), the odd one at the end
// (TensorFlow's SAME, ONNX's SAME_UPPER). "valid" is explicit zeros.
struct Padding {
    bool same = false;
    index_t top = 0, bottom = 0, left = 0, right = 0;

    std::array<Pair, 2> sides() const { return {{{top, bottom}, {left, right}}}; }
};

// Of a convolution over one, two or three spatial axes: one that is not there has size 1 and a kernel
// of one tap. The axis of conv1d, L in its messages, is W here.
struct ConvShape {
    index_t N, C, D = 1, H, W;   // input   (N, C, D, H, W)
    index_t OC, KD = 1, KH, KW;  // weight  (OC, C / G, KD, KH, KW)
    index_t OD = 1, OH, OW;      // output  (N, OC, OD, OH, OW)
    index_t stride_d = 1, stride_h, stride_w;
    index_t pad_front = 0, pad_top, pad_left;        // zeros before the first plane, row and column
    index_t dilation_d = 1, dilation_h, dilation_w;  // 1 = dense
    index_t G;

    // Checks every argument; throws std::invalid_argument that begins with `function`. `stride` and
    // `dilation` have a value for each spatial axis, `input` and `weight` two sizes more, and
    // `padding` the zeros at (begin, end) of each axis, or nothing for "same".
    static ConvShape make(const char* function, Sizes input, Sizes weight, Sizes stride,
                          std::span<const Pair> padding, Sizes dilation, index_t groups);

    // The convolution whose input gradient is the transposed convolution of `input` (N, C, H, W)
    // with `weight` (C, OC / G, KH, KW): its output is that input, its input is that output.
    static ConvShape make_transposed(const char* function, const Shape4& input,
                                     const Shape4& weight, Pair stride, const Padding& padding,
                                     Pair output_padding, Pair dilation, index_t groups);

    template <size_t Axes = 2>
    std::array<index_t, Axes + 2> input_shape() const {
        return shape<Axes>(N, C, D, H, W);
    }
    template <size_t Axes = 2>
    std::array<index_t, Axes + 2> weight_shape() const {
        return shape<Axes>(OC, C / G, KD, KH, KW);
    }
    template <size_t Axes = 2>
    std::array<index_t, Axes + 2> output_shape() const {
        return shape<Axes>(N, OC, OD, OH, OW);
    }

    index_t input_plane() const { return D * H * W; }
    index_t output_plane() const { return OD * OH * OW; }
    index_t taps() const { return KD * KH * KW; }

    // Multiply-adds of one pass, taps on the padding included.
    double multiply_adds() const {
        return static_cast<double>(N * OC) * static_cast<double>(output_plane()) *
               static_cast<double>(C / G * taps());
    }

  private:
    template <size_t Axes>
    static std::array<index_t, Axes + 2> shape(index_t first, index_t second, index_t d, index_t h,
                                               index_t w) {
        if constexpr (Axes == 1) return {first, second, w};
        if constexpr (Axes == 2) return {first, second, h, w};
        if constexpr (Axes == 3) return {first, second, d, h, w};
    }
};

// One axis of a sliding window: how many outputs, and the zeros before the first input.
struct WindowAxis {
    index_t output, pad_begin;
};

// dilation * (kernel - 1) + 1, checked.
index_t effective_kernel(const char* function, index_t kernel, index_t dilation);

// (size + pads - effective kernel) / stride + 1 windows, the division rounded down or, with
// `ceil_mode`, up (but no window may start beyond the input and its leading pad: torch's rule).
// `axis` and `kernel_name` are words for messages: "H", "weight".
WindowAxis window_axis(const char* function, const char* axis, const char* kernel_name,
                       index_t size, index_t kernel, index_t stride, index_t dilation, bool same,
                       index_t pad_begin, index_t pad_end, bool ceil_mode);

struct Range {
    index_t begin, end;
};
// The i in [0, count) for which i * stride + offset lies in [0, size); begin <= end.
Range taps_inside(index_t count, index_t stride, index_t offset, index_t size);

// Checks that all values are in [least, kMaxBytes].
void check_each(const char* function, const char* argument, Sizes values, index_t least);
void check_sides(const char* function, std::span<const Pair> padding);
void check_padding(const char* function, const Padding& padding);

}  // namespace pyconv
