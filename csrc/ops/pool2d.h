// SPDX-License-Identifier: BSD-3-Clause
// Pooling over windows of each H x W plane: maximum and average, sliding and adaptive.
//
// A window is a product of two intervals, one an axis; a Pool2dShape lists them. Sliding, adaptive
// and global pooling differ in that list and in nothing else.
#pragma once

#include <vector>

#include "base/types.h"
#include "kernels/table.h"
#include "ops/conv_shape.h"

namespace pyconv {

struct Pool2dShape {
    index_t N, C, H, W;
    index_t OH, OW;
    index_t dilation_h, dilation_w;
    std::vector<Window> rows, cols;  // OH and OW of them
    // Where window o along W starts at o * stride_w - pad_left with taps_w taps, padding included;
    // stride_w is 0 where they follow no such rule.
    index_t stride_w, taps_w, pad_left;

    struct Options {
        Pair kernel_size, stride;
        Padding padding;
        Pair dilation = {1, 1};
        bool ceil_mode = false;
        bool count_include_pad = true;
    };
    // Throw std::invalid_argument that begins with `function`.
    static Pool2dShape make(const char* function, const Shape4& input, const Options& options);
    // Window o of an axis is [floor(o * H / OH), ceil((o + 1) * H / OH)).
    static Pool2dShape make_adaptive(const char* function, const Shape4& input, Pair output_size);

    Shape4 input_shape() const { return {N, C, H, W}; }
    Shape4 output_shape() const { return {N, C, OH, OW}; }
};

// Padding is absent: never chosen. A NaN in the window wins, the first of equal maxima wins.
// indices: h * W + w of the maximum, -1 for a window without taps (its output is -inf); or nullptr.
template <typename T>
void max_pool2d(const Pool2dShape& s, const T* input, T* output, int32_t* indices);

// Adds each grad_output to the pixel that its index names. Indices come from users: each is
// checked.
template <typename T>
void max_pool2d_backward(const char* function, const Shape4& input_shape,
                         const Shape4& output_shape, const T* grad_output, const int32_t* indices,
                         T* grad_input);

// The sum over the window divided by the product of its extents, or by `divisor` if not 0.
template <typename T>
void avg_pool2d(const Pool2dShape& s, index_t divisor, const T* input, T* output);

template <typename T>
void avg_pool2d_backward(const Pool2dShape& s, index_t divisor, const T* grad_output,
                         T* grad_input);

// (sum of x^p over the pixels of the window)^(1/p).
template <typename T>
void lp_pool2d(const Pool2dShape& s, double p, const T* input, T* output);

// input^(p - 1) times the sum of grad_output * output^(1 - p) over the windows that hold the pixel; an output
// of 0 has no gradient.
template <typename T>
void lp_pool2d_backward(const Pool2dShape& s, double p, const T* grad_output, const T* input,
                        const T* output, T* grad_input);

// Puts each value where its index says, in planes of zeros; of equal indices the last wins. Indices are as
// for max_pool2d_backward. `shape` is that of input, output_shape that of output.
template <typename T>
void max_unpool2d(const char* function, const Shape4& shape, const Shape4& output_shape,
                  const T* input, const int32_t* indices, T* output);

// Fetches each gradient from where its index says; 0 for -1. `shape` is that of grad_input.
template <typename T>
void max_unpool2d_backward(const char* function, const Shape4& shape, const Shape4& output_shape,
                           const T* grad_output, const int32_t* indices, T* grad_input);

}  // namespace pyconv
