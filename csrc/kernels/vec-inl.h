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

// For functions of vectors: a call would pass them through memory, and keep the compiler from holding their
// constants in registers. Not for an ISA that only tests run.
#if defined(PYCONV_COMPACT)
#define PYCONV_INLINED
#else
#define PYCONV_INLINED __attribute__((always_inline))
#endif
#define PYCONV_INLINE inline PYCONV_INLINED

// Before a loop that must be unrolled for its registers to be registers. Not for an ISA that only tests
// run, whose code would be the largest of all.
#if defined(PYCONV_COMPACT)
#define PYCONV_UNROLL(count)
#define PYCONV_SHUFFLE __attribute__((noinline))
#else
#define PYCONV_PRAGMA(text) _Pragma(#text)
#define PYCONV_UNROLL(count) PYCONV_PRAGMA(GCC unroll count)
#define PYCONV_SHUFFLE
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

    // Some lanes of a register, for loads and stores that must not touch the memory of the others: a
    // bit a lane where the instruction set has mask registers, else a Mask.
#if defined(__AVX512F__) && PYCONV_VECTOR_BYTES == 64
    struct Lanes {
        unsigned bits;
        friend Lanes operator&(Lanes a, Lanes b) { return {a.bits & b.bits}; }
    };
    static Lanes lanes_before(index_t end) {
        return {end <= 0 ? 0u : end >= lanes ? (1u << lanes) - 1 : (1u << end) - 1};
    }
    static Lanes lanes_from(index_t first) { return {~lanes_before(first).bits}; }
    static Lanes even_lanes() { return {0x5555u}; }
#else
    using Lanes = Mask;
    static Mask lane_numbers() {
        Mask lane;
        for (index_t l = 0; l < lanes; ++l) lane[l] = static_cast<typename LaneInt<T>::type>(l);
        return lane;
    }
    static Lanes lanes_before(index_t end) {
        return lane_numbers() < Mask{} + static_cast<typename LaneInt<T>::type>(end);
    }
    static Lanes lanes_from(index_t first) {
        return lane_numbers() >= Mask{} + static_cast<typename LaneInt<T>::type>(first);
    }
    static Lanes even_lanes() { return (lane_numbers() & 1) == Mask{}; }
#endif

    // These lanes from memory, the others 0, or those of `rest`, bit for bit.
    static Vec load_lanes(const T* p, Lanes which);
    static Vec load_lanes(const T* p, Lanes which, Vec rest);

    // These lanes, the others 0.
    Vec only(Lanes which) const;

    // The first `count` lanes; the others are 0, and memory beyond is not touched.
    static Vec load_part(const T* p, index_t count) { return load_lanes(p, lanes_before(count)); }
    void store_part(T* p, index_t count) const;

    friend Vec operator+(Vec a, Vec b) { return {a.v + b.v}; }
    friend Vec operator-(Vec a, Vec b) { return {a.v - b.v}; }
    friend Vec operator*(Vec a, Vec b) { return {a.v * b.v}; }
    friend Vec operator/(Vec a, Vec b) { return {a.v / b.v}; }
    friend Mask operator<(Vec a, Vec b) { return a.v < b.v; }
    friend Mask operator<=(Vec a, Vec b) { return a.v <= b.v; }
    friend Mask operator>(Vec a, Vec b) { return a.v > b.v; }
    friend Mask operator>=(Vec a, Vec b) { return a.v >= b.v; }
    friend Mask operator==(Vec a, Vec b) { return a.v == b.v; }
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

#if defined(__AVX512F__) && PYCONV_VECTOR_BYTES == 64
template <>
inline Vec<float> Vec<float>::only(Lanes which) const {
    return {_mm512_maskz_mov_ps(static_cast<__mmask16>(which.bits), v)};
}
template <>
inline Vec<double> Vec<double>::only(Lanes which) const {
    return {_mm512_maskz_mov_pd(static_cast<__mmask8>(which.bits), v)};
}
template <>
inline Vec<float> Vec<float>::load_lanes(const float* p, Lanes which, Vec rest) {
    return {_mm512_mask_loadu_ps(rest.v, static_cast<__mmask16>(which.bits), p)};
}
template <>
inline Vec<double> Vec<double>::load_lanes(const double* p, Lanes which, Vec rest) {
    return {_mm512_mask_loadu_pd(rest.v, static_cast<__mmask8>(which.bits), p)};
}
template <>
inline void Vec<float>::store_part(float* p, index_t count) const {
    _mm512_mask_storeu_ps(p, static_cast<__mmask16>(lanes_before(count).bits), v);
}
template <>
inline void Vec<double>::store_part(double* p, index_t count) const {
    _mm512_mask_storeu_pd(p, static_cast<__mmask8>(lanes_before(count).bits), v);
}
#else
template <typename T>
inline Vec<T> Vec<T>::only(Lanes which) const {
    return {which ? v : Native{}};
}
#endif

#if defined(__AVX512F__) && PYCONV_VECTOR_BYTES == 64
#elif defined(__AVX2__) && PYCONV_VECTOR_BYTES == 32
template <>
inline Vec<float> Vec<float>::load_lanes(const float* p, Lanes which) {
    return {_mm256_maskload_ps(p, reinterpret_cast<__m256i>(which))};
}
template <>
inline Vec<float> Vec<float>::load_lanes(const float* p, Lanes which, Vec rest) {
    return {which ? load_lanes(p, which).v : rest.v};
}
template <>
inline Vec<double> Vec<double>::load_lanes(const double* p, Lanes which) {
    return {_mm256_maskload_pd(p, reinterpret_cast<__m256i>(which))};
}
template <>
inline Vec<double> Vec<double>::load_lanes(const double* p, Lanes which, Vec rest) {
    return {which ? load_lanes(p, which).v : rest.v};
}
// By halves: the masked store of AVX2 takes a dozen cycles on AMD's processors.
template <>
inline void Vec<float>::store_part(float* p, index_t count) const {
    __m128 part = _mm256_castps256_ps128(v);
    if (count & 8) return store(p);
    if (count & 4) {
        _mm_storeu_ps(p, part);
        part = _mm256_extractf128_ps(v, 1);
        p += 4;
    }
    if (count & 2) {
        _mm_storel_pi(reinterpret_cast<__m64*>(p), part);
        part = _mm_movehl_ps(part, part);
        p += 2;
    }
    if (count & 1) _mm_store_ss(p, part);
}
template <>
inline void Vec<double>::store_part(double* p, index_t count) const {
    __m128d part = _mm256_castpd256_pd128(v);
    if (count & 4) return store(p);
    if (count & 2) {
        _mm_storeu_pd(p, part);
        part = _mm256_extractf128_pd(v, 1);
        p += 2;
    }
    if (count & 1) _mm_store_sd(p, part);
}
#else
template <typename T>
inline Vec<T> Vec<T>::load_lanes(const T* p, Lanes which, Vec rest) {
    for (index_t l = 0; l < lanes; ++l)
        if (which[l]) rest.v[l] = p[l];
    return rest;
}
template <typename T>
inline void Vec<T>::store_part(T* p, index_t count) const {
    for (index_t l = 0; l < count; ++l) p[l] = v[l];
}
#endif

template <typename T>
inline Vec<T> Vec<T>::load_lanes(const T* p, Lanes which) {
    return load_lanes(p, which, zero());
}

// Whether fma rounds once.
#if defined(__FMA__) || defined(__AVX512F__) || defined(__ARM_NEON)
inline constexpr bool kFusedMultiplyAdd = true;
#else
inline constexpr bool kFusedMultiplyAdd = false;
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

// The masked form of AVX-512, all lanes of which are wanted: GCC warns of an uninitialised register in the
// plain one.
inline Vec<float> sqrt(Vec<float> x) {
#if defined(__AVX512F__) && PYCONV_VECTOR_BYTES == 64
    return {_mm512_maskz_sqrt_ps(0xffff, x.v)};
#elif defined(__AVX2__) && PYCONV_VECTOR_BYTES == 32
    return {_mm256_sqrt_ps(x.v)};
#elif defined(__ARM_NEON)
    return {vsqrtq_f32(x.v)};
#else
    for (index_t l = 0; l < Vec<float>::lanes; ++l) x.v[l] = __builtin_sqrtf(x.v[l]);
    return x;
#endif
}

inline Vec<double> sqrt(Vec<double> x) {
#if defined(__AVX512F__) && PYCONV_VECTOR_BYTES == 64
    return {_mm512_maskz_sqrt_pd(0xff, x.v)};
#elif defined(__AVX2__) && PYCONV_VECTOR_BYTES == 32
    return {_mm256_sqrt_pd(x.v)};
#elif defined(__ARM_NEON)
    return {vsqrtq_f64(x.v)};
#else
    for (index_t l = 0; l < Vec<double>::lanes; ++l) x.v[l] = __builtin_sqrt(x.v[l]);
    return x;
#endif
}

// 0 where x <= 0, else x: NaN stays NaN, -0 becomes 0.
template <typename T>
Vec<T> relu_of(Vec<T> x) {
    return select<T>(x <= Vec<T>::zero(), Vec<T>::zero(), x);
}

// a < b ? a : b, in each lane: b where one is NaN.
template <typename T>
Vec<T> smaller_of(Vec<T> a, Vec<T> b) {
#if defined(__AVX2__) && PYCONV_VECTOR_BYTES == 32
    // One instruction, which GCC does not find.
    if constexpr (sizeof(T) == 4) {
        return {_mm256_min_ps(a.v, b.v)};
    } else {
        return {_mm256_min_pd(a.v, b.v)};
    }
#else
    return select<T>(a < b, a, b);
#endif
}

// x cut off at 0 and at 6; NaN stays NaN.
template <typename T>
Vec<T> relu6_of(Vec<T> x) {
    return smaller_of(Vec<T>::broadcast(6), relu_of(x));
}

}  // namespace pyconv::PYCONV_ISA
