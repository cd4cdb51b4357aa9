// SPDX-License-Identifier: BSD-3-Clause
// The input gradient of a depthwise convolution of stride 2, plane by plane.
#include <algorithm>

#include "base/parallel.h"
#include "kernels/registry.h"
#include "ops/depthwise.h"
#include "ops/gemm_panel.h"

namespace pyconv::depthwise {
namespace {

constexpr index_t kTasks = 16;
constexpr index_t kTaskBytes = index_t{256}
                               << 10;  // planes whose inputs and outputs fill half of L2
constexpr index_t kBandRows = 8;       // of squares of two rows

bool has_kernel(const ConvShape& s, Activation activation) {
    return s.C == s.G && s.OC == s.G && s.D * s.KD * s.OD == 1 && s.stride_h == 2 &&
           s.stride_w == 2 && s.dilation_h == 1 && s.dilation_w == 1 && s.KH == s.KW &&
           (s.KH == 3 || s.KH == 5) && s.pad_top % 2 == s.pad_left % 2 &&
           (activation == Activation::None || activation == Activation::Relu);
}

}  // namespace

template <typename T>
bool conv_backward_input(const ConvShape& s, const T* grad_output, const T* weight, const T* bias,
                         Activation activation, T* grad_input) {
    if (!has_kernel(s, activation)) return false;
    if (s.N * s.G * s.input_plane() == 0) return true;
    const Kernels<T>& kernel = row_kernels(kernels<T>(), s.OW);
    const index_t in_plane = s.input_plane(), out_plane = s.output_plane();
    const index_t bytes = (in_plane + out_plane) * index_t{sizeof(T)};
    const index_t planes =
        even_block(s.G, std::clamp<index_t>(kTaskBytes / bytes, 1, ceil_div(s.G * s.N, kTasks)), 1);
    const index_t plane_tasks = ceil_div(s.G, planes), squares = ceil_div(s.H, 2);
    const index_t bands = std::clamp<index_t>(kTasks / (plane_tasks * s.N), 1,
                                              std::max<index_t>(squares / kBandRows, 1));
    const double nanoseconds =
        arithmetic_nanoseconds(s.multiply_adds()) + 0.1 * static_cast<double>(s.G * s.N * in_plane);
    parallel_for(s.N * plane_tasks * bands, nanoseconds, [&](index_t task) {
        const index_t band = task % bands, group = task / bands % plane_tasks * planes;
        const index_t first = task / (bands * plane_tasks) * s.G + group;  // plane
        const DepthwiseWalk walk{.planes = std::min(planes, s.G - group),
                                 .H = s.H,
                                 .W = s.W,
                                 .OH = s.OH,
                                 .OW = s.OW,
                                 .in_plane = s.input_plane(),
                                 .in_row = s.W,
                                 .out_plane = s.output_plane(),
                                 .out_row = s.OW,
                                 .first = band * squares / bands,
                                 .last = (band + 1) * squares / bands,
                                 .top = s.pad_top,
                                 .left = s.pad_left,
                                 .kernel = s.KH,
                                 .stride = 2,
                                 .dilation = 1,
                                 .weights_plane = s.KH * s.KW,
                                 .weights_h = s.KW,
                                 .weights_w = 1};
        const Epilogue<T> e{.row_bias = bias != nullptr ? bias + group : nullptr,
                            .activation = activation};
        kernel.depthwise_gradient(walk, grad_output + first * out_plane,
                                  weight + group * s.KH * s.KW, grad_input + first * in_plane, e);
    });
    return true;
}

template bool conv_backward_input(const ConvShape&, const float*, const float*, const float*,
                                  Activation, float*);
template bool conv_backward_input(const ConvShape&, const double*, const double*, const double*,
                                  Activation, double*);

}  // namespace pyconv::depthwise
