// SPDX-License-Identifier: BSD-3-Clause
#include "ops/conv.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/parallel.h"
#include "kernels/registry.h"
#include "ops/activation.h"
#include "ops/conv_implicit_gemm.h"
#include "ops/conv_winograd.h"
#include "ops/depthwise.h"
#include "ops/im2col.h"

namespace pyconv {
namespace {

thread_local bool precise_in_this_thread = false;

// Auto, decided; what is left to conv_implicit_gemm.cpp is the choice between its two.
ConvAlgorithm decided(const ConvShape& s, ConvAlgorithm algorithm, Direction direction,
                      bool cached = false) {
    // Without channels there is nothing to slide over, nor to transform.
    const bool needs_channels =
        algorithm == ConvAlgorithm::Depthwise || algorithm == ConvAlgorithm::Winograd;
    if (needs_channels && s.C * s.OC == 0) return ConvAlgorithm::ImplicitGemm;
    if (algorithm != ConvAlgorithm::Auto) return algorithm;
    const bool winograd = !is_precise() && winograd::is_faster(s, direction, cached);
    if (depthwise::is_faster(s, direction, winograd)) return ConvAlgorithm::Depthwise;
    return winograd ? ConvAlgorithm::Winograd : algorithm;
}

// Whether the kernels of this algorithm lack the activation.
bool needs_second_pass(Activation activation, ConvAlgorithm algorithm) {
    if (activation == Activation::Relu6) return algorithm == ConvAlgorithm::Im2col;
    return activation == Activation::Hardswish && algorithm != ConvAlgorithm::Depthwise;
}

template <typename T>
void activate(Activation activation, index_t n, T* values) {
    const Unary function = activation == Activation::Relu6 ? Unary::Relu6 : Unary::Hardswish;
    unary<T>(function, n, 0, 0, values, values);
}

}  // namespace

bool set_precise(bool precise) { return std::exchange(precise_in_this_thread, precise); }
bool is_precise() { return precise_in_this_thread; }

void check_algorithm(const char* function, const ConvShape& s, ConvAlgorithm algorithm) {
    if (algorithm == ConvAlgorithm::Depthwise) {
        check(depthwise::applies(s), function,
              ": algorithm does not apply, got 'depthwise' for input ",
              shape_text({s.N, s.C, s.D, s.H, s.W}), " and ", s.G,
              " groups; expected at most two axes, and few channels a group");
    }
    if (algorithm != ConvAlgorithm::Winograd) return;
    check(!is_precise(), function,
          ": algorithm is forbidden, got 'winograd' inside precise(); expected another");
    check(winograd::applies(s), function, ": algorithm does not apply, got 'winograd' for a ", s.KH,
          " x ", s.KW, " kernel, stride (", s.stride_h, ", ", s.stride_w, "), dilation (",
          s.dilation_h, ", ", s.dilation_w,
          "); expected 3 x 3 or 5 x 5 over two axes, stride 1 (of 3 x 3 also 2), dilation 1");
}

template <typename T>
void conv(const ConvShape& s, const T* input, const T* weight, const ConvExtras<T>& extras,
          ConvAlgorithm algorithm, T* output) {
    algorithm = decided(s, algorithm, Direction::Forward, extras.cache != nullptr);
    if (needs_second_pass(extras.activation, algorithm)) {
        ConvExtras<T> linear = extras;
        linear.activation = Activation::None;
        conv(s, input, weight, linear, algorithm, output);
        return activate(extras.activation, s.N * s.OC * s.output_plane(), output);
    }
    switch (algorithm) {
        case ConvAlgorithm::Winograd:
            return winograd::conv(s, input, weight, extras, output);
        case ConvAlgorithm::Im2col:
            return explicit_gemm::conv(s, input, weight, extras, output);
        case ConvAlgorithm::Auto:
        case ConvAlgorithm::ImplicitGemm:
        case ConvAlgorithm::Direct:
        case ConvAlgorithm::Depthwise:
            return implicit_gemm::conv(s, input, weight, extras, algorithm, output);
    }
}

template <typename T>
void conv_backward_input(const ConvShape& s, const T* grad_output, const T* weight, const T* bias,
                         Activation activation, ConvAlgorithm algorithm, T* grad_input) {
    algorithm = decided(s, algorithm, Direction::BackwardInput);
    const bool other_than_relu = activation != Activation::None && activation != Activation::Relu;
    const bool by_planes =
        algorithm == ConvAlgorithm::Depthwise && depthwise::has_gradient_kernel(s);
    if (needs_second_pass(activation, algorithm) || (by_planes && other_than_relu)) {
        conv_backward_input(s, grad_output, weight, bias, Activation::None, algorithm, grad_input);
        return activate(activation, s.N * s.C * s.input_plane(), grad_input);
    }
    switch (algorithm) {
        case ConvAlgorithm::Winograd:
            return winograd::conv_backward_input(s, grad_output, weight, bias, activation,
                                                 grad_input);
        case ConvAlgorithm::Im2col:
            return explicit_gemm::conv_backward_input(s, grad_output, weight, bias, activation,
                                                      grad_input);
        case ConvAlgorithm::Depthwise:
            if (depthwise::conv_backward_input(s, grad_output, weight, bias, activation,
                                               grad_input))
                return;
            [[fallthrough]];
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
    switch (decided(s, algorithm, Direction::BackwardWeight)) {
        case ConvAlgorithm::Winograd:
            return winograd::conv_backward_weight(s, grad_output, input, grad_weight);
        case ConvAlgorithm::Depthwise:
            return depthwise::conv_backward_weight(s, grad_output, input, grad_weight);
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

template void conv(const ConvShape&, const float*, const float*, const ConvExtras<float>&,
                   ConvAlgorithm, float*);
template void conv(const ConvShape&, const double*, const double*, const ConvExtras<double>&,
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
