// SPDX-License-Identifier: BSD-3-Clause
// Image rows copied with zeros around them, for windows that slide over them: in the copy a tap is an
// offset, and neighbouring pixels read neighbouring values. Included once per ISA.
#pragma once

#include "kernels/shuffle-inl.h"
#include "kernels/table.h"

namespace pyconv::PYCONV_ISA {

template <typename T>
void fill_zero(T* to, index_t count) {
    index_t i = 0;
    for (; i + Vec<T>::lanes <= count; i += Vec<T>::lanes) Vec<T>::zero().store(to + i);
    for (; i < count; ++i) to[i] = 0;
}

// s.rows rows of each plane, from s.first_h on, each as s.phases times s.phase values: column s.first_w +
// i * s.phases + p is value i of phase p, 0 where the plane has no such row or column. Up to a vector beyond
// the end is overwritten.
template <typename T>
void stage_rows(const StagedRows& s, const T* planes, T* to) {
    using V = Vec<T>;
    constexpr index_t L = V::lanes;
    const index_t row = s.phases * s.phase;
    // Rows above .. below of the copy and columns left .. right lie in the image.
    const auto clamp = [](index_t x, index_t low, index_t high) {
        return x < low ? low : x > high ? high : x;
    };
    const index_t left = clamp(-s.first_w, 0, row), right = clamp(s.W - s.first_w, left, row);
    index_t above = clamp(-s.first_h, 0, s.rows), below = clamp(s.H - s.first_h, above, s.rows);
    if (left == right) above = below = s.rows;
    // Of a row, whole vectors are loaded but for the one where the image ends and, if the pad on the left is no
    // wider than that, the first.
    const index_t last = right / L * L;
    const auto first_lanes = V::lanes_from(left) & V::lanes_before(right),
               last_lanes = V::lanes_before(right - last);
    const index_t phases = s.phases, phase = s.phase, W = s.W;
    // With two phases, vectors come in pairs; again only the first and the last are usually cut.
    const index_t last_pair = (phase - 1) / L * L;
    const auto lanes_at = [=](index_t at) {
        return V::lanes_from(left - at) & V::lanes_before(right - at);
    };
    const bool whole_pairs = left <= 2 * L && right >= 2 * last_pair;
    const typename V::Lanes first_pair_lanes[2] = {lanes_at(0), lanes_at(L)},
                            last_pair_lanes[2] = {lanes_at(2 * last_pair),
                                                  lanes_at(2 * last_pair + L)};
    const index_t ahead = s.ahead;
    for (index_t plane = 0; plane < s.planes; ++plane, planes += s.plane_step, to += s.slab) {
        fill_zero(to, above * row);
        T* out = to + above * row;
        const T* from =
            planes + (s.first_h + above) * W + s.first_w;  // column 0, if there were one
        if (phases == 1 && left < L && row > L && row <= 2 * L) {
            const auto second = V::lanes_before(right - L);
            for (index_t r = above; r < below; ++r, out += row, from += W) {
                __builtin_prefetch(from + ahead, 0, 2);
                const V a = V::load_lanes(from, first_lanes), b = V::load_lanes(from + L, second);
                a.store(out);
                b.store(out + L);
            }
            fill_zero(out, (s.rows - below) * row + s.tail);
            continue;
        }
        for (index_t r = above; r < below; ++r, out += row, from += W) {
            if (phases == 1 && left < L) {
                V::load_lanes(from, first_lanes).store(out);
                index_t i = L;
                __builtin_prefetch(from + ahead, 0, 2);
                for (; i < last; i += L) {
                    __builtin_prefetch(from + ahead + i, 0, 2);
                    V::load(from + i).store(out + i);
                }
                if (i < row && i == last) {
                    V::load_lanes(from + i, last_lanes).store(out + i);
                    i += L;
                }
                for (; i < row; i += L) V::zero().store(out + i);
            } else if (phases == 1) {
                fill_zero(out, left);
                index_t i = left;
                for (; i + L <= right; i += L) V::load(from + i).store(out + i);
                if (i < right) V::load_part(from + i, right - i).store(out + i);
                fill_zero(out + right, row - right);
            } else if (phases == 2) {
                // Backwards: the last vector of the first phase reaches into the second.
                for (index_t i = last_pair; i >= 0; i -= L) {
                    const T* p = from + 2 * i;
                    __builtin_prefetch(p + ahead, 0, 2);
                    V a, b;
                    if (i != 0 && i != last_pair && whole_pairs) {
                        a = V::load(p);
                        b = V::load(p + L);
                    } else if (i == 0) {
                        a = V::load_lanes(p, first_pair_lanes[0]);
                        b = V::load_lanes(p + L, first_pair_lanes[1]);
                    } else if (i == last_pair) {
                        a = V::load_lanes(p, last_pair_lanes[0]);
                        b = V::load_lanes(p + L, last_pair_lanes[1]);
                    } else {
                        a = V::load_lanes(p, lanes_at(2 * i));
                        b = V::load_lanes(p + L, lanes_at(2 * i + L));
                    }
                    even_lanes_of(a, b).store(out + i);
                    odd_lanes_of(a, b).store(out + phase + i);
                }
            } else {
                fill_zero(out, row);
                index_t p = left % phases, i = left / phases;
                for (index_t w = left; w < right; ++w) {
                    out[p * phase + i] = from[w];
                    if (++p == phases) {
                        p = 0;
                        ++i;
                    }
                }
            }
        }
        fill_zero(out, (s.rows - below) * row + s.tail);
    }
}

// How a tile goes over the taps of a column: one after the other, or, kTapRows of them that are as far apart
// as 1 / kStride of the rows of the tile, by the rows that they read, each loaded once.
template <int kTapRows, int kStride>
struct TapColumn {
    static constexpr int tap_rows = kTapRows, stride = kStride;
};
using AnyTaps = TapColumn<0, 0>;

}  // namespace pyconv::PYCONV_ISA
