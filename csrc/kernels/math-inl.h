// SPDX-License-Identifier: BSD-3-Clause
// Elementary functions of vectors. Included once per ISA.
//
// Each reduces its argument to a small interval and evaluates a polynomial there; no tables, no branches,
// so that every lane takes the same path. NaN stays NaN, infinities and zeros give what the functions
// have there, results below the normal range are subnormal and not flushed. The largest errors, in units
// in the last place, stand in docs/conventions.md; tests/test_elementary.py measures them.
//
// The polynomials are minimax approximations of the *relative* error of the function that uses them,
// computed by Remez's exchange algorithm in 50 digits and then rounded to the type.
#pragma once

#include "kernels/vec-inl.h"

namespace pyconv::PYCONV_ISA {

// The format of T, and the constants that depend on it.
template <typename T>
struct Real;

template <>
struct Real<float> {
    using Word = uint32_t;
    typedef Word Bits __attribute__((vector_size(PYCONV_VECTOR_BYTES)));
    static constexpr int kMantissa = 23;
    static constexpr Word kBias = 127, kSign = 0x80000000u, kUpperHalf = 0xfffff000u;
    static constexpr Word kSqrtHalf = 0x3f3504f3u;  // the bits of sqrt(1/2)
    static constexpr float kSmallestNormal = 0x1p-126f;
    // Adding 1.5 * 2^mantissa leaves the nearest integer in the low bits; OR with 2^mantissa turns a small
    // integer into a float.
    static constexpr float kRound = 0x1.8p23f, kInteger = 0x1p23f;
    // ln 2 in two parts, of which the first times any exponent is exact.
    static constexpr float kLn2High = 0x1.62e4p-1f, kLn2Low = 0x1.7f7d1cp-20f;
    // Beyond these exp is 0 or infinite, exp(x) - 1 is -1, tanh is 1.
    static constexpr float kExpMin = -104, kExpMax = 89, kExpm1Min = -40, kTanhMax = 10;
    // (exp(r) - 1 - r) / r^2 for |r| <= ln(2) / 2: error 2^-32 of exp(r) - 1.
    static constexpr float kExp[] = {0.5f,           0x1.555556p-3f,  0x1.5554acp-5f,
                                     0x1.11108ep-7f, 0x1.6d75dcp-10f, 0x1.a1a2ep-13f};
    // (2 atanh(s) / s - 2) / s^2 in powers of s^2, s = f / (2 + f), sqrt(1/2) - 1 <= f <= sqrt(2) - 1:
    // error 2^-30.
    static constexpr float kLog[] = {0x1.55557ap-1f, 0x1.995e7cp-2f, 0x1.31ea0cp-2f};
    // (tanh(x) / x - 1) / x^2 in powers of x^2 for |x| <= kTanhSmall, where tanh is 1/2: error 2^-29.9.
    static constexpr float kTanhSmall = 0.5493f;
    static constexpr float kTanh[] = {-0x1.55554cp-2f, 0x1.110d42p-3f, -0x1.b92d1ep-5f,
                                      0x1.5962eep-6f, -0x1.9c058ap-8f};
    // Phi(-a) exp(a^2 / 2) (a + shift) in powers of 2 shift / (a + shift) - 1: error 2^-28.6.
    static constexpr float kTailMax = 16, kTailShift = 4.25f;
    static constexpr float kTail[] = {
        0x1.84e44ap-1f, 0x1.401104p-1f,  0x1.ac43d4p-2f,  0x1.c39d6p-3f,    0x1.5d4722p-4f,
        0x1.3d5436p-6f, -0x1.8bd86p-11f, -0x1.1e724ap-9f, -0x1.77263ap-12f, 0x1.e37a42p-13f};
};

template <>
struct Real<double> {
    using Word = uint64_t;
    typedef Word Bits __attribute__((vector_size(PYCONV_VECTOR_BYTES)));
    static constexpr int kMantissa = 52;
    static constexpr Word kBias = 1023, kSign = Word{1} << 63, kUpperHalf = ~Word{0} << 27;
    static constexpr Word kSqrtHalf = 0x3fe6a09e667f3bcdu;
    static constexpr double kSmallestNormal = 0x1p-1022;
    static constexpr double kRound = 0x1.8p52, kInteger = 0x1p52;
    static constexpr double kLn2High = 0x1.62e42fefa3p-1, kLn2Low = 0x1.3de6af278ece6p-42;
    static constexpr double kExpMin = -746, kExpMax = 710, kExpm1Min = -64, kTanhMax = 22;
    // Error 2^-61.
    static constexpr double kExp[] = {0.5,
                                      0x1.5555555555559p-3,
                                      0x1.555555555555ap-5,
                                      0x1.111111110f647p-7,
                                      0x1.6c16c16c143bfp-10,
                                      0x1.a01a01b01392ap-13,
                                      0x1.a01a01b0e4be5p-16,
                                      0x1.71ddf7d28c276p-19,
                                      0x1.27e4c53df4cffp-22,
                                      0x1.af5fb36b6e0ep-26,
                                      0x1.1f95fd71c8a47p-29};
    // Error 2^-59.
    static constexpr double kLog[] = {
        0x1.5555555555593p-1, 0x1.999999997f8a9p-2, 0x1.249249423e3f6p-2, 0x1.c71c51c67b561p-3,
        0x1.74664d73d4adcp-3, 0x1.39a02f265fbd4p-3, 0x1.2f15b95841909p-3};
    // Error 2^-60.
    static constexpr double kTanhSmall = 0.5493;
    static constexpr double kTanh[] = {
        -0x1.555555555554fp-2, 0x1.111111111081ap-3,  -0x1.ba1ba1b984752p-5,  0x1.664f485af959ep-6,
        -0x1.226e2f46708e8p-7, 0x1.d6d2a371ec081p-9,  -0x1.7d9038a9c2083p-10, 0x1.3486ed6c306d3p-11,
        -0x1.e990d85259c9p-13, 0x1.5dd360b43e5c5p-14, -0x1.47fc759e0565fp-16};
    // Error 2^-57.
    static constexpr double kTailMax = 40, kTailShift = 5;
    static constexpr double kTail[] = {
        0x1.89d3abe1f95aep-1,   0x1.54ad03f27ca17p-1,   0x1.fb31653876f9ep-2,
        0x1.410ed5f8759e5p-2,   0x1.51f6329f01226p-3,   0x1.1b1c254c9eb2fp-4,
        0x1.54b4d4f4f6247p-6,   0x1.88590ea2bd31fp-9,   -0x1.a2503817d7936p-11,
        -0x1.1daf1c3ea7f52p-11, -0x1.f2144c284ad54p-15, 0x1.a1707ef0f67b6p-15,
        0x1.17dc935ca288bp-16,  -0x1.0b1ebf81b28bdp-18, -0x1.73a5548d83f3bp-19,
        0x1.685212c42c6d5p-22,  0x1.d0d64f66ea6fbp-22,  -0x1.5fa5384275841p-25,
        -0x1.1b92bf3cf11c5p-24, 0x1.1e9ee9c2d5d4cp-27,  0x1.10ac88b4eb276p-27,
        -0x1.8e2c75178954bp-30, -0x1.46009231e1bb5p-32};
};

template <typename T>
using BitsOf = typename Real<T>::Bits;
template <typename T>
PYCONV_INLINE BitsOf<T> bits_of(Vec<T> x) {
    return reinterpret_cast<BitsOf<T>>(x.v);
}
template <typename T>
PYCONV_INLINE Vec<T> from_bits(BitsOf<T> bits) {
    return {reinterpret_cast<typename Vec<T>::Native>(bits)};
}
template <typename T>
constexpr typename Real<T>::Word word_of(T x) {
    return __builtin_bit_cast(typename Real<T>::Word, x);
}

template <typename T>
PYCONV_INLINE Vec<T> magnitude(Vec<T> x) {
    return from_bits<T>(bits_of(x) & ~Real<T>::kSign);
}
template <typename T>
PYCONV_INLINE Vec<T> minus_magnitude(Vec<T> x) {
    return from_bits<T>(bits_of(x) | Real<T>::kSign);
}
template <typename T>
PYCONV_INLINE Vec<T> with_sign_of(Vec<T> sign, Vec<T> x) {
    return from_bits<T>((bits_of(sign) & Real<T>::kSign) | (bits_of(x) & ~Real<T>::kSign));
}
// NaN stays NaN: in this order of the comparison each is one instruction, min or max.
template <typename T>
PYCONV_INLINE Vec<T> at_most(T limit, Vec<T> x) {
    const auto l = Vec<T>::broadcast(limit);
    return select<T>(l < x, l, x);
}
template <typename T>
PYCONV_INLINE Vec<T> at_least(T limit, Vec<T> x) {
    const auto l = Vec<T>::broadcast(limit);
    return select<T>(l > x, l, x);
}

// c[0] + c[1] x + ... in pairs, pairs of pairs and so on (Estrin's scheme): a chain of log2(N) steps, where
// Horner's rule makes one of N, which no other work fills.
template <typename T, int N>
struct Powers {
    Vec<T> of[N];  // x, x^2, x^4, ...
};
template <typename T, int Count, int K>
PYCONV_INLINE Vec<T> estrin(const T* c, const Powers<T, K>& powers) {
    if constexpr (Count == 1) {
        return Vec<T>::broadcast(c[0]);
    } else {
        constexpr int level = Count > 16 ? 4 : Count > 8 ? 3 : Count > 4 ? 2 : Count > 2 ? 1 : 0;
        constexpr int low = 1 << level;
        return fma(estrin<T, Count - low, K>(c + low, powers), powers.of[level],
                   estrin<T, low, K>(c, powers));
    }
}
template <typename T, int N>
PYCONV_INLINE Vec<T> polynomial(const T (&c)[N], Vec<T> x) {
    static_assert(N <= 32);
    constexpr int kLevels = N > 16 ? 5 : N > 8 ? 4 : N > 4 ? 3 : N > 2 ? 2 : 1;
    Powers<T, kLevels> powers;
    powers.of[0] = x;
    for (int i = 1; i < kLevels; ++i) powers.of[i] = powers.of[i - 1] * powers.of[i - 1];
    return estrin<T, N, kLevels>(c, powers);
}

// x = n ln(2) + r for an integer n, and exp(x) = (1 + fraction) 2^n with fraction = exp(r) - 1.
template <typename T>
struct ExpParts {
    Vec<T> r;
    BitsOf<T> biased;  // n + bias + Offset in its low bits, with others above them

    // The exponent of 2^(n + Offset) comes out of the rounding: the number that is added for it ends in
    // the bits of the bias.
    template <int Offset>
    static PYCONV_INLINE ExpParts of(Vec<T> x) {
        using R = Real<T>;
        using V = Vec<T>;
        const V rounder = V::broadcast(R::kRound + static_cast<T>(int{R::kBias} + Offset));
        const V shifted = fma(x, V::broadcast(static_cast<T>(1.4426950408889634074)), rounder);
        const V n = shifted - rounder;
        const V r = fma(n, V::broadcast(-R::kLn2High), x);
        return {fma(n, V::broadcast(-R::kLn2Low), r), bits_of(shifted)};
    }
    PYCONV_INLINE Vec<T> fraction() const { return fma(r * r, polynomial(Real<T>::kExp, r), r); }
    // 2^(n + Offset), which must be a normal number.
    PYCONV_INLINE Vec<T> power() const { return from_bits<T>(biased << Real<T>::kMantissa); }
};

// What keeps 2^(n + offset) a normal number down to the smallest result.
inline constexpr int kSmallOffset = 64;

// exp(x + tail) for x <= 0, or NaN, and a tail that is small beside 1.
template <typename T, typename... Tail>
PYCONV_INLINE Vec<T> exp_of_negative(Vec<T> x, Tail... tail) {
    auto parts = ExpParts<T>::template of<kSmallOffset>(at_least(Real<T>::kExpMin, x));
    ((parts.r = parts.r + tail), ...);
    const Vec<T> power = parts.power();
    // The second factor rounds, once, what is below the normal range.
    return fma(parts.fraction(), power, power) * Vec<T>::broadcast(static_cast<T>(0x1p-64));
}

template <typename T>
PYCONV_INLINE Vec<T> exp(Vec<T> x) {
    using R = Real<T>;
    const auto parts =
        ExpParts<T>::template of<R::kBias>(at_most(R::kExpMax, at_least(R::kExpMin, x)));
    // In two steps, each a normal number: 2^n itself may be too small, or too large.
    const BitsOf<T> twice = parts.biased - word_of(R::kRound);
    const BitsOf<T> half = twice >> 1;
    const auto first = from_bits<T>(half << R::kMantissa);
    const auto second = from_bits<T>((twice - half) << R::kMantissa);
    return fma(parts.fraction(), first, first) * second;
}

// exp(x) - 1 for x <= 0, or NaN.
template <typename T>
PYCONV_INLINE Vec<T> expm1_of_negative(Vec<T> x) {
    const auto parts = ExpParts<T>::template of<0>(at_least(Real<T>::kExpm1Min, x));
    const Vec<T> power = parts.power();
    return with_sign_of(x, fma(parts.fraction(), power, power - Vec<T>::broadcast(1)));
}

// n ln(2) + log(1 + f), as 2 atanh(s) with s = f / (2 + f), which is f - s (f - R) for
// R = 2 atanh(s) / s - 2; written so that f, which is exact, comes last (the arrangement of fdlibm's log).
template <typename T>
PYCONV_INLINE Vec<T> log_of_parts(Vec<T> n, Vec<T> f) {
    using R = Real<T>;
    using V = Vec<T>;
    const V s = f / (f + V::broadcast(2)), z = s * s;
    const V half_square = V::broadcast(static_cast<T>(0.5)) * f * f;
    const V rest =
        fma(s, fma(z, polynomial(R::kLog, z), half_square), n * V::broadcast(R::kLn2Low));
    return n * V::broadcast(R::kLn2High) - ((half_square - rest) - f);
}

template <typename T>
PYCONV_INLINE Vec<T> log(Vec<T> x) {
    using R = Real<T>;
    using V = Vec<T>;
    const auto small = x < V::broadcast(R::kSmallestNormal);
    constexpr int kUp = R::kMantissa + 2;
    constexpr T kScale = static_cast<T>(index_t{1} << kUp);
    const auto bits = bits_of(select<T>(small, x * V::broadcast(kScale), x));
    // x = m * 2^n with sqrt(1/2) <= m < sqrt(2).
    const auto biased = (bits - (R::kSqrtHalf - (R::kBias << R::kMantissa))) >> R::kMantissa;
    const V m = from_bits<T>(bits - (biased << R::kMantissa) + (R::kBias << R::kMantissa));
    const V offset = select<T>(small, V::broadcast(R::kInteger + R::kBias + kUp),
                               V::broadcast(R::kInteger + R::kBias));
    const V n = from_bits<T>(biased | word_of(R::kInteger)) - offset;
    const V result = log_of_parts(n, m - V::broadcast(1));
    const auto infinity = V::broadcast(static_cast<T>(__builtin_inf()));
    const V of_negative = V::broadcast(static_cast<T>(__builtin_nan("")));
    const V otherwise = select<T>(x == V::zero(), V::zero() - infinity, of_negative);
    return select<T>(x > V::zero(), select<T>(x == infinity, x, result), otherwise);
}

// log(1 + x) for 0 <= x <= 1, or NaN.
template <typename T>
PYCONV_INLINE Vec<T> log1p_of_fraction(Vec<T> x) {
    using V = Vec<T>;
    const auto one = V::broadcast(1);
    const auto large = x > V::broadcast(static_cast<T>(0.41421356237309504880));
    // 1 + x = 2 (1 + (x - 1) / 2)
    const V f = select<T>(large, (x - one) * V::broadcast(static_cast<T>(0.5)), x);
    return log_of_parts(select<T>(large, one, V::zero()), f);
}

// A polynomial where tanh is below 1/2, else 1 - 2 / (exp(2 |x|) + 1).
template <typename T>
PYCONV_INLINE Vec<T> tanh(Vec<T> x) {
    using R = Real<T>;
    using V = Vec<T>;
    const V a = at_most(R::kTanhMax, magnitude(x)), one = V::broadcast(1);
    const auto parts = ExpParts<T>::template of<0>(a + a);
    const V power = parts.power(), e = fma(parts.fraction(), power, power);
    const V large = one - V::broadcast(2) / (e + one);
    const V square = x * x, small = fma(x * square, polynomial(R::kTanh, square), x);
    return with_sign_of(x, select<T>(a > V::broadcast(R::kTanhSmall), large, small));
}

// 1 / (1 + exp(-x)), with the exponential of a negative number on either side.
template <typename T>
PYCONV_INLINE Vec<T> sigmoid(Vec<T> x) {
    const Vec<T> e = exp_of_negative(minus_magnitude(x)), one = Vec<T>::broadcast(1);
    return select<T>(x > Vec<T>::zero(), one, e) / (one + e);
}

// x^2 - square, for square = x * x rounded.
template <typename T>
PYCONV_INLINE Vec<T> square_error(Vec<T> x, Vec<T> square) {
    if constexpr (kFusedMultiplyAdd) return fma(x, x, Vec<T>::zero() - square);
    // Products of halves of the mantissa are exact (T. J. Dekker, "A floating-point technique for
    // extending the available precision", 1971).
    const auto high = from_bits<T>(bits_of(x) & Real<T>::kUpperHalf), low = x - high;
    const auto cross = high * low;
    return ((high * high - square) + (cross + cross)) + low * low;
}

// Distribution and density of the standard normal law at x: Phi(x) = (1 + erf(x / sqrt(2))) / 2, whose
// lower tail keeps its relative accuracy, where 1 + erf would cancel.
template <typename T>
struct Normal {
    Vec<T> distribution, density;

    PYCONV_INLINE explicit Normal(Vec<T> x) {
        using R = Real<T>;
        using V = Vec<T>;
        const V a = at_most(R::kTailMax, magnitude(x));
        const V square = a * a, half = V::broadcast(static_cast<T>(-0.5)), one = V::broadcast(1);
        // The rounding of a * a alone would count a^2 / 2 times in the result.
        const V e = exp_of_negative(square * half, square_error(a, square) * half);
        const V w = one / (a + V::broadcast(R::kTailShift));
        const V u = fma(w, V::broadcast(2 * R::kTailShift), V::zero() - one);
        const V tail = e * (w * polynomial(R::kTail, u));
        distribution = select<T>(x > V::zero(), one - tail, tail);
        density = e * V::broadcast(static_cast<T>(0.39894228040143267794));
    }
};

}  // namespace pyconv::PYCONV_ISA
