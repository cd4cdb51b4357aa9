// SPDX-License-Identifier: BSD-3-Clause
#include "ops/response_norm.h"

#include <algorithm>

#include "base/buffer.h"
#include "base/checked.h"
#include "base/parallel.h"
#include "kernels/registry.h"

namespace pyconv {
namespace {

// Pixels of a task: the channels of a window, of 4 KiB each, stay in L1.
constexpr index_t kPixels = 512;

template <typename T>
ResponseNorm<T> numbers(const ResponseNormShape& s) {
    return {static_cast<T>(s.k), static_cast<T>(s.alpha / static_cast<double>(s.size)),
            static_cast<T>(s.beta)};
}

// Channels first .. first + count of those around c that exist.
struct Channels {
    index_t first, count;
};
Channels around(const ResponseNormShape& s, index_t c, index_t before, index_t after) {
    const index_t first = c > before ? c - before : 0;
    const index_t end = after < s.C - c ? c + after + 1 : s.C;
    return {first, end - first};
}
Channels window(const ResponseNormShape& s, index_t c) {
    return around(s, c, s.size / 2, (s.size - 1) / 2);
}
// The channels whose windows hold c.
Channels windows_with(const ResponseNormShape& s, index_t c) {
    return around(s, c, (s.size - 1) / 2, s.size / 2);
}

// Calls body(offset of channel 0, pixels) for blocks of pixels of each image.
template <typename Body>
void for_each_block(const ResponseNormShape& s, Body&& body) {
    const index_t blocks = ceil_div(s.inner, kPixels);
    const double cost = s.beta == 0.75 ? 1.0 : 12.0;
    parallel_for(s.N * blocks, static_cast<double>(s.N * s.C * s.inner) * cost, [&](index_t task) {
        const index_t start = task % blocks * kPixels;
        body(task / blocks * s.C * s.inner + start, std::min(kPixels, s.inner - start));
    });
}

}  // namespace

template <typename T>
void local_response_norm(const ResponseNormShape& s, const T* input, T* output) {
    const Kernels<T>& kernel = kernels<T>();
    const ResponseNorm<T> r = numbers<T>(s);
    for_each_block(s, [&](index_t offset, index_t pixels) {
        for (index_t c = 0; c < s.C; ++c) {
            const Channels w = window(s, c);
            const index_t i = offset + c * s.inner;
            kernel.response_norm(r, pixels, w.count, s.inner, input + offset + w.first * s.inner,
                                 input + i, output + i);
        }
    });
}

// grad_input[c] = g[c] * scale[c]^-beta
//     - 2 * alpha * beta / size * input[c] * sum of g[d] * input[d] * scale[d]^(-beta - 1) over the
//       channels d whose windows hold c
template <typename T>
void local_response_norm_backward(const ResponseNormShape& s, const T* grad_output, const T* input,
                                  T* grad_input) {
    const Kernels<T>& kernel = kernels<T>();
    const ResponseNorm<T> r = numbers<T>(s);
    const auto factor = static_cast<T>(-2 * s.alpha * s.beta / static_cast<double>(s.size));
    for_each_block(s, [&](index_t offset, index_t pixels) {
        // grad_input holds the first summand of a channel until all terms are there.
        const AlignedBuffer<T> terms(s.C * pixels);
        for (index_t c = 0; c < s.C; ++c) {
            const Channels w = window(s, c);
            const index_t i = offset + c * s.inner;
            kernel.response_norm_terms(r, pixels, w.count, s.inner,
                                       input + offset + w.first * s.inner, grad_output + i,
                                       input + i, grad_input + i, terms.data() + c * pixels);
        }
        for (index_t c = 0; c < s.C; ++c) {
            const Channels w = windows_with(s, c);
            const index_t i = offset + c * s.inner;
            kernel.response_norm_backward(factor, pixels, w.count, pixels,
                                          terms.data() + w.first * pixels, grad_input + i,
                                          input + i, grad_input + i);
        }
    });
}

#define PYCONV_INSTANTIATE(T)                                                  \
    template void local_response_norm(const ResponseNormShape&, const T*, T*); \
    template void local_response_norm_backward(const ResponseNormShape&, const T*, const T*, T*);
PYCONV_INSTANTIATE(float)
PYCONV_INSTANTIATE(double)
#undef PYCONV_INSTANTIATE

}  // namespace pyconv
