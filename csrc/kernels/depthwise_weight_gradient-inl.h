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

// sums[(first + c) * K + k] += grad_output[r, j] * in[r * S + k, j * S + first + c], lane by lane, for a strip of the
// same plane of all images and kColumns columns c of taps.
template <typename T, int K, int S, int kColumns, bool kInside>
void plane_gradient_columns(const DepthwiseWalk& walk, const Strip<T, K, S>& strip, int first,
                            const T* grad_output, index_t grad_image, const T* in, index_t in_image,
                            T* sums) {
    using V = Vec<T>;
    constexpr index_t L = V::lanes, kLine = 64 / index_t{sizeof(T)};
    // Rows of grad_output that a row of `in` belongs to, but for one; they are held if there are registers for them.
    constexpr int kMore = (K - 1) / S;
    constexpr bool kHeld = kColumns * K + kMore + kColumns < 16 || kVectorIsLine;
    const DepthwiseWalk w = walk;
    const index_t rows = w.last - w.first;
    const bool is_short = w.H * w.W * index_t{sizeof(T)} <= kShortBytes;
    const auto pixels_of_strip = V::lanes_before(strip.count);
    V acc[kColumns][K];
    const auto each = [&](auto&& step) {
        PYCONV_UNROLL(4)
        for (int c = 0; c < kColumns; ++c) {
            PYCONV_UNROLL(8)
            for (int k = 0; k < K; ++k) step(acc[c][k], sums + ((first + c) * K + k) * L);
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
        const index_t next_grad = next_image ? grad_image : rows * w.OW - back * grad_image;
        const index_t next_in = next_image ? in_image : rows * S * w.W - back * in_image;
        const auto grad_row = [&](index_t r) {
            const T* const from = grad_output + r * w.OW;
            const V row = kInside ? V::load(from) : V::load_lanes(from, pixels_of_strip);
            return S == 2 ? by_halves(row) : row;
        };
        V g[kMore + 1];  // rows r, r - 1, ... of grad_output
        PYCONV_UNROLL(8)
        for (int j = 0; j <= kMore; ++j) g[j] = V::zero();
        // Row r of grad_output, and the rows of the image that it is the first to belong to.
        const auto step = [&](index_t r, auto is_rim) {
            constexpr bool kRim = decltype(is_rim)::value;
            if (kHeld) {
                PYCONV_UNROLL(8)
                for (int j = kMore; j > 0; --j) g[j] = g[j - 1];
                if (!kRim || r < w.last) g[0] = grad_row(r);
            }
            __builtin_prefetch(grad_output + r * w.OW + next_grad);
            PYCONV_UNROLL(2)
            for (int s = 0; s < S; ++s) {
                const index_t y = w.top + S * r + s;
                const T* const x = in + y * w.W;
                for (index_t l = 0; l < S * L; l += kLine) __builtin_prefetch(x + next_in + l);
                V pixels[kColumns];
                if (y >= 0 && y < w.H) {
                    load_columns<T, K, S, kColumns, kInside>(strip, first, x, pixels);
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
                    if (kRim && (r - j < w.first || r - j >= w.last)) continue;
                    const V row = kHeld ? g[j] : grad_row(r - j);
                    PYCONV_UNROLL(4)
                    for (int c = 0; c < kColumns; ++c) acc[c][k] = fma(row, pixels[c], acc[c][k]);
                }
            }
        };
        index_t r = w.first;
        for (; r < w.last && r < w.first + kMore; ++r) step(r, Constant<true>());
        for (; r < w.last; ++r) step(r, Constant<false>());
        for (; r < w.last + kMore; ++r) step(r, Constant<true>());
    }
    each([](V& x, T* p) { x.store(p); });
}

template <typename T, int K, int S>
void plane_gradient(const DepthwiseWalk& w, const T* grad_output, index_t grad_image, const T* in,
                    index_t in_image, T* sums) {
    constexpr index_t L = Vec<T>::lanes;
    for (index_t pixel = 0; pixel < w.OW; pixel += L) {
        Strip<T, K, S> strip(w, pixel);
        // Nothing of a pixel that is not in grad_output: it may be NaN. (Where columns are put together of others, each
        // is cut by itself.)
        for (int c = 0; c < K && !kVectorIsLine; ++c)
            for (int s = 0; s < S; ++s)
                strip.lanes[c][s] =
                    strip.lanes[c][s] & Vec<T>::lanes_before(S * strip.count - s * L);
#if defined(PYCONV_FEW_FORMS)
        constexpr bool inside = false;
#else
        const bool inside = strip.count == L && strip.is_inside(w.W);
#endif
        const auto columns = [&](auto count, int first) {
            constexpr int kColumns = decltype(count)::value;
            if (inside)
                return plane_gradient_columns<T, K, S, kColumns, true>(
                    w, strip, first, grad_output, grad_image, in, in_image, sums);
            plane_gradient_columns<T, K, S, kColumns, false>(w, strip, first, grad_output,
                                                             grad_image, in, in_image, sums);
        };
        // As many columns as leave registers for the rest.
        if constexpr (K == 3) {
            columns(Constant<3>(), 0);
        } else if constexpr (kVectorIsLine) {
            columns(Constant<3>(), 0);
            columns(Constant<2>(), 3);
        } else {
            columns(Constant<2>(), 0);
            columns(Constant<2>(), 2);
            columns(Constant<1>(), 4);
        }
    }
}

// sums[(kw * w.kernel + kh), lane] += over w.planes images, their steps grad_image and in_image, and the pixels (r, j)
// of rows w.first .. w.last of grad_output, of which `lane` takes every L-th of a row:
//     grad_output[r, j] * in[top + r * stride + kh, left + j * stride + kw]
template <typename T>
void depthwise_weight_gradient(const DepthwiseWalk& w, const T* grad_output, index_t grad_image,
                               const T* in, index_t in_image, T* sums) {
    if (w.stride == 1) {
        w.kernel == 3 ? plane_gradient<T, 3, 1>(w, grad_output, grad_image, in, in_image, sums)
                      : plane_gradient<T, 5, 1>(w, grad_output, grad_image, in, in_image, sums);
    } else {
        w.kernel == 3 ? plane_gradient<T, 3, 2>(w, grad_output, grad_image, in, in_image, sums)
                      : plane_gradient<T, 5, 2>(w, grad_output, grad_image, in, in_image, sums);
    }
}

}  // namespace pyconv::PYCONV_ISA
