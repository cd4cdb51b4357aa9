// SPDX-License-Identifier: BSD-3-Clause
#include "ops/activation.h"

#include <algorithm>

#include "base/checked.h"
#include "base/parallel.h"
#include "kernels/registry.h"

namespace pyconv {
namespace {

// Nanoseconds a byte of a result: a pass over memory, and an exponential.
constexpr double kPass = 0.06, kTranscendental = 0.15;

// Calls body(begin, count) for pieces of [0, n), in parallel.
template <typename T, typename Body>
void for_each_piece(index_t n, double nanoseconds, Body&& body) {
    constexpr index_t kPiece = index_t{1} << 15;
    parallel_for(ceil_div(n, kPiece), static_cast<double>(n * index_t{sizeof(T)}) * nanoseconds,
                 [&](index_t task) { body(task * kPiece, std::min(kPiece, n - task * kPiece)); });
}

bool is_transcendental(Unary function) {
    switch (function) {
        case Unary::Relu:
        case Unary::LeakyRelu:
        case Unary::Relu6:
        case Unary::Hardsigmoid:
        case Unary::Hardswish:
            return false;
        default:
            return true;
    }
}

bool is_transcendental(Binary function) {
    switch (function) {
        case Binary::EluBackward:
        case Binary::SiluBackward:
        case Binary::GeluBackward:
        case Binary::GeluTanhBackward:
        case Binary::SoftplusBackward:
            return true;
        default:
            return false;
    }
}

}  // namespace

template <typename T>
void unary(Unary function, index_t n, T a, T b, const T* input, T* output) {
    const Kernels<T>& kernel = kernels<T>();
    const double cost = is_transcendental(function) ? kTranscendental : kPass;
    for_each_piece<T>(n, cost, [&](index_t i, index_t count) {
        kernel.unary(function, count, a, b, input + i, output + i);
    });
}

template <typename T>
void binary(Binary function, index_t n, T a, T b, const T* first, const T* second, T* output) {
    const Kernels<T>& kernel = kernels<T>();
    const double cost = is_transcendental(function) ? kTranscendental : kPass;
    for_each_piece<T>(n, cost, [&](index_t i, index_t count) {
        kernel.binary(function, count, a, b, first + i, second + i, output + i);
    });
}

template <typename T>
void dropout(index_t n, T p, T factor, const T* draws, const T* input, T* mask, T* output) {
    const Kernels<T>& kernel = kernels<T>();
    for_each_piece<T>(n, kPass, [&](index_t i, index_t count) {
        kernel.dropout(count, p, factor, draws + i, input + i, mask + i, output + i);
    });
}

#define PYCONV_INSTANTIATE(T)                                            \
    template void unary(Unary, index_t, T, T, const T*, T*);             \
    template void binary(Binary, index_t, T, T, const T*, const T*, T*); \
    template void dropout(index_t, T, T, const T*, const T*, T*, T*);
PYCONV_INSTANTIATE(float)
PYCONV_INSTANTIATE(double)
#undef PYCONV_INSTANTIATE

}  // namespace pyconv
