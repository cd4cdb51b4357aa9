// SPDX-License-Identifier: BSD-3-Clause
// Sums over the taps of a window for a few filters, straight from image rows: convolutions whose groups are
// too small for the tiles of the gemm kernel. Included once per ISA.
//
// The rows come from a copy with zeros around it (stage_rows), so that neither pads nor strides are
// known here: a tap is an offset, and neighbouring pixels read neighbouring values. Where the last
// vector of a row would reach beyond it, it is moved back and some pixels are computed twice.
#pragma once

#include "kernels/table.h"
#include "kernels/vec-inl.h"

namespace pyconv::PYCONV_ISA {

template <typename T>
void fill_zero(T* to, index_t count) {
    index_t i = 0;
    for (; i + Vec<T>::lanes <= count; i += Vec<T>::lanes) Vec<T>::zero().store(to + i);
    for (; i < count; ++i) to[i] = 0;
}

// Rows h .. h + rows of a plane, each as s.phases times s.phase values: column s.first_w + i * s.phases + p is
// value i of phase p, 0 where the plane has no such row or column. Up to a vector beyond the end is
// overwritten.
template <typename T>
void stage_rows(const StagedRows& s, index_t h, index_t rows, const T* plane, T* to) {
    using V = Vec<T>;
    constexpr index_t L = V::lanes;
    const index_t row = s.phases * s.phase;
    // Columns left .. right of the copy lie in the image.
    const index_t before = s.first_w < 0 ? -s.first_w : 0, after = s.W - s.first_w;
    const index_t left = before < row ? before : row;
    const index_t right = after < left ? left : after < row ? after : row;
    // Of a row, whole vectors are loaded but for one at either end, if the pads are no wider than that.
    const index_t last = (row - 1) / L * L;
    const bool narrow_pads = left < L && right > last;
    const auto first_lanes = V::lanes_from(left) & V::lanes_before(right),
               last_lanes = V::lanes_before(right - last);
    for (index_t r = 0; r < rows; ++r, to += row) {
        if (h + r < 0 || h + r >= s.H || left == right) {
            fill_zero(to, row);
            continue;
        }
        const T* from = plane + (h + r) * s.W + s.first_w;  // column 0, if there were one
        if (s.phases == 1 && narrow_pads) {
            V::load_lanes(from, first_lanes).store(to);
            if (last == 0) continue;
            for (index_t i = L; i < last; i += L) V::load(from + i).store(to + i);
            V::load_lanes(from + last, last_lanes).store(to + last);
        } else if (s.phases == 1) {
            fill_zero(to, left);
            index_t i = left;
            for (; i + L <= right; i += L) V::load(from + i).store(to + i);
            if (i < right) V::load_part(from + i, right - i).store(to + i);
            fill_zero(to + right, row - right);
        } else if (s.phases == 2) {
            // One phase after the other: the last vector of the first reaches into the second.
            const auto phase = [&](T* out, auto lanes_of) {
                for (index_t i = 0; i < s.phase; i += L) {
                    const auto load = [&](index_t at) {
                        if (at >= left && at + L <= right) return V::load(from + at);
                        return V::load_lanes(
                            from + at, V::lanes_from(left - at) & V::lanes_before(right - at));
                    };
                    lanes_of(load(2 * i), load(2 * i + L)).store(out + i);
                }
            };
            phase(to, even_lanes_of<T>);
            phase(to + s.phase, odd_lanes_of<T>);
        } else {
            fill_zero(to, row);
            index_t p = left % s.phases, i = left / s.phases;
            for (index_t w = left; w < right; ++w) {
                to[p * s.phase + i] = from[w];
                if (++p == s.phases) {
                    p = 0;
                    ++i;
                }
            }
        }
    }
}

// How a tile goes over the taps of a column: one after the other, or, kTapRows of them that are as far apart
// as 1 / kStride of the rows of the tile, by the rows that they read, each loaded once.
template <int kTapRows, int kStride>
struct TapColumn {
    static constexpr int tap_rows = kTapRows, stride = kStride;
};
using AnyTaps = TapColumn<0, 0>;

// R rows of NV vectors of pixels for M filters: M * R * NV registers. Of a row, vector v stands at v * L, but
// the last at `last`; unless kWhole, it is the only one and has but `last` values.
template <typename T, int M, int R, int NV, typename Taps, bool kWhole>
inline __attribute__((always_inline)) void window_tile(const WindowWalk& w, const T* in,
                                                       const T* weights, T* out, index_t last,
                                                       const Epilogue<T>& e) {
    using V = Vec<T>;
    constexpr index_t L = V::lanes;
    const auto column = [last](int v) { return kWhole && v == NV - 1 ? last : v * L; };
    V acc[M][R][NV];
    const auto each = [&](auto&& step) {
        PYCONV_UNROLL(4)
        for (int m = 0; m < M; ++m) {
            PYCONV_UNROLL(4)
            for (int r = 0; r < R; ++r) {
                PYCONV_UNROLL(4)
                for (int v = 0; v < NV; ++v)
                    step(acc[m][r][v], m, m * w.out_filter + r * w.out_row + column(v));
            }
        }
    };
    each([](V& x, int, index_t) { x = V::zero(); });
    const index_t in_row = w.in_row, tap_row = w.tap_row;
    for (index_t c = 0; c < w.columns; ++c) {
        const T* x = in + w.offset[c];
        if constexpr (Taps::tap_rows == 0) {
            // Of the two sides of the products the shorter one stands in registers.
            for (index_t kh = 0; kh < w.tap_rows; ++kh, x += tap_row, weights += M) {
                const auto load = [&](int r, int v) {
                    return V::load(x + r * in_row + column(v));
                };
                if constexpr (M <= R * NV) {
                    V factor[M];
                    PYCONV_UNROLL(4)
                    for (int m = 0; m < M; ++m) factor[m] = V::broadcast(weights[m]);
                    PYCONV_UNROLL(4)
                    for (int r = 0; r < R; ++r) {
                        PYCONV_UNROLL(4)
                        for (int v = 0; v < NV; ++v) {
                            const V pixels = load(r, v);
                            PYCONV_UNROLL(4)
                            for (int m = 0; m < M; ++m)
                                acc[m][r][v] = fma(factor[m], pixels, acc[m][r][v]);
                        }
                    }
                } else {
                    static_assert(NV == 1);
                    V pixels[R];
                    PYCONV_UNROLL(4)
                    for (int r = 0; r < R; ++r) pixels[r] = load(r, 0);
                    PYCONV_UNROLL(4)
                    for (int m = 0; m < M; ++m) {
                        const V factor = V::broadcast(weights[m]);
                        PYCONV_UNROLL(4)
                        for (int r = 0; r < R; ++r)
                            acc[m][r][0] = fma(factor, pixels[r], acc[m][r][0]);
                    }
                }
            }
        } else {
            static_assert(M == 1);
            constexpr int K = Taps::tap_rows, S = Taps::stride;
            V factor[K];
            PYCONV_UNROLL(8)
            for (int kh = 0; kh < K; ++kh) factor[kh] = V::broadcast(weights[kh]);
            weights += K;
            PYCONV_UNROLL(16)
            for (int i = 0; i < S * (R - 1) + K; ++i, x += tap_row) {
                PYCONV_UNROLL(4)
                for (int v = 0; v < NV; ++v) {
                    const V pixels = V::load(x + column(v));
                    PYCONV_UNROLL(4)
                    for (int r = 0; r < R; ++r)
                        if (i >= S * r && i < S * r + K)
                            acc[0][r][v] = fma(factor[i - S * r], pixels, acc[0][r][v]);
                }
            }
        }
    }
    if (e.row_bias != nullptr)
        each([&](V& x, int m, index_t) { x = x + V::broadcast(e.row_bias[m]); });
    if (e.residual != nullptr)
        each([&](V& x, int, index_t at) {
            x = x + (kWhole ? V::load(e.residual + at) : V::load_part(e.residual + at, last));
        });
    if (e.activation == Activation::Relu) each([](V& x, int, index_t) { x = relu_of(x); });
    each([&](V& x, int, index_t at) {
        if (kWhole) {
            x.store(out + at);
        } else {
            x.store_part(out + at, last);
        }
    });
}

// R rows of pixels, for M filters, in tiles of at most NV vectors.
template <typename T, int M, int R, int NV, typename Taps>
void window_rows(const WindowWalk& w, const T* in, const T* weights, T* out, Epilogue<T> e) {
    constexpr index_t L = Vec<T>::lanes;
    const T* residual = e.residual;
    const auto tile = [&](index_t j, auto vectors, auto whole, index_t last) {
        if (residual != nullptr) e.residual = residual + j;
        window_tile<T, M, R, decltype(vectors)::value, Taps, decltype(whole)::value == 1>(
            w, in + j, weights, out + j, last, e);
    };
    if (w.cols < L) return tile(0, Constant<1>(), Constant<0>(), w.cols);
    index_t j = 0;
    for (index_t left = w.cols; left > 0; left = w.cols - j) {
        // The last vector of a tile may overlap the one before it.
        if (NV > 1 && left > (NV - 1) * L) {
            const index_t last = left - L < (NV - 1) * L ? left - L : (NV - 1) * L;
            tile(j, Constant<NV>(), Constant<1>(), last);
            j += NV * L;
        } else {
            tile(left < L ? w.cols - L : j, Constant<1>(), Constant<1>(), 0);
            j += L;
        }
    }
}

// All rows, R at once; of the last ones some are computed twice, if there are no fewer than R.
template <typename T, int M, int R, int NV, typename Taps>
void window_sums(const WindowWalk& w, const T* in, const T* weights, T* out, Epilogue<T> e) {
    const T* residual = e.residual;
    const auto rows = [&](index_t r, auto run) {
        if (residual != nullptr) e.residual = residual + r * w.out_row;
        run(w, in + r * w.in_row, weights, out + r * w.out_row, e);
    };
    if (w.rows < R) {
        for (index_t r = 0; r < w.rows; ++r) rows(r, window_rows<T, M, 1, 4 / M, AnyTaps>);
    } else {
        for (index_t r = 0; r < w.rows; r += R)
            rows(r + R <= w.rows ? r : w.rows - R, window_rows<T, M, R, NV, Taps>);
    }
}

// out[m, r, j] = epilogue(sum over columns c of taps and rows k of
//     weights[(c * tap_rows + k) * M + m] * in[r * in_row + j + offset[c] + k * tap_row])
// for M filters (1, 2 or 4), r < rows, j < cols; the epilogue's row_bias is of the filters, its residual laid
// out as `out`.
template <typename T>
void window(index_t filters, const WindowWalk& w, const T* in, const T* weights, T* out,
            const Epilogue<T>& e) {
    if (filters == 4) return window_sums<T, 4, 3, 1, AnyTaps>(w, in, weights, out, e);
    if (filters == 2) return window_sums<T, 2, 3, 2, AnyTaps>(w, in, weights, out, e);
    const index_t stride = w.tap_rows > 1 ? w.in_row / w.tap_row : 0;
    if (w.tap_rows > 1 && w.in_row % w.tap_row == 0 && stride <= 2) {
        if (w.tap_rows == 2 && stride == 1)
            return window_sums<T, 1, 4, 2, TapColumn<2, 1>>(w, in, weights, out, e);
        if (w.tap_rows == 3 && stride == 1)
            return window_sums<T, 1, 4, 2, TapColumn<3, 1>>(w, in, weights, out, e);
        if (w.tap_rows == 3 && stride == 2)
            return window_sums<T, 1, 4, 2, TapColumn<3, 2>>(w, in, weights, out, e);
        if (w.tap_rows == 5 && stride == 1)
            return window_sums<T, 1, 4, 2, TapColumn<5, 1>>(w, in, weights, out, e);
        if (w.tap_rows == 5 && stride == 2)
            return window_sums<T, 1, 4, 2, TapColumn<5, 2>>(w, in, weights, out, e);
        if (w.tap_rows == 7 && stride == 1)
            return window_sums<T, 1, 4, 2, TapColumn<7, 1>>(w, in, weights, out, e);
    }
    window_sums<T, 1, 4, 2, AnyTaps>(w, in, weights, out, e);
}

// Lane by lane, sums[m, t] += sum over images i, rows r and columns j of
//     grad_output[i, m, r, j] * in[i * in_image + r * in_row + j + offset[t]]
// for M filters and the taps t < kTaps.
template <typename T, int M, int kTaps>
void window_gradient_block(const WindowGradientWalk& w, const index_t* offset, const T* grad_output,
                           const T* in, T* sums) {
    using V = Vec<T>;
    constexpr index_t L = V::lanes;
    V acc[M][kTaps];
    for (int m = 0; m < M; ++m)
        for (int t = 0; t < kTaps; ++t) acc[m][t] = V::load(sums + m * w.sums_filter + t * L);
    const index_t rest = w.cols % L;
    const auto lanes = V::lanes_before(rest);
    for (index_t i = 0; i < w.images; ++i) {
        for (index_t r = 0; r < w.rows; ++r) {
            const T* g = grad_output + i * w.out_image + r * w.out_row;
            const T* row = in + i * w.in_image + r * w.in_row;
            const T* x[kTaps];
            PYCONV_UNROLL(9)
            for (int t = 0; t < kTaps; ++t) x[t] = row + offset[t];
            const auto step = [&](index_t j, auto load) {
                V gv[M];
                for (int m = 0; m < M; ++m) gv[m] = load(g + m * w.out_filter + j);
                PYCONV_UNROLL(9)
                for (int t = 0; t < kTaps; ++t) {
                    const V pixels = load(x[t] + j);
                    for (int m = 0; m < M; ++m) acc[m][t] = fma(gv[m], pixels, acc[m][t]);
                }
            };
            index_t j = 0;
            for (; j + L <= w.cols; j += L) step(j, [](const T* p) { return V::load(p); });
            // Both sides masked: what lies beyond the row may be NaN.
            if (rest > 0) step(j, [lanes](const T* p) { return V::load_lanes(p, lanes); });
        }
    }
    for (int m = 0; m < M; ++m)
        for (int t = 0; t < kTaps; ++t) acc[m][t].store(sums + m * w.sums_filter + t * L);
}

// The same for any number of taps and 1, 2 or 4 filters. Registers: filters times taps.
template <typename T>
void window_gradient(index_t filters, const WindowGradientWalk& w, const T* grad_output,
                     const T* in, T* sums) {
    const index_t* offset = w.offset;
    index_t left = w.taps;
    const auto take = [&](auto m, auto taps) {
        constexpr int kTaps = decltype(taps)::value;
        for (; left >= kTaps; left -= kTaps, offset += kTaps, sums += kTaps * Vec<T>::lanes)
            window_gradient_block<T, decltype(m)::value, kTaps>(w, offset, grad_output, in, sums);
    };
    if (filters == 1) {
        // Rows of a kernel of 5 or 7 columns at once, or all of 3 x 3.
        if (left % 7 == 0) take(Constant<1>(), Constant<7>());
        if (left % 5 == 0) take(Constant<1>(), Constant<5>());
        take(Constant<1>(), Constant<9>());
        take(Constant<1>(), Constant<3>());
        take(Constant<1>(), Constant<1>());
    } else if (filters == 2) {
        take(Constant<2>(), Constant<5>());
        take(Constant<2>(), Constant<3>());
        take(Constant<2>(), Constant<1>());
    } else {
        take(Constant<4>(), Constant<3>());
        take(Constant<4>(), Constant<1>());
    }
}

}  // namespace pyconv::PYCONV_ISA
