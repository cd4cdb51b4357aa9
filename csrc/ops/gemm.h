// SPDX-License-Identifier: BSD-3-Clause
// General matrix multiplication, and the linear layer that is one.
#pragma once

#include "base/types.h"
#include "kernels/table.h"

namespace pyconv {

// C = activation(alpha * A B + beta * C + bias), A (M, K), B (K, N), C (M, N).
//
// All three may have any steps between rows and between columns, so a transpose is a swap of two
// numbers. With beta = 0, C is written without being read.
template <typename T>
struct Gemm {
    index_t M, N, K;
    const T* a;
    index_t a_row, a_col;
    const T* b;
    index_t b_row, b_col;
    T* c;
    index_t c_row, c_col = 1;
    T alpha = 1, beta = 0;
    const T* row_bias = nullptr;  // M values, or nullptr
    const T* col_bias = nullptr;  // N values, or nullptr
    Activation activation = Activation::None;
};

template <typename T>
void gemm(const Gemm<T>& g);

// sums[j] = sum over i of values[i, j], for a rows x cols array.
template <typename T>
void sum_rows(index_t rows, index_t cols, const T* values, T* sums);

}  // namespace pyconv
