// SPDX-License-Identifier: BSD-3-Clause
// Compiles every kernel for one instruction set and lists them. Included by each isa_*.cpp, which
// first defines PYCONV_ISA (the namespace), PYCONV_VECTOR_BYTES, PYCONV_MR and PYCONV_NV (the
// tile: MR rows of NV vectors) and PYCONV_KC (for float).
//
// Nothing here may run or be emitted outside the namespace: an inline function of a standard header
// compiled with wide instructions could be the copy that the linker keeps for everyone (SIGILL on
// old processors). Hence no standard C++ headers, no statics with constructors.
#pragma once

#include "kernels/activation-inl.h"
#include "kernels/dot-inl.h"
#include "kernels/elementwise-inl.h"
#include "kernels/gemm-inl.h"
#include "kernels/pack-inl.h"
#include "kernels/reduce-inl.h"
#include "kernels/softmax-inl.h"
#include "kernels/winograd-inl.h"

namespace pyconv::PYCONV_ISA {

template <typename T>
inline constexpr int kNR = static_cast<int>(PYCONV_NV * Vec<T>::lanes);
// The same bytes for both types: a double KC is half a float one.
template <typename T>
inline constexpr index_t kKC = PYCONV_KC * index_t{4} / index_t{sizeof(T)};

template <typename T>
inline constexpr Kernels<T> kTable = {
    .MR = PYCONV_MR,
    .NR = kNR<T>,
    .MC = index_t{144} / PYCONV_MR * PYCONV_MR,
    .KC = kKC<T>,
    .NC = index_t{2048},
    .gemm = gemm<T, PYCONV_MR, PYCONV_NV>,
    .gemm_edge = gemm_edge<T, PYCONV_MR, PYCONV_NV>,
    .merge_tile = merge_tile<T>,
    .scatter_add = scatter_add<T, kNR<T>>,
    .interleave = interleave<T>,
    .dot = dot<T>,
    .add_scaled_rows = add_scaled_rows<T>,
    .pack_a = pack_a<T, PYCONV_MR>,
    .pack_b = pack_b<T, kNR<T>>,
    .pack_pixels = pack_pixels<T, kNR<T>>,
    .transpose = transpose<T>,
    .winograd = winograd<T>,
    .max_rows = max_rows<T>,
    .add_rows = add_rows<T>,
    .add_to = add_to<T>,
    .scale = scale<T>,
    .unary = unary<T>,
    .binary = binary<T>,
    .dropout = dropout<T>,
    .softmax = softmax<T>,
    .softmax_backward = softmax_backward<T>,
    .log_softmax = log_softmax<T>,
    .log_softmax_backward = log_softmax_backward<T>,
    .cross_entropy = cross_entropy<T>,
    .reduce_sum = reduce_sum<T>,
    .reduce_square = reduce_square<T>,
    .reduce_product = reduce_product<T>,
    .affine = affine<T>,
    .affine2 = affine2<T>,
    .fma_peak = fma_peak<T, PYCONV_MR * PYCONV_NV>,
};

extern const Kernels<float> float_kernels;
extern const Kernels<double> double_kernels;
constinit const Kernels<float> float_kernels = kTable<float>;
constinit const Kernels<double> double_kernels = kTable<double>;

}  // namespace pyconv::PYCONV_ISA
