// SPDX-License-Identifier: BSD-3-Clause
// Gradient of average pooling. Included once per ISA.
//
// Each pixel gathers the shares (grad_output / divisor) of the windows over it, first along H, into a
// line of OW values, then along W: grad_input is written once and never read.
#pragma once

#include "kernels/pool-inl.h"

namespace pyconv::PYCONV_ISA {

// share[lead + ow] = grad_output[oh, ow] / divisor of window (oh, ow), zeros on both sides.
template <typename T>
PYCONV_INLINE void make_shares(const PoolWalk& p, const Divided<T>& divided, index_t oh,
                               const T* grad_output, const T* end, index_t lead, T* line) {
    const T* const from = grad_output + oh * p.OW;
    const auto row = divided.row(oh);
    for_vectors<T>(p.OW, end - from, [=](index_t j, auto lanes) {
        row(j, load(from + j, lanes)).store(line + lead + j);
    });
    fill_beyond(line + lead + p.OW, p.taps + 1, Vec<T>::zero());
}

// Ways to make a row of grad_input from the shares of the windows over it, summed along H:
// spread(p, line, to, room) with line[ow] and room from `to` to the end of grad_input. Each sums in the order of
// the windows.

template <typename T>
struct SpreadWhole {
    void operator()(const PoolWalk& p, const T* line, T* to, index_t room) const {
        const auto x = Vec<T>::broadcast(line[0]);
        for_vectors<T>(p.W, room, [=](index_t j, auto lanes) { store(x, to + j, lanes); });
    }
};

template <typename T>
struct SpreadEach {
    void operator()(const PoolWalk& p, const T* line, T* to, index_t) const {
        for (index_t w = 0; w < p.W; ++w) {
            T sum = 0;
            for (index_t ow = p.col_covers[w].first; ow < p.col_covers[w].last; ++ow)
                sum += line[ow];
            to[w] = sum;
        }
    }
};

// line[0] + line[1] + ...
template <typename T>
Vec<T> add_shifted(const T* line, index_t count) {
    Vec<T> x = Vec<T>::load(line);
    PYCONV_UNROLL(3)
    for (index_t k = 1; k < count; ++k) x = x + Vec<T>::load(line + k);
    return x;
}

// Stride 1: pixel w lies in windows w + left - taps + 1 .. w + left.
template <typename T, int kTaps>
struct SpreadShifted {
    void operator()(const PoolWalk& p, const T* line, T* to, index_t room) const {
        const index_t taps = kTaps != 0 ? kTaps : p.taps;
        const T* const first = line + p.left - taps + 1;
        for_vectors<T>(p.W, room, [=](index_t j, auto lanes) {
            store(add_shifted(first + j, taps), to + j, lanes);
        });
    }
};

// Stride 2: pixels 2 * i and 2 * i + 1, of which the one where pixel + left is even lies in one window
// more if the number of taps is odd.
template <typename T, int kTaps, int kOddLeft>
struct SpreadPairs {
    void operator()(const PoolWalk& p, const T* line, T* to, index_t room) const {
        using V = Vec<T>;
        constexpr index_t L = V::lanes;
        const index_t taps = kTaps != 0 ? kTaps : p.taps, W = p.W;
        const index_t more = (taps + 1) / 2, fewer = taps / 2;
        const index_t even_count = kOddLeft ? fewer : more, odd_count = kOddLeft ? more : fewer;
        const T* const even = line + p.left / 2 - even_count + 1;
        const T* const odd = line + (p.left + 1) / 2 - odd_count + 1;
        const auto sum = [](const T* from, index_t count) {
            return count == 0 ? V::zero() : add_shifted(from, count);
        };
        index_t j = 0;
        for (; j < W && j + 2 * L <= room; j += 2 * L) {
            const V a = sum(even + j / 2, even_count), b = sum(odd + j / 2, odd_count);
            interleaved_low(a, b).store(to + j);
            interleaved_high(a, b).store(to + j + L);
        }
        if (j >= W) return;
        const index_t count = W - j;
        const V a = sum(even + j / 2, even_count), b = sum(odd + j / 2, odd_count);
        interleaved_low(a, b).store_part(to + j, count < L ? count : L);
        if (count > L) interleaved_high(a, b).store_part(to + j + L, count - L);
    }
};

// Scratch of a gradient.
template <typename T>
struct ShareLines {
    T *shares, *sums, *none;
    Divided<T> divided;
};
template <typename T>
ShareLines<T> share_lines(const PoolWalk& p, T divisor, T* scratch) {
    T* const sums = scratch + p.lines * p.pitch;
    T* const none = sums + p.block * p.pitch;
    for (index_t i = 0; i < p.lines; ++i)
        fill_beyond(scratch + i * p.pitch, p.taps, Vec<T>::zero());
    fill_beyond(none, p.pitch - Vec<T>::lanes, Vec<T>::zero());
    return {scratch, sums, none, divided_by(p, divisor, none + p.pitch)};
}

// The shares of the windows over rows first .. first + rows - 1, and their sums for rows with several.
template <typename T>
__attribute__((noinline)) void sum_shares(const PoolWalk& p, const ShareLines<T>& lines,
                                          index_t first, index_t rows, const T* grad_output,
                                          const T* end) {
    const index_t oh_first = p.row_covers[first].first;
    const index_t oh_last = p.row_covers[first + rows - 1].last;
    const index_t pitch = p.pitch, used = 2 * p.taps + p.OW + 1;
    for (index_t oh = oh_first; oh < oh_last; ++oh)
        make_shares(p, lines.divided, oh, grad_output, end, p.taps,
                    lines.shares + (oh - oh_first) * pitch);
    for (index_t i = 0; i < rows; ++i) {
        const Cover c = p.row_covers[first + i];
        if (c.last - c.first <= 1) continue;
        const T* const from = lines.shares + (c.first - oh_first) * pitch;
        T* const sum = lines.sums + i * pitch;
        with_count<2, 3>(c.last - c.first, [=](auto usual) {
            const index_t count = usual.value != 0 ? usual.value : c.last - c.first;
            for (index_t j = 0; j < used; j += Vec<T>::lanes) {
                Vec<T> x = Vec<T>::load(from + j);
                PYCONV_UNROLL(3)
                for (index_t r = 1; r < count; ++r) x = x + Vec<T>::load(from + r * pitch + j);
                x.store(sum + j);
            }
        });
    }
}

template <typename T, typename Spread>
void gather_averages(const PoolWalk& p, T divisor, const T* grad_output, T* grad_input, T* scratch,
                     Spread spread) {
    const ShareLines<T> lines = share_lines(p, divisor, scratch);
    const T* const g_end = grad_output + p.planes * p.OH * p.OW;
    const T* const end = grad_input + p.planes * p.H * p.W;
    for (index_t plane = 0; plane < p.planes; ++plane, grad_output += p.OH * p.OW) {
        for (index_t first = 0; first < p.H; first += p.block) {
            const index_t rows = p.H - first < p.block ? p.H - first : p.block;
            sum_shares(p, lines, first, rows, grad_output, g_end);
            const index_t oh_first = p.row_covers[first].first;
            for (index_t i = 0; i < rows; ++i, grad_input += p.W) {
                const Cover c = p.row_covers[first + i];
                const T* line = lines.sums + i * p.pitch;
                if (c.first == c.last) line = lines.none;
                if (c.last - c.first == 1) line = lines.shares + (c.first - oh_first) * p.pitch;
                spread(p, line + p.taps, grad_input, end - grad_input);
            }
        }
    }
}

// One window that is the plane.
template <typename T>
void fill_planes(const PoolWalk& p, T divisor, const T* grad_output, T* grad_input) {
    const T* const end = grad_input + p.planes * p.H * p.W;
    const T count = divisor != 0
                        ? divisor
                        : static_cast<T>(p.rows[0].extent) * static_cast<T>(p.cols[0].extent);
    for (index_t plane = 0; plane < p.planes; ++plane, grad_input += p.H * p.W) {
        const auto x = Vec<T>::broadcast(grad_output[plane] / count);
        T* const to = grad_input;
        for_vectors<T>(p.H * p.W, end - to,
                       [=](index_t j, auto lanes) { store(x, to + j, lanes); });
    }
}

// Windows of two columns side by side that share no rows: each share is stored to all pixels of its window.
inline bool are_apart(const PoolWalk& p) {
    for (index_t oh = 1; oh < p.OH; ++oh)
        if (p.rows[oh].begin < p.rows[oh - 1].end) return false;
    return true;
}
template <typename T>
void place_averages(const PoolWalk& p, T divisor, const T* grad_output, T* grad_input, T* scratch) {
    constexpr index_t L = Vec<T>::lanes;
    const index_t W = p.W, OW = p.OW;
    const Divided<T> divided = divided_by(p, divisor, scratch);
    const T* const g_end = grad_output + p.planes * p.OH * OW;
    const T* const end = grad_input + p.planes * p.H * W;
    const auto clear = [=](T* to, index_t count) {
        for_vectors<T>(count, end - to,
                       [=](index_t j, auto lanes) { store(Vec<T>::zero(), to + j, lanes); });
    };
    for (index_t plane = 0; plane < p.planes; ++plane, grad_input += p.H * W) {
        index_t done = 0;  // rows
        for (index_t oh = 0; oh < p.OH; ++oh, grad_output += OW) {
            const Window& window = p.rows[oh];
            if (window.begin > done) clear(grad_input + done * W, (window.begin - done) * W);
            done = window.end;
            T* const to = grad_input + window.begin * W;
            const index_t rows = window.end - window.begin, room = end - to;
            const auto row = divided.row(oh);
            const auto place = [=](index_t j, auto lanes) {
                const Vec<T> x = row(j, load(grad_output + j, lanes));
                for (index_t r = 0; r < rows; ++r) {
                    const index_t at = r * W + 2 * j;
                    store_interleaved(x, x, to + at, 2 * (OW - j), room - at);
                }
            };
            // From the last vector to the first: what a row writes beyond its end is the beginning of
            // the next.
            index_t j = (OW - 1) / L * L;
            if (j + L > g_end - grad_output) {
                place(j, SomeLanes{OW - j});
                j -= L;
            }
            for (; j >= 0; j -= L) place(j, AllLanes{});
            for (index_t r = 0; r < rows; ++r)
                for (index_t w = 2 * OW; w < W; ++w) to[r * W + w] = 0;
        }
        if (done < p.H) clear(grad_input + done * W, (p.H - done) * W);
    }
}

// Scratch: p.lines + p.block + 1 lines, and what divided_by needs.
template <typename T>
void avg_pool_backward(const PoolWalk& p, T divisor, const T* grad_output, T* grad_input,
                       T* scratch) {
    const auto gather = [=, &p](auto spread) {
        gather_averages(p, divisor, grad_output, grad_input, scratch, spread);
    };
    if (p.whole_rows) {
        const Window& w = p.rows[0];
        if (p.OH == 1 && w.end - w.begin == p.H)
            return fill_planes(p, divisor, grad_output, grad_input);
        return gather(SpreadWhole<T>{});
    }
    if (are_pairs(p) && are_apart(p))
        return place_averages(p, divisor, grad_output, grad_input, scratch);
    if (p.stride == 0) return gather(SpreadEach<T>{});
    with_count<3>(p.taps, [=, &p](auto usual) {
        constexpr int kTaps = decltype(usual)::value;
        if (p.stride == 1) return gather(SpreadShifted<T, kTaps>{});
        if (p.left & 1) return gather(SpreadPairs<T, kTaps, 1>{});
        gather(SpreadPairs<T, kTaps, 0>{});
    });
}

}  // namespace pyconv::PYCONV_ISA
