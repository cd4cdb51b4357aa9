// SPDX-License-Identifier: BSD-3-Clause
// The input gradient of windows of stride 2 on the planes of a group, from the planes as they lie. Included once per ISA.
//
// grad_input is computed in squares of two rows and two columns, of which each pixel reads taps of its own: along
// one axis, pixel 2 * i + p of a window with padding `pad` reads
//
//   grad_output[i + (pad + 1) / 2 - t] * weight[2 * t + p - pad % 2]    for t = 0 .. K / 2, where there is such a tap
//
// summed over the filters of the group. Lanes are squares that lie side by side. A tile is R rows of them; every row of
// grad_output that it reads is loaded once for each column of taps. Both rows and columns of pixels are then written whole.
#pragma once

#include "kernels/activation-inl.h"
#include "kernels/strip-inl.h"

namespace pyconv::PYCONV_ISA {

// A strip of tiles: the lanes of grad_output that are there, for each column t of taps.
template <typename T, int K>
struct GradientStrip {
    using Lanes = typename Vec<T>::Lanes;
    static constexpr int kTaps = K / 2 + 1;
    Lanes lanes[kTaps];
    bool inside;

    GradientStrip(const DepthwiseWalk& w, index_t square) {
        constexpr index_t L = Vec<T>::lanes;
        const index_t left = square + (w.left + 1) / 2;  // the column that t = 0 reads
        for (int t = 0; t < kTaps; ++t)
            lanes[t] = Vec<T>::lanes_from(t - left) & Vec<T>::lanes_before(w.OW - left + t);
        inside = left >= kTaps - 1 && left + L <= w.OW;
    }
};

// The sum over `filters` planes of grad_output, at least one, `filter` apart. Of each, rows above `above` and from `below`
// on, counted from the first that the tile reads, are not there.
// Of each row of grad_input `width` values are the strip's; `room` values may be written from the tile's first on,
// and `rows` rows.
template <typename T, int K, int kOdd, int R, bool kInside>
inline __attribute__((always_inline)) void depthwise_gradient_tile(
    const GradientStrip<T, K>& strip, const T* in, index_t OW, index_t above, index_t below,
    index_t filters, index_t filter, const T* weights, index_t weights_filter, Vec<T> bias,
    bool relu, T* out, index_t W, index_t width, index_t room, index_t rows) {
    using V = Vec<T>;
    constexpr index_t L = V::lanes;
    constexpr int kTaps = K / 2 + 1, kRows = R + kTaps - 1;
    V acc[R][2][2];
    PYCONV_UNROLL(8)
    for (int r = 0; r < R; ++r)
        for (int p = 0; p < 4; ++p) acc[r][p / 2][p % 2] = bias;
    for (;;) {
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
        if (--filters <= 0) break;
        in += filter;
        weights += weights_filter;
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

// Whether one form serves all planes.
#if defined(PYCONV_FEW_FORMS)
inline constexpr bool kOneForm = true;
#else
inline constexpr bool kOneForm = false;
#endif

// R rows of squares at once, strip after strip, so that memory is read and written in the order in which it lies; of the
// last rows some are computed twice.
template <typename T, int K, int kOdd, int R, bool kSingle>
void depthwise_gradient_planes(const DepthwiseWalk& walk, const T* plane, const T* weights, T* out,
                               index_t filters, index_t weights_filter, const Epilogue<T>& e) {
    const DepthwiseWalk w = walk;  // which no store can change
    constexpr index_t L = Vec<T>::lanes;
    constexpr int kTaps = K / 2 + 1;
    const index_t squares = (w.W + 1) / 2, strips = (squares + L - 1) / L;
    const bool single = kSingle || (kOneForm && strips == 1);
    // Of the strips only the first and the last two may reach beyond the plane.
    const index_t end_square = single ? 0 : squares - L;
    const GradientStrip<T, K> first(w, 0), second_last(w, single ? 0 : (strips - 2) * L),
        last(w, end_square);
    const index_t size = w.H * w.W, end_row = 2 * w.last < w.H ? 2 * w.last : w.H;
    const index_t last_width = w.W - 2 * end_square < 2 * L ? w.W - 2 * end_square : 2 * L;
    // Strips without masks, where they cost anything.
    constexpr bool kInside = !kOneForm && !kVectorIsLine;
    const index_t inside_from = first.inside ? 0 : 1;
    const index_t inside_to = second_last.inside ? strips - 1 : strips - 2;
    const GradientStrip<T, K> inner(w, inside_from * L);
    for (index_t p = 0; p < w.planes; ++p) {
        const Vec<T> bias = Vec<T>::broadcast(e.row_bias != nullptr ? e.row_bias[p] : T(0));
        // What may be written: a strip that is wider than the plane reaches into what comes next.
        const T* const end =
            out + (w.first == 0 && end_row == w.H ? (w.planes - p) * size : end_row * w.W);
        for (index_t r = w.first; r < w.last; r += R) {
            const index_t i = r + R <= w.last || w.last - R < w.first ? r : w.last - R;
            const index_t top = i + (w.top + 1) / 2 - (kTaps - 1);
            // Rows beyond w.last, which only a call of fewer than R has, are another's.
            const index_t rows = end_row - 2 * i < 2 * R ? end_row - 2 * i : 2 * R;
            const T* const from = plane + top * w.OW + (w.left + 1) / 2;
            T* const to = out + 2 * i * w.W;
            const auto add = [&](const GradientStrip<T, K>& strip, index_t square, index_t width,
                                 index_t room, auto inside) __attribute__((always_inline)) {
                depthwise_gradient_tile<T, K, kOdd, R, decltype(inside)::value != 0>(
                    strip, from + square, w.OW, -top, w.OH - top, filters, w.OH * w.OW, weights,
                    weights_filter, bias, e.activation == Activation::Relu, to + 2 * square, w.W,
                    width, room, rows);
            };
            if constexpr (kSingle) {
                add(last, 0, last_width, end - to, Constant<0>());
                continue;
            }
            for (index_t v = 0; v < strips; ++v) {
                const bool at_end = v == strips - 1, is_inner = v >= inside_from && v < inside_to;
                const index_t square = at_end ? end_square : v * L;
                if (kInside && is_inner) {
                    add(inner, square, 2 * L, size, Constant<kInside>());
                } else {
                    const GradientStrip<T, K>& strip = is_inner ? inner
                                                       : v == 0 ? first
                                                       : at_end ? last
                                                                : second_last;
                    const index_t width = at_end ? last_width : 2 * L;
                    const index_t room = single ? end - to : width == 2 * L ? size : 0;
                    add(strip, square, width, room, Constant<0>());
                }
            }
        }
        plane += w.out_plane;
        weights += w.weights_plane;
        out += size;
    }
}

// Squares of rows first .. last of grad_input, w.planes planes of H x W, each the sum over `filters` planes of
// grad_output, OH x OW, from p * w.out_plane on: of windows that are w.kernel wide (3 or 5), with the paddings w.top and
// w.left, both even or both odd; filter m's for plane p are weights[p * w.weights_plane + m * weights_filter + ...]. Of the epilogue, row_bias (one value a plane)
// and ReLU.
template <typename T>
void depthwise_gradient(const DepthwiseWalk& w, index_t filters, const T* grad_output,
                        const T* weights, index_t weights_filter, T* grad_input,
                        const Epilogue<T>& e) {
    const bool odd = w.top % 2 != 0;
    const auto planes = [&](auto kernel, auto parity) {
        constexpr int K = decltype(kernel)::value, kOdd = decltype(parity)::value;
        // Two rows at once where the padding is the usual one, that keeps the size.
        constexpr int R = !kOneForm && K / 2 % 2 == kOdd ? 2 : 1;
        !kOneForm&& w.W <= 2 * Vec<T>::lanes
            ? depthwise_gradient_planes<T, K, kOdd, R, !kOneForm>(
                  w, grad_output, weights, grad_input, filters, weights_filter, e)
            : depthwise_gradient_planes<T, K, kOdd, R, false>(w, grad_output, weights, grad_input,
                                                              filters, weights_filter, e);
    };
    if (w.kernel == 3) {
        odd ? planes(Constant<3>(), Constant<1>()) : planes(Constant<3>(), Constant<0>());
    } else {
        odd ? planes(Constant<5>(), Constant<1>()) : planes(Constant<5>(), Constant<0>());
    }
}

}  // namespace pyconv::PYCONV_ISA
