// SPDX-License-Identifier: BSD-3-Clause
// Gradient of max pooling: each gradient is added to the pixel that its index names. Included once per ISA.
//
// Indices may be anything, and the windows that they come from are not known; -1 is no pixel, and what is
// out of range is reported and never written to. Indices that look like those of 2 x 2
// windows at stride 2 are tried as such: each gradient then goes to one of four places, and whole
// vectors of grad_input are written. If as many of them were placed as there are, all were; else the plane is done
// again, one by one.
#pragma once

#include "kernels/pool_indices-inl.h"

namespace pyconv::PYCONV_ISA {

template <typename T>
index_t add_lanes(typename Vec<T>::Mask x) {
    constexpr int L = static_cast<int>(Vec<T>::lanes);
    if constexpr (L > 8) x += as_ints(rotated<T, 8 % L>(as_values<T>(x)));
    if constexpr (L > 4) x += as_ints(rotated<T, 4 % L>(as_values<T>(x)));
    if constexpr (L > 2) x += as_ints(rotated<T, 2 % L>(as_values<T>(x)));
    x += as_ints(rotated<T, 1>(as_values<T>(x)));
    return x[0];
}

// The number of indices that name a pixel, or -1 - i if indices[i] is not in -1 .. pixels - 1.
inline index_t count_indices(index_t n, index_t pixels, const int32_t* indices) {
    constexpr index_t L = Vec<float>::lanes;
    using Ints = Int32Lanes<float>::Native;
    using Unaligned = Int32Lanes<float>::Unaligned;
    const auto limit = static_cast<int32_t>(pixels);
    index_t i = 0;
    Ints bad{}, absent{};
    for (; i + L <= n; i += L) {
        const Ints x = *reinterpret_cast<const Unaligned*>(indices + i);
        bad |= (x < -1) | (x >= limit);
        absent += x < 0;
    }
    const bool any = add_lanes<float>(bad) != 0;
    index_t count = i + add_lanes<float>(absent);
    for (index_t j = any ? 0 : i; j < n; ++j)
        if (indices[j] < -1 || indices[j] >= limit) return -1 - j;
    for (; i < n; ++i) count += indices[i] >= 0;
    return count;
}

// Planes whose indices all name a pixel, side by side: a sum that waits for the one before, in the
// same pixel, keeps the others from nothing.
template <typename T, int kPlanes>
void add_in_planes(index_t pixels, index_t outputs, const T* grad_output, const int32_t* indices,
                   T* grad_input) {
    for_vectors<T>(kPlanes * pixels, kPlanes * pixels,
                   [=](index_t j, auto lanes) { store(Vec<T>::zero(), grad_input + j, lanes); });
    PYCONV_UNROLL(4)
    for (index_t i = 0; i < outputs; ++i) {
        PYCONV_UNROLL(4)
        for (int plane = 0; plane < kPlanes; ++plane) {
            const index_t at = plane * outputs + i;
            grad_input[plane * pixels + indices[at]] += grad_output[at];
        }
    }
}

template <typename T>
void add_some(index_t pixels, index_t outputs, const T* grad_output, const int32_t* indices,
              T* grad_input) {
    for_vectors<T>(pixels, pixels,
                   [=](index_t j, auto lanes) { store(Vec<T>::zero(), grad_input + j, lanes); });
    for (index_t i = 0; i < outputs; ++i)
        if (indices[i] >= 0) grad_input[indices[i]] += grad_output[i];
}

// Whether a sample of the indices lies in windows of 2 x 2 pixels side by side.
inline bool look_like_pairs(const PlaneSizes& s, const int32_t* indices) {
    if (s.OH == 0 || s.OW == 0 || 2 * s.OH > s.H || 2 * s.OW > s.W) return false;
    const index_t outputs = s.OH * s.OW, step = outputs / 16 + 1;
    for (index_t i = 0; i < outputs; i += step) {
        const index_t at = indices[i] - 2 * (i / s.OW * s.W + i % s.OW);
        const bool inside = at == 0 || at == 1 || at == s.W || at == s.W + 1;
        if (indices[i] >= 0 && !inside) return false;
    }
    return true;
}

// All lanes of int32 indices, or some and -1.
template <typename T>
typename Vec<T>::Mask load_indices(const int32_t* p, AllLanes) {
    using Unaligned = typename Int32Lanes<T>::Unaligned;
    return __builtin_convertvector(*reinterpret_cast<const Unaligned*>(p), typename Vec<T>::Mask);
}
template <typename T>
typename Vec<T>::Mask load_indices(const int32_t* p, SomeLanes lanes) {
    auto x = every<T>(-1);
    for (index_t l = 0; l < lanes.count; ++l) x[l] = p[l];
    return x;
}

template <typename T>
Vec<T> operator&(Vec<T> x, typename Vec<T>::Mask mask) {
    return as_values<T>(as_ints(x) & mask);
}

// Windows of 2 x 2 pixels side by side: each gradient goes to one of four places. Returns how many indices
// are such; g_room and room are what lies behind grad_output and behind grad_input.
template <typename T>
index_t place_plane(const PlaneSizes& s, const T* grad_output, const int32_t* indices,
                    index_t g_room, T* grad_input, index_t room) {
    using Mask = typename Vec<T>::Mask;
    constexpr index_t L = Vec<T>::lanes;
    Mask matches{};
    const index_t OH = s.OH, OW = s.OW, W = s.W;
    const Mask below = every<T>(W), steps = lane_steps<T>(2);
    for (index_t oh = 0; oh < OH; ++oh) {
        T* const to = grad_input + 2 * oh * W;
        const T* const g_row = grad_output + oh * OW;
        const int32_t* const index_row = indices + oh * OW;
        const index_t left =
            room - (2 * oh + 1) * W;  // of which behind the beginning of the lower row
        const auto place = [&](index_t j, auto lanes, Mask used) {
            // Adding 0 makes 0 of -0, as in a sum.
            const Vec<T> g = load(g_row + j, lanes) + Vec<T>::zero();
            const Mask at =
                load_indices<T>(index_row + j, lanes) - steps - every<T>(2 * (oh * W + j));
            const Mask a = at == 0, b = at == 1, c = at == below, d = at == below + 1;
            matches += ((a | b) | (c | d)) & used;
            store_interleaved(g & a, g & b, to + 2 * j, 2 * (OW - j), left + W - 2 * j);
            store_interleaved(g & c, g & d, to + 2 * j + W, 2 * (OW - j), left - 2 * j);
        };
        // From the last vector to the first: what the upper row writes beyond its end is the beginning
        // of the lower one.
        index_t j = (OW - 1) / L * L;
        if (j + L > OW) {
            const Mask used = lane_steps<T>(1) < every<T>(OW - j);
            if (oh * OW + j + L > g_room) {
                place(j, SomeLanes{OW - j}, used);
            } else {
                place(j, AllLanes{}, used);
            }
            j -= L;
        }
        for (; j >= 0; j -= L) place(j, AllLanes{}, every<T>(-1));
        for (index_t w = 2 * OW; w < W; ++w) to[w] = to[W + w] = 0;
    }
    const Vec<T> zero = Vec<T>::zero();
    T* const last = grad_input + 2 * s.OH * s.W;
    const index_t behind = (s.H - 2 * s.OH) * s.W;
    for_vectors<T>(behind, behind, [=](index_t j, auto lanes) { store(zero, last + j, lanes); });
    return -add_lanes<T>(matches);  // a match is -1
}

// Returns the number of an index that is out of range, or -1; grad_input is complete only then.
template <typename T>
index_t max_pool_backward(const PlaneSizes& s, const T* grad_output, const int32_t* indices,
                          T* grad_input) {
    const index_t pixels = s.H * s.W, outputs = s.OH * s.OW;
    constexpr int kPlanes = 4;
    bool pairs = s.planes > 0 && look_like_pairs(s, indices);
    for (index_t plane = 0; plane < s.planes; ++plane) {
        const T* const g = grad_output + plane * outputs;
        const int32_t* const index = indices + plane * outputs;
        T* const to = grad_input + plane * pixels;
        const index_t left = s.planes - plane;
        if (!pairs && left >= kPlanes &&
            count_indices(kPlanes * outputs, pixels, index) == kPlanes * outputs) {
            add_in_planes<T, kPlanes>(pixels, outputs, g, index, to);
            plane += kPlanes - 1;
            continue;
        }
        const index_t placed =
            pairs ? place_plane(s, g, index, left * outputs, to, left * pixels) : 0;
        if (pairs && placed == outputs) continue;
        const index_t count = count_indices(outputs, pixels, index);
        if (count < 0) return plane * outputs - 1 - count;
        if (pairs && placed == count) continue;
        if (count == outputs) {
            add_in_planes<T, 1>(pixels, outputs, g, index, to);
        } else {
            add_some(pixels, outputs, g, index, to);
        }
        pairs = false;  // the next planes hardly differ
    }
    return -1;
}

}  // namespace pyconv::PYCONV_ISA
