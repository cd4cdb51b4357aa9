// SPDX-License-Identifier: BSD-3-Clause
// Layer normalisation (Ba, Kiros and Hinton, 2016) of the rows of a matrix.
#pragma once

#include "base/types.h"

namespace pyconv {

// input and output (rows, size), weight and bias (size) or nullptr:
//   output = (input - mean) / sqrt(var + eps) * weight + bias, mean and biased variance of each row.
template <typename T>
void layer_norm(index_t rows, index_t size, const T* input, const T* weight, const T* bias,
                double eps, T* output);

// The mean and variance of the rows are computed anew.
template <typename T>
void layer_norm_backward(index_t rows, index_t size, const T* grad_output, const T* input,
                         const T* weight, double eps, T* grad_input, T* grad_weight, T* grad_bias);

}  // namespace pyconv
