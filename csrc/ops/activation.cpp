// SPDX-License-Identifier: BSD-3-Clause
#include "ops/activation.h"

#include <algorithm>
#include <cmath>

#include "base/checked.h"
#include "base/parallel.h"
#include "kernels/registry.h"

namespace pyconv {
namespace {

// Nanoseconds a value: a pass over memory, and a call of exp or tanh.
constexpr double kPass = 0.3, kTranscendental = 4;

// Calls body(begin, count) for pieces of [0, n), in parallel.
template <typename Body>
void for_each_piece(index_t n, double nanoseconds, Body&& body) {
    constexpr index_t kPiece = index_t{1} << 15;
    parallel_for(ceil_div(n, kPiece), static_cast<double>(n) * nanoseconds,
                 [&](index_t task) { body(task * kPiece, std::min(kPiece, n - task * kPiece)); });
}

// Calls body(offset) for the first element of each line along the axis; elements are v.inner apart.
template <typename Body>
void for_each_line(const AxisView& v, Body&& body) {
    const double values = static_cast<double>(v.outer * v.inner * v.size);
    constexpr index_t kLines = 64;
    const index_t lines = v.outer * v.inner;
    parallel_for(ceil_div(lines, kLines), values * kTranscendental, [&](index_t task) {
        const index_t end = std::min((task + 1) * kLines, lines);
        for (index_t line = task * kLines; line < end; ++line)
            body(line / v.inner * v.size * v.inner + line % v.inner);
    });
}

// The largest value of a line, and the sum of exp(x - largest). A NaN makes the sum NaN.
template <typename T>
struct ExpSum {
    T largest;
    double sum;
};
template <typename T>
ExpSum<T> exp_sum(const AxisView& v, const T* line) {
    T largest = line[0];
    for (index_t i = 1; i < v.size; ++i) largest = std::max(largest, line[i * v.inner]);
    double sum = 0;
    for (index_t i = 0; i < v.size; ++i)
        sum += static_cast<double>(std::exp(line[i * v.inner] - largest));
    return {largest, sum};
}

}  // namespace

template <typename T>
void relu(index_t n, const T* input, T* output) {
    const Kernels<T>& kernel = kernels<T>();
    for_each_piece(n, kPass,
                   [&](index_t i, index_t count) { kernel.relu(count, input + i, output + i); });
}

template <typename T>
void relu_backward(index_t n, const T* grad_output, const T* output, T* grad_input) {
    const Kernels<T>& kernel = kernels<T>();
    for_each_piece(n, kPass, [&](index_t i, index_t count) {
        kernel.relu_backward(count, grad_output + i, output + i, grad_input + i);
    });
}

template <typename T>
void leaky_relu(index_t n, T negative_slope, const T* input, T* output) {
    const Kernels<T>& kernel = kernels<T>();
    for_each_piece(n, kPass, [&](index_t i, index_t count) {
        kernel.leaky_relu(count, negative_slope, input + i, output + i);
    });
}

template <typename T>
void leaky_relu_backward(index_t n, T negative_slope, const T* grad_output, const T* input,
                         T* grad_input) {
    const Kernels<T>& kernel = kernels<T>();
    for_each_piece(n, kPass, [&](index_t i, index_t count) {
        kernel.leaky_relu_backward(count, negative_slope, grad_output + i, input + i,
                                   grad_input + i);
    });
}

template <typename T>
void sigmoid(index_t n, const T* input, T* output) {
    for_each_piece(n, kTranscendental, [&](index_t begin, index_t count) {
        for (index_t i = begin; i < begin + count; ++i) {
            // exp of a negative number on either side, so that it can not overflow.
            const T e = std::exp(-std::abs(input[i]));
            output[i] = (input[i] >= 0 ? T(1) : e) / (1 + e);
        }
    });
}

template <typename T>
void sigmoid_backward(index_t n, const T* grad_output, const T* output, T* grad_input) {
    const Kernels<T>& kernel = kernels<T>();
    for_each_piece(n, kPass, [&](index_t i, index_t count) {
        kernel.sigmoid_backward(count, grad_output + i, output + i, grad_input + i);
    });
}

template <typename T>
void tanh(index_t n, const T* input, T* output) {
    for_each_piece(n, kTranscendental, [&](index_t begin, index_t count) {
        for (index_t i = begin; i < begin + count; ++i) output[i] = std::tanh(input[i]);
    });
}

template <typename T>
void tanh_backward(index_t n, const T* grad_output, const T* output, T* grad_input) {
    const Kernels<T>& kernel = kernels<T>();
    for_each_piece(n, kPass, [&](index_t i, index_t count) {
        kernel.tanh_backward(count, grad_output + i, output + i, grad_input + i);
    });
}

template <typename T>
void softmax(const AxisView& v, const T* input, T* output) {
    for_each_line(v, [&](index_t offset) {
        const T* x = input + offset;
        T* y = output + offset;
        const ExpSum<T> e = exp_sum(v, x);
        for (index_t i = 0; i < v.size; ++i) {
            const auto numerator = static_cast<double>(std::exp(x[i * v.inner] - e.largest));
            y[i * v.inner] = static_cast<T>(numerator / e.sum);
        }
    });
}

template <typename T>
void softmax_backward(const AxisView& v, const T* grad_output, const T* output, T* grad_input) {
    for_each_line(v, [&](index_t offset) {
        const T* g = grad_output + offset;
        const T* y = output + offset;
        double dot = 0;
        for (index_t i = 0; i < v.size; ++i)
            dot += static_cast<double>(g[i * v.inner]) * static_cast<double>(y[i * v.inner]);
        for (index_t i = 0; i < v.size; ++i) {
            const double difference = static_cast<double>(g[i * v.inner]) - dot;
            grad_input[offset + i * v.inner] =
                static_cast<T>(static_cast<double>(y[i * v.inner]) * difference);
        }
    });
}

template <typename T>
void log_softmax(const AxisView& v, const T* input, T* output) {
    for_each_line(v, [&](index_t offset) {
        const T* x = input + offset;
        const ExpSum<T> e = exp_sum(v, x);
        const double log_sum = std::log(e.sum);
        for (index_t i = 0; i < v.size; ++i) {
            const auto shifted = static_cast<double>(x[i * v.inner] - e.largest);
            output[offset + i * v.inner] = static_cast<T>(shifted - log_sum);
        }
    });
}

template <typename T>
void log_softmax_backward(const AxisView& v, const T* grad_output, const T* output, T* grad_input) {
    for_each_line(v, [&](index_t offset) {
        const T* g = grad_output + offset;
        const T* y = output + offset;
        double sum = 0;
        for (index_t i = 0; i < v.size; ++i) sum += static_cast<double>(g[i * v.inner]);
        for (index_t i = 0; i < v.size; ++i) {
            const auto probability = static_cast<double>(std::exp(y[i * v.inner]));
            grad_input[offset + i * v.inner] =
                static_cast<T>(static_cast<double>(g[i * v.inner]) - probability * sum);
        }
    });
}

#define PYCONV_INSTANTIATE(T)                                                \
    template void relu(index_t, const T*, T*);                               \
    template void relu_backward(index_t, const T*, const T*, T*);            \
    template void leaky_relu(index_t, T, const T*, T*);                      \
    template void leaky_relu_backward(index_t, T, const T*, const T*, T*);   \
    template void sigmoid(index_t, const T*, T*);                            \
    template void sigmoid_backward(index_t, const T*, const T*, T*);         \
    template void tanh(index_t, const T*, T*);                               \
    template void tanh_backward(index_t, const T*, const T*, T*);            \
    template void softmax(const AxisView&, const T*, T*);                    \
    template void softmax_backward(const AxisView&, const T*, const T*, T*); \
    template void log_softmax(const AxisView&, const T*, T*);                \
    template void log_softmax_backward(const AxisView&, const T*, const T*, T*);
PYCONV_INSTANTIATE(float)
PYCONV_INSTANTIATE(double)
#undef PYCONV_INSTANTIATE

}  // namespace pyconv
