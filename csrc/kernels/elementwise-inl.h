// SPDX-License-Identifier: BSD-3-Clause
// Loops over n values, one result each. Included once per ISA.
//
// Every one is a map of a function of vectors; the values left over at the end go through the same
// function, so that NaN and signed zeros fare alike in every lane.
#pragma once

#include "kernels/table.h"
#include "kernels/vec-inl.h"

namespace pyconv::PYCONV_ISA {

template <typename T, typename Function, typename... In>
void map(index_t n, T* out, Function function, const In*... in) {
    constexpr index_t L = Vec<T>::lanes;
    index_t i = 0;
    for (; i + L <= n; i += L) function(Vec<T>::load(in + i)...).store(out + i);
    if (i < n) function(Vec<T>::load_part(in + i, n - i)...).store_part(out + i, n - i);
}

// Calls step(load, store) for each vector of n values, for loops over several arrays; the last
// vector may be a part.
template <typename T, typename Step>
void for_each_vector(index_t n, Step step) {
    using V = Vec<T>;
    index_t i = 0;
    for (; i + V::lanes <= n; i += V::lanes) {
        step([i](const T* p) { return V::load(p + i); }, [i](V x, T* p) { x.store(p + i); });
    }
    if (i < n) {
        const index_t rest = n - i;
        step([i, rest](const T* p) { return V::load_part(p + i, rest); },
             [i, rest](V x, T* p) { x.store_part(p + i, rest); });
    }
}

// sum += in
template <typename T>
void add_to(index_t n, const T* in, T* sum) {
    map<T>(n, sum, [](Vec<T> s, Vec<T> x) { return s + x; }, sum, in);
}

// values *= factor
template <typename T>
void scale(index_t n, T factor, T* values) {
    const auto f = Vec<T>::broadcast(factor);
    map<T>(n, values, [f](Vec<T> x) { return x * f; }, values);
}

template <typename T>
void relu(index_t n, const T* in, T* out) {
    map<T>(n, out, [](Vec<T> x) { return relu_of(x); }, in);
}

// grad_output where not (output <= 0), else 0.
template <typename T>
void relu_backward(index_t n, const T* grad_output, const T* output, T* grad_input) {
    const auto zero = Vec<T>::zero();
    map<T>(
        n, grad_input, [zero](Vec<T> g, Vec<T> y) { return select<T>(y <= zero, zero, g); },
        grad_output, output);
}

// in where in > 0, else slope * in.
template <typename T>
void leaky_relu(index_t n, T slope, const T* in, T* out) {
    const auto zero = Vec<T>::zero(), s = Vec<T>::broadcast(slope);
    map<T>(n, out, [zero, s](Vec<T> x) { return select<T>(x > zero, x, x * s); }, in);
}

template <typename T>
void leaky_relu_backward(index_t n, T slope, const T* grad_output, const T* input, T* grad_input) {
    const auto zero = Vec<T>::zero(), s = Vec<T>::broadcast(slope);
    map<T>(
        n, grad_input, [zero, s](Vec<T> g, Vec<T> x) { return select<T>(x > zero, g, g * s); },
        grad_output, input);
}

// grad_output * output * (1 - output)
template <typename T>
void sigmoid_backward(index_t n, const T* grad_output, const T* output, T* grad_input) {
    const auto one = Vec<T>::broadcast(1);
    map<T>(
        n, grad_input, [one](Vec<T> g, Vec<T> y) { return g * (y * (one - y)); }, grad_output,
        output);
}

// grad_output * (1 - output^2), factored so that it does not cancel near +-1.
template <typename T>
void tanh_backward(index_t n, const T* grad_output, const T* output, T* grad_input) {
    const auto one = Vec<T>::broadcast(1);
    map<T>(
        n, grad_input, [one](Vec<T> g, Vec<T> y) { return g * ((one - y) * (one + y)); },
        grad_output, output);
}

}  // namespace pyconv::PYCONV_ISA
