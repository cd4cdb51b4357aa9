// SPDX-License-Identifier: BSD-3-Clause
// Maps of one and of two arrays: activations, their gradients, sums and products. Included once per ISA.
//
// One kernel for all functions of one array and one for those of two: which of them is chosen once a
// call. What the parameters a and b mean stands at each.
#pragma once

#include "kernels/elementwise-inl.h"
#include "kernels/math-inl.h"

namespace pyconv::PYCONV_ISA {

// x relu6(x + 3) / 6
template <typename T>
PYCONV_INLINE Vec<T> hardswish_of(Vec<T> x) {
    const Vec<T> sixth = Vec<T>::broadcast(static_cast<T>(1.0 / 6.0));
    return x * (relu6_of(x + Vec<T>::broadcast(3)) * sixth);
}

// The argument of sigmoid in x sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3)), which is
// x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2.
template <typename T>
struct GeluTanh {
    static constexpr T kLinear = static_cast<T>(1.59576912160573071175);
    static constexpr T kCubic = static_cast<T>(0.044715 * 1.59576912160573071175);
    static Vec<T> argument(Vec<T> x) {
        return x * fma(x * x, Vec<T>::broadcast(kCubic), Vec<T>::broadcast(kLinear));
    }
    static Vec<T> derivative(Vec<T> x) {
        return fma(x * x, Vec<T>::broadcast(3 * kCubic), Vec<T>::broadcast(kLinear));
    }
};

// The constants of self-normalising networks (Klambauer et al., 2017).
inline constexpr double kSeluScale = 1.0507009873554804934193349852946;
inline constexpr double kSeluAlpha = 1.6732632423543772848170429916717;

template <typename T>
void unary(Unary function, index_t n, T a, T b, const T* in, T* out) {
    using V = Vec<T>;
    const V zero = V::zero(), one = V::broadcast(1), va = V::broadcast(a), vb = V::broadcast(b);
    const V three = V::broadcast(3), sixth = V::broadcast(static_cast<T>(1.0 / 6.0));
    const auto apply = [=](auto f) { map<T>(n, out, f, in); };
    switch (function) {
        case Unary::Relu:
            return apply([](V x) { return relu_of(x); });
        case Unary::LeakyRelu:  // a: the slope
            return apply([=](V x) { return select<T>(x > zero, x, x * va); });
        case Unary::Relu6:
            return apply([](V x) { return relu6_of(x); });
        case Unary::Hardsigmoid:
            return apply([=](V x) { return relu6_of(x + three) * sixth; });
        case Unary::Hardswish:
            return apply([](V x) { return hardswish_of(x); });
        case Unary::Elu:  // a (exp(x) - 1) where x <= 0, b x elsewhere
            return apply(
                [=](V x) { return select<T>(x > zero, x * vb, expm1_of_negative(x) * va); });
        case Unary::Sigmoid:
            return apply([](V x) { return sigmoid(x); });
        case Unary::Silu:
            return apply([](V x) { return x * sigmoid(x); });
        case Unary::Tanh:
            return apply([](V x) { return tanh(x); });
        case Unary::Gelu:
            return apply([](V x) { return x * Normal<T>(x).distribution; });
        case Unary::GeluTanh:
            return apply([](V x) { return x * sigmoid(GeluTanh<T>::argument(x)); });
        case Unary::Softplus: {  // log(1 + exp(a x)) / a, x where a x > b
            const V inverse = one / va;
            return apply([=](V x) {
                const V z = x * va;
                const V rest = log1p_of_fraction(exp_of_negative(minus_magnitude(z)));
                return select<T>(z > vb, x, (select<T>(z > zero, z, zero) + rest) * inverse);
            });
        }
        case Unary::Exp:
            return apply([](V x) { return exp(x); });
        case Unary::Expm1OfNegative:
            return apply([](V x) { return expm1_of_negative(x); });
        case Unary::Log:
            return apply([](V x) { return log(x); });
        case Unary::Log1pOfFraction:
            return apply([](V x) { return log1p_of_fraction(x); });
        case Unary::NormalDistribution:
            return apply([](V x) { return Normal<T>(x).distribution; });
    }
}

// g is the gradient with respect to the result, y the result, x the argument.
template <typename T>
void binary(Binary function, index_t n, T a, T b, const T* first, const T* second, T* out) {
    using V = Vec<T>;
    const V zero = V::zero(), one = V::broadcast(1), va = V::broadcast(a), vb = V::broadcast(b);
    const V three = V::broadcast(3), minus_three = V::broadcast(-3), six = V::broadcast(6);
    const auto apply = [=](auto f) { map<T>(n, out, f, first, second); };
    switch (function) {
        case Binary::Add:
            return apply([](V x, V y) { return x + y; });
        case Binary::AddRelu:
            return apply([](V x, V y) { return relu_of(x + y); });
        case Binary::Multiply:
            return apply([](V x, V y) { return x * y; });
        case Binary::ReluBackward:  // g where not (y <= 0)
            return apply([=](V g, V y) { return select<T>(y <= zero, zero, g); });
        case Binary::LeakyReluBackward:  // a: the slope
            return apply([=](V g, V x) { return select<T>(x > zero, g, g * va); });
        case Binary::Relu6Backward:
            return apply([=](V g, V y) { return select<T>((y <= zero) | (y >= six), zero, g); });
        case Binary::HardsigmoidBackward: {
            const V sixth = V::broadcast(static_cast<T>(1.0 / 6.0));
            return apply([=](V g, V x) {
                return select<T>((x <= minus_three) | (x >= three), zero, g * sixth);
            });
        }
        case Binary::HardswishBackward: {
            const V third = V::broadcast(static_cast<T>(1.0 / 3.0));
            const V half = V::broadcast(static_cast<T>(0.5));
            return apply([=](V g, V x) {
                const V inside = g * fma(x, third, half);
                return select<T>(x <= minus_three, zero, select<T>(x >= three, g, inside));
            });
        }
        case Binary::EluBackward:  // a and b as in Elu
            return apply([=](V g, V x) { return g * select<T>(x > zero, vb, exp(x) * va); });
        case Binary::SigmoidBackward:
            return apply([=](V g, V y) { return g * (y * (one - y)); });
        case Binary::SiluBackward:
            return apply([=](V g, V x) {
                const V s = sigmoid(x);
                return g * fma(x, s * (one - s), s);
            });
        case Binary::TanhBackward:  // 1 - y^2, factored so that it does not cancel near +-1
            return apply([=](V g, V y) { return g * ((one - y) * (one + y)); });
        case Binary::GeluBackward:
            return apply([](V g, V x) {
                const Normal<T> normal(x);
                return g * fma(x, normal.density, normal.distribution);
            });
        case Binary::GeluTanhBackward:
            return apply([=](V g, V x) {
                const V s = sigmoid(GeluTanh<T>::argument(x));
                const V slope = s * (one - s) * GeluTanh<T>::derivative(x);
                return g * fma(x, slope, s);
            });
        case Binary::SoftplusBackward:  // a and b as in Softplus
            return apply([=](V g, V x) {
                const V z = x * va;
                return select<T>(z > vb, g, g * sigmoid(z));
            });
    }
}

// Dropout: mask = factor where draws >= p, else 0, and out = in * mask. `mask` may be `draws`.
template <typename T>
void dropout(index_t n, T p, T factor, const T* draws, const T* in, T* mask, T* out) {
    using V = Vec<T>;
    const V zero = V::zero(), vp = V::broadcast(p), vf = V::broadcast(factor);
    map<T>(n, mask, [=](V draw) { return select<T>(draw >= vp, vf, zero); }, draws);
    map<T>(n, out, [](V x, V m) { return x * m; }, in, mask);
}

}  // namespace pyconv::PYCONV_ISA
