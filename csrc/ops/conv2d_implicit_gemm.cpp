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
#include <vector>

#include "base/buffer.h"
#include "base/parallel.h"
#include "ops/gemm_panel.h"
#include "ops/tap_gemm.h"

namespace pyconv::implicit_gemm {
namespace {

// The taps of one phase, and the weight elements (kh * KW + kw) that belong to them.
struct Phase {
    std::vector<Tap> taps;
    std::vector<index_t> elements;
};

Phase phase_of(const Conv2dShape& s, index_t h, index_t w) {
    Phase phase;
    for (index_t kh = 0; kh < s.KH; ++kh) {
        const index_t at_h = h + s.pad_top - kh * s.dilation_h;
        if (at_h % s.stride_h != 0) continue;
        for (index_t kw = 0; kw < s.KW; ++kw) {
            const index_t at_w = w + s.pad_left - kw * s.dilation_w;
            if (at_w % s.stride_w != 0) continue;
            phase.taps.push_back({at_h / s.stride_h, at_w / s.stride_w});
            phase.elements.push_back(kh * s.KW + kw);
        }
    }
    return phase;
}

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
            kernel.pack_a(rows, kc, weight + (group * M + m) * K + c * taps, K, 1,
                          packed.data() + group * panels * kernel.MR * K +
                              panels * kernel.MR * c * taps + m * kc);
        }
    });
    return packed;
}

// A[c, (oc, t)] = weight[oc, c, elements[t]], all groups after one another.
template <typename T>
AlignedBuffer<T> pack_backward(const Kernels<T>& kernel, const Conv2dShape& s,
                               const std::vector<index_t>& elements, const T* weight) {
    const index_t M = s.C / s.G, OC = s.OC / s.G, area = s.KH * s.KW;
    const auto taps = static_cast<index_t>(elements.size());
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
                kernel.pack_a(rows, taps, from, area, 1, to);
                continue;
            }
            for (const index_t element : elements) {
                for (index_t i = 0; i < MR; ++i) *to++ = i < rows ? from[i * area + element] : T(0);
            }
        }
    });
    return packed;
}

}  // namespace

template <typename T>
void conv2d(const Conv2dShape& s, const T* input, const T* weight, const T* bias,
            Activation activation, T* output) {
    const Kernels<T>& kernel = kernels<T>();
    const index_t M = s.OC / s.G, C = s.C / s.G;
    const AlignedBuffer<T> packed = pack_forward(kernel, s, weight);
    const index_t packed_group = round_up(M, kernel.MR) * C * s.KH * s.KW;

    std::vector<Tap> taps;
    for (index_t kh = 0; kh < s.KH; ++kh)
        for (index_t kw = 0; kw < s.KW; ++kw)
            taps.push_back({kh * s.dilation_h - s.pad_top, kw * s.dilation_w - s.pad_left});

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
    tap_gemm(kernel, groups);
}

template <typename T>
void conv2d_backward_input(const Conv2dShape& s, const T* grad_output, const T* weight,
                           const T* bias, Activation activation, T* grad_input) {
    const Kernels<T>& kernel = kernels<T>();
    const index_t M = s.C / s.G, C = s.OC / s.G;
    for (index_t h = 0; h < std::min(s.stride_h, s.H); ++h) {
        for (index_t w = 0; w < std::min(s.stride_w, s.W); ++w) {
            const Phase phase = phase_of(s, h, w);
            const AlignedBuffer<T> packed = pack_backward(kernel, s, phase.elements, weight);
            const index_t packed_group =
                round_up(M, kernel.MR) * C * static_cast<index_t>(phase.taps.size());
            std::vector<TapGemm<T>> groups;
            for (index_t g = 0; g < s.G; ++g) {
                groups.push_back({
                    .N = s.N,
                    .M = M,
                    .C = C,
                    .PH = ceil_div(s.H - h, s.stride_h),
                    .PW = ceil_div(s.W - w, s.stride_w),
                    .taps = phase.taps,
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
            tap_gemm(kernel, groups);
        }
    }
}

template void conv2d(const Conv2dShape&, const float*, const float*, const float*, Activation,
                     float*);
template void conv2d(const Conv2dShape&, const double*, const double*, const double*, Activation,
                     double*);
template void conv2d_backward_input(const Conv2dShape&, const float*, const float*, const float*,
                                    Activation, float*);
template void conv2d_backward_input(const Conv2dShape&, const double*, const double*, const double*,
                                    Activation, double*);

}  // namespace pyconv::implicit_gemm
