// SPDX-License-Identifier: BSD-3-Clause
// Sums over the taps of a window for a few filters, straight from image rows: convolutions whose groups are
// too small for the tiles of the gemm kernel. Included once per ISA.
//
// The rows come from stage_rows. Where the last vector of a row would reach beyond it, it is moved back and
// some pixels are computed twice.
#pragma once

#include "kernels/activation-inl.h"
#include "kernels/stage-inl.h"
#include "kernels/strip-inl.h"

namespace pyconv::PYCONV_ISA {

// R rows of NV vectors of pixels for M filters: M * R * NV registers. Of a row, vector v stands at v * L, but
// the last at `last`; unless kWhole, it is the only one and has but `last` values.
template <typename T, int M, int R, int NV, typename Taps, bool kWhole>
inline __attribute__((always_inline)) void window_tile(const WindowWalk& w, const T* in,
                                                       const T* weights, const T* residual, T* out,
                                                       index_t last, const Epilogue<T>& e) {
    using V = Vec<T>;
    constexpr index_t L = V::lanes;
    const auto column = [last](int v) { return kWhole && v == NV - 1 ? last : v * L; };
    V acc[M][R][NV];
    const auto each = [&](auto&& step) {
        PYCONV_UNROLL(4)
        for (int m = 0; m < M; ++m) {
            PYCONV_UNROLL(8)
            for (int r = 0; r < R; ++r) {
                PYCONV_UNROLL(4)
                for (int v = 0; v < NV; ++v)
                    step(acc[m][r][v], m, m * w.out_filter + r * w.out_row + column(v));
            }
        }
    };
    each([](V& x, int, index_t) { x = V::zero(); });
    if (kWhole) {
        PYCONV_UNROLL(8)
        for (int r = 0; r < R; ++r)
            for (int v = 0; v < NV; v += 2)
                __builtin_prefetch(out + (r + R) * w.out_row + v * L, 1);
    }
    const index_t in_row = w.in_row, tap_row = w.tap_row;
    for (index_t c = 0; c < w.columns; ++c) {
        const T* x = in + w.offset[c];
        if constexpr (Taps::tap_rows == 0) {
            // Of the two sides of the products the shorter one stands in registers.
            for (index_t kh = 0; kh < w.tap_rows; ++kh, x += tap_row, weights += M) {
                const auto load = [&](int r, int v) { return V::load(x + r * in_row + column(v)); };
                if constexpr (M <= R * NV) {
                    V factor[M];
                    PYCONV_UNROLL(4)
                    for (int m = 0; m < M; ++m) factor[m] = V::broadcast(weights[m]);
                    PYCONV_UNROLL(8)
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
                    PYCONV_UNROLL(8)
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
            constexpr int K = Taps::tap_rows, S = Taps::stride;
            V factor[K][M];
            PYCONV_UNROLL(8)
            for (int kh = 0; kh < K; ++kh) {
                PYCONV_UNROLL(4)
                for (int m = 0; m < M; ++m) factor[kh][m] = V::broadcast(weights[kh * M + m]);
            }
            weights += K * M;
            PYCONV_UNROLL(16)
            for (int i = 0; i < S * (R - 1) + K; ++i, x += tap_row) {
                PYCONV_UNROLL(4)
                for (int v = 0; v < NV; ++v) {
                    const V pixels = V::load(x + column(v));
                    PYCONV_UNROLL(8)
                    for (int r = 0; r < R; ++r) {
                        PYCONV_UNROLL(4)
                        for (int m = 0; m < M; ++m)
                            if (i >= S * r && i < S * r + K)
                                acc[m][r][v] = fma(factor[i - S * r][m], pixels, acc[m][r][v]);
                    }
                }
            }
        }
    }
    if (e.row_bias != nullptr)
        each([&](V& x, int m, index_t) { x = x + V::broadcast(e.row_bias[m]); });
    if (residual != nullptr)
        each([&](V& x, int, index_t at) {
            x = x + (kWhole ? V::load(residual + at) : V::load_part(residual + at, last));
        });
    // The only other one, hardswish, has a pass of its own.
    if (e.activation != Activation::Hardswish && e.activation != Activation::None)
        each([&](V& x, int, index_t) { x = activated(e.activation, x); });
    each([&](V& x, int, index_t at) {
        if (kWhole) {
            x.store(out + at);
        } else {
            x.store_part(out + at, last);
        }
    });
}

// `values` from `by` on; nullptr stays.
template <typename T>
const T* moved(const T* values, index_t by) {
    return values != nullptr ? values + by : nullptr;
}

// R rows of pixels, for M filters, in tiles of at most NV vectors.
template <typename T, int M, int R, int NV, typename Taps>
void window_rows(const WindowWalk& w, const T* in, const T* weights, const T* residual, T* out,
                 const Epilogue<T>& e) {
    constexpr index_t L = Vec<T>::lanes;
    const auto tile = [&](index_t j, auto vectors, auto whole, index_t last) {
        window_tile<T, M, R, decltype(vectors)::value, Taps, decltype(whole)::value == 1>(
            w, in + j, weights, moved(residual, j), out + j, last, e);
    };
    index_t j = 0;
    if (w.cols < L) {
        tile(0, Constant<1>(), Constant<0>(), w.cols);
        j = w.cols;
    }
    for (index_t left = w.cols - j; left > 0; left = w.cols - j) {
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
    // Hardswish while the rows are in L1: in the tiles it would double the code.
    if (e.activation != Activation::Hardswish) return;
    for (int m = 0; m < M; ++m) {
        for (int r = 0; r < R; ++r) {
            T* const row = out + m * w.out_filter + r * w.out_row;
            unary<T>(Unary::Hardswish, w.cols, 0, 0, row, row);
        }
    }
}

// All rows of all groups, R at once; of the last ones some are computed twice, if there are no fewer than R.
template <typename T, int M, int R, int NV, typename Taps>
void window_sums(const WindowWalk& w, const T* in, const T* weights, const T* residual, T* out,
                 const Epilogue<T>& whole) {
    Epilogue<T> e = whole;
    for (index_t group = 0; group < w.groups; ++group) {
        const auto rows = [&](index_t r, auto run) {
            const index_t at = r * w.out_row;
            run(w, in + r * w.in_row, weights, moved(residual, at), out + at, e);
        };
        const auto all = [&](index_t at_once, auto run) {
            for (index_t r = 0; r < w.rows; r += at_once)
                rows(r + at_once <= w.rows ? r : w.rows - at_once, run);
        };
        // One vector wide: more rows. Maps of 7 x 7 and 14 x 14 are common. Where taps share no rows, and for two
        // filters, the registers are full already.
        constexpr int kNarrowR = Taps::stride == 1 && M != 2 ? 7 : R;
        if (w.rows < R) {
            all(1, window_rows<T, M, 1, 4 / M, AnyTaps>);
        } else if (kNarrowR > R && w.cols <= Vec<T>::lanes && w.rows >= kNarrowR) {
            all(kNarrowR, window_rows < T, M, kNarrowR, kNarrowR == R ? NV : 1, Taps >);
        } else {
            all(R, window_rows<T, M, R, NV, Taps>);
        }
        in += w.in_group;
        weights += w.weights_group;
        out += w.out_group;
        residual = moved(residual, w.out_group);
        e.row_bias = moved(e.row_bias, w.bias_group);
    }
}

// out[m, r, j] = epilogue(sum over columns c of taps and rows k of
//     weights[(c * tap_rows + k) * M + m] * in[r * in_row + j + offset[c] + k * tap_row])
// for M filters (1, 2 or 4) of each group, r < rows, j < cols. Of the epilogue, row_bias (of the filters) and activation;
// `residual` is laid out as `out`, or nullptr.
template <typename T>
void window(index_t filters, const WindowWalk& w, const T* in, const T* weights, const T* residual,
            T* out, const Epilogue<T>& e) {
    const auto run = [&](auto sums) { sums(w, in, weights, residual, out, e); };
    const index_t stride = w.in_row % w.tap_row == 0 ? w.in_row / w.tap_row : 0;
    if constexpr (kVectorIsLine) {
        if (stride == 1 && w.tap_rows == 3 && filters == 4)
            return run(window_sums<T, 4, 3, 1, TapColumn<3, 1>>);
        if (stride == 1 && w.tap_rows == 3 && filters == 2)
            return run(window_sums<T, 2, 4, 2, TapColumn<3, 1>>);
    }
    if (filters == 4) return run(window_sums<T, 4, 3, 1, AnyTaps>);
    if (filters == 2) return run(window_sums<T, 2, 3, 2, AnyTaps>);
    // The kernel `depthwise` leaves to this one what is large, dilated, has 7 x 7 taps or is a phase of a gradient.
    switch (w.tap_rows < 10 ? stride * 10 + w.tap_rows : 0) {
        case 13:
            return run(window_sums<T, 1, 4, 2, TapColumn<3, 1>>);
#if !defined(PYCONV_FEW_FORMS)
        case 11:
            return run(window_sums<T, 1, 4, 2, TapColumn<1, 1>>);
        case 12:
            return run(window_sums<T, 1, 4, 2, TapColumn<2, 1>>);
        case 15:
            return run(window_sums<T, 1, 5, 2, TapColumn<5, 1>>);
        case 17:
            return run(window_sums<T, 1, 4, 2, TapColumn<7, 1>>);
        case 23:
            return run(window_sums<T, 1, 4, 2, TapColumn<3, 2>>);
        case 25:
            return run(window_sums<T, 1, 4, 2, TapColumn<5, 2>>);
#endif
        default:
            return run(window_sums<T, 1, 4, 2, AnyTaps>);
    }
}

}  // namespace pyconv::PYCONV_ISA
