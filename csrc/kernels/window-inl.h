// SPDX-License-Identifier: BSD-3-Clause
// Sums over the taps of a window for a few filters, straight from image rows: convolutions whose groups are
// too small for the tiles of the gemm kernel. Included once per ISA.
//
// The rows come from a copy with zeros around it (stage_rows), so that neither pads nor strides are
// known here: a tap is an offset, and neighbouring pixels read neighbouring values. Where the last
// vector of a row would reach beyond it, it is moved back and some pixels are computed twice.
#pragma once

#include "kernels/activation-inl.h"
#include "kernels/table.h"
#include "kernels/vec-inl.h"

namespace pyconv::PYCONV_ISA {

template <typename T>
void fill_zero(T* to, index_t count) {
    index_t i = 0;
    for (; i + Vec<T>::lanes <= count; i += Vec<T>::lanes) Vec<T>::zero().store(to + i);
    for (; i < count; ++i) to[i] = 0;
}

// s.rows rows of each plane, from s.first_h on, each as s.phases times s.phase values: column s.first_w +
// i * s.phases + p is value i of phase p, 0 where the plane has no such row or column. Up to a vector beyond
// the end is overwritten.
template <typename T>
void stage_rows(const StagedRows& s, const T* planes, T* to) {
    using V = Vec<T>;
    constexpr index_t L = V::lanes;
    const index_t row = s.phases * s.phase;
    // Rows above .. below of the copy and columns left .. right lie in the image.
    const auto clamp = [](index_t x, index_t low, index_t high) {
        return x < low ? low : x > high ? high : x;
    };
    const index_t left = clamp(-s.first_w, 0, row), right = clamp(s.W - s.first_w, left, row);
    index_t above = clamp(-s.first_h, 0, s.rows), below = clamp(s.H - s.first_h, above, s.rows);
    if (left == right) above = below = s.rows;
    // Of a row, whole vectors are loaded but for the one where the image ends and, if the pad on the left is no
    // wider than that, the first.
    const index_t last = right / L * L;
    const auto first_lanes = V::lanes_from(left) & V::lanes_before(right),
               last_lanes = V::lanes_before(right - last);
    const index_t phases = s.phases, phase = s.phase, W = s.W;
    const index_t ahead = s.ahead;
    for (index_t plane = 0; plane < s.planes; ++plane, planes += s.plane_step, to += s.slab) {
        fill_zero(to, above * row);
        T* out = to + above * row;
        const T* from =
            planes + (s.first_h + above) * W + s.first_w;  // column 0, if there were one
        if (phases == 1 && left < L && row > L && row <= 2 * L) {
            const auto second = V::lanes_before(right - L);
            for (index_t r = above; r < below; ++r, out += row, from += W) {
                __builtin_prefetch(from + ahead, 0, 2);
                const V a = V::load_lanes(from, first_lanes), b = V::load_lanes(from + L, second);
                a.store(out);
                b.store(out + L);
            }
            fill_zero(out, (s.rows - below) * row + s.tail);
            continue;
        }
        for (index_t r = above; r < below; ++r, out += row, from += W) {
            if (phases == 1 && left < L) {
                V::load_lanes(from, first_lanes).store(out);
                index_t i = L;
                __builtin_prefetch(from + ahead, 0, 2);
                for (; i < last; i += L) {
                    __builtin_prefetch(from + ahead + i, 0, 2);
                    V::load(from + i).store(out + i);
                }
                if (i < row && i == last) {
                    V::load_lanes(from + i, last_lanes).store(out + i);
                    i += L;
                }
                for (; i < row; i += L) V::zero().store(out + i);
            } else if (phases == 1) {
                fill_zero(out, left);
                index_t i = left;
                for (; i + L <= right; i += L) V::load(from + i).store(out + i);
                if (i < right) V::load_part(from + i, right - i).store(out + i);
                fill_zero(out + right, row - right);
            } else if (phases == 2) {
                // Backwards: the last vector of the first phase reaches into the second.
                for (index_t i = (phase - 1) / L * L; i >= 0; i -= L) {
                    const T* p = from + 2 * i;
                    __builtin_prefetch(p + ahead, 0, 2);
                    V a, b;
                    if (2 * i >= left && 2 * (i + L) <= right) {
                        a = V::load(p);
                        b = V::load(p + L);
                    } else {
                        const auto load = [&](index_t at) {
                            return V::load_lanes(
                                from + at, V::lanes_from(left - at) & V::lanes_before(right - at));
                        };
                        a = load(2 * i);
                        b = load(2 * i + L);
                    }
                    even_lanes_of(a, b).store(out + i);
                    odd_lanes_of(a, b).store(out + phase + i);
                }
            } else {
                fill_zero(out, row);
                index_t p = left % phases, i = left / phases;
                for (index_t w = left; w < right; ++w) {
                    out[p * phase + i] = from[w];
                    if (++p == phases) {
                        p = 0;
                        ++i;
                    }
                }
            }
        }
        fill_zero(out, (s.rows - below) * row + s.tail);
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
                    PYCONV_UNROLL(8)
                    for (int r = 0; r < R; ++r)
                        if (i >= S * r && i < S * r + K)
                            acc[0][r][v] = fma(factor[i - S * r], pixels, acc[0][r][v]);
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
    if (e.activation == Activation::Relu) {
        each([](V& x, int, index_t) { x = relu_of(x); });
    } else if (e.activation != Activation::None) {
        const bool is_relu6 = e.activation == Activation::Relu6;
        each([=](V& x, int, index_t) { x = is_relu6 ? relu6_of(x) : hardswish_of(x); });
    }
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
        // One vector wide: more rows. Maps of 7 x 7 and 14 x 14 are common.
        constexpr int kNarrowR = 7;
        bool narrow = false;
        if constexpr (Taps::stride == 1) {
            narrow = w.cols <= Vec<T>::lanes && w.rows >= kNarrowR;
            for (index_t r = 0; narrow && r < w.rows; r += kNarrowR)
                rows(r + kNarrowR <= w.rows ? r : w.rows - kNarrowR,
                     window_rows<T, M, kNarrowR, 1, Taps>);
        }
        if (narrow) {
        } else if (w.rows < R) {
            for (index_t r = 0; r < w.rows; ++r) rows(r, window_rows<T, M, 1, 4 / M, AnyTaps>);
        } else {
            for (index_t r = 0; r < w.rows; r += R)
                rows(r + R <= w.rows ? r : w.rows - R, window_rows<T, M, R, NV, Taps>);
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
    if (filters == 4) return run(window_sums<T, 4, 3, 1, AnyTaps>);
    if (filters == 2) return run(window_sums<T, 2, 3, 2, AnyTaps>);
    const index_t stride = w.tap_rows > 1 && w.in_row % w.tap_row == 0 ? w.in_row / w.tap_row : 0;
    switch (w.tap_rows < 10 ? stride * 10 + w.tap_rows : 0) {
        case 13:
            return run(window_sums<T, 1, 4, 2, TapColumn<3, 1>>);
#if !defined(PYCONV_FEW_FORMS)
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

// Lane by lane, for M filters, kColumns columns c of taps and the rows k of taps of each,
//
//   sums[m, c, k] += sum over images i, rows r and columns j of
//       grad_output[i, m, r, j] * in[i * in_image + r * in_row + j + offset[c] + k * tap_row]
//
// For kTaps (TapColumn) R rows of grad_output stand in registers and every row of the image is loaded once
// for all of them.
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
    if (filters == 1 && w.tap_rows == 3 && stride == 2) columns(Constant<3>(), TapColumn<3, 2>());
    if (filters == 1 && w.tap_rows == 5 && stride == 1) {
        columns(Constant<2>(), TapColumn<5, 1>());
        columns(Constant<1>(), TapColumn<5, 1>());
    }
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
