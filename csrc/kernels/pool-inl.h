// SPDX-License-Identifier: BSD-3-Clause
// Pooling: maximum and average of the windows of H x W planes. Included once per ISA.
//
// Separable. The rows of a window are reduced to one line, a vector of columns at a time, and then the
// windows along that line:
//
//       W columns                        left   W    right
//     +-----------+                     +----+-----+-------+           OW outputs
//     | rows of a |   column by column  | id | ... |  id   |  window  +---------+
//     |  window   |  -----------------> +----+-----+-------+ -------> | . . . . |
//     +-----------+                       a line in scratch  by window+---------+
//
// The padding of a line is the identity of the reduction (-inf or 0), so that windows at the border are
// windows like any other. Windows at stride 1 are shifted loads, at stride 2 even lanes of two
// loads; others are visited one by one. Several lines are made before the first is read: a load
// that spans two stores waits until both have reached the cache.
//
// A vector at the end of a row goes beyond it, into values that follow in the same array: they are
// overwritten when their turn comes. Only where the array itself ends are fewer lanes touched.
#pragma once

#include "kernels/pool_runs-inl.h"
#include "kernels/shuffle-inl.h"
#include "kernels/table.h"

namespace pyconv::PYCONV_ISA {

// All lanes of a vector, or the first few.
struct AllLanes {};
struct SomeLanes {
    index_t count;
};
template <typename T>
Vec<T> load(const T* p, AllLanes) {
    return Vec<T>::load(p);
}
template <typename T>
Vec<T> load(const T* p, SomeLanes which) {
    return Vec<T>::load_part(p, which.count);
}
template <typename T>
void store(Vec<T> x, T* p, AllLanes) {
    x.store(p);
}
template <typename T>
void store(Vec<T> x, T* p, SomeLanes which) {
    x.store_part(p, which.count);
}

// Values 2 * i and 2 * i + 1 of `to` from lane i of even and odd; `rest` values at most if fewer than two
// vectors have room.
template <typename T>
PYCONV_INLINE void store_interleaved(Vec<T> even, Vec<T> odd, T* to, index_t rest, index_t room) {
    constexpr index_t L = Vec<T>::lanes;
    if (room >= 2 * L) {
        interleaved_low(even, odd).store(to);
        interleaved_high(even, odd).store(to + L);
        return;
    }
    interleaved_low(even, odd).store_part(to, rest < L ? rest : L);
    if (rest > L) interleaved_high(even, odd).store_part(to + L, rest - L);
}

// 2 * lanes values, or twice as many as `which` has.
template <typename T>
struct TwoVecs {
    Vec<T> a, b;
};
template <typename T>
TwoVecs<T> load_two(const T* p, AllLanes) {
    return {Vec<T>::load(p), Vec<T>::load(p + Vec<T>::lanes)};
}
template <typename T>
TwoVecs<T> load_two(const T* p, SomeLanes which) {
    constexpr index_t L = Vec<T>::lanes;
    const index_t count = 2 * which.count;
    return {Vec<T>::load_part(p, count < L ? count : L),
            count > L ? Vec<T>::load_part(p + L, count - L) : Vec<T>::zero()};
}

// Calls body(j, lanes) for j = 0, L, ... below n, with all lanes while j + L <= room (room >= n).
template <typename T, typename Body>
PYCONV_INLINE void for_vectors(index_t n, index_t room, const Body& body) {
    constexpr index_t L = Vec<T>::lanes;
    const index_t end = room - L + 1 < n ? room - L + 1 : n;
    index_t j = 0;
    for (; j < end; j += L) body(j, AllLanes{});
    if (j < n) body(j, SomeLanes{n - j});
}

// Calls body with `count` as a constant where it is a usual one: their loops are unrolled.
template <int... kUsual, typename Body>
PYCONV_INLINE void with_count(index_t count, const Body& body) {
#if defined(PYCONV_COMPACT)
    static_cast<void>(count);
    body(Constant<0>{});
#else
    if (!((count == kUsual && (body(Constant<kUsual>{}), true)) || ...)) body(Constant<0>{});
#endif
}

// What pooling computes: the reduction and its identity.
template <typename T>
struct Largest {
    static T identity() { return static_cast<T>(-__builtin_inf()); }
    // NaN wins; of equal values (zeros of either sign) the first.
    static Vec<T> combine(Vec<T> first, Vec<T> second) {
        return select<T>((second > first) | (second != second), second, first);
    }
    static T combine(T first, T second) {
        return second > first || second != second ? second : first;
    }
};
template <typename T>
struct Sum {
    static T identity() { return 0; }
    static Vec<T> combine(Vec<T> first, Vec<T> second) { return first + second; }
    static T combine(T first, T second) { return first + second; }
};

// The number of taps of a window.
inline index_t taps_of(const Window& w, index_t dilation) {
    const index_t length = w.end - w.begin;
    return dilation == 1 ? length : (length + dilation - 1) / dilation;
}

// `count` copies of x, and up to a vector more.
template <typename T>
PYCONV_INLINE void fill_beyond(T* p, index_t count, Vec<T> x) {
    for (index_t j = 0; j < count; j += Vec<T>::lanes) x.store(p + j);
}

// The values of a line that windows may read, from its first pixel on.
inline index_t line_length(const PoolWalk& p) {
    const index_t span =
        p.stride == 0 ? 0 : (p.OW - 1) * p.stride + (p.taps - 1) * p.dilation_w + 1;
    return span - p.left > p.W ? span - p.left : p.W;
}

// line[p.left + w] = reduction of column w of the rows of a window, padding on both sides.
template <typename T, typename Reduction>
PYCONV_INLINE void reduce_rows(const PoolWalk& p, const Window& window, const T* plane,
                               const T* end, T* line) {
    using V = Vec<T>;
    const V identity = V::broadcast(Reduction::identity());
    const index_t count = taps_of(window, p.dilation_h), step = p.dilation_h * p.W;
    T* const pixels = line + p.left;
    if (count == 0) return fill_beyond(pixels, line_length(p), identity);
    const T* first = plane + window.begin * p.W;
    const index_t room = end - (first + (count - 1) * step);
    with_count<2, 3>(count, [&](auto usual) {
        const index_t rows = usual.value != 0 ? usual.value : count;
        for_vectors<T>(p.W, room, [&](index_t j, auto lanes) {
            V x = load(first + j, lanes);
            PYCONV_UNROLL(3)
            for (index_t r = 1; r < rows; ++r)
                x = Reduction::combine(x, load(first + r * step + j, lanes));
            x.store(pixels + j);
        });
    });
    fill_beyond(pixels + p.W, line_length(p) - p.W, identity);
}

// The lines of `count` windows.
template <typename T, typename Reduction>
__attribute__((noinline)) void make_lines(const PoolWalk& p, const Window* windows, index_t count,
                                          const T* plane, const T* end, T* line) {
    for (index_t i = 0; i < count; ++i, line += p.pitch)
        reduce_rows<T, Reduction>(p, windows[i], plane, end, line);
}

// Calls emit(ow, result, lanes) for the windows along a line; kTaps is the number of taps, or 0.
template <typename T, typename Reduction, int kStride, int kTaps, typename Emit>
PYCONV_INLINE void reduce_windows(const PoolWalk& p, const T* line, index_t room,
                                  const Emit& emit) {
    using V = Vec<T>;
    const index_t dilation = p.dilation_w, taps = kTaps != 0 ? kTaps : p.taps;
    const auto value_of = [&](index_t j, index_t tap) {
        const T* from = line + kStride * j + tap;
        if constexpr (kStride == 1) return V::load(from);
        return even_lanes_of(V::load(from), V::load(from + V::lanes));
    };
    for_vectors<T>(p.OW, room, [&](index_t j, auto lanes) {
        V x = value_of(j, 0);
        PYCONV_UNROLL(3)
        for (index_t k = 1; k < taps; ++k) x = Reduction::combine(x, value_of(j, k * dilation));
        emit(j, x, lanes);
    });
}

// As above, for windows that are all different: emit(ow, result).
template <typename T, typename Reduction, typename Emit>
void reduce_each_window(const PoolWalk& p, const T* line, const Emit& emit) {
    for (index_t ow = 0; ow < p.OW; ++ow) {
        T x = Reduction::identity();
        for (index_t w = p.cols[ow].begin; w < p.cols[ow].end; w += p.dilation_w)
            x = Reduction::combine(x, line[p.left + w]);
        emit(ow, x);
    }
}

// Windows of two columns side by side, no padding and no window without rows: lines would gain nothing.
inline bool are_pairs(const PoolWalk& p) {
    if (p.stride != 2 || p.taps != 2 || p.dilation_w != 1 || p.left != 0 || 2 * p.OW > p.W)
        return false;
    for (index_t oh = 0; oh < p.OH; ++oh)
        if (p.rows[oh].begin == p.rows[oh].end) return false;
    return true;
}

template <typename T, typename Reduction, typename Emit>
PYCONV_INLINE void reduce_pairs(const PoolWalk& p, const Window& window, const T* plane,
                                const T* end, index_t room, const Emit& emit) {
    const index_t count = taps_of(window, p.dilation_h), step = p.dilation_h * p.W;
    const T* first = plane + window.begin * p.W;
    const index_t in_room = (end - (first + (count - 1) * step)) / 2;
    with_count<2>(count, [&](auto usual) {
        const index_t rows = usual.value != 0 ? usual.value : count;
        for_vectors<T>(p.OW, in_room < room ? in_room : room, [&](index_t j, auto lanes) {
            TwoVecs<T> x = load_two(first + 2 * j, lanes);
            PYCONV_UNROLL(3)
            for (index_t r = 1; r < rows; ++r) {
                const TwoVecs<T> y = load_two(first + r * step + 2 * j, lanes);
                x = {Reduction::combine(x.a, y.a), Reduction::combine(x.b, y.b)};
            }
            emit(j, Reduction::combine(even_lanes_of(x.a, x.b), odd_lanes_of(x.a, x.b)), lanes);
        });
    });
}

// While windows along lines are reduced nothing is read from memory: that time fetches the input
// of the next lines, as many values of it as belong to one line.
template <typename T>
PYCONV_INLINE void prefetch(const T* in, index_t values) {
    constexpr index_t kLine = 64 / index_t{sizeof(T)};
    for (index_t i = 0; i < values; i += kLine) __builtin_prefetch(in + i);
}
// Small planes come soon enough by themselves.
inline index_t prefetched_values(const PoolWalk& p) {
    if (p.OH <= p.lines) return 0;
    return (p.rows[p.OH - 1].begin - p.rows[p.OH - 2].begin) * p.W;
}

// Calls body with the stride and, where usual, the number of taps as constants.
template <typename Body>
void with_windows(const PoolWalk& p, Body body) {
    if (p.stride == 0) return body(Constant<0>{}, Constant<0>{});
    with_count<3>(p.taps, [&](auto taps) {
        if (p.stride == 1) return body(Constant<1>{}, taps);
        body(Constant<2>{}, taps);
    });
}

// Windows by way of lines.
template <typename T, typename Reduction, int kStride, int kTaps, typename Finish>
void pool_lines(const PoolWalk& p, const T* in, T* out, T* scratch, Finish finish) {
    const T* const in_end = in + p.planes * p.H * p.W;
    const T* const out_end = out + p.planes * p.OH * p.OW;
    const index_t pitch = p.pitch, OW = p.OW, values = prefetched_values(p);
    // To the ends of the lines, too: vectors reach beyond the values that are made below, and an old denormal number
    // would slow down all of theirs.
    fill_beyond(scratch, p.lines * pitch, Vec<T>::broadcast(Reduction::identity()));
    for (index_t plane = 0; plane < p.planes; ++plane, in += p.H * p.W) {
        for (index_t first = 0; first < p.OH; first += p.lines) {
            const index_t lines = p.OH - first < p.lines ? p.OH - first : p.lines;
            make_lines<T, Reduction>(p, p.rows + first, lines, in, in_end, scratch);
            const T* next = in + p.rows[first].begin * p.W + lines * values;
            const T* line = scratch;
            for (index_t oh = first; oh < first + lines; ++oh) {
                prefetch(next, values);
                if constexpr (kStride == 0) {
                    reduce_each_window<T, Reduction>(
                        p, line, [&](index_t ow, T x) { finish.one(oh, ow, x, out + ow); });
                } else {
                    const auto row = finish.row(oh);
                    reduce_windows<T, Reduction, kStride, kTaps>(
                        p, line, out_end - out,
                        [&](index_t j, Vec<T> x, auto part) { store(row(j, x), out + j, part); });
                }
                next += values;
                line += pitch;
                out += OW;
            }
        }
    }
}

// finish makes outputs of the reductions of windows: one(oh, ow, x, out) stores one, row(oh)(ow, x)
// returns a vector of them, whole(x) one of windows that are a whole plane each.
template <typename T, typename Reduction, typename Finish>
void pool(const PoolWalk& p, const T* in, T* out, T* scratch, Finish finish) {
    const T* const in_end = in + p.planes * p.H * p.W;
    const T* const out_end = out + p.planes * p.OH * p.OW;
    // Of longer ones the sums of one plane hide each other's latency, and read one stream.
    constexpr index_t kShortRun = 8 * Vec<T>::lanes;
    if (p.whole_rows && p.OH == 1 && p.rows[0].begin == 0 && p.rows[0].end == p.H &&
        p.H * p.W <= kShortRun) {
        reduce_planes<T, Reduction>(p.planes, p.H * p.W, in, out, finish);
    } else if (p.whole_rows) {
        for (index_t plane = 0; plane < p.planes; ++plane, in += p.H * p.W) {
            for (index_t oh = 0; oh < p.OH; ++oh) {
                const Window& w = p.rows[oh];
                const T x = reduce_run<T, Reduction>((w.end - w.begin) * p.W, in + w.begin * p.W);
                finish.one(oh, 0, x, out++);
            }
        }
    } else if (are_pairs(p)) {
        for (index_t plane = 0; plane < p.planes; ++plane, in += p.H * p.W) {
            for (index_t oh = 0; oh < p.OH; ++oh, out += p.OW) {
                const auto row = finish.row(oh);
                reduce_pairs<T, Reduction>(
                    p, p.rows[oh], in, in_end, out_end - out,
                    [&](index_t j, Vec<T> x, auto lanes) { store(row(j, x), out + j, lanes); });
            }
        }
    } else {
        with_windows(p, [=, &p](auto stride, auto taps) {
            pool_lines<T, Reduction, decltype(stride)::value, decltype(taps)::value>(
                p, in, out, scratch, finish);
        });
    }
}

// The maximum is the result.
template <typename T>
struct Unchanged {
    void one(index_t, index_t, T x, T* out) const { *out = x; }
    Vec<T> whole(Vec<T> x) const { return x; }
    auto row(index_t) const {
        return [](index_t, Vec<T> x) { return x; };
    }
};

// The sum divided by rows * columns, of which there is one for each window along H and W.
template <typename T>
struct Divided {
    const T* rows;
    const T* columns;
    void one(index_t oh, index_t ow, T x, T* out) const { *out = x / (rows[oh] * columns[ow]); }
    Vec<T> whole(Vec<T> x) const { return x / Vec<T>::broadcast(rows[0] * columns[0]); }
    auto row(index_t oh) const {
        return [extent = Vec<T>::broadcast(rows[oh]), widths = columns](index_t ow, Vec<T> x) {
            return x / (extent * Vec<T>::load(widths + ow));
        };
    }
};

// What windows contribute to their divisors along either axis: OW values and a vector of ones, and OH
// values. All of `divisor` is with the rows, if it is not 0.
template <typename T>
Divided<T> divided_by(const PoolWalk& p, T divisor, T* extents) {
    T* const rows = extents + p.OW + Vec<T>::lanes;
    for (index_t ow = 0; ow < p.OW; ++ow)
        extents[ow] = divisor != 0 ? T(1) : static_cast<T>(p.cols[ow].extent);
    Vec<T>::broadcast(1).store(extents + p.OW);
    for (index_t oh = 0; oh < p.OH; ++oh)
        rows[oh] = divisor != 0 ? divisor : static_cast<T>(p.rows[oh].extent);
    return {rows, extents};
}

// The largest value of each window; -inf where a window is empty.
template <typename T>
void max_pool(const PoolWalk& p, const T* in, T* out, T* scratch) {
    pool<T, Largest<T>>(p, in, out, scratch, Unchanged<T>{});
}

// The sum of each window over the product of its extents, or over `divisor` if that is not 0. Scratch:
// the lines, and what divided_by needs.
template <typename T>
void avg_pool(const PoolWalk& p, T divisor, const T* in, T* out, T* scratch) {
    pool<T, Sum<T>>(p, in, out, scratch, divided_by(p, divisor, scratch + p.lines * p.pitch));
}

}  // namespace pyconv::PYCONV_ISA
