// SPDX-License-Identifier: BSD-3-Clause
// Vec<T>: one vector register of the instruction set that is being compiled. Included once per ISA.
//
// A thin cover over GCC/Clang vector extensions: arithmetic, comparison and selection come from the
// compiler, which lowers a vector wider than the machine's to several registers. Only the fused
// multiply-add needs an intrinsic, since -ffp-contract=off keeps the compiler from making one of
// a * b + c on its own.
#pragma once

#include "base/types.h"

#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

namespace pyconv::PYCONV_ISA {

template <typename T>
struct LaneInt;
template <>
struct LaneInt<float> {
    using type = int32_t;
};
template <>
struct LaneInt<double> {
    using type = int64_t;
};

template <typename T>
struct Vec {
    static constexpr index_t lanes = PYCONV_VECTOR_BYTES / index_t{sizeof(T)};
    typedef T Native __attribute__((vector_size(PYCONV_VECTOR_BYTES)));
    typedef T Unaligned
        __attribute__((vector_size(PYCONV_VECTOR_BYTES), aligned(sizeof(T)), may_alias));
    // What a comparison gives: all ones or all zeros in each lane.
    typedef typename LaneInt<T>::type Mask __attribute__((vector_size(PYCONV_VECTOR_BYTES)));

    Native v;

    static Vec zero() { return {Native{}}; }
    static Vec broadcast(T x) { return {x - Native{}}; }
    static Vec load(const T* p) { return {*reinterpret_cast<const Unaligned*>(p)}; }
    void store(T* p) const { *reinterpret_cast<Unaligned*>(p) = v; }

    // The lanes where mask is set; 0 elsewhere, and memory there is not touched.
    static Vec load_masked(const T* p, Mask mask);

    // All ones in lanes 0 .. count - 1.
    static Mask first_lanes(index_t count) {
        Mask lane;
        for (index_t l = 0; l < lanes; ++l) lane[l] = static_cast<typename LaneInt<T>::type>(l);
        return lane < Mask{} + static_cast<typename LaneInt<T>::type>(count);
    }

    // The first `count` lanes; the others are 0, and memory beyond is not touched.
    static Vec load_part(const T* p, index_t count) {
        Vec x = zero();
        for (index_t l = 0; l < count; ++l) x.v[l] = p[l];
        return x;
    }
    void store_part(T* p, index_t count) const {
        for (index_t l = 0; l < count; ++l) p[l] = v[l];
    }

    friend Vec operator+(Vec a, Vec b) { return {a.v + b.v}; }
    friend Vec operator-(Vec a, Vec b) { return {a.v - b.v}; }
    friend Vec operator*(Vec a, Vec b) { return {a.v * b.v}; }
    friend Mask operator<=(Vec a, Vec b) { return a.v <= b.v; }
    friend Mask operator>(Vec a, Vec b) { return a.v > b.v; }
    friend Mask operator!=(Vec a, Vec b) { return a.v != b.v; }
};

// A number that is known when compiling, as a value.
template <int N>
struct Constant {
    static constexpr int value = N;
};

// mask ? a : b in each lane.
template <typename T>
Vec<T> select(typename Vec<T>::Mask mask, Vec<T> a, Vec<T> b) {
    return {mask ? a.v : b.v};
}

template <typename T>
inline Vec<T> Vec<T>::load_masked(const T* p, Mask mask) {
    Vec x = zero();
    for (index_t l = 0; l < lanes; ++l)
        if (mask[l]) x.v[l] = p[l];
    return x;
}

#if defined(__AVX2__) && PYCONV_VECTOR_BYTES == 32
template <>
inline Vec<float> Vec<float>::load_masked(const float* p, Mask mask) {
    return {_mm256_maskload_ps(p, reinterpret_cast<__m256i>(mask))};
}
template <>
inline Vec<double> Vec<double>::load_masked(const double* p, Mask mask) {
    return {_mm256_maskload_pd(p, reinterpret_cast<__m256i>(mask))};
}
#endif

// a * b + c, rounded once where the instruction set can (all but generic).
inline Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) {
#if defined(__AVX512F__) && PYCONV_VECTOR_BYTES == 64
    return {_mm512_fmadd_ps(a.v, b.v, c.v)};
#elif defined(__AVX2__) && PYCONV_VECTOR_BYTES == 64
    union Halves {
        Vec<float>::Native whole;
        __m256 half[2];
    };
    const Halves x{a.v}, y{b.v};
    Halves z{c.v};
    for (int i = 0; i < 2; ++i) z.half[i] = _mm256_fmadd_ps(x.half[i], y.half[i], z.half[i]);
    return {z.whole};
#elif defined(__AVX2__)
    return {_mm256_fmadd_ps(a.v, b.v, c.v)};
#elif defined(__ARM_NEON)
    return {vfmaq_f32(c.v, a.v, b.v)};
#else
    return {a.v * b.v + c.v};
#endif
}

inline Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) {
#if defined(__AVX512F__) && PYCONV_VECTOR_BYTES == 64
    return {_mm512_fmadd_pd(a.v, b.v, c.v)};
#elif defined(__AVX2__) && PYCONV_VECTOR_BYTES == 64
    union Halves {
        Vec<double>::Native whole;
        __m256d half[2];
    };
    const Halves x{a.v}, y{b.v};
    Halves z{c.v};
    for (int i = 0; i < 2; ++i) z.half[i] = _mm256_fmadd_pd(x.half[i], y.half[i], z.half[i]);
    return {z.whole};
#elif defined(__AVX2__)
    return {_mm256_fmadd_pd(a.v, b.v, c.v)};
#elif defined(__ARM_NEON)
    return {vfmaq_f64(c.v, a.v, b.v)};
#else
    return {a.v * b.v + c.v};
#endif
}

// 0 where x <= 0, else x: NaN stays NaN, -0 becomes 0.
template <typename T>
Vec<T> relu_of(Vec<T> x) {
    return select<T>(x <= Vec<T>::zero(), Vec<T>::zero(), x);
}

// The sum of the lanes, halves first.
template <typename T>
T reduce_add(Vec<T> x) {
    constexpr int L = static_cast<int>(Vec<T>::lanes);
    T lane[L];
    x.store(lane);
    for (int width = L / 2; width > 0; width /= 2)
        for (int l = 0; l < width; ++l) lane[l] += lane[l + width];
    return lane[0];
}

// Transposes an L x L block held in L registers (L = lanes), in log2(L) rounds that each exchange
// the off-diagonal halves of 2S x 2S blocks:
//
//     | A B |      | A C |
//     | C D |  ->  | B D |
template <typename T, int S>
void exchange_blocks(Vec<T> (&rows)[Vec<T>::lanes]) {
    using Mask = typename Vec<T>::Mask;
    constexpr int L = static_cast<int>(Vec<T>::lanes);
    Mask low, high;
    for (int l = 0; l < L; ++l) {
        low[l] = (l & S) ? L + l - S : l;
        high[l] = (l & S) ? L + l : l + S;
    }
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) {
        if (i & S) continue;
        const auto a = rows[i].v, b = rows[i + S].v;
#if defined(__clang__)
        typename Vec<T>::Native x, y;
        for (int l = 0; l < L; ++l) {
            x[l] = (l & S) ? b[l - S] : a[l];
            y[l] = (l & S) ? b[l] : a[l + S];
        }
        rows[i].v = x;
        rows[i + S].v = y;
#else
        rows[i].v = __builtin_shuffle(a, b, low);
        rows[i + S].v = __builtin_shuffle(a, b, high);
#endif
    }
}

template <typename T>
void transpose(Vec<T> (&rows)[Vec<T>::lanes]) {
    constexpr int L = static_cast<int>(Vec<T>::lanes);
    exchange_blocks<T, 1>(rows);
    if constexpr (L > 2) exchange_blocks<T, 2>(rows);
    if constexpr (L > 4) exchange_blocks<T, 4>(rows);
    if constexpr (L > 8) exchange_blocks<T, 8>(rows);
}

}  // namespace pyconv::PYCONV_ISA
