// SPDX-License-Identifier: BSD-3-Clause
// Activations of n values, softmax along an axis, and their gradients. `out` may be the input.
#pragma once

#include "base/types.h"

namespace pyconv {

template <typename T>
void relu(index_t n, const T* input, T* output);
template <typename T>
void relu_backward(index_t n, const T* grad_output, const T* output, T* grad_input);

template <typename T>
void leaky_relu(index_t n, T negative_slope, const T* input, T* output);
template <typename T>
void leaky_relu_backward(index_t n, T negative_slope, const T* grad_output, const T* input,
                         T* grad_input);

template <typename T>
void sigmoid(index_t n, const T* input, T* output);
template <typename T>
void sigmoid_backward(index_t n, const T* grad_output, const T* output, T* grad_input);

template <typename T>
void tanh(index_t n, const T* input, T* output);
template <typename T>
void tanh_backward(index_t n, const T* grad_output, const T* output, T* grad_input);

// An array seen as (outer, size, inner): softmax runs over the axis in the middle.
struct AxisView {
    index_t outer, size, inner;
};

// exp(x) / sum(exp(x)), with the maximum taken off first.
template <typename T>
void softmax(const AxisView& v, const T* input, T* output);
// output * (grad_output - sum(grad_output * output))
template <typename T>
void softmax_backward(const AxisView& v, const T* grad_output, const T* output, T* grad_input);

// x - log(sum(exp(x)))
template <typename T>
void log_softmax(const AxisView& v, const T* input, T* output);
// grad_output - exp(output) * sum(grad_output)
template <typename T>
void log_softmax_backward(const AxisView& v, const T* grad_output, const T* output, T* grad_input);

}  // namespace pyconv
