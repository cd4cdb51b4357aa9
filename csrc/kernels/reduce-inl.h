// SPDX-License-Identifier: BSD-3-Clause
// Sums, over n values and over rows. Included once per ISA.
#pragma once

#include "kernels/shuffle-inl.h"
#include "kernels/table.h"

namespace pyconv::PYCONV_ISA {

// Sums function(in...) over n values: chunks of kChunk in four vectors of T, chunk sums in double.
// The rounding error is that of a sum of kChunk / (4 * lanes) values, whatever n is, and the order
// depends on n alone.
template <typename T, typename Function, typename... In>
double reduce(index_t n, Function function, const In*... in) {
    using V = Vec<T>;
    constexpr index_t L = V::lanes, kChunk = 1024;
    double total = 0;
    for (index_t start = 0; start < n; start += kChunk) {
        const index_t end = n - start < kChunk ? n : start + kChunk;
        V sum[4] = {V::zero(), V::zero(), V::zero(), V::zero()};
        index_t i = start;
        for (; i + 4 * L <= end; i += 4 * L)
            for (int j = 0; j < 4; ++j) sum[j] = function(sum[j], V::load(in + i + j * L)...);
        for (; i + L <= end; i += L) sum[0] = function(sum[0], V::load(in + i)...);
        const V lanes = (sum[0] + sum[1]) + (sum[2] + sum[3]);
        for (index_t l = 0; l < L; ++l) total += static_cast<double>(lanes.v[l]);
        // Lanes that hold no value must not count: f(0) need not be 0.
        if (i < end) {
            const V rest = function(V::zero(), V::load_part(in + i, end - i)...);
            for (index_t l = 0; l < end - i; ++l) total += static_cast<double>(rest.v[l]);
        }
    }
    return total;
}

template <typename T>
double reduce_sum(index_t n, const T* in) {
    return reduce<T>(n, [](Vec<T> sum, Vec<T> x) { return sum + x; }, in);
}

template <typename T>
double reduce_square(index_t n, const T* in) {
    return reduce<T>(n, [](Vec<T> sum, Vec<T> x) { return fma(x, x, sum); }, in);
}

// sum[j] = in[0, j] + in[1, j] + ...; rows >= 1.
template <typename T>
void add_rows(index_t rows, index_t cols, const T* in, index_t row_step, T* sum) {
    const auto add = [=](index_t j, auto load, auto store) {
        Vec<T> x = load(in + j);
        for (index_t r = 1; r < rows; ++r) x = x + load(in + r * row_step + j);
        store(x, sum + j);
    };
    constexpr index_t L = Vec<T>::lanes;
    index_t j = 0;
    for (; j + L <= cols; j += L) add(j, Vec<T>::load, [](Vec<T> x, T* p) { x.store(p); });
    const index_t rest = cols - j;
    if (rest > 0) {
        add(
            j, [rest](const T* p) { return Vec<T>::load_part(p, rest); },
            [rest](Vec<T> x, T* p) { x.store_part(p, rest); });
    }
}

// totals[i] += the lanes of vector i of `sums`, which becomes 0.
template <typename T>
void move_lanes(index_t n, T* sums, double* totals) {
    for (index_t i = 0; i < n; ++i, sums += Vec<T>::lanes) {
        totals[i] += static_cast<double>(reduce_add(Vec<T>::load(sums)));
        Vec<T>::zero().store(sums);
    }
}

}  // namespace pyconv::PYCONV_ISA
