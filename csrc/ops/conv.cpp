// SPDX-License-Identifier: BSD-3-Clause
#include "ops/conv.h"

#include <algorithm>

#include "base/parallel.h"
#include "kernels/registry.h"
#include "ops/conv_implicit_gemm.h"
#include "ops/im2col.h"

namespace pyconv {

template <typename T>
void conv(const ConvShape& s, const T* input, const T* weight, const T* bias, Activation activation,
          ConvAlgorithm algorithm, T* output) {
    switch (algorithm) {
        case ConvAlgorithm::Im2col:
            return explicit_gemm::conv(s, input, weight, bias, activation, output);
        case ConvAlgorithm::Auto:
        case ConvAlgorithm::ImplicitGemm:
        case ConvAlgorithm::Direct:
            return implicit_gemm::conv(s, input, weight, bias, activation, algorithm, output);
    }
}

template <typename T>
void conv_backward_input(const ConvShape& s, const T* grad_output, const T* weight, const T* bias,
                         Activation activation, ConvAlgorithm algorithm, T* grad_input) {
    switch (algorithm) {
        case ConvAlgorithm::Im2col:
            return explicit_gemm::conv_backward_input(s, grad_output, weight, bias, activation,
                                                      grad_input);
        case ConvAlgorithm::Auto:
        case ConvAlgorithm::ImplicitGemm:
        case ConvAlgorithm::Direct:
            return implicit_gemm::conv_backward_input(s, grad_output, weight, bias, activation,
                                                      algorithm, grad_input);
    }
}

template <typename T>
void conv_backward_weight(const ConvShape& s, const T* grad_output, const T* input,
                          ConvAlgorithm algorithm, T* grad_weight) {
    switch (algorithm) {
        case ConvAlgorithm::Im2col:
            return explicit_gemm::conv_backward_weight(s, grad_output, input, grad_weight);
        case ConvAlgorithm::Auto:
        case ConvAlgorithm::ImplicitGemm:
        case ConvAlgorithm::Direct:
            return implicit_gemm::conv_backward_weight(s, grad_output, input, grad_weight);
    }
}

template <typename T>
void conv_backward_bias(index_t N, index_t OC, index_t pixels, const T* grad_output, T* grad_bias) {
    const Kernels<T>& kernel = kernels<T>();
    const double nanoseconds = static_cast<double>(N * OC * pixels) * 0.1;
    parallel_for(OC, nanoseconds, [&](index_t oc) {
        double sum = 0;
        for (index_t n = 0; n < N; ++n)
            sum += kernel.reduce_sum(pixels, grad_output + (n * OC + oc) * pixels);
        grad_bias[oc] = static_cast<T>(sum);
    });
}

template void conv(const ConvShape&, const float*, const float*, const float*, Activation,
                   ConvAlgorithm, float*);
template void conv(const ConvShape&, const double*, const double*, const double*, Activation,
                   ConvAlgorithm, double*);
template void conv_backward_input(const ConvShape&, const float*, const float*, const float*,
                                  Activation, ConvAlgorithm, float*);
template void conv_backward_input(const ConvShape&, const double*, const double*, const double*,
                                  Activation, ConvAlgorithm, double*);
template void conv_backward_weight(const ConvShape&, const float*, const float*, ConvAlgorithm,
                                   float*);
template void conv_backward_weight(const ConvShape&, const double*, const double*, ConvAlgorithm,
                                   double*);
template void conv_backward_bias(index_t, index_t, index_t, const float*, float*);
template void conv_backward_bias(index_t, index_t, index_t, const double*, double*);

}  // namespace pyconv
