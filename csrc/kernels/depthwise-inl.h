// SPDX-License-Identifier: BSD-3-Clause
// A window of its own for each plane, from the planes as they lie: the convolutions of MobileNets, whose
// planes are too small to be worth a padded copy. Included once per ISA.
//
// Pixels are lanes, and a strip is a vector wide. Columns beyond the image are left out by lane masks, made once for
// each strip. Of 3 x 3 taps, all stay in registers: strip after strip, whose rows are then each loaded once, or, of
// wide planes, all strips of some rows side by side. Of 5 x 5 taps, one column does: a tile is R rows of a strip, and
// for each column of taps every row of the image that the tile reads is loaded once; rows beyond the image can only be
// the first and the last of those.
#pragma once

#include "kernels/activation-inl.h"
#include "kernels/strip-inl.h"

namespace pyconv::PYCONV_ISA {

// Each strip of a band fetches a part of what comes next: `rows` of a plane, of `row` values.
// (always_inline: GCC takes a function that only fetches for one without effect, and drops the call.)
template <typename T, int K, int S>
inline __attribute__((always_inline)) void fetch_part(const DepthwiseWalk& w,
                                                      const Strip<T, K, S>& strip, const T* next,
                                                      index_t rows, index_t row) {
    constexpr index_t kLine = 64 / index_t{sizeof(T)};
    const index_t column = (strip.left - w.left) / S, lines = rows * row / kLine;
    for (index_t i = lines * column / w.OW; i < lines * (column + strip.count) / w.OW; ++i)
        __builtin_prefetch(next + i * kLine);
}

// R rows of a strip. The rows of the image above `above` and from `below` on, counted from the first that the
// tile reads, are not there. Of the output `room` values may be written, at least the tile's own.
template <typename T, int K, int S, int R, Reach kReach>
inline __attribute__((always_inline)) void depthwise_tile(const Strip<T, K, S>& strip, const T* in,
                                                          index_t in_row, index_t above,
                                                          index_t below, const T* weights,
                                                          index_t weights_h, index_t weights_w,
                                                          Vec<T> bias, Activation activation,
                                                          T* out, index_t out_row, index_t room) {
    using V = Vec<T>;
    constexpr index_t L = V::lanes;
    constexpr int kRows = S * (R - 1) + K;
    V acc[R];
    PYCONV_UNROLL(8)
    for (int i = 0; i < R; ++i) acc[i] = V::zero();
    PYCONV_UNROLL(1)
    for (int c = 0; c < K; ++c, in += S == 1 ? strip.step : 1, weights += weights_w) {
        V factor[K];
        PYCONV_UNROLL(8)
        for (int kh = 0; kh < K; ++kh) factor[kh] = V::broadcast(weights[kh * weights_h]);
        const T* x = in;
        PYCONV_UNROLL(32)
        for (int i = 0; i < kRows; ++i, x += in_row) {
            V pixels = V::zero();
            if ((i >= K - 1 || i >= above) && (i <= S * (R - 1) || i < below)) {
                const auto load = [&](int s) {
                    return kReach == Reach::Inside ? V::load(x + s * L)
                                                   : V::load_lanes(x + s * L, strip.lanes[c][s]);
                };
                pixels = load(0);
                if constexpr (S == 2) pixels = alternate_lanes_by_halves<T, 0>(pixels, load(S - 1));
            }
            PYCONV_UNROLL(8)
            for (int j = 0; j < R; ++j)
                if (i >= S * j && i < S * j + K) acc[j] = fma(factor[i - S * j], pixels, acc[j]);
        }
    }
    PYCONV_UNROLL(8)
    for (int i = 0; i < R; ++i) acc[i] = (S == 2 ? by_halves(acc[i]) : acc[i]) + bias;
    if (activation == Activation::Relu) {
        PYCONV_UNROLL(8)
        for (int i = 0; i < R; ++i) acc[i] = relu_of(acc[i]);
    } else if (activation == Activation::Relu6) {
        PYCONV_UNROLL(8)
        for (int i = 0; i < R; ++i) acc[i] = relu6_of(acc[i]);
    }
    // A vector that is longer than the row goes on into the next one, which is written later.
    PYCONV_UNROLL(8)
    for (int i = 0; i < R - 1; ++i, out += out_row) acc[i].store(out);
    if (room >= (R - 1) * out_row + L) {
        acc[R - 1].store(out);
    } else {
        acc[R - 1].store_part(out, strip.count);
    }
}

// The rows w.first .. w.last of a strip, R at once; of the last ones some are computed twice.
template <typename T, int K, int S, int R, Reach kReach>
inline __attribute__((always_inline)) void depthwise_tiles(const DepthwiseWalk& w,
                                                           const Strip<T, K, S>& strip,
                                                           const T* plane, const T* weights,
                                                           Vec<T> bias, Activation activation,
                                                           T* out, index_t room) {
    const index_t column = (strip.left - w.left) / S;
    for (index_t r = w.first; r < w.last; r += R) {
        const index_t row = r + R <= w.last ? r : w.last - R;
        const index_t top = w.top + row * S, at = row * w.out_row + column;
        depthwise_tile<T, K, S, R, kReach>(strip, plane + top * w.in_row + strip.left, w.in_row,
                                           -top, w.H - top, weights, w.weights_h, w.weights_w, bias,
                                           activation, out + at, w.out_row, room - at);
    }
}

// The same, for taps so few that all stay in registers: row after row of the image, each added to all rows of the
// output that read it, of which the first is then complete.
template <typename T, int K, int S, Reach kReach>
inline __attribute__((always_inline)) void depthwise_rows(const DepthwiseWalk& w,
                                                          const Strip<T, K, S>& strip,
                                                          const T* plane, const T* weights,
                                                          Vec<T> bias, Activation activation,
                                                          T* out, index_t room) {
    using V = Vec<T>;
    constexpr int kMore = (K - 1) / S;  // rows that are begun before one is complete
    V factor[K][K], acc[kMore + 1];
    PYCONV_UNROLL(8)
    for (int kh = 0; kh < K; ++kh) PYCONV_UNROLL(8)
    for (int kw = 0; kw < K; ++kw)
        factor[kh][kw] = V::broadcast(weights[kh * w.weights_h + kw * w.weights_w]);
    PYCONV_UNROLL(8)
    for (int j = 0; j <= kMore; ++j) acc[j] = bias;
    plane += strip.left;
    // Row r of the output, the rows that follow it, and those of the image that r is the first to read. Rows before
    // the first `skipped` are not wanted.
    const auto step = [&](index_t r, auto skipped, auto whole) __attribute__((always_inline)) {
        PYCONV_UNROLL(2)
        for (int s = 0; s < S; ++s) {
            const index_t y = w.top + S * r + K - S + s;
            V pixels[K];
            if (decltype(whole)::value != 0 || (y >= 0 && y < w.H)) {
                load_columns<T, K, S, K, kReach>(strip, 0, plane + y * w.in_row, pixels);
            } else {
                PYCONV_UNROLL(8)
                for (int c = 0; c < K; ++c) pixels[c] = V::zero();
            }
            PYCONV_UNROLL(8)
            for (int c = 0; c < K; ++c) {
                PYCONV_UNROLL(8)
                for (int j = decltype(skipped)::value; j <= kMore; ++j) {
                    const int kh = K - S + s - S * j;
                    if (kh >= 0) acc[j] = fma(factor[kh][c], pixels[c], acc[j]);
                }
            }
        }
    };
    const auto turn = [&] {
        PYCONV_UNROLL(8)
        for (int j = 0; j < kMore; ++j) acc[j] = acc[j + 1];
        acc[kMore] = bias;
    };
    const auto result = [&] {
        V y = S == 2 ? by_halves(acc[0]) : acc[0];
        if (activation == Activation::Relu) y = relu_of(y);
        if (activation == Activation::Relu6) y = relu6_of(y);
        return y;
    };
    if constexpr (kMore == 2) {
        step(w.first - 2, Constant<2>(), Constant<0>());
        turn();
    }
    step(w.first - 1, Constant<1>(), Constant<0>());
    turn();
    index_t r = w.first, at = r * w.out_row + (strip.left - w.left) / S;
    // Where they are there, almost all rows without a question. A vector that is longer than the row goes on into the
    // next one, which is written later.
    const index_t reaching = w.H - w.top - K + S;
    index_t whole_to = reaching / S < w.last - 1 ? reaching / S : w.last - 1;
    if (w.top + S * r + K - S < 0) whole_to = r;
    for (; r < whole_to; ++r, at += w.out_row, turn()) {
        step(r, Constant<0>(), Constant<1>());
        result().store(out + at);
    }
    for (; r < w.last; ++r, at += w.out_row, turn()) {
        step(r, Constant<0>(), Constant<0>());
        if (at + V::lanes <= room) {
            result().store(out + at);
        } else {
            result().store_part(out + at, strip.count);
        }
    }
}

// Values that stand for a row of the image that is not there.
inline constexpr index_t kMissingRow = 1024;
template <typename T>
inline constexpr T missing_row[kMissingRow] = {};

// All strips of R rows before the next R, for planes of many strips: memory is read and written in the order in which
// it lies. (Strip by strip 128 planes of 112 x 112 took 1270 us, and 460 this way; 1024 of 28 x 28 285 us, 240 by
// depthwise_rows() and 285 this way, Zen 3.)
template <typename T, int K, int S, int R>
void depthwise_wide(const DepthwiseWalk& w, const T* plane, const T* weights, Vec<T> bias,
                    Activation activation, T* out) {
    using V = Vec<T>;
    constexpr index_t L = V::lanes;
    constexpr int kRows = S * (R - 1) + K;
    V factor[K][K];
    PYCONV_UNROLL(8)
    for (int kh = 0; kh < K; ++kh) PYCONV_UNROLL(8)
    for (int kw = 0; kw < K; ++kw)
        factor[kh][kw] = V::broadcast(weights[kh * w.weights_h + kw * w.weights_w]);
    // Of the strips only the first and the last two may reach beyond the plane.
    const index_t strips = (w.OW + L - 1) / L;
    const Strip<T, K, S> first(w, 0), second_last(w, (strips - 2) * L), last(w, w.OW - L);
    const index_t inside_from = first.is_inside(w.W) ? 0 : 1;
    const index_t inside_to = strips - (!second_last.is_inside(w.W) ? 2
                                        : !last.is_inside(w.W)      ? 1
                                                                    : 0);
    for (index_t r = w.first; r < w.last; r += R) {
        const index_t row = r + R <= w.last ? r : w.last - R;
        const T* rows[kRows];
        PYCONV_UNROLL(16)
        for (int i = 0; i < kRows; ++i) {
            const index_t y = w.top + row * S + i;
            const T* const pixels = y >= 0 && y < w.H ? plane + y * w.in_row : missing_row<T>;
            rows[i] = pixels + w.left;
        }
        T* const to = out + row * w.out_row;
        const auto add = [&](auto& strip, index_t at, auto inside) __attribute__((always_inline)) {
            V acc[R];
            PYCONV_UNROLL(8)
            for (int j = 0; j < R; ++j) acc[j] = bias;
            PYCONV_UNROLL(16)
            for (int i = 0; i < kRows; ++i) {
                V pixels[K];
                load_columns<T, K, S, K,
                             decltype(inside)::value != 0 ? Reach::Inside : Reach::Beyond>(
                    strip, 0, rows[i] + S * at, pixels);
                PYCONV_UNROLL(8)
                for (int c = 0; c < K; ++c) PYCONV_UNROLL(8)
                for (int j = 0; j < R; ++j)
                    if (i >= S * j && i < S * j + K)
                        acc[j] = fma(factor[i - S * j][c], pixels[c], acc[j]);
            }
            PYCONV_UNROLL(8)
            for (int j = 0; j < R; ++j) {
                V y = S == 2 ? by_halves(acc[j]) : acc[j];
                if (activation == Activation::Relu) y = relu_of(y);
                if (activation == Activation::Relu6) y = relu6_of(y);
                y.store(to + j * w.out_row + at);
            }
        };
        for (index_t v = 0; v < strips; ++v) {
            const bool at_end = v == strips - 1;
            const index_t pixel = at_end ? w.OW - L : v * L;
            if (v >= inside_from && v < inside_to) {
                add(first, pixel, Constant<1>());
            } else {
                const Strip<T, K, S>& strip = v == 0 ? first : at_end ? last : second_last;
                add(strip, pixel, Constant<0>());
            }
        }
    }
}

// One strip of all planes.
template <typename T, int K, int S, int R, Reach kReach>
void depthwise_strip(const DepthwiseWalk& walk, const Strip<T, K, S>& strip, const T* plane,
                     const T* weights, T* out, const Epilogue<T>& e) {
    const DepthwiseWalk w = walk;  // which no store can change
    constexpr index_t kLine = 64 / index_t{sizeof(T)}, kAhead = 4096 / index_t{sizeof(T)};
    const index_t ahead = (kAhead + w.in_plane - 1) / w.in_plane * w.in_plane;
    for (index_t p = 0; p < w.planes; ++p) {
        // Up to the last of the rows that are this call's.
        const index_t room =
            w.last < w.OH || w.dilation > 1 ? w.last * w.out_row : (w.planes - p) * w.out_plane;
        const Vec<T> bias = Vec<T>::broadcast(e.row_bias != nullptr ? e.row_bias[p] : T(0));
        if (w.planes == 1) {
            fetch_part(w, strip, plane + (w.top + (w.last - 1) * S + K) * w.in_row,
                       (w.last - w.first) * S, w.in_row);
        } else if (strip.left == w.left) {
            for (index_t i = 0; i < w.in_plane; i += kLine) __builtin_prefetch(plane + ahead + i);
        }
        if constexpr (R == 0) {
            depthwise_rows<T, K, S, kReach>(w, strip, plane, weights, bias, e.activation, out,
                                            room);
        } else {
            depthwise_tiles<T, K, S, R, kReach>(w, strip, plane, weights, bias, e.activation, out,
                                                room);
        }
        plane += w.in_plane;
        weights += w.weights_plane;
        out += w.out_plane;
    }
}

// The activation that is not part of a store.
template <typename T>
void finish(const DepthwiseWalk& w, T* out, const Epilogue<T>& e) {
    if (e.activation != Activation::Hardswish) return;
    for (index_t p = 0; p < w.planes; ++p) {
        T* const from = out + p * w.out_plane + w.first * w.OW;
        unary<T>(Unary::Hardswish, (w.last - w.first) * w.OW, 0, 0, from, from);
    }
}

template <typename T, int K, int S>
void depthwise_planes(const DepthwiseWalk& w, const T* in, const T* weights, T* out,
                      const Epilogue<T>& e) {
    constexpr index_t L = Vec<T>::lanes;
    const index_t rows = w.last - w.first;
#if !defined(PYCONV_FEW_FORMS)
    if constexpr (K == 3 && !kVectorIsLine) {
        constexpr int kAtOnce = S == 1 ? 4 : 2;
        if (w.OW > 4 * L && rows >= kAtOnce && w.W <= kMissingRow) {
            for (index_t p = 0; p < w.planes; ++p)
                depthwise_wide<T, K, S, kAtOnce>(
                    w, in + p * w.in_plane, weights + p * w.weights_plane,
                    Vec<T>::broadcast(e.row_bias != nullptr ? e.row_bias[p] : T(0)), e.activation,
                    out + p * w.out_plane);
            return finish(w, out, e);
        }
    }
#endif
    // Tiles of 8 or of 7 rows, whichever computes fewer twice: maps of 7, 14, 28 ... rows are common. (Of double
    // precision, 7 are kept, to keep the extension small.)
    [[maybe_unused]] const bool by_seven = (rows + 6) / 7 * 7 < (rows + 7) / 8 * 8;
    for (index_t pixel = 0; pixel < w.OW; pixel += L) {
        const Strip<T, K, S> strip(w, pixel + L <= w.OW || w.OW < L ? pixel : w.OW - L);
        const auto strip_by = [&](auto tile) {
            constexpr int R = decltype(tile)::value;
            const auto run = [&](auto strip_of) { strip_of(w, strip, in, weights, out, e); };
            // Without masks, where they cost anything.
#if !defined(PYCONV_FEW_FORMS)
            if constexpr (!kVectorIsLine) {
                if (strip.is_inside(w.W)) return run(depthwise_strip<T, K, S, R, Reach::Inside>);
                if constexpr (K == 3 && S == 1)
                    if (strip.middle_is_inside(w.W))
                        return run(depthwise_strip<T, K, S, R, Reach::MiddleInside>);
            }
#endif
            run(depthwise_strip<T, K, S, R, Reach::Beyond>);
        };
        if constexpr (K == 3) {
            strip_by(Constant<0>());
#if !defined(PYCONV_FEW_FORMS)
        } else if (rows >= 7) {
            by_seven ? strip_by(Constant<7>()) : strip_by(Constant<sizeof(T) == 4 ? 8 : 7>());
#endif
        } else {
            strip_by(Constant<4>());
        }
    }
    finish(w, out, e);
}

// out[p, r, j] = epilogue(sum over kh, kw of weights[p * weights_plane + kh * weights_h + kw * weights_w] *
//     in[p, top + r * stride + kh, left + j * stride + kw * dilation])
// for the rows first <= r < last, at least four, of w.planes planes; what lies beyond a plane is 0. Rows have at least
// half a vector of pixels. Of the epilogue, row_bias (one value a plane) and activation.
template <typename T>
void depthwise(const DepthwiseWalk& w, const T* in, const T* weights, T* out,
               const Epilogue<T>& e) {
    if (w.stride == 1) {
        if (w.kernel == 3) return depthwise_planes<T, 3, 1>(w, in, weights, out, e);
        return depthwise_planes<T, 5, 1>(w, in, weights, out, e);
    }
    if (w.kernel == 3) return depthwise_planes<T, 3, 2>(w, in, weights, out, e);
    return depthwise_planes<T, 5, 2>(w, in, weights, out, e);
}

}  // namespace pyconv::PYCONV_ISA
