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

// (in - center) * factor + shift
template <typename T>
void affine(index_t n, const T* in, T center, T factor, T shift, T* out) {
    const auto c = Vec<T>::broadcast(center), f = Vec<T>::broadcast(factor),
               s = Vec<T>::broadcast(shift);
    map<T>(n, out, [c, f, s](Vec<T> x) { return fma(x - c, f, s); }, in);
}

// a * factor_a + (b - center) * factor_b + shift
template <typename T>
void affine2(index_t n, const T* a, const T* b, T center, T factor_a, T factor_b, T shift, T* out) {
    const auto c = Vec<T>::broadcast(center), fa = Vec<T>::broadcast(factor_a),
               fb = Vec<T>::broadcast(factor_b), s = Vec<T>::broadcast(shift);
    map<T>(
        n, out, [c, fa, fb, s](Vec<T> x, Vec<T> y) { return fma(x, fa, fma(y - c, fb, s)); }, a, b);
}

}  // namespace pyconv::PYCONV_ISA
