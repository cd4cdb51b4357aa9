// SPDX-License-Identifier: BSD-3-Clause
// Lanes of vectors in another order: every second one, turned, interleaved, transposed. Included once per ISA.
#pragma once

#include "kernels/vec-inl.h"

namespace pyconv::PYCONV_ISA {

// Lanes kFirst, kFirst + 2, ... of a, then those of b.
template <typename T, int kFirst>
PYCONV_SHUFFLE Vec<T> alternate_lanes_of(Vec<T> a, Vec<T> b) {
    constexpr int L = static_cast<int>(Vec<T>::lanes);
#if defined(__clang__)
    Vec<T> x;
    for (int l = 0; l < L; ++l) x.v[l] = l < L / 2 ? a.v[2 * l + kFirst] : b.v[2 * l - L + kFirst];
    return x;
#else
    typename Vec<T>::Mask which;
    for (int l = 0; l < L; ++l) which[l] = 2 * l + kFirst;
    return {__builtin_shuffle(a.v, b.v, which)};
#endif
}
template <typename T>
Vec<T> even_lanes_of(Vec<T> a, Vec<T> b) {
    return alternate_lanes_of<T, 0>(a, b);
}
template <typename T>
Vec<T> odd_lanes_of(Vec<T> a, Vec<T> b) {
    return alternate_lanes_of<T, 1>(a, b);
}

// The even or the odd lanes in whatever order takes one instruction, for work that does not mind: by_halves(x) puts
// the lanes of x in that order, and those of such a vector back. (AVX2 shuffles either half of its registers alone.)
template <typename T, int kFirst>
PYCONV_SHUFFLE Vec<T> alternate_lanes_by_halves(Vec<T> a, Vec<T> b) {
#if PYCONV_VECTOR_BYTES == 32 && !defined(__clang__)
    constexpr int L = static_cast<int>(Vec<T>::lanes), half = L / 2;
    typename Vec<T>::Mask which;
    for (int l = 0; l < L; ++l) {
        const int q = l % half;
        which[l] = l / half * half + kFirst + (q < half / 2 ? 2 * q : L + 2 * q - half);
    }
    return {__builtin_shuffle(a.v, b.v, which)};
#else
    return alternate_lanes_of<T, kFirst>(a, b);
#endif
}
template <typename T>
PYCONV_SHUFFLE Vec<T> by_halves(Vec<T> x) {
#if PYCONV_VECTOR_BYTES == 32 && !defined(__clang__)
    constexpr int L = static_cast<int>(Vec<T>::lanes), half = L / 2, quarter = L / 4;
    typename Vec<T>::Mask which;
    for (int l = 0; l < L; ++l) {
        const int q = l % half;
        which[l] = l / half * quarter + (q < quarter ? q : q + quarter);
    }
    return {__builtin_shuffle(x.v, which)};
#else
    return x;
#endif
}

// Lane l becomes lane which[l] of a and b, those of b counted after those of a.
template <typename T>
Vec<T> picked(Vec<T> a, Vec<T> b, typename Vec<T>::Mask which) {
#if defined(__clang__)
    constexpr index_t L = Vec<T>::lanes;
    Vec<T> x;
    for (index_t l = 0; l < L; ++l) x.v[l] = which[l] < L ? a.v[which[l]] : b.v[which[l] - L];
    return x;
#else
    return {__builtin_shuffle(a.v, b.v, which)};
#endif
}

// Lane l becomes lane (l + kBy) % lanes of x.
template <typename T, int kBy>
PYCONV_SHUFFLE Vec<T> rotated(Vec<T> x) {
    constexpr int L = static_cast<int>(Vec<T>::lanes);
#if defined(__clang__)
    Vec<T> y;
    for (int l = 0; l < L; ++l) y.v[l] = x.v[(l + kBy) % L];
    return y;
#else
    typename Vec<T>::Mask which;
    for (int l = 0; l < L; ++l) which[l] = (l + kBy) % L;
    return {__builtin_shuffle(x.v, which)};
#endif
}

// a[0], b[0], a[1], b[1], ... of the first half of the lanes, and of the second.
template <typename T, int kFirst>
PYCONV_SHUFFLE Vec<T> interleaved_from(Vec<T> a, Vec<T> b) {
    constexpr int L = static_cast<int>(Vec<T>::lanes);
#if defined(__clang__)
    Vec<T> x;
    for (int l = 0; l < L; ++l) x.v[l] = l & 1 ? b.v[kFirst + l / 2] : a.v[kFirst + l / 2];
    return x;
#else
    typename Vec<T>::Mask which;
    for (int l = 0; l < L; ++l) which[l] = kFirst + l / 2 + (l & 1 ? L : 0);
    return {__builtin_shuffle(a.v, b.v, which)};
#endif
}
template <typename T>
Vec<T> interleaved_low(Vec<T> a, Vec<T> b) {
    return interleaved_from<T, 0>(a, b);
}
template <typename T>
Vec<T> interleaved_high(Vec<T> a, Vec<T> b) {
    return interleaved_from<T, static_cast<int>(Vec<T>::lanes / 2)>(a, b);
}

// The sum of the lanes, halves first.
template <typename T, int kWidth = static_cast<int>(Vec<T>::lanes / 2)>
PYCONV_INLINE T reduce_add(Vec<T> x) {
    x = x + rotated<T, kWidth>(x);
    if constexpr (kWidth == 1) {
        return x.v[0];
    } else {
        return reduce_add<T, kWidth / 2>(x);
    }
}

// Transposes an L x L block held in L registers (L = lanes), in log2(L) rounds that each exchange
// the off-diagonal halves of 2S x 2S blocks:
//
//     | A B |      | A C |
//     | C D |  ->  | B D |
//
// Inlined by force: a call would pass the registers through memory.
template <typename T, int S>
inline __attribute__((always_inline)) void exchange_blocks(Vec<T> (&rows)[Vec<T>::lanes]) {
    using Mask = typename Vec<T>::Mask;
    constexpr int L = static_cast<int>(Vec<T>::lanes);
    Mask low, high;
    for (int l = 0; l < L; ++l) {
        low[l] = (l & S) ? L + l - S : l;
        high[l] = (l & S) ? L + l : l + S;
    }
    PYCONV_UNROLL(16)
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
inline __attribute__((always_inline)) void transpose(Vec<T> (&rows)[Vec<T>::lanes]) {
    constexpr int L = static_cast<int>(Vec<T>::lanes);
    exchange_blocks<T, 1>(rows);
    if constexpr (L > 2) exchange_blocks<T, 2>(rows);
    if constexpr (L > 4) exchange_blocks<T, 4>(rows);
    if constexpr (L > 8) exchange_blocks<T, 8>(rows);
}

}  // namespace pyconv::PYCONV_ISA
