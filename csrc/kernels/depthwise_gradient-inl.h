// SPDX-License-Identifier: BSD-3-Clause
// The input gradient of a window of stride 2 on each plane, from the planes as they lie. Included once per ISA.
//
// grad_input is computed in squares of two rows and two columns, of which each pixel reads taps of its own: along
// one axis, pixel 2 * i + p of a window with padding `pad` reads
//
//   grad_output[i + (pad + 1) / 2 - t] * weight[2 * t + p - pad % 2]    for t = 0 .. K / 2, where there is such a tap
//
// Lanes are squares that lie side by side. A tile is R rows of them; every row of grad_output that it reads is
// loaded once for each column of taps. Both rows and columns of pixels are then written whole.
#pragma once

#include "kernels/activation-inl.h"
#include "kernels/shuffle-inl.h"

namespace pyconv::PYCONV_ISA {

// A strip of tiles: its first square, and the lanes of grad_output that are there, for each column t of taps.
template <typename T, int K>
struct GradientStrip {
    using Lanes = typename Vec<T>::Lanes;
    static constexpr int kTaps = K / 2 + 1;
    index_t square, left;  // left: the column of grad_output that t = 0 reads
    Lanes lanes[kTaps];
    bool inside;

    GradientStrip(const DepthwiseWalk& w, index_t first) : square(first) {
        constexpr index_t L = Vec<T>::lanes;
        left = square + (w.left + 1) / 2;
        for (int t = 0; t < kTaps; ++t)
            lanes[t] = Vec<T>::lanes_from(t - left) & Vec<T>::lanes_before(w.OW - left + t);
        inside = left >= kTaps - 1 && left + L <= w.OW;
    }
};

// Of grad_output rows above `above` and from `below` on, counted from the first that the tile reads, are not there.
// Of each row of grad_input `width` values are the strip's; `room` values may be written from the tile's first on,
// and `rows` rows.
template <typename T, int K, int kOdd, int R, bool kInside>
inline __attribute__((always_inline)) void depthwise_gradient_tile(
    const GradientStrip<T, K>& strip, const T* in, index_t OW, index_t above, index_t below,
    const T* weights, Vec<T> bias, bool relu, T* out, index_t W, index_t width, index_t room,
    index_t rows) {
    using V = Vec<T>;
    constexpr index_t L = V::lanes;
    constexpr int kTaps = K / 2 + 1, kRows = R + kTaps - 1;
    V acc[R][2][2];
    PYCONV_UNROLL(8)
    for (int r = 0; r < R; ++r)
        for (int p = 0; p < 4; ++p) acc[r][p / 2][p % 2] = bias;
    PYCONV_UNROLL(4)
    for (int q = 0; q < kTaps; ++q) {
        V pixels[kRows];
        PYCONV_UNROLL(8)
        for (int i = 0; i < kRows; ++i) {
            pixels[i] = V::zero();
            const T* x = in + i * OW - q;
            if (i >= above && i < below)
                pixels[i] = kInside ? V::load(x) : V::load_lanes(x, strip.lanes[q]);
        }
        PYCONV_UNROLL(2)
        for (int p = 0; p < 2; ++p) {
            const int kw = 2 * q + p - kOdd;
            if (kw < 0 || kw >= K) continue;
            PYCONV_UNROLL(8)
            for (int kh = 0; kh < K; ++kh) {
                const int t = (kh + kOdd) / 2, row = (kh + kOdd) % 2;
                const V factor = V::broadcast(weights[kh * K + kw]);
                PYCONV_UNROLL(8)
                for (int r = 0; r < R; ++r)
                    acc[r][row][p] = fma(factor, pixels[r + kTaps - 1 - t], acc[r][row][p]);
            }
        }
    }
    PYCONV_UNROLL(8)
    for (int h = 0; h < 2 * R; ++h, out += W, room -= W) {
        if (h >= rows) break;
        V low = interleaved_low(acc[h / 2][h % 2][0], acc[h / 2][h % 2][1]);
        V high = interleaved_high(acc[h / 2][h % 2][0], acc[h / 2][h % 2][1]);
        if (relu) {
            low = relu_of(low);
            high = relu_of(high);
        }
        // What is longer than the row goes on into the next one, which is written later.
        if (room >= 2 * L) {
            low.store(out);
            high.store(out + L);
        } else {
            low.store_part(out, width < L ? width : L);
            if (width > L) high.store_part(out + L, width - L < L ? width - L : L);
        }
    }
}

// One strip of all planes, R rows of squares at once; of the last ones some are computed twice.
template <typename T, int K, int kOdd, int R, bool kInside>
void depthwise_gradient_strip(const DepthwiseWalk& walk, const GradientStrip<T, K>& strip,
                              const T* plane, const T* weights, T* out, const Epilogue<T>& e) {
    const DepthwiseWalk w = walk;  // which no store can change
    constexpr index_t L = Vec<T>::lanes;
    constexpr int kTaps = K / 2 + 1;
    const index_t column = 2 * strip.square, size = w.H * w.W, end = 2 * w.last;
    const index_t last = end < w.H ? end * w.W : size;
    const bool single = w.W <= 2 * L;
    const index_t width = w.W - column < 2 * L ? w.W - column : 2 * L;
    for (index_t p = 0; p < w.planes; ++p) {
        const Vec<T> bias = Vec<T>::broadcast(e.row_bias != nullptr ? e.row_bias[p] : T(0));
        for (index_t r = w.first; r < w.last; r += R) {
            const index_t i = r + R <= w.last || w.last - R < w.first ? r : w.last - R;
            const index_t top = i + (w.top + 1) / 2 - (kTaps - 1), at = 2 * i * w.W + column;
            // Rows beyond w.last, which only a call of fewer than R has, are another's.
            const index_t rows = (end < w.H ? end : w.H) - 2 * i;
            const index_t free =
                single && w.first == 0 && end >= w.H ? (w.planes - p) * size : last;
            const index_t room = single ? free - at : width == 2 * L ? size : 0;
            depthwise_gradient_tile<T, K, kOdd, R, kInside>(
                strip, plane + top * w.OW + strip.left, w.OW, -top, w.OH - top, weights, bias,
                e.activation == Activation::Relu, out + at, w.W, width, room,
                rows < 2 * R ? rows : 2 * R);
        }
        plane += w.OH * w.OW;
        weights += K * K;
        out += size;
    }
}

template <typename T, int K, int kOdd>
void depthwise_gradient_planes(const DepthwiseWalk& w, const T* grad_output, const T* weights,
                               T* grad_input, const Epilogue<T>& e) {
    constexpr index_t L = Vec<T>::lanes;
    const index_t squares = (w.W + 1) / 2;
    for (index_t square = 0; square < squares; square += L) {
        const GradientStrip<T, K> strip(
            w, square + L <= squares || squares < L ? square : squares - L);
#if !defined(PYCONV_FEW_FORMS)
        if (strip.inside) {
            depthwise_gradient_strip<T, K, kOdd, 2, true>(w, strip, grad_output, weights,
                                                          grad_input, e);
            continue;
        }
#endif
        depthwise_gradient_strip<T, K, kOdd, 2, false>(w, strip, grad_output, weights, grad_input,
                                                       e);
    }
}

// Squares of rows first .. last of grad_input, H x W, from grad_output, OH x OW: of windows that are w.kernel wide
// (3 or 5), with the paddings w.top and w.left, both even or both odd. Of the epilogue, row_bias (one value a plane)
// and ReLU.
template <typename T>
void depthwise_gradient(const DepthwiseWalk& w, const T* grad_output, const T* weights,
                        T* grad_input, const Epilogue<T>& e) {
    const bool odd = w.top % 2 != 0;
    if (w.kernel == 3) {
        odd ? depthwise_gradient_planes<T, 3, 1>(w, grad_output, weights, grad_input, e)
            : depthwise_gradient_planes<T, 3, 0>(w, grad_output, weights, grad_input, e);
    } else {
        odd ? depthwise_gradient_planes<T, 5, 1>(w, grad_output, weights, grad_input, e)
            : depthwise_gradient_planes<T, 5, 0>(w, grad_output, weights, grad_input, e);
    }
}

}  // namespace pyconv::PYCONV_ISA
