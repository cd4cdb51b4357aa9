// SPDX-License-Identifier: BSD-3-Clause
// The transforms of Winograd's convolution. Included once per ISA.
//
// At stride 1 one of its axes, over a tile of n = m + r - 1 values, is a product of two polynomials, evaluated at n - 1
// points and at infinity (docs/winograd.md derives it):
//
//   forward           y = AT [(G g) * (BT d)]          y: m values, g: r weights, d: n values
//   weight gradient   g' = GT [(A y') * (BT d)]
//
// Apart from 0 and infinity the points come in pairs +p, -p, so that every transform splits into an
// even and an odd half which the two of a pair share. The forms for stride 2 stand below.
#pragma once

#include "kernels/elementwise-inl.h"
#include "kernels/table.h"
#include "kernels/vec-inl.h"
#include "kernels/winograd_form.h"

namespace pyconv::PYCONV_ISA {

// 0, infinity and `kPairs` pairs of points: +-1, or +-1/sqrt(2) and +-sqrt(2), which keep the rounding error at
// half that of +-1 and +-2.
template <int kPairs>
struct Points {
    static constexpr double root[] = {kPairs == 1 ? 1.0 : 0.70710678118654752440,
                                      1.41421356237309504880};
    static constexpr double square[] = {kPairs == 1 ? 1.0 : 0.5, 2.0};

    // Coefficient of y^j in the product over the pairs, except `left_out`, of (y - p^2).
    static constexpr double coefficient(int j, int left_out) {
        double c[kPairs + 1] = {1};
        int degree = 0;
        for (int q = 0; q < kPairs; ++q) {
            if (q == left_out) continue;
            ++degree;
            for (int i = degree; i >= 0; --i)
                c[i] = (i > 0 ? c[i - 1] : 0) - (i < degree ? square[q] * c[i] : 0);
        }
        return c[j];
    }
    // The product of the differences between one point, 0 or a pair's, and all others.
    static constexpr double scale_of_zero() { return coefficient(0, kPairs); }
    static constexpr double scale(int pair) {
        double product = 2 * square[pair];
        for (int q = 0; q < kPairs; ++q)
            if (q != pair) product *= square[pair] - square[q];
        return product;
    }
    static constexpr double power(int pair, int exponent) {
        double x = exponent % 2 ? root[pair] : 1;
        for (int i = 0; i < exponent / 2; ++i) x *= square[pair];
        return x;
    }
};

// sum + factor * x for a factor that is known when compiling, without a product by 0 or 1.
template <typename T>
inline __attribute__((always_inline)) Vec<T> plus_product(Vec<T> sum, double factor, Vec<T> x) {
    if (factor == 0) return sum;
    if (factor == 1) return sum + x;
    if (factor == -1) return sum - x;
    return fma(Vec<T>::broadcast(static_cast<T>(factor)), x, sum);
}
template <typename T>
inline __attribute__((always_inline)) Vec<T> product(double factor, Vec<T> x) {
    return factor == 1 ? x : x * Vec<T>::broadcast(static_cast<T>(factor));
}

// out = BT in, n values to n.
template <int kPairs>
struct InputTransform {
    static constexpr int in = 2 * kPairs + 2, out = in;

    template <typename T>
    static inline __attribute__((always_inline)) void run(const Vec<T> (&d)[in], Vec<T> (&o)[out]) {
        using P = Points<kPairs>;
        constexpr int K = kPairs;
        o[0] = product(P::coefficient(0, K), d[0]);
        o[out - 1] = product(P::coefficient(0, K), d[1]);
        PYCONV_UNROLL(4)
        for (int j = 1; j <= K; ++j) {
            o[0] = plus_product(o[0], P::coefficient(j, K), d[2 * j]);
            o[out - 1] = plus_product(o[out - 1], P::coefficient(j, K), d[2 * j + 1]);
        }
        PYCONV_UNROLL(4)
        for (int p = 0; p < K; ++p) {
            Vec<T> even = d[2 * K], odd = d[2 * K - 1];
            PYCONV_UNROLL(4)
            for (int j = 0; j < K - 1; ++j) {
                even = plus_product(even, P::coefficient(j, p), d[2 * j + 2]);
                odd = plus_product(odd, P::coefficient(j, p), d[2 * j + 1]);
            }
            o[1 + 2 * p] = plus_product(even, P::root[p], odd);
            o[2 + 2 * p] = plus_product(even, -P::root[p], odd);
        }
    }
};

// Two transforms are one: out[j] = the sum over the points of p^j in[p], for kOut values of j, where infinity
// counts for the last one alone. AT as it is; GT with every value of `in` over the scale of its point.
template <int kPairs, int kOut, bool kScaled>
struct SumOfPowers {
    static constexpr int in = 2 * kPairs + 2, out = kOut;

    template <typename T>
    static inline __attribute__((always_inline)) void run(const Vec<T> (&d)[in], Vec<T> (&o)[out]) {
        using P = Points<kPairs>;
        const auto factor = [](int p, int j) {
            return P::power(p, j) / (kScaled ? P::scale(p) : 1);
        };
        Vec<T> sum[kPairs], difference[kPairs];
        PYCONV_UNROLL(4)
        for (int p = 0; p < kPairs; ++p) {
            sum[p] = d[1 + 2 * p] + d[2 + 2 * p];
            difference[p] = d[1 + 2 * p] - d[2 + 2 * p];
        }
        PYCONV_UNROLL(8)
        for (int j = 0; j < kOut; ++j) {
            const auto& half = j % 2 ? difference : sum;
            o[j] = product(factor(0, j), half[0]);
            PYCONV_UNROLL(4)
            for (int p = 1; p < kPairs; ++p) o[j] = plus_product(o[j], factor(p, j), half[p]);
        }
        o[0] = plus_product(o[0], kScaled ? 1 / P::scale_of_zero() : 1, d[0]);
        o[kOut - 1] = o[kOut - 1] + d[in - 1];
    }
};

// And so are their transposes: the values at the points of the polynomial with coefficients `in`. A as it is; G
// over the scale of each point.
template <int kPairs, int kIn, bool kScaled>
struct ValuesAtPoints {
    static constexpr int in = kIn, out = 2 * kPairs + 2;

    template <typename T>
    static inline __attribute__((always_inline)) void run(const Vec<T> (&d)[in], Vec<T> (&o)[out]) {
        using P = Points<kPairs>;
        o[0] = product(kScaled ? 1 / P::scale_of_zero() : 1, d[0]);
        o[out - 1] = d[kIn - 1];
        PYCONV_UNROLL(4)
        for (int p = 0; p < kPairs; ++p) {
            Vec<T> even = d[0], odd = d[1];
            PYCONV_UNROLL(4)
            for (int j = 2; j < kIn; ++j) {
                Vec<T>& half = j % 2 ? odd : even;
                half = plus_product(half, P::power(p, j / 2 * 2), d[j]);
            }
            const double scale = kScaled ? P::scale(p) : 1;
            even = product(1 / scale, even);
            o[1 + 2 * p] = plus_product(even, P::root[p] / scale, odd);
            o[2 + 2 * p] = plus_product(even, -P::root[p] / scale, odd);
        }
    }
};

// F(kTile x kTile, kTaps x kTaps).
template <int kTile, int kTaps>
struct Stride1Form {
    static constexpr int kPairs = (kTile + kTaps - 3) / 2;
    static_assert((kTile + kTaps) % 2 == 1 && kPairs <= 2,
                  "points come in pairs, of which there are two");
    using Input = InputTransform<kPairs>;
    using Output = SumOfPowers<kPairs, kTile, false>;
    using Gradient = ValuesAtPoints<kPairs, kTile, false>;
    using Weight = ValuesAtPoints<kPairs, kTaps, true>;
    using WeightGradient = SumOfPowers<kPairs, kTaps, true>;
};

// With stride 2 the even pixels meet the first and the last of three taps, as in F(2, 2) with the points 0, 1 and
// infinity, and the odd ones that in the middle:
//
//   y0 = (d0 - d2) g0 + d2 (g0 + g2) + d1 g1        y1 = d2 (g0 + g2) + (d4 - d2) g2 + d3 g1
//
// What is multiplied with g1 is added to the sums of the first and of the last point.
struct Stride2Form {
    struct Input {
        static constexpr int in = 5, out = 5;
        template <typename V>
        static inline __attribute__((always_inline)) void run(const V (&d)[in], V (&o)[out]) {
            o[0] = d[0] - d[2];
            o[1] = d[2];
            o[2] = d[4] - d[2];
            o[3] = d[1];
            o[4] = d[3];
        }
    };
    struct Output {
        static constexpr int in = 3, out = 2;
        template <typename V>
        static inline __attribute__((always_inline)) void run(const V (&d)[in], V (&o)[out]) {
            o[0] = d[0] + d[1];
            o[1] = d[2] + d[1];
        }
    };
    struct Gradient {
        static constexpr int in = 2, out = 3;
        template <typename V>
        static inline __attribute__((always_inline)) void run(const V (&d)[in], V (&o)[out]) {
            o[0] = d[0];
            o[1] = d[0] + d[1];
            o[2] = d[1];
        }
    };
    struct Weight {
        static constexpr int in = 3, out = 4;
        template <typename V>
        static inline __attribute__((always_inline)) void run(const V (&d)[in], V (&o)[out]) {
            o[0] = d[0];
            o[1] = d[0] + d[2];
            o[2] = d[2];
            o[3] = d[1];
        }
    };
    struct WeightGradient {
        static constexpr int in = 4, out = 3;
        template <typename V>
        static inline __attribute__((always_inline)) void run(const V (&d)[in], V (&o)[out]) {
            o[0] = d[0] + d[1];
            o[1] = d[3];
            o[2] = d[2] + d[1];
        }
    };
};

// Its input gradient, where d is grad_output and every second pixel meets one tap:
//
//   x0 = (d0 - d1) g0 + d1 (g0 + g2)    x1 = d1 g1    x2 = d1 (g0 + g2) + (d2 - d1) g2    x3 = d2 g1
struct Stride2GradientForm {
    struct Input {
        static constexpr int in = 3, out = 4;
        template <typename V>
        static inline __attribute__((always_inline)) void run(const V (&d)[in], V (&o)[out]) {
            o[0] = d[0] - d[1];
            o[1] = d[1];
            o[2] = d[2] - d[1];
            o[3] = d[2];
        }
    };
    struct Output {
        static constexpr int in = 5, out = 4;
        template <typename V>
        static inline __attribute__((always_inline)) void run(const V (&d)[in], V (&o)[out]) {
            o[0] = d[0] + d[1];
            o[1] = d[3];
            o[2] = d[2] + d[1];
            o[3] = d[4];
        }
    };
    using Weight = Stride2Form::Weight;
};

// S X ST for `count` square matrices X of vectors, and the epilogue. Half of the result does not fit in registers in any
// case, so that only the inner loops are unrolled.
template <typename Transform, bool kEpilogue, typename T>
void transform_both_sides(const WinogradWalk& w, const T* in, T* out, const Epilogue<T>& e) {
    using V = Vec<T>;
    constexpr int I = Transform::in, O = Transform::out;
    const T* residual = e.residual;
    for (index_t t = 0; t < w.count; ++t, in += w.in_next, out += w.out_next) {
        V half[O][I];
        PYCONV_UNROLL(1)
        for (int j = 0; j < I; ++j) {
            V column[I], result[O];
            PYCONV_UNROLL(8)
            for (int i = 0; i < I; ++i) column[i] = V::load(in + i * w.in_row + j * w.in_col);
            Transform::run(column, result);
            PYCONV_UNROLL(8)
            for (int i = 0; i < O; ++i) half[i][j] = result[i];
        }
        PYCONV_UNROLL(1)
        for (int i = 0; i < O; ++i) {
            V result[O];
            Transform::run(half[i], result);
            PYCONV_UNROLL(8)
            for (int j = 0; j < O; ++j) {
                V x = result[j];
                if constexpr (kEpilogue) {
                    if (e.col_bias != nullptr) x = x + V::load(e.col_bias);
                    if (residual != nullptr)
                        x = x + V::load(residual + i * w.out_row + j * w.out_col);
                    x = activated(e.activation, x);
                }
                x.store(out + i * w.out_row + j * w.out_col);
            }
        }
        if (residual != nullptr) residual += w.out_next;
    }
}

template <typename Form, winograd::Form kForm, typename T>
void transform_by(const WinogradWalk& w, const T* in, T* out, const Epilogue<T>& e) {
    static_assert(Form::Input::in == kForm.size && Form::Input::out == kForm.v);
    static_assert(Form::Weight::in == kForm.taps && Form::Weight::out == kForm.u);
    static_assert(Form::Output::in == kForm.m && Form::Output::out == kForm.tile);
    switch (w.transform) {
        case Winograd::Input:
            return transform_both_sides<typename Form::Input, false>(w, in, out, e);
        case Winograd::Output:
            return transform_both_sides<typename Form::Output, true>(w, in, out, e);
        case Winograd::Weight:
            return transform_both_sides<typename Form::Weight, false>(w, in, out, e);
        case Winograd::Gradient:
            if constexpr (requires { typename Form::Gradient; })
                return transform_both_sides<typename Form::Gradient, false>(w, in, out, e);
            break;
        case Winograd::WeightGradient:
            if constexpr (requires { typename Form::WeightGradient; })
                return transform_both_sides<typename Form::WeightGradient, false>(w, in, out, e);
            break;
    }
}

// Transforms w.count square matrices, of which each element is a vector of channels: see WinogradWalk.
template <typename T>
void winograd(const WinogradWalk& w, const T* in, T* out, const Epilogue<T>& e) {
    using namespace pyconv::winograd;
    switch (w.form) {
        case WinogradForm::Tile2Taps3:
            return transform_by<Stride1Form<2, 3>, kTile2Taps3>(w, in, out, e);
        case WinogradForm::Tile4Taps3:
            return transform_by<Stride1Form<4, 3>, kTile4Taps3>(w, in, out, e);
        case WinogradForm::Tile2Taps5:
            return transform_by<Stride1Form<2, 5>, kTile2Taps5>(w, in, out, e);
        case WinogradForm::Stride2:
            return transform_by<Stride2Form, kStride2>(w, in, out, e);
        case WinogradForm::Stride2Gradient:
            return transform_by<Stride2GradientForm, kStride2Gradient>(w, in, out, e);
    }
}

}  // namespace pyconv::PYCONV_ISA
