// SPDX-License-Identifier: BSD-3-Clause
// Weight gradients of the same convolutions: a vector of sums for each tap walks along the image rows beside
// grad_output. Included once per ISA.
#pragma once

#include "kernels/stage-inl.h"

namespace pyconv::PYCONV_ISA {

// Lane by lane, for M filters, kColumns columns c of taps and the rows k of taps of each,
//
//   sums[m, c, k] += sum over images i, rows r and columns j of
//       grad_output[i, m, r, j] * in[i * in_image + r * in_row + j + offset[c] + k * tap_row]
//
// R rows of grad_output stand in registers, and every row of the image is loaded once for all of them.
template <typename T, int R, int kColumns, typename Taps>
inline __attribute__((always_inline)) void window_gradient_rows(
    const WindowGradientWalk& w, const T* g, const T* in, const index_t* offset,
    Vec<T> (&acc)[kColumns][Taps::tap_rows]) {
    using V = Vec<T>;
    constexpr index_t L = V::lanes;
    constexpr int K = Taps::tap_rows, S = Taps::stride;
    const index_t tap_row = w.tap_row, out_row = w.out_row;
    const auto step = [&](index_t j, auto load) {
        V gv[R];
        PYCONV_UNROLL(4)
        for (int r = 0; r < R; ++r) {
            __builtin_prefetch(g + r * out_row + j + w.ahead, 0, 2);
            gv[r] = load(g + r * out_row + j);
        }
        PYCONV_UNROLL(4)
        for (int c = 0; c < kColumns; ++c) {
            const T* x = in + offset[c] + j;
            // Kept from computing all pointers beforehand, of which there are too many.
            asm("" : "+r"(x));
            PYCONV_UNROLL(16)
            for (int i = 0; i < S * (R - 1) + K; ++i, x += tap_row) {
                const V pixels = load(x);
                PYCONV_UNROLL(4)
                for (int r = 0; r < R; ++r)
                    if (i >= S * r && i < S * r + K)
                        acc[c][i - S * r] = fma(gv[r], pixels, acc[c][i - S * r]);
            }
        }
    };
    const index_t rest = w.cols % L;
    index_t j = 0;
    for (; j + L <= w.cols; j += L) step(j, [](const T* p) { return V::load(p); });
    // Both sides masked: what lies beyond the row may be NaN.
    if (rest > 0) {
        const auto lanes = V::lanes_before(rest);
        step(j, [lanes](const T* p) { return V::load_lanes(p, lanes); });
    }
}

template <typename T, int kColumns, typename Taps>
void window_gradient_columns(const WindowGradientWalk& w, const index_t* offset,
                             const T* grad_output, const T* in, T* sums) {
    using V = Vec<T>;
    constexpr int K = Taps::tap_rows, R = 4;
    V acc[kColumns][K];
    const auto each = [&](auto&& step) {
        PYCONV_UNROLL(4)
        for (int c = 0; c < kColumns; ++c) {
            PYCONV_UNROLL(8)
            for (int k = 0; k < K; ++k) step(acc[c][k], sums + (c * K + k) * V::lanes);
        }
    };
    each([](V& x, const T* p) { x = V::load(p); });
    for (index_t i = 0; i < w.images; ++i) {
        const T* g = grad_output + i * w.out_image;
        const T* x = in + i * w.in_image;
        index_t r = 0;
        for (; r + R <= w.rows; r += R, g += R * w.out_row, x += R * w.in_row)
            window_gradient_rows<T, R, kColumns, Taps>(w, g, x, offset, acc);
        for (; r + 2 <= w.rows; r += 2, g += 2 * w.out_row, x += 2 * w.in_row)
            window_gradient_rows<T, 2, kColumns, Taps>(w, g, x, offset, acc);
        if (r < w.rows) window_gradient_rows<T, 1, kColumns, Taps>(w, g, x, offset, acc);
    }
    each([](V& x, T* p) { x.store(p); });
}

// For M filters and kTaps single taps, tap after tap in the order of the columns, from tap `first` on.
template <typename T, int M, int kTaps>
void window_gradient_taps(const WindowGradientWalk& w, index_t first, const T* grad_output,
                          const T* in, T* sums) {
    using V = Vec<T>;
    constexpr index_t L = V::lanes;
    const index_t rest = w.cols % L;
    const auto lanes = V::lanes_before(rest);
    const T* tap[kTaps];
    for (index_t t = 0; t < kTaps; ++t)
        tap[t] = in + w.offset[(first + t) / w.tap_rows] + (first + t) % w.tap_rows * w.tap_row;
    sums += first * L;
    V acc[M][kTaps];
    PYCONV_UNROLL(4)
    for (int m = 0; m < M; ++m) PYCONV_UNROLL(4)
    for (int t = 0; t < kTaps; ++t) acc[m][t] = V::load(sums + m * w.sums_filter + t * L);
    for (index_t i = 0; i < w.images; ++i) {
        for (index_t r = 0; r < w.rows; ++r) {
            const T* g = grad_output + i * w.out_image + r * w.out_row;
            const index_t at = i * w.in_image + r * w.in_row;
            const auto step = [&](index_t j, auto load) {
                V pixels[kTaps];
                PYCONV_UNROLL(8)
                for (int t = 0; t < kTaps; ++t) pixels[t] = load(tap[t] + at + j);
                PYCONV_UNROLL(4)
                for (int m = 0; m < M; ++m) {
                    const V gv = load(g + m * w.out_filter + j);
                    PYCONV_UNROLL(8)
                    for (int t = 0; t < kTaps; ++t) acc[m][t] = fma(gv, pixels[t], acc[m][t]);
                }
            };
            index_t j = 0;
            for (; j + L <= w.cols; j += L) step(j, [](const T* p) { return V::load(p); });
            if (rest > 0) step(j, [lanes](const T* p) { return V::load_lanes(p, lanes); });
        }
    }
    PYCONV_UNROLL(4)
    for (int m = 0; m < M; ++m) PYCONV_UNROLL(4)
    for (int t = 0; t < kTaps; ++t) acc[m][t].store(sums + m * w.sums_filter + t * L);
}

// The same for any number of columns and 1, 2 or 4 filters.
template <typename T>
void window_gradient(index_t filters, const WindowGradientWalk& w, const T* grad_output,
                     const T* in, T* sums) {
    const index_t L = Vec<T>::lanes;
    const index_t stride = w.tap_rows > 1 && w.in_row % w.tap_row == 0 ? w.in_row / w.tap_row : 0;
    index_t column = 0;
    const auto columns = [&](auto count, auto taps) {
        constexpr int kColumns = decltype(count)::value;
        using Taps = decltype(taps);
        for (; column + kColumns <= w.columns; column += kColumns)
            window_gradient_columns<T, kColumns, Taps>(w, w.offset + column, grad_output, in,
                                                       sums + column * Taps::tap_rows * L);
    };
    // As many columns as give some nine sums, which hide the latency of the additions.
    if (filters == 1 && w.tap_rows == 3 && stride == 1) columns(Constant<3>(), TapColumn<3, 1>());
#if !defined(PYCONV_FEW_FORMS)
    if (filters == 1 && w.tap_rows == 7 && stride == 1) columns(Constant<1>(), TapColumn<7, 1>());
#endif

    index_t tap = column * w.tap_rows;
    const auto taps = [&](auto m, auto count) {
        constexpr int kTaps = decltype(count)::value;
        for (; tap + kTaps <= w.columns * w.tap_rows; tap += kTaps)
            window_gradient_taps<T, decltype(m)::value, kTaps>(w, tap, grad_output, in, sums);
    };
    if (filters == 1) {
        taps(Constant<1>(), Constant<8>());
        taps(Constant<1>(), Constant<1>());
    } else if (filters == 2) {
        taps(Constant<2>(), Constant<5>());
        taps(Constant<2>(), Constant<1>());
    } else {
        taps(Constant<4>(), Constant<3>());
        taps(Constant<4>(), Constant<1>());
    }
}

}  // namespace pyconv::PYCONV_ISA
