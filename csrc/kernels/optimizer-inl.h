// SPDX-License-Identifier: BSD-3-Clause
// The steps of optimizers over n values, each in a single pass. Included once per ISA.
//
// What is computed stands at the structures in optimizer.h. Every array is read and written once:
// beyond the caches, where the parameters of all but the smallest networks lie, that is the cost.
#pragma once

#include "kernels/elementwise-inl.h"
#include "kernels/optimizer.h"
#include "kernels/table.h"
#include "kernels/vec-inl.h"

namespace pyconv::PYCONV_ISA {

// -1, 0 or 1; NaN for NaN.
template <typename T>
Vec<T> sign_of(Vec<T> x) {
    using V = Vec<T>;
    const V zero = V::zero(), one = V::broadcast(1);
    return select<T>(x > zero, one, select<T>(zero > x, zero - one, x));
}

// grad + weight_decay * value + l1 * sign(value)
template <typename T, typename Step>
Vec<T> penalized(const Step& s, Vec<T> grad, Vec<T> value) {
    if (s.weight_decay != 0) grad = fma(Vec<T>::broadcast(s.weight_decay), value, grad);
    if (s.l1 != 0) grad = fma(Vec<T>::broadcast(s.l1), sign_of(value), grad);
    return grad;
}

// velocity may be nullptr, which is momentum 0.
template <typename T>
void sgd(index_t n, const SgdStep<T>& s, const T* grad, T* value, T* velocity) {
    using V = Vec<T>;
    const V step = V::broadcast(-s.lr), momentum = V::broadcast(s.momentum);
    for_each_vector<T>(n, [=, &s](auto at) {
        const V w = at.load(value), g = penalized(s, at.load(grad), w);
        V direction = g;
        if (velocity != nullptr) {
            const V v = fma(momentum, at.load(velocity), g);
            at.store(v, velocity);
            direction = s.nesterov ? fma(momentum, v, g) : v;
        }
        at.store(fma(step, direction, w), value);
    });
}

template <typename T>
void adam(index_t n, const AdamStep<T>& s, const T* grad, T* value, T* mean, T* square) {
    using V = Vec<T>;
    const V shrink = V::broadcast(s.shrink), beta1 = V::broadcast(s.beta1);
    const V beta2 = V::broadcast(s.beta2), rest1 = V::broadcast(s.rest1);
    const V rest2 = V::broadcast(s.rest2), step = V::broadcast(-s.rate);
    const V root = V::broadcast(s.root), eps = V::broadcast(s.eps);
    for_each_vector<T>(n, [=, &s](auto at) {
        V w = at.load(value);
        const V g = penalized(s, at.load(grad), w);
        w = w * shrink;
        const V m = fma(beta1, at.load(mean), rest1 * g);
        const V v = fma(beta2, at.load(square), rest2 * (g * g));
        at.store(m, mean);
        at.store(v, square);
        at.store(fma(step, m / fma(root, sqrt(v), eps), w), value);
    });
}

// mean and buffer may be nullptr: not centered, no momentum.
template <typename T>
void rmsprop(index_t n, const RmspropStep<T>& s, const T* grad, T* value, T* square, T* mean,
             T* buffer) {
    using V = Vec<T>;
    const V alpha = V::broadcast(s.alpha), rest = V::broadcast(s.rest), eps = V::broadcast(s.eps);
    const V step = V::broadcast(-s.lr), momentum = V::broadcast(s.momentum);
    for_each_vector<T>(n, [=, &s](auto at) {
        const V w = at.load(value), g = penalized(s, at.load(grad), w);
        const V v = fma(alpha, at.load(square), rest * (g * g));
        at.store(v, square);
        V variance = v;
        if (mean != nullptr) {
            const V old = at.load(mean), m = fma(rest, g - old, old);
            at.store(m, mean);
            variance = v - m * m;
        }
        V direction = g / (sqrt(variance) + eps);
        if (buffer != nullptr) {
            direction = fma(momentum, at.load(buffer), direction);
            at.store(direction, buffer);
        }
        at.store(fma(step, direction, w), value);
    });
}

// values = low where values < low, high where values > high; NaN stays.
template <typename T>
void clip(index_t n, T low, T high, T* values) {
    using V = Vec<T>;
    const V lowest = V::broadcast(low), highest = V::broadcast(high);
    for_each_vector<T>(n, [=](auto at) {
        const V x = at.load(values);
        at.store(select<T>(lowest > x, lowest, select<T>(x > highest, highest, x)), values);
    });
}

}  // namespace pyconv::PYCONV_ISA
