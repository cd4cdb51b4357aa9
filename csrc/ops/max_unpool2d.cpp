// SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>

#include "base/checked.h"
#include "base/error.h"
#include "base/parallel.h"
#include "ops/pool2d.h"

namespace pyconv {
namespace {

// Calls body(i, at) for every index that names a pixel: its number, and where the pixel is in the array with the
// larger planes. Before those of a plane comes clear(plane).
template <typename Clear, typename Body>
void for_each_index(const char* function, const Shape4& shape, const Shape4& planes_shape,
                    const int32_t* indices, Clear&& clear, Body&& body) {
    const index_t planes = shape[0] * shape[1], values = shape[2] * shape[3];
    const index_t pixels = planes_shape[2] * planes_shape[3];
    parallel_for(planes, static_cast<double>(planes * (values + pixels)), [&](index_t plane) {
        clear(plane);
        for (index_t i = plane * values; i < (plane + 1) * values; ++i) {
            const index_t at = indices[i];
            if (at == -1) continue;
            check(at >= 0 && at < pixels, function, ": indices holds a value out of range, got ",
                  at, "; expected -1 to ", pixels - 1);
            body(i, plane * pixels + at);
        }
    });
}

}  // namespace

template <typename T>
void max_unpool2d(const char* function, const Shape4& shape, const Shape4& output_shape,
                  const T* input, const int32_t* indices, T* output) {
    const index_t pixels = output_shape[2] * output_shape[3];
    for_each_index(
        function, shape, output_shape, indices,
        [=](index_t plane) { std::fill_n(output + plane * pixels, pixels, T(0)); },
        [=](index_t i, index_t at) { output[at] = input[i]; });
}

template <typename T>
void max_unpool2d_backward(const char* function, const Shape4& shape, const Shape4& output_shape,
                           const T* grad_output, const int32_t* indices, T* grad_input) {
    const index_t values = shape[2] * shape[3];
    for_each_index(
        function, shape, output_shape, indices,
        [=](index_t plane) { std::fill_n(grad_input + plane * values, values, T(0)); },
        [=](index_t i, index_t at) { grad_input[i] = grad_output[at]; });
}

#define PYCONV_INSTANTIATE(T)                                                                \
    template void max_unpool2d(const char*, const Shape4&, const Shape4&, const T*,          \
                               const int32_t*, T*);                                          \
    template void max_unpool2d_backward(const char*, const Shape4&, const Shape4&, const T*, \
                                        const int32_t*, T*);
PYCONV_INSTANTIATE(float)
PYCONV_INSTANTIATE(double)
#undef PYCONV_INSTANTIATE

}  // namespace pyconv
