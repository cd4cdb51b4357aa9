// SPDX-License-Identifier: BSD-3-Clause
// Steps of optimizers over all parameters of a model at once, and what is done to all gradients.
//
// The update rules stand in kernels/optimizer.h, whose names the options have. A list of arrays is one work to share: small arrays
// are put together, large ones cut, so that 62 tensors keep all threads as busy as one would.
#pragma once

#include <array>
#include <span>

#include "base/types.h"

namespace pyconv {

// The arrays of one parameter. `state` holds what the optimizer keeps for it, nullptr where it keeps
// nothing: velocity of SGD; mean and square of Adam; square, mean and buffer of RMSprop.
template <typename T>
struct ParameterArrays {
    index_t size;
    T* value;
    const T* grad;
    std::array<T*, 3> state;
};
template <typename T>
using ParameterList = std::span<const ParameterArrays<T>>;

struct SgdOptions {
    double lr, momentum;
    bool nesterov;
    double weight_decay, l1;
};
template <typename T>
void sgd_step(ParameterList<T> parameters, const SgdOptions& options);

struct AdamOptions {
    index_t step;  // counted from 1
    double lr, beta1, beta2, eps, weight_decay, l1, decoupled_weight_decay;
};
template <typename T>
void adam_step(ParameterList<T> parameters, const AdamOptions& options);

struct RmspropOptions {
    double lr, alpha, eps, momentum, weight_decay, l1;
};
template <typename T>
void rmsprop_step(ParameterList<T> parameters, const RmspropOptions& options);

template <typename T>
struct Values {
    index_t size;
    T* values;
};
template <typename T>
using ValuesList = std::span<const Values<T>>;

// The sum of the squares of all values, in double; it overflows only where that of doubles would.
template <typename T>
double sum_of_squares(ValuesList<T> arrays);

template <typename T>
void scale_values(ValuesList<T> arrays, double factor);
template <typename T>
void clip_values(ValuesList<T> arrays, double limit);
template <typename T>
void zero_values(ValuesList<T> arrays);

}  // namespace pyconv
