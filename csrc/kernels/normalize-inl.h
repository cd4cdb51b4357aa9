// SPDX-License-Identifier: BSD-3-Clause
// Normalisation of runs of values: their moments, the transformation and its gradient. Included once
// per ISA.
//
// All arrays are walked run by run (Planes). Sums go on from one run to the next, so that planes of 7 x
// 7 pixels do not pay for a reduction each; at the latest after 2 * kSumChunk - 1 values they are added
// up in double.
#pragma once

#include "kernels/elementwise-inl.h"
#include "kernels/reduce-inl.h"
#include "kernels/table.h"
#include "kernels/vec-inl.h"

namespace pyconv::PYCONV_ISA {

inline constexpr index_t kSumChunk = 1024;

// How far ahead of a run to prefetch. The prefetchers of processors follow a run but do not see the next
// one come, which costs short runs half of the bandwidth of memory. 0 for runs that are long enough, and
// where there is nothing ahead.
template <typename T>
index_t prefetch_distance(const Planes& p, index_t run) {
    constexpr index_t kShort = 8192 / index_t{sizeof(T)}, kAhead = 4096 / index_t{sizeof(T)};
    if (p.size > kShort) return 0;
    const index_t runs = p.size >= kAhead ? 1 : kAhead / (p.size + 1);
    return run + runs < p.count ? runs * p.step : 0;
}

// Prefetches four vectors at each of `arrays`.
template <typename... T>
inline void prefetch_group([[maybe_unused]] index_t i, const T*... arrays) {
    constexpr index_t kBytes = 4 * PYCONV_VECTOR_BYTES, kLine = 64;
    for (index_t byte = 0; byte < kBytes; byte += kLine)
        (__builtin_prefetch(reinterpret_cast<const char*>(arrays + i) + byte), ...);
}

// Two sums over vectors of T, each in four registers.
template <typename T>
struct SumPair {
    Vec<T> a[4], b[4];

    static SumPair zero() {
        SumPair sums;
        for (int j = 0; j < 4; ++j) sums.a[j] = sums.b[j] = Vec<T>::zero();
        return sums;
    }
    static double total(const Vec<T> (&sum)[4]) {
        const Vec<T> lanes = (sum[0] + sum[1]) + (sum[2] + sum[3]);
        double result = 0;
        for (index_t l = 0; l < Vec<T>::lanes; ++l) result += static_cast<double>(lanes.v[l]);
        return result;
    }
};

// The first `count` lanes; the others become 0, where they may be 0 * (0 - Inf).
template <typename T>
Vec<T> first_lanes(Vec<T> x, index_t count) {
    T lane[Vec<T>::lanes];
    x.store(lane);
    return Vec<T>::load_part(lane, count);
}

// Walks all values of `arrays`: add(sums.a[j], sums.b[j], index) takes whole vectors, add_part(...,
// count) the rest of a run, flush(sums, n) what n values came to.
template <typename T, typename Add, typename AddPart, typename Flush, typename... Arrays>
inline __attribute__((always_inline)) void for_each_chunk(const Planes& p, Add add,
                                                          AddPart add_part, Flush flush,
                                                          const Arrays*... arrays) {
    constexpr index_t L = Vec<T>::lanes;
    auto sums = SumPair<T>::zero();
    index_t held = 0;
    for (index_t run = 0; run < p.count; ++run) {
        const index_t ahead = prefetch_distance<T>(p, run);
        for (index_t start = 0; start < p.size; start += kSumChunk) {
            index_t i = run * p.step + start;
            const index_t count = p.size - start < kSumChunk ? p.size - start : kSumChunk;
            const index_t end = i + count;
            for (; i + 4 * L <= end; i += 4 * L) {
                if (ahead != 0) prefetch_group(i + ahead, arrays...);
                PYCONV_UNROLL(4)
                for (int j = 0; j < 4; ++j) add(sums.a[j], sums.b[j], i + j * L);
            }
            if (ahead != 0 && i < end) prefetch_group(i + ahead, arrays...);
            for (; i + L <= end; i += L) add(sums.a[1], sums.b[1], i);
            if (i < end) add_part(sums.a[0], sums.b[0], i, end - i);
            held += count;
            if (held >= kSumChunk) {
                flush(sums, held);
                sums = SumPair<T>::zero();
                held = 0;
            }
        }
    }
    if (held > 0) flush(sums, held);
}

// Mean of all values and the sum of their squares about it, in one pass over memory: deviations are
// taken from a centre near the values, chunk by chunk, and the chunks merged by the formula of Chan,
// Golub and LeVeque ("Algorithms for Computing the Sample Variance", 1983). With d = sum (x - c) and q =
// sum (x - c)^2 of n values, q - d^2 / n loses no digits while d^2 / n is not most of q. Where it is, the
// next chunk gets its own centre; what this one lost is of the order of the spread between chunks.
template <typename T>
void moments(const Planes& p, const T* in, double* mean, double* squares) {
    using V = Vec<T>;
    double total = 0, spread = 0, count = 0;
    T center = 0;
    if (p.count > 0 && p.size > 0) {
        const index_t first = p.size < kSumChunk ? p.size : kSumChunk;
        const double guess = reduce_sum(first, in) / static_cast<double>(first);
        if (guess - guess == 0) center = static_cast<T>(guess);
        if (center - center != 0) center = 0;
    }
    V c = V::broadcast(center);
    for_each_chunk<T>(
        p,
        [&](V& sum, V& square, index_t i) {
            const V x = V::load(in + i) - c;
            sum = sum + x;
            square = fma(x, x, square);
        },
        [&](V& sum, V& square, index_t i, index_t rest) {
            // Lanes that hold no value hold the centre, whose deviation is 0.
            const V x = V::load_lanes(in + i, V::lanes_before(rest), c) - c;
            sum = sum + x;
            square = fma(x, x, square);
        },
        [&](const SumPair<T>& sums, index_t held) {
            const auto n = static_cast<double>(held);
            const double d = SumPair<T>::total(sums.a), q = SumPair<T>::total(sums.b);
            const double own = static_cast<double>(center) + d / n;
            if (count > 0) {
                const double apart = own - total / count;
                spread += apart * apart * (count * n / (count + n));
            }
            spread += q - d * d / n;
            total += static_cast<double>(center) * n + d;
            count += n;
            if (d * d > 0.5 * n * q) {
                const T next = static_cast<T>(own);
                if (next - next == 0) c = V::broadcast(center = next);
            }
        },
        in);
    *mean = total / count;
    // NaN must pass. The difference of nearly equal numbers may come out below 0.
    *squares = spread < 0 ? 0 : spread;
}

template <typename T>
Vec<T> normalized(Vec<T> x, const Normalization<T>& z) {
    return fma(x - Vec<T>::broadcast(z.center), Vec<T>::broadcast(z.factor),
               Vec<T>::broadcast(z.shift));
}

// `map` over all runs.
template <typename T, typename Function, typename... In>
inline __attribute__((always_inline)) void map_runs(const Planes& p, T* out, Function function,
                                                    const In*... in) {
    constexpr index_t L = Vec<T>::lanes;
    for (index_t run = 0; run < p.count; ++run) {
        const index_t ahead = prefetch_distance<T>(p, run), end = run * p.step + p.size;
        index_t i = run * p.step;
        for (; i + 4 * L <= end; i += 4 * L) {
            if (ahead != 0) prefetch_group(i + ahead, in..., out);
            PYCONV_UNROLL(4)
            for (index_t j = i; j < i + 4 * L; j += L)
                function(Vec<T>::load(in + j)...).store(out + j);
        }
        if (ahead != 0 && i < end) prefetch_group(i + ahead, in..., out);
        map<T>(end - i, out + i, function, (in + i)...);
    }
}

// out = activation((in - center) * factor + shift)
template <typename T>
void normalize(const Planes& p, const Normalization<T>& z, const T* in, T* out) {
    if (z.activation == Activation::Relu) {
        map_runs<T>(p, out, [z](Vec<T> x) { return relu_of(normalized(x, z)); }, in);
    } else {
        map_runs<T>(p, out, [z](Vec<T> x) { return normalized(x, z); }, in);
    }
}

// The gradient on the near side of the activation. Whether ReLU let a value pass is computed anew from
// the input, bit for bit as in `normalize`: cheaper than reading the output.
template <typename T, bool Relu>
Vec<T> unactivated(Vec<T> g, Vec<T> x, const Normalization<T>& z) {
    if constexpr (!Relu) return g;
    return select<T>(normalized(x, z) <= Vec<T>::zero(), Vec<T>::zero(), g);
}

template <typename T, bool Relu>
void normalize_sums_of(const Planes& p, const Normalization<T> z, const T* grad_output,
                       const T* input, double* sums) {
    using V = Vec<T>;
    sums[0] = sums[1] = 0;
    for_each_chunk<T>(
        p,
        [=](V& sum, V& product, index_t i) {
            const V x = V::load(input + i);
            const V g = unactivated<T, Relu>(V::load(grad_output + i), x, z);
            sum = sum + g;
            product = fma(g, x - V::broadcast(z.center), product);
        },
        [=](V& sum, V& product, index_t i, index_t rest) {
            const V x = V::load_part(input + i, rest);
            const V g = unactivated<T, Relu>(V::load_part(grad_output + i, rest), x, z);
            sum = sum + g;
            product = product + first_lanes(g * (x - V::broadcast(z.center)), rest);
        },
        [=](const SumPair<T>& chunk, index_t) {
            sums[0] += SumPair<T>::total(chunk.a);
            sums[1] += SumPair<T>::total(chunk.b);
        },
        grad_output, input);
}

// sums = {sum g, sum g * (input - center)}, g = grad_output where the activation let it pass.
template <typename T>
void normalize_sums(const Planes& p, const Normalization<T>& z, const T* grad_output,
                    const T* input, double* sums) {
    if (z.activation == Activation::Relu) {
        normalize_sums_of<T, true>(p, z, grad_output, input, sums);
    } else {
        normalize_sums_of<T, false>(p, z, grad_output, input, sums);
    }
}

template <typename T, bool Relu>
void normalize_backward_of(const Planes& p, const Normalization<T> z,
                           const NormalizationGradient<T> d, const T* grad_output, const T* input,
                           T* grad_input) {
    using V = Vec<T>;
    const V fg = V::broadcast(d.factor_g), fx = V::broadcast(d.factor_x),
            constant = V::broadcast(d.constant), c = V::broadcast(z.center);
    if (d.of_statistics) {
        map_runs<T>(
            p, grad_input,
            [=](V g, V x) {
                return fma(unactivated<T, Relu>(g, x, z), fg, fma(x - c, fx, constant));
            },
            grad_output, input);
    } else if constexpr (Relu) {
        map_runs<T>(
            p, grad_input, [=](V g, V x) { return unactivated<T, Relu>(g, x, z) * fg; },
            grad_output, input);
    } else {
        map_runs<T>(p, grad_input, [=](V g) { return g * fg; }, grad_output);
    }
}

// grad_input = g * factor_g + (input - center) * factor_x + constant, the last two only if the gradient
// is that of the statistics too.
template <typename T>
void normalize_backward(const Planes& p, const Normalization<T>& z,
                        const NormalizationGradient<T>& d, const T* grad_output, const T* input,
                        T* grad_input) {
    if (z.activation == Activation::Relu) {
        normalize_backward_of<T, true>(p, z, d, grad_output, input, grad_input);
    } else {
        normalize_backward_of<T, false>(p, z, d, grad_output, input, grad_input);
    }
}

}  // namespace pyconv::PYCONV_ISA
