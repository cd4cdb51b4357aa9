// SPDX-License-Identifier: BSD-3-Clause
// Loops over n values, one result each. Included once per ISA.
//
// Every one is a map of a function of vectors; the values left over at the end go through the same
// function, so that NaN and signed zeros fare alike in every lane.
#pragma once

#include "kernels/table.h"
#include "kernels/vec-inl.h"

namespace pyconv::PYCONV_ISA {

// What a tile goes through before it is stored: ReLU, ReLU6 or nothing.
template <typename T>
PYCONV_INLINE Vec<T> activated(Activation activation, Vec<T> x) {
    if (activation == Activation::None) return x;
    return activation == Activation::Relu6 ? relu6_of(x) : relu_of(x);
}

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

}  // namespace pyconv::PYCONV_ISA
