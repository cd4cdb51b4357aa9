// SPDX-License-Identifier: BSD-3-Clause
// Maps of n values, of one array or of two: activations, their gradients, sums, dropout. `output` may be
// one of the inputs.
#pragma once

#include "base/types.h"
#include "kernels/table.h"

namespace pyconv {

// What a and b are to each function stands in kernels/activation-inl.h.
template <typename T>
void unary(Unary function, index_t n, T a, T b, const T* input, T* output);
template <typename T>
void binary(Binary function, index_t n, T a, T b, const T* first, const T* second, T* output);

// mask = factor where draws >= p, else 0; output = input * mask. `mask` may be `draws`.
template <typename T>
void dropout(index_t n, T p, T factor, const T* draws, const T* input, T* mask, T* output);

}  // namespace pyconv
