// SPDX-License-Identifier: BSD-3-Clause
// Softmax of lines, its logarithm, cross entropy, and their gradients. Included once per ISA.
//
// Lines that lie one after the other are taken one by one, their values in the lanes, or, if they are
// short, transposed on the stack, one in each lane; both are written once, over a walk that hides which it
// is. Lines side by side are worked on row by row, some hundred lines at a time.
#pragma once

#include "kernels/elementwise-inl.h"
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

// A line in each lane, its values a vector apart.
template <typename T>
struct Transposed {
    using V = Vec<T>;
    static constexpr index_t kValues = 1;
    index_t size;

    template <typename F>
    PYCONV_INLINE V fold(V x, F f) const {
        for (index_t i = 0; i < size; ++i) x = f(x, i * V::lanes, Constant<0>());
        return x;
    }
    Transposed part(index_t values) const { return {values}; }
    index_t offset(index_t start) const { return start * V::lanes; }
    static V largest(V x) { return x; }
    static V sum(V x) { return x; }
    static V for_lines(const T* p, index_t count) { return load_some<T>(p, count, V::zero()); }
};

// How many terms are summed before their sum is added to the others'. The rounding error of a sum grows
// with this and with the number of such sums, rather than with that of all terms.
inline constexpr index_t kTerms = 32;

// The sum over a line of f(vectors of the arrays), which maps the values `rest` of lanes that hold none to 0.
// The order depends on the size alone.
template <typename T, typename Walk, typename F, typename... In>
PYCONV_INLINE Vec<T> sum_over(const Walk& walk, T rest, F f, const In*... in) {
    using V = Vec<T>;
    constexpr index_t kChunk = kTerms * Walk::kValues;
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
// time, rather than reduced one by one: less for a gradient, which turns two arrays and has no maximum.
template <typename T, index_t Arrays>
inline constexpr index_t kShortLine = (Arrays == 1 ? 8 : 2) * Vec<T>::lanes;

template <typename T, typename Body, typename... In>
void each_short_line(const Lines& v, Body body, T* out, const In*... in) {
    constexpr index_t L = Vec<T>::lanes, kArrays = sizeof...(In);
    alignas(64) T scratch[kArrays][kShortLine<T, kArrays> * L];
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
        const Transposed<T> walk{v.size};
        if constexpr (kArrays == 1) {
            body(walk, first, count, result, copies[0]);
        } else {
            body(walk, first, count, result, copies[0], copies[1]);
        }
        if (out != nullptr) transpose<T>(v.size, count, scratch[0], L, out + at, v.size);
    }
}

// For lines one after the other: calls body(walk, number of the first line, how many lines, out, in...)
// until every one has had its turn; the pointers are those of its first value. `out` may be nullptr, or one of the inputs.
template <typename T, typename Body, typename... In>
void each_line(const Lines& v, Body body, T* out, const In*... in) {
    if (v.size <= kShortLine<T, sizeof...(In)>) return each_short_line(v, body, out, in...);
    for (index_t l = 0; l < v.count; ++l) {
        const index_t at = l * v.size;
        T* result = out == nullptr ? nullptr : out + at;
        body(Along<T>{v.size}, l, index_t{1}, result, (in + at)...);
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

// Some lines side by side: row i, which holds value i of each, is at i * step.
template <typename T>
struct Columns {
    using V = Vec<T>;
    static constexpr index_t kMost = 512;
    index_t rows, columns, step;

    // out = f(in..., column) for every row; `column` has one value a column.
    template <typename F, typename... In>
    void each_row_with(const T* column, T* out, F f, const In*... in) const {
        for (index_t i = 0; i < rows; ++i)
            map<T>(columns, out + i * step, f, (in + i * step)..., column);
    }
    void largest(const T* in, T* result) const {
        for (index_t l = 0; l < columns; ++l) result[l] = kMinusInfinity<T>;
        const auto larger = [](V m, V x) { return select<T>(x > m, x, m); };
        for (index_t i = 0; i < rows; ++i) map<T>(columns, result, larger, result, in + i * step);
    }
    // add(i, sums) adds row i to what it is given; the sums are made as sum_over makes them.
    template <typename F>
    void sum(F add, T* total) const {
        alignas(64) T part[kMost];
        for (index_t l = 0; l < columns; ++l) total[l] = 0;
        for (index_t start = 0; start < rows; start += kTerms) {
            const index_t end = rows - start < kTerms ? rows : start + kTerms;
            for (index_t l = 0; l < columns; ++l) part[l] = 0;
            for (index_t i = start; i < end; ++i) add(i, part);
            add_to<T>(columns, part, total);
        }
    }
    // exp(in - largest) to `out`, which may be nullptr, and its sum.
    void exponentials(const T* in, const T* most, T* out, T* total) const {
        const auto e = [](V x, V m) { return exp_of_negative(x - m); };
        const auto add = [](V s, V x, V m) { return s + exp_of_negative(x - m); };
        const auto row = [&](index_t i, T* sums) {
            const index_t at = i * step;
            if (out == nullptr) return map<T>(columns, sums, add, sums, in + at, most);
            map<T>(columns, out + at, e, in + at, most);
            add_to<T>(columns, out + at, sums);
        };
        sum(row, total);
    }
};

template <typename T, typename F>
void each_columns(const Lines& v, F f) {
    constexpr index_t kMost = Columns<T>::kMost;
    for (index_t l = 0; l < v.count; l += kMost)
        f(Columns<T>{v.size, v.count - l < kMost ? v.count - l : kMost, v.step}, l);
}

template <typename T>
void softmax(const Lines& v, const T* input, T* output) {
    using V = Vec<T>;
    if (v.step > 1) {
        return each_columns<T>(v, [=](Columns<T> c, index_t l) {
            alignas(64) T largest[c.kMost], factor[c.kMost];
            c.largest(input + l, largest);
            c.exponentials(input + l, largest, output + l, factor);
            map<T>(c.columns, factor, [](V sum) { return V::broadcast(1) / sum; }, factor);
            c.each_row_with(factor, output + l, [](V e, V f) { return e * f; }, output + l);
        });
    }
    const auto body = [](auto walk, index_t, auto, T* out, const T* in) {
        const auto sum = exponentials(walk, largest_of(walk, in), in, out);
        const V factor = V::broadcast(1) / sum;
        map_over<T>(walk, out, [=](V e) { return e * factor; }, out);
    };
    each_line(v, body, output, input);
}

// output * (grad_output - sum(grad_output * output))
template <typename T>
void softmax_backward(const Lines& v, const T* grad_output, const T* output, T* grad_input) {
    using V = Vec<T>;
    if (v.step > 1) {
        return each_columns<T>(v, [=](Columns<T> c, index_t l) {
            const T *grad = grad_output + l, *y = output + l;
            alignas(64) T dot[c.kMost];
            const auto add = [=](index_t i, T* sums) {
                const auto term = [](V s, V a, V b) { return s + a * b; };
                map<T>(c.columns, sums, term, sums, grad + i * c.step, y + i * c.step);
            };
            c.sum(add, dot);
            const auto result = [](V a, V b, V d) { return b * (a - d); };
            c.each_row_with(dot, grad_input + l, result, grad, y);
        });
    }
    const auto body = [](auto walk, index_t, auto, T* out, const T* grad, const T* y) {
        const auto term = [](index_t, auto, V a, V b) PYCONV_INLINED { return a * b; };
        const V dot = sum_over<T>(walk, T(0), term, grad, y);
        map_over<T>(walk, out, [=](V a, V b) { return b * (a - dot); }, grad, y);
    };
    each_line(v, body, grad_input, grad_output, output);
}

template <typename T>
void log_softmax(const Lines& v, const T* input, T* output) {
    using V = Vec<T>;
    if (v.step > 1) {
        return each_columns<T>(v, [=](Columns<T> c, index_t l) {
            alignas(64) T largest[c.kMost], log_sum[c.kMost];
            c.largest(input + l, largest);
            c.exponentials(input + l, largest, nullptr, log_sum);
            map<T>(c.columns, log_sum, [](V sum) { return log(sum); }, log_sum);
            for (index_t i = 0; i < c.rows; ++i) {
                const index_t at = l + i * c.step;
                const auto result = [](V x, V m, V s) { return (x - m) - s; };
                map<T>(c.columns, output + at, result, input + at, largest, log_sum);
            }
        });
    }
    const auto body = [](auto walk, index_t, auto, T* out, const T* in) {
        const V largest = largest_of(walk, in);
        const V log_sum = log(sum_of_exponentials(walk, largest, in));
        map_over<T>(walk, out, [=](V x) { return (x - largest) - log_sum; }, in);
    };
    each_line(v, body, output, input);
}

// grad_output - exp(output) * sum(grad_output)
template <typename T>
void log_softmax_backward(const Lines& v, const T* grad_output, const T* output, T* grad_input) {
    using V = Vec<T>;
    if (v.step > 1) {
        return each_columns<T>(v, [=](Columns<T> c, index_t l) {
            const T* grad = grad_output + l;
            alignas(64) T sum[c.kMost];
            c.sum([=](index_t i, T* sums) { add_to<T>(c.columns, grad + i * c.step, sums); }, sum);
            const auto result = [](V a, V b, V s) { return a - exp(b) * s; };
            c.each_row_with(sum, grad_input + l, result, grad, output + l);
        });
    }
    const auto body = [](auto walk, index_t, auto, T* out, const T* grad, const T* y) {
        const auto term = [](index_t, auto, V a) PYCONV_INLINED { return a; };
        const V sum = sum_over<T>(walk, T(0), term, grad);
        map_over<T>(walk, out, [=](V a, V b) { return a - exp(b) * sum; }, grad, y);
    };
    each_line(v, body, grad_input, grad_output, output);
}

// For each line the largest logit and log(sum(exp(logits - largest))); unless grad is nullptr,
// grad = softmax(logits) * factor[line].
template <typename T>
void cross_entropy(const Lines& v, const T* logits, const T* factor, T* largest, T* log_sum,
                   T* grad) {
    using V = Vec<T>;
    if (v.step > 1) {
        return each_columns<T>(v, [=](Columns<T> c, index_t l) {
            alignas(64) T sum[c.kMost];
            c.largest(logits + l, largest + l);
            c.exponentials(logits + l, largest + l, grad == nullptr ? nullptr : grad + l, sum);
            map<T>(c.columns, log_sum + l, [](V s) { return log(s); }, sum);
            if (grad == nullptr) return;
            map<T>(c.columns, sum, [](V f, V s) { return f / s; }, factor + l, sum);
            c.each_row_with(sum, grad + l, [](V e, V f) { return e * f; }, grad + l);
        });
    }
    const auto body = [=](auto walk, index_t line, auto count, T* out, const T* in) {
        const V maximum = largest_of(walk, in);
        const V sum = grad == nullptr ? sum_of_exponentials(walk, maximum, in)
                                      : exponentials(walk, maximum, in, out);
        store_some<T>(maximum, largest + line, count);
        store_some<T>(log(sum), log_sum + line, count);
        if (grad == nullptr) return;
        const V scale = walk.for_lines(factor + line, count) / sum;
        map_over<T>(walk, out, [=](V e) { return e * scale; }, out);
    };
    each_line(v, body, grad, logits);
}

}  // namespace pyconv::PYCONV_ISA
