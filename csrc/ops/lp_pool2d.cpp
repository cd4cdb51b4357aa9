// SPDX-License-Identifier: BSD-3-Clause
// Power-average pooling: powers, a sum over windows, roots; for a few planes at a time, which stay in cache
// in between.
#include <algorithm>
#include <cmath>

#include "base/buffer.h"
#include "base/checked.h"
#include "base/parallel.h"
#include "ops/pool2d.h"

namespace pyconv {
namespace {

// Nanoseconds a value, of which pow takes most.
constexpr double kPower = 8;
constexpr index_t kGroupValues = index_t{1} << 14;

// Calls body(planes, in, out): a shape of some of the planes, and the offsets of the first in input and
// output.
template <typename Body>
void for_each_group(const Pool2dShape& s, Body&& body) {
    const index_t planes = s.N * s.C, in = s.H * s.W, out = s.OH * s.OW;
    const index_t group = std::max(kGroupValues / (in + out), index_t{1});
    parallel_for(ceil_div(planes, group), static_cast<double>(planes * (in + out)) * kPower,
                 [&](index_t task) {
                     const index_t first = task * group;
                     Pool2dShape part = s;
                     part.N = 1;
                     part.C = std::min(group, planes - first);
                     body(part, first * in, first * out);
                 });
}

// x^p; the usual powers need no logarithm.
template <typename T>
void powers(index_t n, double p, const T* in, T* out) {
    if (p == 0) {
        std::fill_n(out, n, T(1));
    } else if (p == 1) {
        std::copy_n(in, n, out);
    } else if (p == 2) {
        for (index_t i = 0; i < n; ++i) out[i] = in[i] * in[i];
    } else if (p == 0.5) {
        for (index_t i = 0; i < n; ++i) out[i] = std::sqrt(in[i]);
    } else {
        for (index_t i = 0; i < n; ++i) out[i] = std::pow(in[i], static_cast<T>(p));
    }
}

}  // namespace

template <typename T>
void lp_pool2d(const Pool2dShape& s, double p, const T* input, T* output) {
    for_each_group(s, [&](const Pool2dShape& part, index_t in, index_t out) {
        const index_t inputs = part.C * s.H * s.W, outputs = part.C * s.OH * s.OW;
        const AlignedBuffer<T> power(inputs);
        powers(inputs, p, input + in, power.data());
        avg_pool2d(part, 1, power.data(), output + out);
        powers(outputs, 1 / p, output + out, output + out);
    });
}

template <typename T>
void lp_pool2d_backward(const Pool2dShape& s, double p, const T* grad_output, const T* input,
                        const T* output, T* grad_input) {
    for_each_group(s, [&](const Pool2dShape& part, index_t in, index_t out) {
        const index_t inputs = part.C * s.H * s.W, outputs = part.C * s.OH * s.OW;
        const T *x = input + in, *y = output + out, *g = grad_output + out;
        const AlignedBuffer<T> share(outputs), slope(inputs);
        powers(outputs, p - 1, y, share.data());
        for (index_t i = 0; i < outputs; ++i)
            share.data()[i] = y[i] == 0 ? T(0) : g[i] / share.data()[i];
        avg_pool2d_backward(part, 1, share.data(), grad_input + in);
        powers(inputs, p - 1, x, slope.data());
        for (index_t i = 0; i < inputs; ++i) grad_input[in + i] *= slope.data()[i];
    });
}

#define PYCONV_INSTANTIATE(T)                                          \
    template void lp_pool2d(const Pool2dShape&, double, const T*, T*); \
    template void lp_pool2d_backward(const Pool2dShape&, double, const T*, const T*, const T*, T*);
PYCONV_INSTANTIATE(float)
PYCONV_INSTANTIATE(double)
#undef PYCONV_INSTANTIATE

}  // namespace pyconv
