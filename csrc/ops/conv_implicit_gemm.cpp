// SPDX-License-Identifier: BSD-3-Clause
// The convolution and its input gradient as sums over taps. They differ in the taps and in how the
// weight is read:
//
//   forward         one tap per (kd, kh, kw) at  kh * dilation - pad,  pixels `stride` apart
//   input gradient  input row h gets weight row kh from output row (h + pad - kh * dilation) /
//                   stride, when that divides. Rows h = phase + stride * i, for a phase in
//                   0 .. stride - 1, all divide for the same kh: each of the stride_d * stride_h *
//                   stride_w phases is a stride-1 sum over its own taps. No product with an inserted
//                   zero, no scattered addition. The phases along w are computed together, so that
//                   rows are written whole.
#include "ops/conv_implicit_gemm.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <vector>

#include "base/checked.h"
#include "ops/tap_gemm.h"

namespace pyconv::implicit_gemm {
namespace {

// The weight elements of one phase along one axis, first, first + period, ... and where they read
// grad_output.
struct PhaseAxis {
    index_t first, period;
    TapAxis taps;
};

PhaseAxis phase_axis(index_t at, index_t stride, index_t dilation, index_t kernel) {
    const index_t period = stride / std::gcd(stride, dilation);
    index_t first = 0;
    while (first < std::min(period, kernel) && (at - first * dilation) % stride != 0) ++first;
    if (first >= std::min(period, kernel)) return {0, 1, {0, 0, 0}};  // none
    return {first,
            period,
            {(at - first * dilation) / stride, -(period * dilation / stride),
             ceil_div(kernel - first, period)}};
}

// Without taps along one axis there are none at all.
TapGrid grid_of(TapAxis d, TapAxis h, TapAxis w) {
    if (d.count * h.count * w.count == 0) d.count = h.count = w.count = 0;
    return {d, h, w};
}

template <typename T>
void run(const Kernels<T>& kernel, const TapGemm<T>& g, ConvAlgorithm algorithm) {
    if (algorithm == ConvAlgorithm::Depthwise && can_depthwise(g)) return tap_depthwise(kernel, g);
    // Without taps or channels there is nothing to read, only the bias to write; and taps that reach
    // further than the image would stage little but padding.
    const TapGrid& taps = g.sums.front().taps;
    const bool possible = g.ways() == 1 && taps.count() > 0 && g.C > 0 &&
                          std::abs(taps.h.step) * (taps.h.count - 1) <= g.H &&
                          std::abs(taps.w.step) * (taps.w.count - 1) <= g.W;
    const bool direct =
        possible && (algorithm == ConvAlgorithm::Direct ||
                     (algorithm == ConvAlgorithm::Auto && prefers_direct(kernel, g)));
    if (direct) {
        tap_direct(kernel, g);
    } else if (prefers_pixel_rows(kernel, g)) {
        tap_pixel_rows(kernel, g);
    } else {
        tap_gemm(kernel, g);
    }
}

}  // namespace

template <typename T>
void conv(const ConvShape& s, const T* input, const T* weight, const ConvExtras<T>& extras,
          ConvAlgorithm algorithm, T* output) {
    const index_t M = s.OC / s.G, C = s.C / s.G, taps = s.taps();
    std::vector<index_t> element(static_cast<size_t>(taps));
    std::iota(element.begin(), element.end(), index_t{0});
    run(kernels<T>(),
        TapGemm<T>{.G = s.G,
                   .N = s.N,
                   .M = M,
                   .C = C,
                   .PD = s.OD,
                   .PH = s.OH,
                   .PW = s.OW,
                   .sums = {{.taps = {{-s.pad_front, s.dilation_d, s.KD},
                                      {-s.pad_top, s.dilation_h, s.KH},
                                      {-s.pad_left, s.dilation_w, s.KW}},
                             .weights = {.data = weight,
                                         .group_step = M * C * taps,
                                         .m_step = C * taps,
                                         .c_step = taps,
                                         .element = std::move(element)}}},
                   .stride_d = s.stride_d,
                   .stride_h = s.stride_h,
                   .stride_w = s.stride_w,
                   .extras = extras,
                   .source = input,
                   .D = s.D,
                   .H = s.H,
                   .W = s.W,
                   .source_image = s.C * s.input_plane(),
                   .source_group = C * s.input_plane(),
                   .output = output,
                   .output_image = s.OC * s.output_plane(),
                   .output_group = M * s.output_plane(),
                   .output_m = s.output_plane(),
                   .output_d = s.OH * s.OW,
                   .output_h = s.OW,
                   .output_width = s.OW},
        algorithm);
}

template <typename T>
void conv_backward_input(const ConvShape& s, const T* grad_output, const T* weight, const T* bias,
                         Activation activation, ConvAlgorithm algorithm, T* grad_input) {
    const index_t M = s.C / s.G, C = s.OC / s.G, taps = s.taps();
    if (s.N * s.G * M * s.input_plane() == 0) return;
    const bool may_scatter =
        algorithm == ConvAlgorithm::Auto || algorithm == ConvAlgorithm::ImplicitGemm;
    if (may_scatter && prefers_scatter<T>(s))
        return scatter(s, grad_output, weight, bias, activation, grad_input);
    // The sum of one phase (d, h, w).
    const auto sum_of = [&](index_t d, index_t h, index_t w) {
        const auto depth = phase_axis(d + s.pad_front, s.stride_d, s.dilation_d, s.KD);
        const auto rows = phase_axis(h + s.pad_top, s.stride_h, s.dilation_h, s.KH);
        const auto cols = phase_axis(w + s.pad_left, s.stride_w, s.dilation_w, s.KW);
        TapSum<T> sum{.taps = grid_of(depth.taps, rows.taps, cols.taps),
                      .weights = {.data = weight,
                                  .group_step = C * M * taps,
                                  .m_step = taps,
                                  .c_step = M * taps,
                                  .element = {}}};
        for (index_t i = 0; i < sum.taps.d.count; ++i)
            for (index_t j = 0; j < sum.taps.h.count; ++j)
                for (index_t k = 0; k < sum.taps.w.count; ++k)
                    sum.weights.element.push_back(
                        ((depth.first + i * depth.period) * s.KH + rows.first + j * rows.period) *
                            s.KW +
                        cols.first + k * cols.period);
        return sum;
    };
    const index_t ways = std::min(s.stride_w, s.W);
    for (index_t d = 0; d < std::min(s.stride_d, s.D); ++d) {
        for (index_t h = 0; h < std::min(s.stride_h, s.H); ++h) {
            std::vector<TapSum<T>> sums;
            for (index_t w = 0; w < ways; ++w) sums.push_back(sum_of(d, h, w));
            run(kernels<T>(),
                TapGemm<T>{.G = s.G,
                           .N = s.N,
                           .M = M,
                           .C = C,
                           .PD = ceil_div(s.D - d, s.stride_d),
                           .PH = ceil_div(s.H - h, s.stride_h),
                           .PW = ceil_div(s.W, ways),
                           .sums = std::move(sums),
                           .stride_d = 1,
                           .stride_h = 1,
                           .stride_w = 1,
                           .extras = {.bias = bias, .activation = activation},
                           .source = grad_output,
                           .D = s.OD,
                           .H = s.OH,
                           .W = s.OW,
                           .source_image = s.OC * s.output_plane(),
                           .source_group = C * s.output_plane(),
                           .output = grad_input + (d * s.H + h) * s.W,
                           .output_image = s.C * s.input_plane(),
                           .output_group = M * s.input_plane(),
                           .output_m = s.input_plane(),
                           .output_d = s.stride_d * s.H * s.W,
                           .output_h = s.stride_h * s.W,
                           .output_width = s.W},
                algorithm);
        }
    }
}

template void conv(const ConvShape&, const float*, const float*, const ConvExtras<float>&,
                   ConvAlgorithm, float*);
template void conv(const ConvShape&, const double*, const double*, const ConvExtras<double>&,
                   ConvAlgorithm, double*);
template void conv_backward_input(const ConvShape&, const float*, const float*, const float*,
                                  Activation, ConvAlgorithm, float*);
template void conv_backward_input(const ConvShape&, const double*, const double*, const double*,
                                  Activation, ConvAlgorithm, double*);

}  // namespace pyconv::implicit_gemm
