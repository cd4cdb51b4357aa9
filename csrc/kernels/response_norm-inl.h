// SPDX-License-Identifier: BSD-3-Clause
// Local response normalisation across channels, n pixels at a time. Included once per ISA.
//
// The `rows` channels of a window lie row_step apart. Their squares are summed anew for each channel: a
// running sum would lose what is small beside a channel that has left the window.
#pragma once

#include "kernels/elementwise-inl.h"
#include "kernels/table.h"
#include "kernels/vec-inl.h"

namespace pyconv::PYCONV_ISA {

// x^-beta. AlexNet's 0.75 takes two square roots, everything else the C library.
template <typename T>
Vec<T> inverse_power(Vec<T> x, T beta) {
    using V = Vec<T>;
    if (beta == T(0.75)) {
        const V root = sqrt(x);
        return V::broadcast(1) / (root * sqrt(root));
    }
    T lane[V::lanes];
    x.store(lane);
    for (T& value : lane) {
        if constexpr (sizeof(T) == 4) {
            value = __builtin_powf(value, -beta);
        } else {
            value = __builtin_pow(value, -beta);
        }
    }
    return V::load(lane);
}

// k + factor * (sum of squares)
template <typename T, typename At>
Vec<T> response_scale(const ResponseNorm<T>& r, index_t rows, index_t row_step, const T* window,
                      At at) {
    using V = Vec<T>;
    V sum = V::zero();
    for (index_t row = 0; row < rows; ++row) {
        const V x = at.load(window + row * row_step);
        sum = fma(x, x, sum);
    }
    return fma(V::broadcast(r.factor), sum, V::broadcast(r.k));
}

// out = in * scale^-beta, scale from the window around `in`.
template <typename T>
void response_norm(const ResponseNorm<T>& r, index_t n, index_t rows, index_t row_step,
                   const T* window, const T* in, T* out) {
    for_each_vector<T>(n, [=, &r](auto at) {
        const Vec<T> scale = response_scale<T>(r, rows, row_step, window, at);
        at.store(at.load(in) * inverse_power(scale, r.beta), out);
    });
}

// scaled = grad_output * scale^-beta,  terms = grad_output * input * scale^(-beta - 1)
template <typename T>
void response_norm_terms(const ResponseNorm<T>& r, index_t n, index_t rows, index_t row_step,
                         const T* window, const T* grad_output, const T* input, T* scaled,
                         T* terms) {
    for_each_vector<T>(n, [=, &r](auto at) {
        const Vec<T> scale = response_scale<T>(r, rows, row_step, window, at);
        const Vec<T> g = at.load(grad_output) * inverse_power(scale, r.beta);
        at.store(g, scaled);
        at.store(g * at.load(input) / scale, terms);
    });
}

// grad_input = scaled + factor * input * (sum of the terms of the channels that `input` took part in)
template <typename T>
void response_norm_backward(T factor, index_t n, index_t rows, index_t row_step, const T* terms,
                            const T* scaled, const T* input, T* grad_input) {
    using V = Vec<T>;
    for_each_vector<T>(n, [=](auto at) {
        V sum = V::zero();
        for (index_t row = 0; row < rows; ++row) sum = sum + at.load(terms + row * row_step);
        at.store(fma(V::broadcast(factor) * at.load(input), sum, at.load(scaled)), grad_input);
    });
}

}  // namespace pyconv::PYCONV_ISA
