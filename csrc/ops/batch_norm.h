// SPDX-License-Identifier: BSD-3-Clause
// Batch normalisation (Ioffe and Szegedy, 2015) of an array seen as (N, C, inner).
#pragma once

#include "base/types.h"

namespace pyconv {

struct BatchNormShape {
    index_t N, C, inner;
};

// Mean and biased variance of each channel, over N and inner (N * inner >= 1).
template <typename T>
void batch_norm_statistics(const BatchNormShape& s, const T* input, T* mean, T* var);

// output = (input - mean) / sqrt(var + eps) * weight + bias; weight and bias may be nullptr.
template <typename T>
void batch_norm(const BatchNormShape& s, const T* input, const T* mean, const T* var,
                const T* weight, const T* bias, double eps, T* output);

// With `training`, mean and var are those of the input and are differentiated through.
template <typename T>
void batch_norm_backward(const BatchNormShape& s, const T* grad_output, const T* input,
                         const T* mean, const T* var, const T* weight, bool training, double eps,
                         T* grad_input, T* grad_weight, T* grad_bias);

}  // namespace pyconv
