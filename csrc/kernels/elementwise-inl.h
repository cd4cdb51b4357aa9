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

// Where the vector at index i of every array is: a whole one, or the first `count` lanes.
template <typename T>
struct WholeVector {
    index_t i;
    Vec<T> load(const T* p) const { return Vec<T>::load(p + i); }
    void store(Vec<T> x, T* p) const { x.store(p + i); }
};
template <typename T>
struct PartOfVector {
    index_t i, count;
    Vec<T> load(const T* p) const { return Vec<T>::load_part(p + i, count); }
    void store(Vec<T> x, T* p) const { x.store_part(p + i, count); }
};

// Calls step(at) for each vector of n values, for loops over several arrays.
template <typename T, typename Step>
void for_each_vector(index_t n, Step step) {
    index_t i = 0;
    for (; i + Vec<T>::lanes <= n; i += Vec<T>::lanes) step(WholeVector<T>{i});
    if (i < n) step(PartOfVector<T>{i, n - i});
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
