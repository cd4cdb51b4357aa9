// SPDX-License-Identifier: BSD-3-Clause
// The weight gradient of a window of its own for each plane, from planes as they lie. Included once per ISA.
//
// Pixels of grad_output are lanes, and each tap has a vector of sums. Columns beyond the image are left out by lane
// masks. Every row is loaded once: of grad_output those that a row of the image belongs to stand in registers.
#pragma once

#include "kernels/depthwise-inl.h"

namespace pyconv::PYCONV_ISA {

// A plane that takes less time than memory does to answer.
inline constexpr index_t kShortBytes = 2048;

// sums[f * filter_step + ((first + c) * K + k) * lanes] += grad_output[f, r, j] * in[r * S + k, j * S + first + c], lane
// by lane, for a strip of the same plane of all images, kFilters filters f and kColumns columns c of taps.
template <typename T, int K, int S, int kFilters, int kColumns, bool kInside>
void plane_gradient_columns(const DepthwiseWalk& w, const Strip<T, K, S>& strip, int first,
                            const T* grad_output, index_t grad_image, const T* in, index_t in_image,
                            T* sums, index_t filter_step) {
    using V = Vec<T>;
    constexpr index_t L = V::lanes, kLine = 64 / index_t{sizeof(T)};
    // Rows of grad_output that a row of `in` belongs to, but for one; they are held if there are registers for them.
    constexpr int kMore = (K - 1) / S;
    constexpr bool kHeld = kColumns * K + kMore + kColumns < 16 || kVectorIsLine;
    const index_t H = w.H, W = w.W, OW = w.OW, top = w.top, begin = w.first, end = w.last,
                  out_plane = w.out_plane;
    // From the first row on that no taps are missing for, no rows of the image are: of those above it there are fewer
    // than K. Below, either may be the first to end.
    const index_t whole_begin = begin + kMore, inside = (H - top) / S;
    const index_t whole_end = end < inside ? end : inside;
    const index_t rows = end - begin;
    const bool is_short = H * W * index_t{sizeof(T)} <= kShortBytes;
    const auto pixels_of_strip = V::lanes_before(strip.count);
    V acc[kFilters][kColumns][K];
    const auto each = [&](auto&& step) {
        PYCONV_UNROLL(2)
        for (int f = 0; f < kFilters; ++f) {
            PYCONV_UNROLL(4)
            for (int c = 0; c < kColumns; ++c) {
                PYCONV_UNROLL(8)
                for (int k = 0; k < K; ++k)
                    step(acc[f][c][k], sums + f * filter_step + ((first + c) * K + k) * L);
            }
        }
    };
    each([](V& x, const T* p) { x = V::load(p); });
    grad_output += (strip.left - w.left) / S;
    in += strip.left + first;
    for (index_t p = 0; p < w.planes; ++p, grad_output += grad_image, in += in_image) {
        // Fetched is the same plane of the next image, or the next plane or band: of this image, where the next one would
        // be too late, and else of the first.
        const bool next_image = !is_short && p + 1 < w.planes;
        const index_t back = is_short ? 0 : p;
        const index_t next_grad = next_image ? grad_image : rows * OW - back * grad_image;
        const index_t next_in = next_image ? in_image : rows * S * W - back * in_image;
        const T* x = in + (top + S * begin) * W;
        const T* grad = grad_output + begin * OW;
        const auto grad_row = [&](int f, int j) {
            const T* const from = grad + f * out_plane - j * OW;
            const V row = kInside ? V::load(from) : V::load_lanes(from, pixels_of_strip);
            return S == 2 ? by_halves(row) : row;
        };
        V g[kFilters][kMore + 1];  // rows r, r - 1, ... of grad_output
        PYCONV_UNROLL(2)
        for (int f = 0; f < kFilters; ++f) {
            PYCONV_UNROLL(8)
            for (int j = 0; j <= kMore; ++j) g[f][j] = V::zero();
        }
        // Row r of grad_output, and the rows of the image that it is the first to belong to. At the rim some are missing.
        index_t r = begin;
        const auto step = [&](auto is_rim) {
            constexpr bool kRim = decltype(is_rim)::value;
            PYCONV_UNROLL(2)
            for (int f = 0; f < kFilters; ++f) {
                if (kHeld) {
                    PYCONV_UNROLL(8)
                    for (int j = kMore; j > 0; --j) g[f][j] = g[f][j - 1];
                    if (!kRim || r < end) g[f][0] = grad_row(f, 0);
                }
                __builtin_prefetch(grad + f * out_plane + next_grad);
            }
            PYCONV_UNROLL(2)
            for (int s = 0; s < S; ++s, x += W) {
                for (index_t l = 0; l < S * L; l += kLine) __builtin_prefetch(x + next_in + l);
                V pixels[kColumns];
                const index_t y = top + S * r + s;
                if (!kRim || (y >= 0 && y < H)) {
                    load_columns<T, K, S, kColumns, kInside ? Reach::Inside : Reach::Beyond>(
                        strip, first, x, pixels);
                    PYCONV_UNROLL(4)
                    for (int c = 0; c < kColumns && kVectorIsLine && !kInside; ++c)
                        pixels[c] = pixels[c].only(pixels_of_strip);
                } else {
                    PYCONV_UNROLL(4)
                    for (int c = 0; c < kColumns; ++c) pixels[c] = V::zero();
                }
                PYCONV_UNROLL(8)
                for (int k = s; k < K; k += S) {
                    const int j = (k - s) / S;
                    if (kRim && (r - j < begin || r - j >= end)) continue;
                    PYCONV_UNROLL(2)
                    for (int f = 0; f < kFilters; ++f) {
                        const V row = kHeld ? g[f][j] : grad_row(f, j);
                        PYCONV_UNROLL(4)
                        for (int c = 0; c < kColumns; ++c)
                            acc[f][c][k] = fma(row, pixels[c], acc[f][c][k]);
                    }
                }
            }
            ++r;
            grad += OW;
        };
        while (r < whole_begin) step(Constant<true>());
        while (r < whole_end) step(Constant<false>());
        while (r < end + kMore) step(Constant<true>());
    }
    each([](V& x, T* p) { x.store(p); });
}

template <typename T, int K, int S>
void plane_gradient(const DepthwiseWalk& w, index_t filters, index_t channels, const T* grad_output,
                    index_t grad_image, const T* in, index_t in_image, T* sums) {
    constexpr index_t L = Vec<T>::lanes;
    for (index_t pixel = 0; pixel < w.OW; pixel += L) {
        Strip<T, K, S> strip(w, pixel);
        // Nothing of a pixel that is not in grad_output: it may be NaN. (Where columns are put together of others, each
        // is cut by itself.)
        for (int c = 0; c < K && !kVectorIsLine; ++c)
            for (int s = 0; s < S; ++s)
                strip.lanes[c][s] =
                    strip.lanes[c][s] & Vec<T>::lanes_before(S * strip.count - s * L);
        // Without masks, where that was measured to help.
#if defined(PYCONV_FEW_FORMS)
        constexpr bool kInside = false;
#else
        constexpr bool kInside = S == 1 || !kVectorIsLine;
#endif
        const bool inside = kInside && strip.count == L && strip.is_inside(w.W);
        const auto columns = [&](auto at_once, auto count, int first, index_t m, index_t end) {
            constexpr int kFilters = decltype(at_once)::value, kColumns = decltype(count)::value;
            const index_t filter_step = channels * K * K * L;
            for (; m + kFilters <= end; m += kFilters) {
                for (index_t c = 0; c < channels; ++c) {
                    const auto run = [&](auto gradient) {
                        gradient(w, strip, first, grad_output + m * w.out_plane, grad_image,
                                 in + c * w.in_plane, in_image,
                                 sums + m * filter_step + c * K * K * L, filter_step);
                    };
                    inside ? run(plane_gradient_columns<T, K, S, kFilters, kColumns, kInside>)
                           : run(plane_gradient_columns<T, K, S, kFilters, kColumns, false>);
                }
            }
        };
        // As many columns and filters as leave registers for the rest.
        const index_t pairs = filters / 2 * 2;
        if constexpr (K == 3 && kVectorIsLine) {
            columns(Constant<2>(), Constant<3>(), 0, 0, pairs);
            columns(Constant<1>(), Constant<3>(), 0, pairs, filters);
        } else if constexpr (K == 3) {
            columns(Constant<1>(), Constant<3>(), 0, 0, filters);
        } else if constexpr (kVectorIsLine) {
            columns(Constant<1>(), Constant<3>(), 0, 0, filters);
            columns(Constant<1>(), Constant<2>(), 3, 0, filters);
        } else {
            columns(Constant<1>(), Constant<2>(), 0, 0, filters);
            columns(Constant<1>(), Constant<2>(), 2, 0, filters);
            columns(Constant<1>(), Constant<1>(), 4, 0, filters);
        }
    }
}

// sums[m, c, kw, kh, lane] += over w.planes images, their steps grad_image and in_image, and the pixels (r, j)
// of rows w.first .. w.last of grad_output, of which `lane` takes every L-th of a row:
//     grad_output[m, r, j] * in[c, top + r * stride + kh, left + j * stride + kw]
template <typename T>
void depthwise_weight_gradient(const DepthwiseWalk& w, index_t filters, index_t channels,
                               const T* grad_output, index_t grad_image, const T* in,
                               index_t in_image, T* sums) {
    const auto run = [&](auto gradient) {
        gradient(w, filters, channels, grad_output, grad_image, in, in_image, sums);
    };
    if (w.stride == 1) {
        w.kernel == 3 ? run(plane_gradient<T, 3, 1>) : run(plane_gradient<T, 5, 1>);
    } else {
        w.kernel == 3 ? run(plane_gradient<T, 3, 2>) : run(plane_gradient<T, 5, 2>);
    }
}

}  // namespace pyconv::PYCONV_ISA
