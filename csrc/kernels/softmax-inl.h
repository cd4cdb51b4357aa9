// SPDX-License-Identifier: BSD-3-Clause
// Softmax of lines, its logarithm, cross entropy, and their gradients. Included once per ISA.
//
// Long lines that lie one after the other are taken one by one, their values in the lanes; others are
// taken a vector at a time, one in each lane. Both are written once, over a walk that hides which it is.
#pragma once

#include "kernels/math-inl.h"
#include "kernels/pack-inl.h"
#include "kernels/table.h"

namespace pyconv::PYCONV_ISA {

// A whole vector, or its first lanes, which the others of `rest` complete.
template <typename T>
Vec<T> load_some(const T* p, Constant<0>, Vec<T>) {
    return Vec<T>::load(p);
}
template <typename T>
Vec<T> load_some(const T* p, index_t count, Vec<T> rest) {
    return Vec<T>::load_lanes(p, Vec<T>::lanes_before(count), rest);
}
template <typename T>
void store_some(Vec<T> x, T* p, Constant<0>) {
    x.store(p);
}
template <typename T>
void store_some(Vec<T> x, T* p, index_t count) {
    x.store_part(p, count);
}

// A line in the lanes of vectors: what is reduced over it is the same in all lanes.
template <typename T>
struct Along {
    using V = Vec<T>;
    index_t size;

    // Calls f(offset, count) for each vector of the line, the last of which may be part of one.
    template <typename F>
    void each(F&& f) const {
        index_t i = 0;
        for (; i + V::lanes <= size; i += V::lanes) f(i, Constant<0>());
        if (i < size) f(i, size - i);
    }
    static V largest(V x) {
        T lane[V::lanes];
        x.store(lane);
        for (index_t l = 1; l < V::lanes; ++l) lane[0] = lane[l] > lane[0] ? lane[l] : lane[0];
        return V::broadcast(lane[0]);
    }
    static V sum(V x) { return V::broadcast(reduce_add(x)); }
    // A value of each line.
    static V for_lines(const T* p, index_t) { return V::broadcast(*p); }
};

// A line in each lane, its values `step` apart; `count` lanes are in use, 0 means all.
template <typename T, typename Count>
struct Across {
    using V = Vec<T>;
    index_t size, step;
    Count count;

    template <typename F>
    void each(F&& f) const {
        for (index_t i = 0; i < size; ++i) f(i * step, count);
    }
    static V largest(V x) { return x; }
    static V sum(V x) { return x; }
    template <typename Some>
    static V for_lines(const T* p, Some some) {
        return load_some<T>(p, some, V::zero());
    }
};

// The sum over a line of f(vectors of the arrays), which maps the values `rest` of lanes that hold none to 0.
// In two levels: partial sums of kChunk vectors are added up, so that the rounding error grows with kChunk +
// size / kChunk rather than with the size; the order depends on the size alone.
template <typename T, typename Walk, typename F, typename... In>
Vec<T> sum_over(const Walk& walk, T rest, F f, const In*... in) {
    using V = Vec<T>;
    constexpr int kChunk = 32;
    V total = V::zero(), part = V::zero();
    int steps = 0;
    walk.each([&](index_t at, auto count) {
        part = part + f(at, count, load_some<T>(in + at, count, V::broadcast(rest))...);
        if (++steps < kChunk) return;
        total = total + part;
        part = V::zero();
        steps = 0;
    });
    return Walk::sum(total + part);
}

template <typename T, typename Walk, typename F, typename... In>
void map_over(const Walk& walk, T* out, F f, const In*... in) {
    walk.each([&](index_t at, auto count) {
        store_some<T>(f(load_some<T>(in + at, count, Vec<T>::zero())...), out + at, count);
    });
}

template <typename T>
inline constexpr T kMinusInfinity = static_cast<T>(-__builtin_inf());

// NaN is passed over: the sum of exponentials shows it.
template <typename T, typename Walk>
Vec<T> largest_of(const Walk& walk, const T* in) {
    const auto lowest = Vec<T>::broadcast(kMinusInfinity<T>);
    Vec<T> largest = lowest;
    walk.each([&](index_t at, auto count) {
        const auto x = load_some<T>(in + at, count, lowest);
        largest = select<T>(x > largest, x, largest);
    });
    return Walk::largest(largest);
}

// How many values of each array are copied to the stack at once.
template <typename T>
inline constexpr index_t kScratch = index_t{16384} / index_t{sizeof(T)};
// Up to this size lines that lie one after the other are transposed, rather than reduced one by one.
template <typename T>
inline constexpr index_t kShortLine = 8 * Vec<T>::lanes;

// Lines side by side in `scratch`, a vector of them at a time: what a body is given there.
template <typename T>
using Copied = Across<T, Constant<0>>;

// `columns` values of each row, whole vectors of them in the copy.
template <typename T>
void copy_panel(index_t rows, index_t columns, const T* in, index_t step, T* copy, index_t pitch) {
    constexpr index_t L = Vec<T>::lanes;
    for (index_t r = 0; r < rows; ++r, in += step, copy += pitch) {
        index_t i = 0;
        for (; i + L <= columns; i += L) Vec<T>::load(in + i).store(copy + i);
        if (i < columns) Vec<T>::load_part(in + i, columns - i).store(copy + i);
    }
}
template <typename T>
void copy_back(index_t rows, index_t columns, const T* copy, index_t pitch, T* out, index_t step) {
    constexpr index_t L = Vec<T>::lanes;
    for (index_t r = 0; r < rows; ++r, out += step, copy += pitch) {
        index_t i = 0;
        for (; i + L <= columns; i += L) Vec<T>::load(copy + i).store(out + i);
        if (i < columns) Vec<T>::load(copy + i).store_part(out + i, columns - i);
    }
}

// Calls body(walk, number of the first line, how many lines, out, in...) until every line has had its
// turn; the pointers are those of its first value. Lines side by side are a whole cache line or more apart,
// often a power of two, where few of them fit in L1 together: a panel of them is copied, worked on where
// it fits, and the result, which takes the place of the first input, copied back. `out` may be nullptr.
template <typename T, typename Body, typename... In>
void each_line(const Lines& v, Body body, T* out, const T* in, const In*... more) {
    constexpr index_t L = Vec<T>::lanes, kVectors = 4;
    const auto to = [&](index_t at) { return out == nullptr ? nullptr : out + at; };
    const bool short_lines = v.step == 1 && v.size <= kShortLine<T>;
    if (v.step == 1 && !short_lines) {
        for (index_t l = 0; l < v.count; ++l) {
            const index_t at = l * v.size;
            body(Along<T>{v.size}, l, index_t{1}, to(at), in + at, (more + at)...);
        }
        return;
    }
    const index_t fit = kScratch<T> / (L * v.size);
    if (fit == 0) {
        index_t l = 0;
        for (; l + L <= v.count; l += L)
            body(Across<T, Constant<0>>{v.size, v.step, {}}, l, Constant<0>(), to(l), in + l,
                 (more + l)...);
        if (l < v.count)
            body(Across<T, index_t>{v.size, v.step, v.count - l}, l, v.count - l, to(l), in + l,
                 (more + l)...);
        return;
    }
    constexpr index_t kArrays = 1 + sizeof...(In);
    static_assert(kArrays <= 2);
    alignas(64) T scratch[kArrays][kScratch<T>];
    const index_t width = short_lines ? L : (fit < kVectors ? fit : kVectors) * L;
    for (index_t first = 0; first < v.count; first += width) {
        const index_t lines = v.count - first < width ? v.count - first : width;
        const auto copy = [&](const T* from, T* copied) {
            if (!short_lines) {
                copy_panel<T>(v.size, lines, from + first, v.step, copied, width);
                return;
            }
            if (lines < L)
                for (index_t i = 0; i < v.size * L; ++i) copied[i] = 0;
            transpose<T>(lines, v.size, from + first * v.size, v.size, copied, L);
        };
        copy(in, scratch[0]);
        (copy(more, scratch[1]), ...);
        for (index_t l = 0; l < lines; l += L) {
            const auto work = [&](auto count) {
                const T* values = scratch[0] + l;
                body(Copied<T>{v.size, width, {}}, first + l, count,
                     out == nullptr ? nullptr : scratch[0] + l, values,
                     (static_cast<void>(more), static_cast<const T*>(scratch[1] + l))...);
            };
            if (lines - l >= L) {
                work(Constant<0>());
            } else {
                work(lines - l);
            }
        }
        if (out == nullptr) continue;
        if (short_lines) {
            transpose<T>(v.size, lines, scratch[0], L, out + first * v.size, v.size);
        } else {
            copy_back<T>(v.size, lines, scratch[0], width, out + first, v.step);
        }
    }
}

// exp(in - largest) to `out`; returns its sum.
template <typename T, typename Walk>
Vec<T> exponentials(const Walk& walk, Vec<T> largest, const T* in, T* out) {
    return sum_over<T>(
        walk, kMinusInfinity<T>,
        [=](index_t at, auto count, Vec<T> x) {
            const auto e = exp_of_negative(x - largest);
            store_some<T>(e, out + at, count);
            return e;
        },
        in);
}
template <typename T, typename Walk>
Vec<T> sum_of_exponentials(const Walk& walk, Vec<T> largest, const T* in) {
    return sum_over<T>(
        walk, kMinusInfinity<T>,
        [=](index_t, auto, Vec<T> x) { return exp_of_negative(x - largest); }, in);
}

template <typename T>
void softmax(const Lines& v, const T* input, T* output) {
    const auto body = [](auto walk, index_t, auto, T* out, const T* in) {
        const auto sum = exponentials(walk, largest_of(walk, in), in, out);
        const auto factor = Vec<T>::broadcast(1) / sum;
        map_over<T>(walk, out, [=](Vec<T> e) { return e * factor; }, out);
    };
    each_line(v, body, output, input);
}

// output * (grad_output - sum(grad_output * output))
template <typename T>
void softmax_backward(const Lines& v, const T* grad_output, const T* output, T* grad_input) {
    const auto body = [](auto walk, index_t, auto, T* out, const T* grad, const T* y) {
        const auto dot = sum_over<T>(
            walk, T(0), [](index_t, auto, Vec<T> a, Vec<T> b) { return a * b; }, grad, y);
        map_over<T>(walk, out, [=](Vec<T> a, Vec<T> b) { return b * (a - dot); }, grad, y);
    };
    each_line(v, body, grad_input, grad_output, output);
}

template <typename T>
void log_softmax(const Lines& v, const T* input, T* output) {
    const auto body = [](auto walk, index_t, auto, T* out, const T* in) {
        const auto largest = largest_of(walk, in);
        const auto log_sum = log(sum_of_exponentials(walk, largest, in));
        map_over<T>(walk, out, [=](Vec<T> x) { return (x - largest) - log_sum; }, in);
    };
    each_line(v, body, output, input);
}

// grad_output - exp(output) * sum(grad_output)
template <typename T>
void log_softmax_backward(const Lines& v, const T* grad_output, const T* output, T* grad_input) {
    const auto body = [](auto walk, index_t, auto, T* out, const T* grad, const T* y) {
        const auto sum = sum_over<T>(walk, T(0), [](index_t, auto, Vec<T> a) { return a; }, grad);
        map_over<T>(walk, out, [=](Vec<T> a, Vec<T> b) { return a - exp(b) * sum; }, grad, y);
    };
    each_line(v, body, grad_input, grad_output, output);
}

// For each line the largest logit and log(sum(exp(logits - largest))); unless grad is nullptr,
// grad = softmax(logits) * factor[line].
template <typename T>
void cross_entropy(const Lines& v, const T* logits, const T* factor, T* largest, T* log_sum,
                   T* grad) {
    const auto body = [=](auto walk, index_t line, auto count, T* out, const T* in) {
        const auto maximum = largest_of(walk, in);
        const auto sum = grad == nullptr ? sum_of_exponentials(walk, maximum, in)
                                         : exponentials(walk, maximum, in, out);
        store_some<T>(maximum, largest + line, count);
        store_some<T>(log(sum), log_sum + line, count);
        if (grad == nullptr) return;
        const auto scale = walk.for_lines(factor + line, count) / sum;
        map_over<T>(walk, out, [=](Vec<T> e) { return e * scale; }, out);
    };
    each_line(v, body, grad, logits);
}

}  // namespace pyconv::PYCONV_ISA
