// SPDX-License-Identifier: BSD-3-Clause
#include "ops/softmax.h"

#include "kernels/registry.h"

namespace pyconv {
namespace {

// Nanoseconds a value: passes over memory, and passes with an exponential.
constexpr double kPasses = 0.4, kExponential = 0.8;

}  // namespace

template <typename T>
void softmax(const AxisView& v, const T* input, T* output) {
    const Kernels<T>& kernel = kernels<T>();
    for_each_lines(v, kExponential, [&](const LineTask& task, index_t) {
        kernel.softmax(task.lines, input + task.offset, output + task.offset);
    });
}

template <typename T>
void softmax_backward(const AxisView& v, const T* grad_output, const T* output, T* grad_input) {
    const Kernels<T>& kernel = kernels<T>();
    for_each_lines(v, kPasses, [&](const LineTask& task, index_t) {
        kernel.softmax_backward(task.lines, grad_output + task.offset, output + task.offset,
                                grad_input + task.offset);
    });
}

template <typename T>
void log_softmax(const AxisView& v, const T* input, T* output) {
    const Kernels<T>& kernel = kernels<T>();
    for_each_lines(v, kExponential, [&](const LineTask& task, index_t) {
        kernel.log_softmax(task.lines, input + task.offset, output + task.offset);
    });
}

template <typename T>
void log_softmax_backward(const AxisView& v, const T* grad_output, const T* output, T* grad_input) {
    const Kernels<T>& kernel = kernels<T>();
    for_each_lines(v, kExponential, [&](const LineTask& task, index_t) {
        kernel.log_softmax_backward(task.lines, grad_output + task.offset, output + task.offset,
                                    grad_input + task.offset);
    });
}

#define PYCONV_INSTANTIATE(T)                                                \
    template void softmax(const AxisView&, const T*, T*);                    \
    template void softmax_backward(const AxisView&, const T*, const T*, T*); \
    template void log_softmax(const AxisView&, const T*, T*);                \
    template void log_softmax_backward(const AxisView&, const T*, const T*, T*);
PYCONV_INSTANTIATE(float)
PYCONV_INSTANTIATE(double)
#undef PYCONV_INSTANTIATE

}  // namespace pyconv
