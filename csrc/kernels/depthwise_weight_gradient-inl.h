// SPDX-License-Identifier: BSD-3-Clause
// The weight gradient of a window of its own for each plane, from planes as they lie: of maps too small to be worth
// a padded copy. Included once per ISA.
//
// Pixels of grad_output are lanes, and each tap has a vector of sums. Columns beyond the image are left out by lane
// masks; of the rows that a block of R rows of grad_output reads, each is loaded once for each column of taps.
#pragma once

#include "kernels/depthwise-inl.h"

namespace pyconv::PYCONV_ISA {

// sums[c * K + k] += grad_output[r, j] * in[r * S + k, j * S + first + c], for the columns c of kColumns and R rows.
// Rows of `in` above `above` (less than K) and from `below` on (more than S * (R - 1)), counted from the first that is
// read, are not there.
template <typename T, int K, int S, int R, int kColumns>
inline __attribute__((always_inline)) void plane_gradient_rows(const Strip<T, K, S>& strip,
                                                               int first, const T* grad_output,
                                                               index_t OW, const T* in, index_t W,
                                                               index_t above, index_t below,
                                                               Vec<T> (&acc)[kColumns][K]) {
    using V = Vec<T>;
    constexpr index_t L = V::lanes;
    const auto pixels_of_strip = V::lanes_before(strip.count);
    V g[R];
    PYCONV_UNROLL(4)
    for (int r = 0; r < R; ++r) g[r] = V::load_lanes(grad_output + r * OW, pixels_of_strip);
    PYCONV_UNROLL(4)
    for (int c = 0; c < kColumns; ++c) {
        const T* x = in + first + c;
        PYCONV_UNROLL(16)
        for (int i = 0; i < S * (R - 1) + K; ++i, x += W) {
            V pixels = V::zero();
            // Only the first rows and the last can be missing.
            if ((i >= K - 1 || i >= above) && (i <= S * (R - 1) || i < below)) {
                const auto load = [&](int s) {
                    return V::load_lanes(x + s * L, strip.lanes[first + c][s]);
                };
                pixels = load(0);
                if constexpr (S == 2) pixels = even_lanes_of(pixels, load(S - 1));
            }
            PYCONV_UNROLL(4)
            for (int r = 0; r < R; ++r)
                if (i >= S * r && i < S * r + K)
                    acc[c][i - S * r] = fma(g[r], pixels, acc[c][i - S * r]);
        }
    }
}

// A strip of the same plane of all images, for the columns of taps first .. first + kColumns.
template <typename T, int K, int S, int kColumns>
void plane_gradient_columns(const DepthwiseWalk& w, const Strip<T, K, S>& strip, int first,
                            const T* grad_output, index_t grad_image, const T* in, index_t in_image,
                            T* sums) {
    using V = Vec<T>;
    constexpr index_t L = V::lanes;
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
    in += strip.left;
    for (index_t p = 0; p < w.planes; ++p, grad_output += grad_image, in += in_image) {
        index_t r = w.first;
        const auto rows = [&](auto count) {
            constexpr int R = decltype(count)::value;
            for (; r + R <= w.last; r += R) {
                const index_t top = w.top + r * S;
                plane_gradient_rows<T, K, S, R, kColumns>(strip, first, grad_output + r * w.OW,
                                                          w.OW, in + top * w.W, w.W, -top,
                                                          w.H - top, acc);
            }
        };
#if !defined(PYCONV_FEW_FORMS)
        rows(Constant<4>());
        rows(Constant<2>());
#endif
        rows(Constant<1>());
    }
    each([](V& x, T* p) { x.store(p); });
}

template <typename T, int K, int S>
void plane_gradient(const DepthwiseWalk& w, const T* grad_output, index_t grad_image, const T* in,
                    index_t in_image, T* sums) {
    constexpr index_t L = Vec<T>::lanes;
    for (index_t pixel = 0; pixel < w.OW; pixel += L) {
        Strip<T, K, S> strip(w, pixel);
        if (w.planes == 1) {
            const index_t rows = w.last - w.first;
            fetch_part(w, strip, in + (w.top + (w.last - 1) * S + K) * w.W, rows * S, w.W);
            fetch_part(w, strip, grad_output + w.last * w.OW, rows, w.OW);
        }
        // Nothing of a pixel that is not in grad_output: it may be NaN.
        for (int c = 0; c < K; ++c)
            for (int s = 0; s < S; ++s)
                strip.lanes[c][s] =
                    strip.lanes[c][s] & Vec<T>::lanes_before(S * strip.count - s * L);
        const auto columns = [&](auto count, int first) {
            plane_gradient_columns<T, K, S, decltype(count)::value>(w, strip, first, grad_output,
                                                                    grad_image, in, in_image, sums);
        };
        // As many columns as leave registers for the rest.
        if constexpr (K == 3) {
            columns(Constant<3>(), 0);
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
