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
PYCONV_INLINE Vec<T> load_some(const T* p, Constant<0>, Vec<T>) {
    return Vec<T>::load(p);
}
template <typename T>
PYCONV_INLINE Vec<T> load_some(const T* p, index_t count, Vec<T> rest) {
    return Vec<T>::load_lanes(p, Vec<T>::lanes_before(count), rest);
}
template <typename T>
PYCONV_INLINE void store_some(Vec<T> x, T* p, Constant<0>) {
    x.store(p);
}
template <typename T>
PYCONV_INLINE void store_some(Vec<T> x, T* p, index_t count) {
    x.store_part(p, count);
}

// A line in the lanes of vectors: what is reduced over it is the same in all lanes.
template <typename T>
struct Along {
    using V = Vec<T>;
    static constexpr index_t kValues = V::lanes;  // of a line in a vector
    index_t size;

    // x = f(x, offset, count) for each vector of the line, the last of which may be part of one.
    template <typename F>
    PYCONV_INLINE V fold(V x, F f) const {
        index_t i = 0;
        for (; i + V::lanes <= size; i += V::lanes) x = f(x, i, Constant<0>());
        return i < size ? f(x, i, size - i) : x;
    }
    // A line of the next `values` values, and where value `start` lies.
    Along part(index_t values) const { return {values}; }
    index_t offset(index_t start) const { return start; }
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
    static constexpr index_t kValues = 1;
    index_t size, step;
    Count count;

    template <typename F>
    PYCONV_INLINE V fold(V x, F f) const {
        for (index_t i = 0; i < size; ++i) x = f(x, i * step, count);
        return x;
    }
    Across part(index_t values) const { return {values, step, count}; }
    index_t offset(index_t start) const { return start * step; }
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
PYCONV_INLINE Vec<T> sum_over(const Walk& walk, T rest, F f, const In*... in) {
    using V = Vec<T>;
    constexpr index_t kChunk = 32 * Walk::kValues;
    const V filling = V::broadcast(rest);
    V total = V::zero();
    for (index_t start = 0; start < walk.size; start += kChunk) {
        const index_t left = walk.size - start, base = walk.offset(start);
        const auto add = [=](V sum, index_t at, auto count) PYCONV_INLINED {
            return sum + f(base + at, count, load_some<T>(in + base + at, count, filling)...);
        };
        total = total + walk.part(left < kChunk ? left : kChunk).fold(V::zero(), add);
    }
    return Walk::sum(total);
}

template <typename T, typename Walk, typename F, typename... In>
PYCONV_INLINE void map_over(const Walk& walk, T* out, F f, const In*... in) {
    walk.fold(Vec<T>::zero(), [=](Vec<T> none, index_t at, auto count) PYCONV_INLINED {
        store_some<T>(f(load_some<T>(in + at, count, Vec<T>::zero())...), out + at, count);
        return none;
    });
}

template <typename T>
inline constexpr T kMinusInfinity = static_cast<T>(-__builtin_inf());

// NaN is passed over: the sum of exponentials shows it.
template <typename T, typename Walk>
PYCONV_INLINE Vec<T> largest_of(const Walk& walk, const T* in) {
    const auto lowest = Vec<T>::broadcast(kMinusInfinity<T>);
    const auto larger = [=](Vec<T> largest, index_t at, auto count) PYCONV_INLINED {
        const auto x = load_some<T>(in + at, count, lowest);
        return select<T>(x > largest, x, largest);
    };
    return Walk::largest(walk.fold(lowest, larger));
}

// Up to this size lines that lie one after the other are transposed on the stack, a vector of them at a
// time, rather than reduced one by one.
template <typename T>
inline constexpr index_t kShortLine = 8 * Vec<T>::lanes;

template <typename T, typename Body, typename... In>
void each_short_line(const Lines& v, Body body, T* out, const In*... in) {
    constexpr index_t L = Vec<T>::lanes, kArrays = sizeof...(In);
    alignas(64) T scratch[kArrays][kShortLine<T> * L];
    for (index_t first = 0; first < v.count; first += L) {
        const index_t count = v.count - first < L ? v.count - first : L, at = first * v.size;
        index_t a = 0;
        const auto turned = [&](const T* from) {
            T* to = scratch[a++];
            if (count < L)
                for (index_t i = 0; i < v.size * L; ++i) to[i] = 0;
            transpose<T>(count, v.size, from + at, v.size, to, L);
            return static_cast<const T*>(to);
        };
        // In braces, which are evaluated from left to right. The result takes the place of the first.
        const T* copies[] = {turned(in)...};
        T* result = out == nullptr ? nullptr : scratch[0];
        const Across<T, Constant<0>> walk{v.size, L, {}};
        if constexpr (kArrays == 1) {
            body(walk, first, count, result, copies[0]);
        } else {
            body(walk, first, count, result, copies[0], copies[1]);
        }
        if (out != nullptr) transpose<T>(v.size, count, scratch[0], L, out + at, v.size);
    }
}

// Calls body(walk, number of the first line, how many lines, out, in...) until every line has had its
// turn; the pointers are those of its first value. `out` may be nullptr, or one of the inputs.
template <typename T, typename Body, typename... In>
void each_line(const Lines& v, Body body, T* out, const In*... in) {
    constexpr index_t L = Vec<T>::lanes;
    const auto result = [&](index_t at) { return out == nullptr ? nullptr : out + at; };
    if (v.step > 1) {
        index_t l = 0;
        for (; l + L <= v.count; l += L)
            body(Across<T, Constant<0>>{v.size, v.step, {}}, l, Constant<0>(), result(l),
                 (in + l)...);
        const index_t rest = v.count - l;
        if (rest > 0)
            body(Across<T, index_t>{v.size, v.step, rest}, l, rest, result(l), (in + l)...);
    } else if (v.size <= kShortLine<T>) {
        each_short_line(v, body, out, in...);
    } else {
        for (index_t l = 0; l < v.count; ++l) {
            const index_t at = l * v.size;
            body(Along<T>{v.size}, l, index_t{1}, result(at), (in + at)...);
        }
    }
}

// exp(in - largest) to `out`; returns its sum.
template <typename T, typename Walk>
PYCONV_INLINE Vec<T> exponentials(const Walk& walk, Vec<T> largest, const T* in, T* out) {
    return sum_over<T>(
        walk, kMinusInfinity<T>,
        [=](index_t at, auto count, Vec<T> x) PYCONV_INLINED {
            const auto e = exp_of_negative(x - largest);
            store_some<T>(e, out + at, count);
            return e;
        },
        in);
}
template <typename T, typename Walk>
PYCONV_INLINE Vec<T> sum_of_exponentials(const Walk& walk, Vec<T> largest, const T* in) {
    return sum_over<T>(
        walk, kMinusInfinity<T>,
        [=](index_t, auto, Vec<T> x) PYCONV_INLINED { return exp_of_negative(x - largest); }, in);
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
