// SPDX-License-Identifier: BSD-3-Clause
// Local response normalisation (Krizhevsky, Sutskever and Hinton, 2012, section 3.3) of (N, C, inner).
#pragma once

#include "base/types.h"

namespace pyconv {

// scale[c] = k + alpha / size * sum of input[d]^2 over c - size / 2 <= d <= c + (size - 1) / 2, channels
// that do not exist counting as 0; output = input / scale^beta.
struct ResponseNormShape {
    index_t N, C, inner;
    index_t size;  // >= 1
    double alpha, beta, k;
};

template <typename T>
void local_response_norm(const ResponseNormShape& s, const T* input, T* output);

template <typename T>
void local_response_norm_backward(const ResponseNormShape& s, const T* grad_output, const T* input,
                                  T* grad_input);

}  // namespace pyconv
