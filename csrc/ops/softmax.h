// SPDX-License-Identifier: BSD-3-Clause
// Softmax along an axis, cross entropy, and their gradients.
#pragma once

#include "ops/lines.h"

namespace pyconv {

// `output` and `grad_input` may be one of the inputs.

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

// The targets of a cross entropy: for each line of logits a class, in [0, size) or `ignored`. `weight` has one
// value a class and may be nullptr.
template <typename T>
struct Targets {
    AxisView view;
    const int64_t* classes;
    const T* weight;
    int64_t ignored;
    double smoothing;
};

// sum(-f log_softmax(logits)) / total, where f is weight * smoothing / size for every class of a line, and
// weight * (1 - smoothing) more for its target, and total is the sum of the weights of all targets (torch's
// rule). Terms whose f is 0 are left out. NaN when total is 0. Unless grad is nullptr, the gradient
// (softmax * sum(f) - f) / total goes there, in the same pass.
template <typename T>
double cross_entropy(const Targets<T>& t, const T* logits, T* grad);

}  // namespace pyconv
