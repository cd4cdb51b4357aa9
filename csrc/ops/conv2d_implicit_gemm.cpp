// SPDX-License-Identifier: BSD-3-Clause
// conv2d and its input gradient as tap_gemm. They differ in the taps and in how the weight is
// packed:
//
//   forward         one tap per (kh, kw) at  kh * dilation - pad,  pixels `stride` apart
//   input gradient  input row h gets weight row kh from output row (h + pad - kh * dilation) /
//                   stride, when that divides. Rows h = phase + stride * i, for a phase in
//                   0 .. stride - 1, all divide for the same kh: each of the stride_h * stride_w
//                   phases is a stride-1 sum over its own taps. No product with an inserted zero,
//                   no scattered addition.
#include "ops/conv2d_implicit_gemm.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "base/buffer.h"
#include "base/parallel.h"
#include "ops/gemm_panel.h"
#include "ops/tap_gemm.h"

namespace pyconv::implicit_gemm {
namespace {

// The weight rows (or columns) of one phase along one axis, first, first + period, ... and where
// they read grad_output.
struct PhaseAxis {
    index_t first, period, count;
    index_t tap, tap_step;
};

PhaseAxis phase_axis(index_t at, index_t stride, index_t dilation, index_t kernel) {
    const index_t period = stride / std::gcd(stride, dilation);
    index_t first = 0;
    while (first < std::min(period, kernel) && (at - first * dilation) % stride != 0) ++first;
    if (first >= std::min(period, kernel)) return {kernel, 1, 0, 0, 0};  // none
    return {first, period, ceil_div(kernel - first, period), (at - first * dilation) / stride,
            -(period * dilation / stride)};
}

// The taps of one phase of input pixels; the weight elements (kh, kw) that belong to them are
// kh = rows.first + i * rows.period, kw = cols.first + j * cols.period.
struct Phase {
    PhaseAxis rows, cols;

    Phase(const Conv2dShape& s, index_t h, index_t w)
        : rows(phase_axis(h + s.pad_top, s.stride_h, s.dilation_h, s.KH)),
          cols(phase_axis(w + s.pad_left, s.stride_w, s.dilation_w, s.KW)) {}

    TapGrid taps() const {
        const index_t count = cols.count == 0 ? 0 : rows.count;
        return {rows.tap, rows.tap_step, count, cols.tap, cols.tap_step, cols.count};
    }
};

double packing_nanoseconds(index_t values) { return static_cast<double>(values); }

// A[oc, (c, t)] = weight[oc, c, t], all groups after one another: the weight as it lies.
template <typename T>
AlignedBuffer<T> pack_forward(const Kernels<T>& kernel, const Conv2dShape& s, const T* weight) {
    const index_t C = s.C / s.G, M = s.OC / s.G, taps = s.KH * s.KW, K = C * taps;
    const index_t block = tap_gemm_blocks(kernel, C, taps).channels;
    const index_t panels = ceil_div(M, kernel.MR);
    AlignedBuffer<T> packed(s.G * panels * kernel.MR * K);
    parallel_for(s.G * panels, packing_nanoseconds(s.OC * K), [&](index_t task) {
        const index_t group = task / panels, m = task % panels * kernel.MR;
        const index_t rows = std::min(kernel.MR, M - m);
        for (index_t c = 0; c < C; c += block) {
            const index_t kc = std::min(block, C - c) * taps;
            kernel.pack_a(rows, kc, weight + (group * M + m) * K + c * taps, K, 1, kernel.MR * kc,
                          packed.data() + group * panels * kernel.MR * K +
                              panels * kernel.MR * c * taps + m * kc);
        }
    });
    return packed;
}

// A[c, (oc, t)] = weight[oc, c, element of t], all groups after one another.
template <typename T>
AlignedBuffer<T> pack_backward(const Kernels<T>& kernel, const Conv2dShape& s, const Phase& phase,
                               const T* weight) {
    const index_t M = s.C / s.G, OC = s.OC / s.G, area = s.KH * s.KW;
    const index_t taps = phase.taps().count();
    const bool all = taps == area;
    const index_t K = OC * taps, MR = kernel.MR;
    const index_t block = tap_gemm_blocks(kernel, OC, taps).channels;
    const index_t panels = ceil_div(M, MR);
    AlignedBuffer<T> packed(s.G * panels * MR * K);
    parallel_for(s.G * panels, packing_nanoseconds(s.OC * M * area), [&](index_t task) {
        const index_t group = task / panels, m = task % panels * MR;
        const index_t rows = std::min(MR, M - m);
        T* group_packed = packed.data() + group * panels * MR * K;
        for (index_t oc = 0; oc < OC; ++oc) {
            const index_t first = oc / block * block;  // of the block that oc belongs to
            const index_t kc = std::min(block, OC - first) * taps;
            T* to = group_packed + panels * MR * first * taps + m * kc + (oc - first) * taps * MR;
            const T* from = weight + ((group * OC + oc) * M + m) * area;
            if (all) {
                kernel.pack_a(rows, taps, from, area, 1, MR * taps, to);
                continue;
            }
            for (index_t kh = phase.rows.first; kh < s.KH; kh += phase.rows.period) {
                for (index_t kw = phase.cols.first; kw < s.KW; kw += phase.cols.period) {
                    const T* element = from + kh * s.KW + kw;
                    for (index_t i = 0; i < MR; ++i) *to++ = i < rows ? element[i * area] : T(0);
                }
            }
        }
    });
    return packed;
}

template <typename T>
void run(const Kernels<T>& kernel, const std::vector<TapGemm<T>>& groups,
         Conv2dAlgorithm algorithm) {
    if (groups.empty()) return;
    // Without taps or channels there is nothing to read, only the bias to write; and taps that reach
    // further than the image would stage little but padding.
    const TapGemm<T>& g = groups[0];
    const bool possible = g.taps.count() > 0 && g.C > 0 &&
                          std::abs(g.taps.h_step) * (g.taps.rows - 1) <= g.H &&
                          std::abs(g.taps.w_step) * (g.taps.cols - 1) <= g.W;
    const bool direct = algorithm == Conv2dAlgorithm::Direct ||
                        (algorithm == Conv2dAlgorithm::Auto && prefers_direct(kernel, g));
    if (possible && direct) {
        tap_direct(kernel, groups);
    } else {
        tap_gemm(kernel, groups);
    }
}

}  // namespace

template <typename T>
void conv2d(const Conv2dShape& s, const T* input, const T* weight, const T* bias,
            Activation activation, Conv2dAlgorithm algorithm, T* output) {
    const Kernels<T>& kernel = kernels<T>();
    const index_t M = s.OC / s.G, C = s.C / s.G;
    const AlignedBuffer<T> packed = pack_forward(kernel, s, weight);
    const index_t packed_group = round_up(M, kernel.MR) * C * s.KH * s.KW;

    const TapGrid taps{-s.pad_top, s.dilation_h, s.KH, -s.pad_left, s.dilation_w, s.KW};

    std::vector<TapGemm<T>> groups;
    for (index_t g = 0; g < s.G; ++g) {
        groups.push_back({
            .N = s.N,
            .M = M,
            .C = C,
            .PH = s.OH,
            .PW = s.OW,
            .taps = taps,
            .stride_h = s.stride_h,
            .stride_w = s.stride_w,
            .a_panels = packed.data() + g * packed_group,
            .bias = bias != nullptr ? bias + g * M : nullptr,
            .activation = activation,
            .source = input + g * C * s.H * s.W,
            .H = s.H,
            .W = s.W,
            .source_image = s.C * s.H * s.W,
            .output = output + g * M * s.OH * s.OW,
            .output_image = s.OC * s.OH * s.OW,
            .output_m = s.OH * s.OW,
            .output_h = s.OW,
            .output_w = 1,
        });
    }
    run(kernel, groups, algorithm);
}

template <typename T>
void conv2d_backward_input(const Conv2dShape& s, const T* grad_output, const T* weight,
                           const T* bias, Activation activation, Conv2dAlgorithm algorithm,
                           T* grad_input) {
    const Kernels<T>& kernel = kernels<T>();
    const index_t M = s.C / s.G, C = s.OC / s.G;
    for (index_t h = 0; h < std::min(s.stride_h, s.H); ++h) {
        for (index_t w = 0; w < std::min(s.stride_w, s.W); ++w) {
            const Phase phase(s, h, w);
            const AlignedBuffer<T> packed = pack_backward(kernel, s, phase, weight);
            const index_t packed_group = round_up(M, kernel.MR) * C * phase.taps().count();
            std::vector<TapGemm<T>> groups;
            for (index_t g = 0; g < s.G; ++g) {
                groups.push_back({
                    .N = s.N,
                    .M = M,
                    .C = C,
                    .PH = ceil_div(s.H - h, s.stride_h),
                    .PW = ceil_div(s.W - w, s.stride_w),
                    .taps = phase.taps(),
                    .stride_h = 1,
                    .stride_w = 1,
                    .a_panels = packed.data() + g * packed_group,
                    .bias = bias != nullptr ? bias + g * M : nullptr,
                    .activation = activation,
                    .source = grad_output + g * C * s.OH * s.OW,
                    .H = s.OH,
                    .W = s.OW,
                    .source_image = s.OC * s.OH * s.OW,
                    .output = grad_input + g * M * s.H * s.W + h * s.W + w,
                    .output_image = s.C * s.H * s.W,
                    .output_m = s.H * s.W,
                    .output_h = s.stride_h * s.W,
                    .output_w = s.stride_w,
                });
            }
            run(kernel, groups, algorithm);
        }
    }
}

template void conv2d(const Conv2dShape&, const float*, const float*, const float*, Activation,
                     Conv2dAlgorithm, float*);
template void conv2d(const Conv2dShape&, const double*, const double*, const double*, Activation,
                     Conv2dAlgorithm, double*);
template void conv2d_backward_input(const Conv2dShape&, const float*, const float*, const float*,
                                    Activation, Conv2dAlgorithm, float*);
template void conv2d_backward_input(const Conv2dShape&, const double*, const double*, const double*,
                                    Activation, Conv2dAlgorithm, double*);

}  // namespace pyconv::implicit_gemm
