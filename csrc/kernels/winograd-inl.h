// SPDX-License-Identifier: BSD-3-Clause
// The transforms of Winograd's convolution, F(m x m, 3 x 3) for m = 2 and 4. Included once per ISA.
//
// One of its axes, over a tile of n = m + 2 values, is a product of two polynomials, evaluated at n - 1
// points and at infinity (docs/winograd.md derives it):
//
//   forward           y = AT [(G g) * (BT d)]          y: m values, g: 3 weights, d: n values
//   weight gradient   g' = GT [(A y') * (BT d)]
//
// Apart from 0 and infinity the points come in pairs +p, -p, so that every transform splits into an
// even and an odd half which the two of a pair share.
#pragma once

#include "kernels/elementwise-inl.h"
#include "kernels/table.h"
#include "kernels/vec-inl.h"

namespace pyconv::PYCONV_ISA {

// The points of F(m, 3) apart from 0 and infinity: for m = 4 +-1/sqrt(2) and +-sqrt(2), which keep the
// rounding error at half that of +-1 and +-2.
template <int m>
struct Points {
    static constexpr int pairs = m / 2;
    static constexpr double root[] = {m == 2 ? 1.0 : 0.70710678118654752440,
                                      1.41421356237309504880};
    static constexpr double square[] = {m == 2 ? 1.0 : 0.5, 2.0};

    // Coefficient of y^j in the product over the pairs, except `left_out`, of (y - p^2).
    static constexpr double coefficient(int j, int left_out) {
        double c[pairs + 1] = {1};
        int degree = 0;
        for (int q = 0; q < pairs; ++q) {
            if (q == left_out) continue;
            ++degree;
            for (int i = degree; i >= 0; --i)
                c[i] = (i > 0 ? c[i - 1] : 0) - (i < degree ? square[q] * c[i] : 0);
        }
        return c[j];
    }
    // The product of the differences between one point, 0 or a pair's, and all others.
    static constexpr double scale_of_zero() { return coefficient(0, pairs); }
    static constexpr double scale(int pair) {
        double product = 2 * square[pair];
        for (int q = 0; q < pairs; ++q)
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
template <int m>
struct InputTransform {
    static constexpr int in = m + 2, out = m + 2;

    template <typename T>
    static inline __attribute__((always_inline)) void run(const Vec<T> (&d)[in], Vec<T> (&o)[out]) {
        using P = Points<m>;
        constexpr int K = P::pairs;
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

// out = AT in, n values to m.
template <int m>
struct OutputTransform {
    static constexpr int in = m + 2, out = m;

    template <typename T>
    static inline __attribute__((always_inline)) void run(const Vec<T> (&d)[in], Vec<T> (&o)[out]) {
        using P = Points<m>;
        constexpr int K = P::pairs;
        Vec<T> sum[K], difference[K];
        PYCONV_UNROLL(4)
        for (int p = 0; p < K; ++p) {
            sum[p] = d[1 + 2 * p] + d[2 + 2 * p];
            difference[p] = d[1 + 2 * p] - d[2 + 2 * p];
        }
        PYCONV_UNROLL(8)
        for (int j = 0; j < m; ++j) {
            const auto& half = j % 2 ? difference : sum;
            o[j] = product(P::power(0, j), half[0]);
            PYCONV_UNROLL(4)
            for (int p = 1; p < K; ++p) o[j] = plus_product(o[j], P::power(p, j), half[p]);
        }
        o[0] = o[0] + d[0];
        o[m - 1] = o[m - 1] + d[in - 1];
    }
};

// out = A in, m values to n.
template <int m>
struct GradientTransform {
    static constexpr int in = m, out = m + 2;

    template <typename T>
    static inline __attribute__((always_inline)) void run(const Vec<T> (&d)[in], Vec<T> (&o)[out]) {
        using P = Points<m>;
        o[0] = d[0];
        o[out - 1] = d[m - 1];
        PYCONV_UNROLL(4)
        for (int p = 0; p < P::pairs; ++p) {
            Vec<T> even = d[0], odd = d[1];
            PYCONV_UNROLL(4)
            for (int j = 1; j < m / 2; ++j) {
                even = plus_product(even, P::power(p, 2 * j), d[2 * j]);
                odd = plus_product(odd, P::power(p, 2 * j), d[2 * j + 1]);
            }
            o[1 + 2 * p] = plus_product(even, P::root[p], odd);
            o[2 + 2 * p] = plus_product(even, -P::root[p], odd);
        }
    }
};

// out = G in, 3 values to n.
template <int m>
struct WeightTransform {
    static constexpr int in = 3, out = m + 2;

    template <typename T>
    static inline __attribute__((always_inline)) void run(const Vec<T> (&d)[in], Vec<T> (&o)[out]) {
        using P = Points<m>;
        o[0] = product(1 / P::scale_of_zero(), d[0]);
        o[out - 1] = d[2];
        PYCONV_UNROLL(4)
        for (int p = 0; p < P::pairs; ++p) {
            const Vec<T> even = product(1 / P::scale(p), plus_product(d[0], P::square[p], d[2]));
            o[1 + 2 * p] = plus_product(even, P::root[p] / P::scale(p), d[1]);
            o[2 + 2 * p] = plus_product(even, -P::root[p] / P::scale(p), d[1]);
        }
    }
};

// out = GT in, n values to 3.
template <int m>
struct WeightGradientTransform {
    static constexpr int in = m + 2, out = 3;

    template <typename T>
    static inline __attribute__((always_inline)) void run(const Vec<T> (&d)[in], Vec<T> (&o)[out]) {
        using P = Points<m>;
        o[0] = product(1 / P::scale_of_zero(), d[0]);
        o[1] = product(P::root[0] / P::scale(0), d[1] - d[2]);
        o[2] = d[in - 1];
        PYCONV_UNROLL(4)
        for (int p = 0; p < P::pairs; ++p) {
            const Vec<T> sum = d[1 + 2 * p] + d[2 + 2 * p];
            o[0] = plus_product(o[0], 1 / P::scale(p), sum);
            if (p > 0)
                o[1] = plus_product(o[1], P::root[p] / P::scale(p), d[1 + 2 * p] - d[2 + 2 * p]);
            o[2] = plus_product(o[2], P::square[p] / P::scale(p), sum);
        }
    }
};

// S X ST for `count` square matrices X of vectors.
template <typename Transform, typename T>
void transform_both_sides(const WinogradWalk& w, const T* in, T* out, const Epilogue<T>& e) {
    using V = Vec<T>;
    constexpr int I = Transform::in, O = Transform::out;
    const T* residual = e.residual;
    for (index_t t = 0; t < w.count; ++t, in += w.in_next, out += w.out_next) {
        V half[O][I];
        PYCONV_UNROLL(8)
        for (int j = 0; j < I; ++j) {
            V column[I], result[O];
            PYCONV_UNROLL(8)
            for (int i = 0; i < I; ++i) column[i] = V::load(in + i * w.in_row + j * w.in_col);
            Transform::run(column, result);
            PYCONV_UNROLL(8)
            for (int i = 0; i < O; ++i) half[i][j] = result[i];
        }
        PYCONV_UNROLL(8)
        for (int i = 0; i < O; ++i) {
            V result[O];
            Transform::run(half[i], result);
            PYCONV_UNROLL(8)
            for (int j = 0; j < O; ++j) {
                V x = result[j];
                if (e.col_bias != nullptr) x = x + V::load(e.col_bias);
                if (residual != nullptr) x = x + V::load(residual + i * w.out_row + j * w.out_col);
                x = activated(e.activation, x);
                x.store(out + i * w.out_row + j * w.out_col);
            }
        }
        if (residual != nullptr) residual += w.out_next;
    }
}

// Transforms w.count square matrices, of which each element is a vector of channels: see WinogradWalk.
template <typename T>
void winograd(const WinogradWalk& w, const T* in, T* out, const Epilogue<T>& e) {
    const auto run = [&](auto size) {
        constexpr int m = decltype(size)::value;
        switch (w.transform) {
            case Winograd::Input:
                return transform_both_sides<InputTransform<m>>(w, in, out, e);
            case Winograd::Output:
                return transform_both_sides<OutputTransform<m>>(w, in, out, e);
            case Winograd::Gradient:
                return transform_both_sides<GradientTransform<m>>(w, in, out, e);
            case Winograd::Weight:
                return transform_both_sides<WeightTransform<m>>(w, in, out, e);
            case Winograd::WeightGradient:
                return transform_both_sides<WeightGradientTransform<m>>(w, in, out, e);
        }
    };
    w.m == 2 ? run(Constant<2>()) : run(Constant<4>());
}

}  // namespace pyconv::PYCONV_ISA
