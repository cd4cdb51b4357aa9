// SPDX-License-Identifier: BSD-3-Clause
#include "ops/conv2d.h"

#include <algorithm>

#include "base/parallel.h"
#include "kernels/registry.h"
#include "ops/conv2d_implicit_gemm.h"
#include "ops/im2col.h"

namespace pyconv {

template <typename T>
void conv2d(const Conv2dShape& s, const T* input, const T* weight, const T* bias,
            Activation activation, Conv2dAlgorithm algorithm, T* output) {
    switch (algorithm) {
        case Conv2dAlgorithm::Im2col:
            return explicit_gemm::conv2d(s, input, weight, bias, activation, output);
        case Conv2dAlgorithm::Auto:
        case Conv2dAlgorithm::ImplicitGemm:
        case Conv2dAlgorithm::Direct:
            return implicit_gemm::conv2d(s, input, weight, bias, activation, algorithm, output);
    }
}

template <typename T>
void conv2d_backward_input(const Conv2dShape& s, const T* grad_output, const T* weight,
                           const T* bias, Activation activation, Conv2dAlgorithm algorithm,
                           T* grad_input) {
    switch (algorithm) {
        case Conv2dAlgorithm::Im2col:
            return explicit_gemm::conv2d_backward_input(s, grad_output, weight, bias, activation,
                                                        grad_input);
        case Conv2dAlgorithm::Auto:
        case Conv2dAlgorithm::ImplicitGemm:
        case Conv2dAlgorithm::Direct:
            return implicit_gemm::conv2d_backward_input(s, grad_output, weight, bias, activation,
                                                        algorithm, grad_input);
    }
}

template <typename T>
void conv2d_backward_weight(const Conv2dShape& s, const T* grad_output, const T* input,
                            Conv2dAlgorithm algorithm, T* grad_weight) {
    switch (algorithm) {
        case Conv2dAlgorithm::Im2col:
            return explicit_gemm::conv2d_backward_weight(s, grad_output, input, grad_weight);
        case Conv2dAlgorithm::Auto:
        case Conv2dAlgorithm::ImplicitGemm:
        case Conv2dAlgorithm::Direct:
            return implicit_gemm::conv2d_backward_weight(s, grad_output, input, grad_weight);
    }
}

template <typename T>
void conv2d_backward_bias(const Shape4& output_shape, const T* grad_output, T* grad_bias) {
    const index_t images = output_shape[0], channels = output_shape[1];
    const index_t pixels = output_shape[2] * output_shape[3];
    const Kernels<T>& kernel = kernels<T>();
    const double nanoseconds = static_cast<double>(images * channels * pixels) * 0.1;
    parallel_for(channels, nanoseconds, [&](index_t oc) {
        double sum = 0;
        for (index_t n = 0; n < images; ++n)
            sum += kernel.reduce_sum(pixels, grad_output + (n * channels + oc) * pixels);
        grad_bias[oc] = static_cast<T>(sum);
    });
}

template void conv2d(const Conv2dShape&, const float*, const float*, const float*, Activation,
                     Conv2dAlgorithm, float*);
template void conv2d(const Conv2dShape&, const double*, const double*, const double*, Activation,
                     Conv2dAlgorithm, double*);
template void conv2d_backward_input(const Conv2dShape&, const float*, const float*, const float*,
                                    Activation, Conv2dAlgorithm, float*);
template void conv2d_backward_input(const Conv2dShape&, const double*, const double*, const double*,
                                    Activation, Conv2dAlgorithm, double*);
template void conv2d_backward_weight(const Conv2dShape&, const float*, const float*,
                                     Conv2dAlgorithm, float*);
template void conv2d_backward_weight(const Conv2dShape&, const double*, const double*,
                                     Conv2dAlgorithm, double*);
template void conv2d_backward_bias(const Shape4&, const float*, float*);
template void conv2d_backward_bias(const Shape4&, const double*, double*);

}  // namespace pyconv
