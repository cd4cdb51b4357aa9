// SPDX-License-Identifier: BSD-3-Clause
// Normalisation of a row of n values that each have a weight of their own (layer norm). Included once
// per ISA.
#pragma once

#include "kernels/elementwise-inl.h"
#include "kernels/normalize-inl.h"
#include "kernels/table.h"
#include "kernels/vec-inl.h"

namespace pyconv::PYCONV_ISA {

// out = (in - center) * factor * weight + bias
template <typename T>
void normalize_row(index_t n, T center, T factor, const T* in, const T* weight, const T* bias,
                   T* out) {
    using V = Vec<T>;
    const V c = V::broadcast(center), f = V::broadcast(factor);
    map<T>(n, out, [c, f](V x, V w, V b) { return fma((x - c) * f, w, b); }, in, weight, bias);
}

// sums = {sum g * weight, sum g * weight * (input - center)}, g = grad_output
template <typename T>
void weighted_sums(index_t n, T center, const T* grad_output, const T* input, const T* weight,
                   double* sums) {
    using V = Vec<T>;
    const V c = V::broadcast(center);
    sums[0] = sums[1] = 0;
    for_each_chunk<T>(
        {1, 0, n},
        [=](V& sum, V& product, index_t i) {
            const V g = V::load(grad_output + i) * V::load(weight + i);
            sum = sum + g;
            product = fma(g, V::load(input + i) - c, product);
        },
        [=](V& sum, V& product, index_t i, index_t rest) {
            const V g = V::load_part(grad_output + i, rest) * V::load_part(weight + i, rest);
            sum = sum + g;
            product = product + first_lanes(g * (V::load_part(input + i, rest) - c), rest);
        },
        [=](const SumPair<T>& chunk, index_t) {
            sums[0] += SumPair<T>::total(chunk.a);
            sums[1] += SumPair<T>::total(chunk.b);
        });
}

// grad_input = g * weight * factor + (input - center) * factor_x + constant, and what the row adds to
// the gradients of weight and bias: g * (input - center) * factor and g.
template <typename T>
void normalize_row_backward(index_t n, T center, T factor, T factor_x, T constant,
                            const T* grad_output, const T* input, const T* weight, T* grad_input,
                            T* grad_weight, T* grad_bias) {
    using V = Vec<T>;
    const V c = V::broadcast(center), f = V::broadcast(factor), fx = V::broadcast(factor_x),
            k = V::broadcast(constant);
    for_each_vector<T>(n, [=](auto at) {
        const V g = at.load(grad_output), x = at.load(input) - c;
        at.store(fma(g * f, at.load(weight), fma(x, fx, k)), grad_input);
        at.store(fma(g, x * f, at.load(grad_weight)), grad_weight);
        at.store(g + at.load(grad_bias), grad_bias);
    });
}

}  // namespace pyconv::PYCONV_ISA
