// SPDX-License-Identifier: BSD-3-Clause
#include "ops/batch_norm.h"

#include <cmath>

#include "base/parallel.h"
#include "kernels/registry.h"

namespace pyconv {
namespace {

template <typename Body>
void for_each_channel(const BatchNormShape& s, Body&& body) {
    parallel_for(s.C, static_cast<double>(s.N * s.C * s.inner) * 0.5, body);
}

// The sum over the batch of function(offset of the channel's values in image n).
template <typename Function>
double sum_images(const BatchNormShape& s, index_t c, Function&& function) {
    double sum = 0;
    for (index_t n = 0; n < s.N; ++n) sum += function((n * s.C + c) * s.inner);
    return sum;
}

double inverse_deviation(double var, double eps) { return 1 / std::sqrt(var + eps); }

}  // namespace

template <typename T>
void batch_norm_statistics(const BatchNormShape& s, const T* input, T* mean, T* var) {
    const Kernels<T>& kernel = kernels<T>();
    const auto count = static_cast<double>(s.N * s.inner);
    for_each_channel(s, [&](index_t c) {
        const double exact =
            sum_images(s, c, [&](index_t i) { return kernel.reduce_sum(s.inner, input + i); }) /
            count;
        // Squares about the rounded mean, which is what a T can be compared with; what rounding
        // shifted is taken off again: sum (x - m)^2 = sum (x - c)^2 - count (m - c)^2.
        mean[c] = static_cast<T>(exact);
        const double shift = exact - static_cast<double>(mean[c]);
        const double squares = sum_images(
            s, c, [&](index_t i) { return kernel.reduce_square(s.inner, input + i, mean[c]); });
        const double value = squares / count - shift * shift;
        // NaN must pass: no std::max here.
        var[c] = static_cast<T>(value < 0 ? 0 : value);
    });
}

template <typename T>
void batch_norm(const BatchNormShape& s, const T* input, const T* mean, const T* var,
                const T* weight, const T* bias, double eps, T* output) {
    const Kernels<T>& kernel = kernels<T>();
    for_each_channel(s, [&](index_t c) {
        const double factor = inverse_deviation(static_cast<double>(var[c]), eps) *
                              (weight != nullptr ? static_cast<double>(weight[c]) : 1);
        const T shift = bias != nullptr ? bias[c] : T(0);
        for (index_t n = 0; n < s.N; ++n) {
            const index_t i = (n * s.C + c) * s.inner;
            kernel.affine(s.inner, input + i, mean[c], static_cast<T>(factor), shift, output + i);
        }
    });
}

// With xhat = (x - mean) * r, r = 1 / sqrt(var + eps), M = N * inner:
//   grad_bias = sum g,  grad_weight = sum g * xhat
//   grad_input = weight * r * (g - grad_bias / M - xhat * grad_weight / M)    in training
//   grad_input = weight * r * g                                               else
template <typename T>
void batch_norm_backward(const BatchNormShape& s, const T* grad_output, const T* input,
                         const T* mean, const T* var, const T* weight, bool training, double eps,
                         T* grad_input, T* grad_weight, T* grad_bias) {
    const Kernels<T>& kernel = kernels<T>();
    const auto count = static_cast<double>(s.N * s.inner);
    for_each_channel(s, [&](index_t c) {
        const double r = inverse_deviation(static_cast<double>(var[c]), eps);
        const double sum_g = sum_images(
            s, c, [&](index_t i) { return kernel.reduce_sum(s.inner, grad_output + i); });
        const double sum_gx = sum_images(s, c, [&](index_t i) {
            return kernel.reduce_product(s.inner, grad_output + i, input + i, mean[c]);
        });
        grad_bias[c] = static_cast<T>(sum_g);
        grad_weight[c] = static_cast<T>(sum_gx * r);
        const double factor = r * (weight != nullptr ? static_cast<double>(weight[c]) : 1);
        for (index_t n = 0; n < s.N; ++n) {
            const index_t i = (n * s.C + c) * s.inner;
            if (training) {
                kernel.affine2(s.inner, grad_output + i, input + i, mean[c], static_cast<T>(factor),
                               static_cast<T>(-factor * r * r * sum_gx / count),
                               static_cast<T>(-factor * sum_g / count), grad_input + i);
            } else {
                kernel.affine(s.inner, grad_output + i, T(0), static_cast<T>(factor), T(0),
                              grad_input + i);
            }
        }
    });
}

#define PYCONV_INSTANTIATE(T)                                                               \
    template void batch_norm_statistics(const BatchNormShape&, const T*, T*, T*);           \
    template void batch_norm(const BatchNormShape&, const T*, const T*, const T*, const T*, \
                             const T*, double, T*);                                         \
    template void batch_norm_backward(const BatchNormShape&, const T*, const T*, const T*,  \
                                      const T*, const T*, bool, double, T*, T*, T*);
PYCONV_INSTANTIATE(float)
PYCONV_INSTANTIATE(double)
#undef PYCONV_INSTANTIATE

}  // namespace pyconv
