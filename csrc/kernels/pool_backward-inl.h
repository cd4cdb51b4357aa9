// SPDX-License-Identifier: BSD-3-Clause
// Gradients of pooling. Included once per ISA.
//
// Of an average: each pixel gathers the shares (grad_output / divisor) of the windows over it, first
// along H, into a line of OW values, then along W, so that grad_input is written once and never read.
//
// Of a maximum: each gradient is added to the pixel that its index names. Indices are checked a plane at a
// time before anything is written. Where the planes may come from 2 x 2 windows at stride 2, rows
// whose indices stay in these windows are put together from vectors.
#pragma once

#include "kernels/pool_indices-inl.h"

namespace pyconv::PYCONV_ISA {

// share[lead + ow] = grad_output[oh, ow] / divisor of window (oh, ow), zeros on both sides.
template <typename T>
void make_shares(const PoolWalk& p, const Divided<T>& divided, index_t oh, const T* grad_output,
                 const T* end, index_t lead, T* line) {
    const T* const from = grad_output + oh * p.OW;
    const auto row = divided.row(oh);
    for_vectors<T>(p.OW, end - from, [=](index_t j, auto lanes) {
        row(j, load(from + j, lanes)).store(line + lead + j);
    });
    fill_beyond(line + lead + p.OW, p.taps + 1, Vec<T>::zero());
}

// One row of grad_input from the shares of the windows over it, summed along H.
template <typename T>
void spread_row(const PoolWalk& p, index_t lead, const T* line, T* to, index_t room) {
    using V = Vec<T>;
    constexpr index_t L = V::lanes;
    if (p.stride == 0) {
        if (p.whole_rows) {
            const V x = V::broadcast(line[lead]);
            for_vectors<T>(p.W, room, [=](index_t j, auto lanes) { store(x, to + j, lanes); });
            return;
        }
        for (index_t w = 0; w < p.W; ++w) {
            T sum = 0;
            for (index_t ow = p.col_covers[w].first; ow < p.col_covers[w].last; ++ow)
                sum += line[lead + ow];
            to[w] = sum;
        }
        return;
    }
    if (p.stride == 1) {
        // Pixel w lies in windows w + left - k.
        const T* const last = line + lead + p.left;
        with_count(p.taps, [&](auto usual) {
            const index_t taps = usual.value != 0 ? usual.value : p.taps;
            for_vectors<T>(p.W, room, [=](index_t j, auto lanes) {
                V x = V::load(last + j);
                PYCONV_UNROLL(3)
                for (index_t k = 1; k < taps; ++k) x = x + V::load(last + j - k);
                store(x, to + j, lanes);
            });
        });
        return;
    }
    // Pixel 2 * i + phase lies in windows i + (phase + left) / 2 - k.
    const auto phase = [=](index_t n) {
        return [=](index_t i) {
            const index_t skipped = (n + p.left) & 1;
            const T* const last = line + lead + ((n + p.left) >> 1) + i;
            V x = V::zero();
            for (index_t k = 0; 2 * k + skipped < p.taps; ++k) x = x + V::load(last - k);
            return x;
        };
    };
    const auto even = phase(0), odd = phase(1);
    index_t j = 0;
    for (; j < p.W && j + 2 * L <= room; j += 2 * L) {
        const V a = even(j / 2), b = odd(j / 2);
        interleaved_low(a, b).store(to + j);
        interleaved_high(a, b).store(to + j + L);
    }
    if (j < p.W) {
        const index_t count = p.W - j;
        const V a = even(j / 2), b = odd(j / 2);
        interleaved_low(a, b).store_part(to + j, count < L ? count : L);
        if (count > L) interleaved_high(a, b).store_part(to + j + L, count - L);
    }
}

// Scratch: p.lines + p.block + 1 lines, OW values and a vector.
template <typename T>
void avg_pool_backward(const PoolWalk& p, T divisor, const T* grad_output, T* grad_input,
                       T* scratch) {
    using V = Vec<T>;
    const index_t lead = p.taps;
    T* const shares = scratch;
    T* const sums = shares + p.lines * p.pitch;
    T* const none = sums + p.block * p.pitch;
    T* const extents = none + p.pitch;
    column_extents(p, divisor, extents);
    const Divided<T> divided{p.rows, extents, divisor};
    for (index_t i = 0; i < p.lines; ++i) fill_beyond(shares + i * p.pitch, lead, V::zero());
    fill_beyond(none, p.pitch - V::lanes, V::zero());
    const T* const g_end = grad_output + p.planes * p.OH * p.OW;
    const T* const end = grad_input + p.planes * p.H * p.W;
    const index_t used = lead + p.OW + p.taps + 1;
    for (index_t plane = 0; plane < p.planes; ++plane, grad_output += p.OH * p.OW) {
        if (p.whole_rows && p.OH == 1 && p.rows[0].end - p.rows[0].begin == p.H) {
            T share = 0;
            divided.one(0, 0, *grad_output, &share);
            const V x = V::broadcast(share);
            T* const to = grad_input;
            for_vectors<T>(p.H * p.W, end - to,
                           [=](index_t j, auto lanes) { store(x, to + j, lanes); });
            grad_input += p.H * p.W;
            continue;
        }
        for (index_t first = 0; first < p.H; first += p.block) {
            const index_t rows = p.H - first < p.block ? p.H - first : p.block;
            const index_t oh_first = p.row_covers[first].first;
            const index_t oh_last = p.row_covers[first + rows - 1].last;
            for (index_t oh = oh_first; oh < oh_last; ++oh)
                make_shares(p, divided, oh, grad_output, g_end, lead,
                            shares + (oh - oh_first) * p.pitch);
            const auto line_of = [=](index_t i) -> const T* {
                const Cover c = p.row_covers[first + i];
                if (c.first == c.last) return none;
                return c.last - c.first == 1 ? shares + (c.first - oh_first) * p.pitch
                                             : sums + i * p.pitch;
            };
            for (index_t i = 0; i < rows; ++i) {
                const Cover c = p.row_covers[first + i];
                const index_t count = c.last - c.first;
                if (count <= 1) continue;
                const T* const from = shares + (c.first - oh_first) * p.pitch;
                T* const sum = sums + i * p.pitch;
                for (index_t j = 0; j < used; j += V::lanes) {
                    V x = V::load(from + j);
                    for (index_t r = 1; r < count; ++r) x = x + V::load(from + r * p.pitch + j);
                    x.store(sum + j);
                }
            }
            for (index_t i = 0; i < rows; ++i, grad_input += p.W)
                spread_row(p, lead, line_of(i), grad_input, end - grad_input);
        }
    }
}

// The first of n indices that is not in -1 .. pixels - 1, or n.
inline index_t find_bad_index(index_t n, index_t pixels, const int32_t* indices) {
    constexpr index_t L = Vec<float>::lanes;
    using Ints = Int32Lanes<float>::Native;
    using Unaligned = Int32Lanes<float>::Unaligned;
    const auto limit = static_cast<int32_t>(pixels);
    index_t i = 0;
    Ints bad{};
    for (; i + L <= n; i += L) {
        const Ints x = *reinterpret_cast<const Unaligned*>(indices + i);
        bad |= (x < -1) | (x >= limit);
    }
    int32_t any = 0;
    for (index_t l = 0; l < L; ++l) any |= bad[l];
    for (index_t j = any != 0 ? 0 : i; j < n; ++j)
        if (indices[j] < -1 || indices[j] >= limit) return j;
    return n;
}

// Where each index lies in the 2 x 2 pixels from (2 * oh, 2 * ow) on: writes whole rows of grad_input
// and returns true; else writes something and returns false.
template <typename T>
bool place_in_pairs(const PlaneSizes& s, const T* grad_output, const int32_t* indices,
                    T* grad_input) {
    static_cast<void>(s);
    static_cast<void>(grad_output);
    static_cast<void>(indices);
    static_cast<void>(grad_input);
    return false;
}

// Returns the number of an index that is out of range, or -1; grad_input is complete only then.
template <typename T>
index_t max_pool_backward(const PlaneSizes& s, const T* grad_output, const int32_t* indices,
                          T* grad_input) {
    const index_t pixels = s.H * s.W, outputs = s.OH * s.OW;
    for (index_t plane = 0; plane < s.planes; ++plane) {
        const index_t bad = find_bad_index(outputs, pixels, indices);
        if (bad < outputs) return plane * outputs + bad;
        const Vec<T> zero = Vec<T>::zero();
        T* const to = grad_input;
        for_vectors<T>(pixels, pixels, [=](index_t j, auto lanes) { store(zero, to + j, lanes); });
        for (index_t i = 0; i < outputs; ++i) {
            const index_t at = indices[i];
            if (at >= 0) to[at] += grad_output[i];
        }
        indices += outputs;
        grad_output += outputs;
        grad_input += pixels;
    }
    return -1;
}

}  // namespace pyconv::PYCONV_ISA
