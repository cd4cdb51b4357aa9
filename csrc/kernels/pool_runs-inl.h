// SPDX-License-Identifier: BSD-3-Clause
// Pooling windows that are one run of memory: whole rows, or whole planes. Included once per ISA.
#pragma once

#include "kernels/shuffle-inl.h"

namespace pyconv::PYCONV_ISA {

// The lanes of x, halves first.
template <typename T, typename Reduction>
T reduce_lanes(Vec<T> x) {
    constexpr int L = static_cast<int>(Vec<T>::lanes);
    if constexpr (L > 8) x = Reduction::combine(x, rotated<T, 8 % L>(x));
    if constexpr (L > 4) x = Reduction::combine(x, rotated<T, 4 % L>(x));
    if constexpr (L > 2) x = Reduction::combine(x, rotated<T, 2 % L>(x));
    return Reduction::combine(x, rotated<T, 1>(x)).v[0];
}

// n values in a row.
template <typename T, typename Reduction>
PYCONV_INLINE T reduce_run(index_t n, const T* in) {
    using V = Vec<T>;
    constexpr index_t L = V::lanes;
    const V identity = V::broadcast(Reduction::identity());
    V x[4] = {identity, identity, identity, identity};
    index_t i = 0;
    for (; i + 4 * L <= n; i += 4 * L)
        for (int j = 0; j < 4; ++j) x[j] = Reduction::combine(x[j], V::load(in + i + j * L));
    for (; i + L <= n; i += L) x[0] = Reduction::combine(x[0], V::load(in + i));
    if (i < n) {
        const V rest = V::load_lanes(in + i, V::lanes_before(n - i), identity);
        x[1] = Reduction::combine(x[1], rest);
    }
    return reduce_lanes<T, Reduction>(
        Reduction::combine(Reduction::combine(x[0], x[1]), Reduction::combine(x[2], x[3])));
}

// Planes of n values, each a window, as many side by side as a vector has lanes: their lanes are reduced together.
template <typename T, typename Reduction, typename Finish>
void reduce_planes(index_t planes, index_t n, const T* in, T* out, const Finish& finish) {
    using V = Vec<T>;
    constexpr index_t L = V::lanes;
    const V identity = V::broadcast(Reduction::identity());
    const index_t whole = n / L * L;
    const auto rest = V::lanes_before(n - whole);
    for (; planes > 0; planes -= L, in += L * n, out += L) {
        V x[L];
        PYCONV_UNROLL(16)
        for (index_t p = 0; p < L; ++p) {
            const T* plane = in + (p < planes ? p : planes - 1) * n;
            x[p] = V::load_lanes(plane + whole, rest, identity);
            for (index_t i = 0; i < whole; i += L)
                x[p] = Reduction::combine(x[p], V::load(plane + i));
        }
        transpose<T>(x);
        for (index_t step = L / 2; step > 0; step /= 2)
            for (index_t p = 0; p < step; ++p) x[p] = Reduction::combine(x[p], x[p + step]);
        const V result = finish.whole(x[0]);
        planes >= L ? result.store(out) : result.store_part(out, planes);
    }
}

}  // namespace pyconv::PYCONV_ISA
