// SPDX-License-Identifier: BSD-3-Clause
// Softmax of lines, its logarithm, cross entropy, and their gradients. Included once per ISA.
//
// Lines one after the other are taken one by one, their values in the lanes; lines side by side are taken
// a vector at a time, one in each lane. Both are written once, over a walk that hides which it is.
#pragma once

#include "kernels/math-inl.h"
#include "kernels/table.h"

namespace pyconv::PYCONV_ISA {

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
};

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

// Calls f(walk, offset of the line or vector of lines, its number, how many lines).
template <typename T, typename F>
void each_line(const Lines& v, F f) {
    constexpr index_t L = Vec<T>::lanes;
    if (v.step == 1) {
        for (index_t l = 0; l < v.count; ++l) f(Along<T>{v.size}, l * v.size, l, index_t{1});
        return;
    }
    index_t l = 0;
    for (; l + L <= v.count; l += L)
        f(Across<T, Constant<0>>{v.size, v.step, {}}, l, l, Constant<0>());
    if (l < v.count) f(Across<T, index_t>{v.size, v.step, v.count - l}, l, l, v.count - l);
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
void softmax(const Lines& v, const T* in, T* out) {
    each_line<T>(v, [=](auto walk, index_t at, index_t, auto) {
        const auto sum = exponentials(walk, largest_of(walk, in + at), in + at, out + at);
        const auto factor = Vec<T>::broadcast(1) / sum;
        map_over<T>(walk, out + at, [=](Vec<T> e) { return e * factor; }, out + at);
    });
}

// output * (grad_output - sum(grad_output * output))
template <typename T>
void softmax_backward(const Lines& v, const T* grad_output, const T* output, T* grad_input) {
    each_line<T>(v, [=](auto walk, index_t at, index_t, auto) {
        const auto dot = sum_over<T>(
            walk, T(0), [](index_t, auto, Vec<T> g, Vec<T> y) { return g * y; }, grad_output + at,
            output + at);
        map_over<T>(
            walk, grad_input + at, [=](Vec<T> g, Vec<T> y) { return y * (g - dot); },
            grad_output + at, output + at);
    });
}

template <typename T>
void log_softmax(const Lines& v, const T* in, T* out) {
    each_line<T>(v, [=](auto walk, index_t at, index_t, auto) {
        const auto largest = largest_of(walk, in + at);
        const auto log_sum = log(sum_of_exponentials(walk, largest, in + at));
        map_over<T>(walk, out + at, [=](Vec<T> x) { return (x - largest) - log_sum; }, in + at);
    });
}

// grad_output - exp(output) * sum(grad_output)
template <typename T>
void log_softmax_backward(const Lines& v, const T* grad_output, const T* output, T* grad_input) {
    each_line<T>(v, [=](auto walk, index_t at, index_t, auto) {
        const auto sum =
            sum_over<T>(walk, T(0), [](index_t, auto, Vec<T> g) { return g; }, grad_output + at);
        map_over<T>(
            walk, grad_input + at, [=](Vec<T> g, Vec<T> y) { return g - exp(y) * sum; },
            grad_output + at, output + at);
    });
}

// For each line the largest logit and log(sum(exp(logits - largest))); unless grad is nullptr,
// grad = softmax(logits) * factor[line].
template <typename T>
void cross_entropy(const Lines& v, const T* logits, const T* factor, T* largest, T* log_sum,
                   T* grad) {
    each_line<T>(v, [=](auto walk, index_t at, index_t line, auto count) {
        const auto maximum = largest_of(walk, logits + at);
        const auto sum = grad == nullptr ? sum_of_exponentials(walk, maximum, logits + at)
                                         : exponentials(walk, maximum, logits + at, grad + at);
        store_some<T>(maximum, largest + line, count);
        store_some<T>(log(sum), log_sum + line, count);
        if (grad == nullptr) return;
        // One line has its factor in every lane, several have each their own.
        const auto scale = v.step == 1 ? Vec<T>::broadcast(factor[line])
                                       : load_some<T>(factor + line, count, Vec<T>::zero());
        const auto f = scale / sum;
        map_over<T>(walk, grad + at, [=](Vec<T> e) { return e * f; }, grad + at);
    });
}

}  // namespace pyconv::PYCONV_ISA
