// SPDX-License-Identifier: BSD-3-Clause
// Max pooling that also says where the maxima are: pool-inl.h with an index beside each value.
// Included once per ISA.
//
// The index is h * W + w. Of equal values the smallest index wins; a NaN wins over everything, and of
// several the one with the largest index. Within a column or a run, pixels come in the order of
// their indices, and "larger, or NaN" says it all. Along a line they do not: there the index of a NaN
// is stored as its complement, which is negative, so that the smaller index wins in either case.
#pragma once

#include "kernels/pool-inl.h"

namespace pyconv::PYCONV_ISA {

// A vector of values and of their indices, which are integers as wide as a value.
template <typename T>
struct Found {
    using Int = typename LaneInt<T>::type;
    using Ints = typename Vec<T>::Mask;
    Vec<T> value;
    Ints index;
};

// Larger than any index: that of padding, and of a window without pixels.
inline constexpr int32_t kNowhere = 0x7fffffff;

template <typename T>
typename Vec<T>::Mask every(index_t i) {
    return typename Vec<T>::Mask{} + static_cast<typename LaneInt<T>::type>(i);
}

// 0, step, 2 * step, ...
template <typename T>
typename Vec<T>::Mask lane_steps(int step) {
    typename Vec<T>::Mask steps;
    for (index_t l = 0; l < Vec<T>::lanes; ++l)
        steps[l] = static_cast<typename LaneInt<T>::type>(l * step);
    return steps;
}

// `next` follows `first` in the order of indices.
template <typename T>
Found<T> latest_of(Found<T> first, Vec<T> next, typename Vec<T>::Mask index) {
    const auto better = (next > first.value) | (next != next);
    return {select<T>(better, next, first.value), better ? index : first.index};
}

// Indices of NaN as their complement, and back.
template <typename T>
Found<T> with_order(Found<T> x) {
    return {x.value, x.index ^ (x.value != x.value)};
}
template <typename T>
Found<T> without_order(Found<T> x) {
    return {x.value, x.index ^ (x.index < 0)};
}

// In any order; indices of NaN are complements.
template <typename T>
Found<T> best_of(Found<T> a, Found<T> b) {
    const auto better = (b.value > a.value) | (~(b.value < a.value) & (b.index < a.index));
    return {select<T>(better, b.value, a.value), better ? b.index : a.index};
}

// Indices lie in scratch and pass through vectors of T bit for bit.
template <typename T>
Vec<T> as_values(typename Vec<T>::Mask x) {
    return {reinterpret_cast<typename Vec<T>::Native>(x)};
}
template <typename T>
typename Vec<T>::Mask as_ints(Vec<T> x) {
    return reinterpret_cast<typename Vec<T>::Mask>(x.v);
}
template <typename T>
Found<T> load_found(const T* value, const T* index) {
    return {Vec<T>::load(value), as_ints(Vec<T>::load(index))};
}
template <typename T>
Found<T> even_lanes_of(Found<T> a, Found<T> b) {
    return {even_lanes_of(a.value, b.value),
            as_ints(even_lanes_of(as_values<T>(a.index), as_values<T>(b.index)))};
}

template <typename T>
struct FoundOne {
    T value;
    int32_t index;
};

// As best_of, for single values.
template <typename T>
FoundOne<T> best_of(FoundOne<T> a, FoundOne<T> b) {
    const bool better = b.value > a.value || (!(b.value < a.value) && b.index < a.index);
    return better ? b : a;
}
template <typename T>
void store(FoundOne<T> x, T* value, int32_t* index) {
    *value = x.value;
    *index = x.index < 0 ? ~x.index : x.index;
}

// As many int32 as a vector has lanes.
template <typename T>
struct Int32Lanes;
template <>
struct Int32Lanes<float> {
    typedef int32_t Native __attribute__((vector_size(PYCONV_VECTOR_BYTES)));
    typedef int32_t Unaligned
        __attribute__((vector_size(PYCONV_VECTOR_BYTES), aligned(4), may_alias));
};
template <>
struct Int32Lanes<double> {
    typedef int32_t Native __attribute__((vector_size(PYCONV_VECTOR_BYTES / 2)));
    typedef int32_t Unaligned
        __attribute__((vector_size(PYCONV_VECTOR_BYTES / 2), aligned(4), may_alias));
};

template <typename T>
void store(Found<T> x, T* value, int32_t* index, AllLanes lanes) {
    store(x.value, value, lanes);
    *reinterpret_cast<typename Int32Lanes<T>::Unaligned*>(index) =
        __builtin_convertvector(x.index, typename Int32Lanes<T>::Native);
}
template <typename T>
void store(Found<T> x, T* value, int32_t* index, SomeLanes lanes) {
    store(x.value, value, lanes);
    for (index_t l = 0; l < lanes.count; ++l) index[l] = static_cast<int32_t>(x.index[l]);
}

// The rows of a window as a line of values, and one of indices (NaN: complements).
template <typename T>
PYCONV_INLINE void find_rows(const PoolWalk& p, const Window& window, const T* plane, const T* end,
                             T* line, T* indices) {
    using V = Vec<T>;
    const V identity = V::broadcast(Largest<T>::identity());
    const V nowhere = as_values<T>(every<T>(kNowhere));
    const index_t count = taps_of(window, p.dilation_h), step = p.dilation_h * p.W;
    if (count == 0) {
        fill_beyond(line + p.left, line_length(p), identity);
        fill_beyond(indices + p.left, line_length(p), nowhere);
        return;
    }
    const T* first = plane + window.begin * p.W;
    const index_t room = end - (first + (count - 1) * step), base = window.begin * p.W;
    with_count<2, 3>(count, [&](auto usual) {
        const index_t rows = usual.value != 0 ? usual.value : count;
        auto column = lane_steps<T>(1);
        for_vectors<T>(p.W, room, [&](index_t j, auto lanes) {
            Found<T> x{load(first + j, lanes), every<T>(base)};
            PYCONV_UNROLL(3)
            for (index_t r = 1; r < rows; ++r)
                x = latest_of(x, load(first + r * step + j, lanes), every<T>(base + r * step));
            x.index += column;
            column += every<T>(V::lanes);
            x = with_order(x);
            x.value.store(line + p.left + j);
            as_values<T>(x.index).store(indices + p.left + j);
        });
    });
    fill_beyond(line + p.left + p.W, line_length(p) - p.W, identity);
    fill_beyond(indices + p.left + p.W, line_length(p) - p.W, nowhere);
}

template <typename T>
__attribute__((noinline)) void make_found_lines(const PoolWalk& p, const Window* windows,
                                                index_t count, const T* plane, const T* end,
                                                T* line, T* indices) {
    for (index_t i = 0; i < count; ++i, line += p.pitch, indices += p.pitch)
        find_rows(p, windows[i], plane, end, line, indices);
}

template <typename T, int kStride, int kTaps>
PYCONV_INLINE void find_windows(const PoolWalk& p, const T* line, const T* indices, index_t room,
                                T* out, int32_t* out_indices) {
    constexpr index_t L = Vec<T>::lanes;
    const index_t dilation = p.dilation_w, taps = kTaps != 0 ? kTaps : p.taps;
    const auto found_of = [=](index_t j, index_t tap) {
        const index_t at = kStride * j + tap;
        const Found<T> x = load_found(line + at, indices + at);
        if constexpr (kStride == 1) return x;
        return even_lanes_of(x, load_found(line + at + L, indices + at + L));
    };
    for_vectors<T>(p.OW, room, [=](index_t j, auto lanes) {
        Found<T> x = found_of(j, 0);
        PYCONV_UNROLL(3)
        for (index_t k = 1; k < taps; ++k) x = best_of(x, found_of(j, k * dilation));
        store(without_order(x), out + j, out_indices + j, lanes);
    });
}

template <typename T>
void find_each_window(const PoolWalk& p, const T* line, const T* indices, T* out,
                      int32_t* out_indices) {
    typedef typename LaneInt<T>::type Int __attribute__((may_alias));
    const Int* index = reinterpret_cast<const Int*>(indices);
    for (index_t ow = 0; ow < p.OW; ++ow) {
        FoundOne<T> x{Largest<T>::identity(), kNowhere};
        for (index_t w = p.cols[ow].begin; w < p.cols[ow].end; w += p.dilation_w)
            x = best_of(x, {line[p.left + w], static_cast<int32_t>(index[p.left + w])});
        store(x, out + ow, out_indices + ow);
    }
}

template <typename T>
PYCONV_INLINE void find_pairs(const PoolWalk& p, const Window& window, const T* plane, const T* end,
                              index_t room, T* out, int32_t* out_indices) {
    const index_t count = taps_of(window, p.dilation_h), step = p.dilation_h * p.W;
    const T* first = plane + window.begin * p.W;
    const index_t in_room = (end - (first + (count - 1) * step)) / 2, base = window.begin * p.W;
    with_count<2>(count, [&](auto usual) {
        const index_t rows = usual.value != 0 ? usual.value : count;
        auto column = lane_steps<T>(2) + every<T>(base);
        for_vectors<T>(p.OW, in_room < room ? in_room : room, [&](index_t j, auto lanes) {
            Found<T> x{};
            PYCONV_UNROLL(3)
            for (index_t r = 0; r < rows; ++r) {
                const TwoVecs<T> y = load_two(first + r * step + 2 * j, lanes);
                const Vec<T> even = even_lanes_of(y.a, y.b);
                x = r == 0 ? Found<T>{even, every<T>(0)} : latest_of(x, even, every<T>(r * step));
                x = latest_of(x, odd_lanes_of(y.a, y.b), every<T>(r * step + 1));
            }
            x.index += column;
            column += every<T>(2 * Vec<T>::lanes);
            store(x, out + j, out_indices + j, lanes);
        });
    });
}

template <typename T, int kBy>
Found<T> rotated(Found<T> x) {
    return {rotated<T, kBy>(x.value), as_ints(rotated<T, kBy>(as_values<T>(x.index)))};
}

// n values in a row, the first of which has the index `base`.
template <typename T>
PYCONV_INLINE FoundOne<T> find_run(index_t n, const T* in, index_t base) {
    constexpr index_t L = Vec<T>::lanes;
    auto index = lane_steps<T>(1) + every<T>(base);
    const Vec<T> identity = Vec<T>::broadcast(Largest<T>::identity());
    Found<T> x{identity, every<T>(kNowhere)};
    if (n >= L) {
        x = {Vec<T>::load(in), index};
        index_t i = L;
        for (; i + L <= n; i += L) {
            index += every<T>(L);
            x = latest_of(x, Vec<T>::load(in + i), index);
        }
        // The last vector again takes some values that it has seen: their indices are the same.
        if (i < n) {
            index = lane_steps<T>(1) + every<T>(base + n - L);
            x = best_of(with_order(x), with_order(Found<T>{Vec<T>::load(in + n - L), index}));
        } else {
            x = with_order(x);
        }
    } else {
        FoundOne<T> one{Largest<T>::identity(), kNowhere};
        for (index_t i = 0; i < n; ++i) {
            const auto at = static_cast<int32_t>(base + i);
            one = best_of(one, {in[i], in[i] != in[i] ? ~at : at});
        }
        return one;
    }
    constexpr int kLanes = static_cast<int>(L);
    if constexpr (kLanes > 8) x = best_of(x, rotated<T, 8 % kLanes>(x));
    if constexpr (kLanes > 4) x = best_of(x, rotated<T, 4 % kLanes>(x));
    if constexpr (kLanes > 2) x = best_of(x, rotated<T, 2 % kLanes>(x));
    x = best_of(x, rotated<T, 1>(x));
    return {x.value.v[0], static_cast<int32_t>(x.index[0])};
}

template <typename T, int kStride, int kTaps>
void find_by_lines(const PoolWalk& p, const T* in, T* out, int32_t* indices, T* scratch) {
    const T* const in_end = in + p.planes * p.H * p.W;
    const T* const out_end = out + p.planes * p.OH * p.OW;
    const index_t pitch = p.pitch, OW = p.OW, values = prefetched_values(p);
    const index_t index_lines = p.lines * pitch;
    for (index_t i = 0; i < p.lines; ++i) {
        T* const line = scratch + i * pitch;
        fill_beyond(line, p.left, Vec<T>::broadcast(Largest<T>::identity()));
        fill_beyond(line + index_lines, p.left, as_values<T>(every<T>(kNowhere)));
    }
    for (index_t plane = 0; plane < p.planes; ++plane, in += p.H * p.W) {
        for (index_t first = 0; first < p.OH; first += p.lines) {
            const index_t lines = p.OH - first < p.lines ? p.OH - first : p.lines;
            make_found_lines(p, p.rows + first, lines, in, in_end, scratch, scratch + index_lines);
            const T* next = in + p.rows[first].begin * p.W + lines * values;
            const T* line = scratch;
            for (index_t i = 0; i < lines; ++i) {
                prefetch(next, values);
                if constexpr (kStride == 0) {
                    find_each_window(p, line, line + index_lines, out, indices);
                } else {
                    find_windows<T, kStride, kTaps>(p, line, line + index_lines, out_end - out, out,
                                                    indices);
                }
                next += values;
                line += pitch;
                out += OW;
                indices += OW;
            }
        }
    }
}

// The largest value of each window and its index; -inf and kNowhere where a window is empty. Scratch:
// twice the lines.
template <typename T>
void max_pool_indices(const PoolWalk& p, const T* in, T* out, int32_t* indices, T* scratch) {
    const T* const in_end = in + p.planes * p.H * p.W;
    const T* const out_end = out + p.planes * p.OH * p.OW;
    if (p.whole_rows) {
        for (index_t plane = 0; plane < p.planes; ++plane, in += p.H * p.W) {
            for (index_t oh = 0; oh < p.OH; ++oh) {
                const index_t begin = p.rows[oh].begin * p.W, end = p.rows[oh].end * p.W;
                store(find_run(end - begin, in + begin, begin), out++, indices++);
            }
        }
    } else if (are_pairs(p)) {
        for (index_t plane = 0; plane < p.planes; ++plane, in += p.H * p.W) {
            for (index_t oh = 0; oh < p.OH; ++oh, out += p.OW, indices += p.OW)
                find_pairs(p, p.rows[oh], in, in_end, out_end - out, out, indices);
        }
    } else {
        with_windows(p, [=, &p](auto stride, auto taps) {
            find_by_lines<T, decltype(stride)::value, decltype(taps)::value>(p, in, out, indices,
                                                                             scratch);
        });
    }
}

}  // namespace pyconv::PYCONV_ISA
