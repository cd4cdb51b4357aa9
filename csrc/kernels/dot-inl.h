// SPDX-License-Identifier: BSD-3-Clause
// Products of a matrix with a few vectors: gemm where one side is a handful. Included once per ISA.
//
// With so few rows a register tile of the gemm kernel would stand mostly empty, and packing would
// read the matrix once more than the work does. Here each vector of the sum is k-contiguous in both
// operands and the accumulators are added up at the end.
#pragma once

#include "kernels/shuffle-inl.h"
#include "kernels/table.h"

namespace pyconv::PYCONV_ISA {

// sums[q * sums_step + r] = sum over k of x[q * x_step + k] * rows[r * row_step + k], for Q vectors x and R rows.
template <typename T, int Q, int R>
void dot_block(index_t K, const T* x, index_t x_step, const T* rows, index_t row_step, T* sums,
               index_t sums_step) {
    using V = Vec<T>;
    constexpr index_t L = V::lanes;
    V acc[Q][R];
    for (int q = 0; q < Q; ++q)
        for (int r = 0; r < R; ++r) acc[q][r] = V::zero();
    const auto step = [&](index_t k, auto load) {
        V xv[Q];
        for (int q = 0; q < Q; ++q) xv[q] = load(x + q * x_step + k);
        for (int r = 0; r < R; ++r) {
            const V rv = load(rows + r * row_step + k);
            for (int q = 0; q < Q; ++q) acc[q][r] = fma(xv[q], rv, acc[q][r]);
        }
    };
    index_t k = 0;
    for (; k + L <= K; k += L) step(k, [](const T* p) { return V::load(p); });
    if (k < K) {
        const auto rest = V::lanes_before(K - k);
        step(k, [rest](const T* p) { return V::load_lanes(p, rest); });
    }
    for (int q = 0; q < Q; ++q)
        for (int r = 0; r < R; ++r) sums[q * sums_step + r] = reduce_add(acc[q][r]);
}

// The same for Q <= kMaxDotVectors and any R; sums_step is R.
template <typename T>
void dot(index_t Q, index_t R, index_t K, const T* x, index_t x_step, const T* rows,
         index_t row_step, T* sums) {
    const auto some_rows = [&](auto vectors) {
        constexpr int kVectors = decltype(vectors)::value;
        // Rows are streams from memory, which comes fastest in several at once.
        constexpr int kRows = kVectors == 1 ? 8 : 4;
        index_t r = 0;
        for (; r + kRows <= R; r += kRows)
            dot_block<T, kVectors, kRows>(K, x, x_step, rows + r * row_step, row_step, sums + r, R);
        for (; r < R; ++r)
            dot_block<T, kVectors, 1>(K, x, x_step, rows + r * row_step, row_step, sums + r, R);
    };
    if (Q == 1) {
        some_rows(Constant<1>());
    } else if (Q == 2) {
        some_rows(Constant<2>());
    } else {
        some_rows(Constant<3>());
    }
}

// sums[m, j] = sum over k of a[m, k] * b[k, j], k after k, for a few rows m: b is read once, in the
// order in which it lies, some of its rows at a time.
template <typename T>
void add_scaled_rows(index_t M, index_t K, index_t cols, const T* a, index_t a_row, index_t a_col,
                     const T* b, index_t b_row, T* sums, index_t sums_row) {
    using V = Vec<T>;
    constexpr index_t L = V::lanes;
    // kRows rows of a with kCount of b, whose factors are all in registers.
    const auto block = [&](index_t m, index_t k, auto row_count, auto count) {
        constexpr int kRows = decltype(row_count)::value, kCount = decltype(count)::value;
        V factor[kRows][kCount];
        for (int r = 0; r < kRows; ++r)
            for (int i = 0; i < kCount; ++i)
                factor[r][i] = V::broadcast(a[(m + r) * a_row + (k + i) * a_col]);
        const T* from = b + k * b_row;
        T* to = sums + m * sums_row;
        const auto add = [&](auto load, auto store) {
            V sum[kRows];
            for (int r = 0; r < kRows; ++r) sum[r] = k == 0 ? V::zero() : load(to + r * sums_row);
            for (int i = 0; i < kCount; ++i) {
                const V x = load(from + i * b_row);
                for (int r = 0; r < kRows; ++r) sum[r] = fma(factor[r][i], x, sum[r]);
            }
            for (int r = 0; r < kRows; ++r) store(sum[r], to + r * sums_row);
        };
        index_t j = 0;
        for (; j + L <= cols; j += L, from += L, to += L)
            add(V::load, [](V x, T* p) { x.store(p); });
        if (j == cols) return;
        const auto rest = V::lanes_before(cols - j);
        add([rest](const T* p) { return V::load_lanes(p, rest); },
            [&](V x, T* p) { x.store_part(p, cols - j); });
    };
    const auto rows = [&](index_t k, auto count, auto single) {
        constexpr int kMany = L * index_t{sizeof(T)} == 64 ? 4 : 2;
        constexpr int kCount = decltype(count)::value, kSingle = decltype(single)::value;
        index_t m = 0;
        for (; m + kMany <= M; m += kMany)
            for (index_t i = 0; i < kSingle; i += kCount) block(m, k + i, Constant<kMany>(), count);
        for (; m < M; ++m) block(m, k, Constant<1>(), single);
    };
    constexpr int kSteps = 8;
    index_t k = 0;
    for (; k + kSteps <= K; k += kSteps) rows(k, Constant<4>(), Constant<kSteps>());
    for (; k < K; ++k) rows(k, Constant<1>(), Constant<1>());
}

}  // namespace pyconv::PYCONV_ISA
