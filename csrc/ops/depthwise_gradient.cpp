// SPDX-License-Identifier: BSD-3-Clause
// The input gradient of stride 2 of groups of few channels, plane by plane.
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

}  // namespace

// The kernel reads the planes of all filters of a group side by side, which few of them bear. Measured (Zen 3): 8 images
// of 16 channels of 56 x 56, 3 x 3 taps: 0.60 ms for 16 filters, where the phases of the gemm kernel take 1.57; 3 channels
// of 64 x 64, 16 images, 32 filters: 0.57 and 0.73; but 4 of 112 x 112, 64 filters: 6.4 and 2.8.
bool has_gradient_kernel(const ConvShape& s) {
    const index_t channels = s.C / s.G, filters = s.OC / s.G;
    return channels <= 16 && filters > 0 && filters <= (channels <= 4 ? 32 : 16) &&
           s.D * s.KD * s.OD == 1 && s.stride_h == 2 && s.stride_w == 2 && s.dilation_h == 1 &&
           s.dilation_w == 1 && s.KH == s.KW && (s.KH == 3 || s.KH == 5) &&
           s.pad_top % 2 == s.pad_left % 2;
}

template <typename T>
bool conv_backward_input(const ConvShape& s, const T* grad_output, const T* weight, const T* bias,
                         Activation activation, T* grad_input) {
    if (!has_gradient_kernel(s)) return false;
    if (s.N * s.C * s.input_plane() == 0) return true;
    const Kernels<T>& kernel = row_kernels(kernels<T>(), s.OW);
    const index_t C = s.C / s.G, M = s.OC / s.G, taps = s.KH * s.KW;  // of a group
    const index_t in_group = C * s.input_plane(), out_group = M * s.output_plane();
    const index_t bytes = (in_group + out_group) * index_t{sizeof(T)};
    // Groups of a task: with one channel, which has a plane of its own to read, together for the kernel.
    const index_t groups =
        even_block(s.G, std::clamp<index_t>(kTaskBytes / bytes, 1, ceil_div(s.G * s.N, kTasks)), 1);
    const index_t group_tasks = ceil_div(s.G, groups), squares = ceil_div(s.H, 2);
    const index_t bands = std::clamp<index_t>(kTasks / (group_tasks * s.N), 1,
                                              std::max<index_t>(squares / kBandRows, 1));
    const double nanoseconds =
        arithmetic_nanoseconds(s.multiply_adds()) + 0.1 * static_cast<double>(s.G * s.N * in_group);
    const bool one_to_one = C == 1 && M == 1;
    parallel_for(s.N * group_tasks * bands, nanoseconds, [&](index_t task) {
        const index_t band = task % bands, begin = task / bands % group_tasks * groups;
        const index_t n = task / (bands * group_tasks), end = std::min(begin + groups, s.G);
        const index_t at_once = one_to_one ? end - begin : 1;
        const DepthwiseWalk walk{.planes = one_to_one ? at_once : C,
                                 .H = s.H,
                                 .W = s.W,
                                 .OH = s.OH,
                                 .OW = s.OW,
                                 .in_plane = s.input_plane(),
                                 .in_row = s.W,
                                 .out_plane = one_to_one ? s.output_plane() : 0,
                                 .out_row = s.OW,
                                 .first = band * squares / bands,
                                 .last = (band + 1) * squares / bands,
                                 .top = s.pad_top,
                                 .left = s.pad_left,
                                 .kernel = s.KH,
                                 .stride = 2,
                                 .dilation = 1,
                                 .weights_plane = taps,
                                 .weights_h = s.KW,
                                 .weights_w = 1};
        for (index_t g = begin; g < end; g += at_once) {
            const Epilogue<T> e{.row_bias = bias != nullptr ? bias + g * C : nullptr,
                                .activation = activation};
            kernel.depthwise_gradient(walk, M, grad_output + (n * s.G + g) * out_group,
                                      weight + g * M * C * taps, C * taps,
                                      grad_input + (n * s.G + g) * in_group, e);
        }
    });
    return true;
}

template bool conv_backward_input(const ConvShape&, const float*, const float*, const float*,
                                  Activation, float*);
template bool conv_backward_input(const ConvShape&, const double*, const double*, const double*,
                                  Activation, double*);

}  // namespace pyconv::depthwise
