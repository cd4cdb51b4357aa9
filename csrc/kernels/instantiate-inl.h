// SPDX-License-Identifier: BSD-3-Clause
// Compiles every kernel for one instruction set and lists them. Included by each isa_*.cpp, which
// first defines PYCONV_ISA (the namespace), PYCONV_VECTOR_BYTES, PYCONV_MR and PYCONV_NV (the
// tile: MR rows of NV vectors) and PYCONV_KC (for float); and, where size matters more than speed,
// PYCONV_NARROW (the ISA for short rows), PYCONV_FEW_FORMS (fewer special cases) and PYCONV_COMPACT (for tests only: nothing is unrolled).
//
// Nothing here may run or be emitted outside the namespace: an inline function of a standard header
// compiled with wide instructions could be the copy that the linker keeps for everyone (SIGILL on
// old processors). Hence no standard C++ headers, no statics with constructors.
#pragma once

#include "kernels/activation-inl.h"
#include "kernels/depthwise-inl.h"
#include "kernels/depthwise_gradient-inl.h"
#include "kernels/depthwise_weight_gradient-inl.h"
#include "kernels/dot-inl.h"
#include "kernels/elementwise-inl.h"
#include "kernels/gemm-inl.h"
#include "kernels/max_pool_backward-inl.h"
#include "kernels/normalize-inl.h"
#include "kernels/optimizer-inl.h"
#include "kernels/pack-inl.h"
#include "kernels/pool-inl.h"
#include "kernels/pool_backward-inl.h"
#include "kernels/pool_indices-inl.h"
#include "kernels/reduce-inl.h"
#include "kernels/response_norm-inl.h"
#include "kernels/row_norm-inl.h"
#include "kernels/softmax-inl.h"
#include "kernels/window-inl.h"
#include "kernels/window_gradient-inl.h"
#include "kernels/winograd-inl.h"

#if defined(PYCONV_NARROW)
namespace pyconv::PYCONV_NARROW {
extern const Kernels<float> float_kernels;
extern const Kernels<double> double_kernels;
}  // namespace pyconv::PYCONV_NARROW
#endif

namespace pyconv::PYCONV_ISA {

template <typename T>
inline constexpr int kNR = static_cast<int>(PYCONV_NV * Vec<T>::lanes);
// The same bytes for both types: a double KC is half a float one.
template <typename T>
inline constexpr index_t kKC = PYCONV_KC * index_t{4} / index_t{sizeof(T)};

// The table of PYCONV_NARROW, where there are narrower vectors with the same instructions.
template <typename T>
constexpr const Kernels<T>* narrow_kernels();
#if defined(PYCONV_NARROW)
template <>
constexpr const Kernels<float>* narrow_kernels() {
    return &PYCONV_NARROW::float_kernels;
}
template <>
constexpr const Kernels<double>* narrow_kernels() {
    return &PYCONV_NARROW::double_kernels;
}
#else
template <typename T>
constexpr const Kernels<T>* narrow_kernels() {
    return nullptr;
}
#endif

template <typename T>
inline constexpr Kernels<T> kTable = {
    .lanes = Vec<T>::lanes,
    .MR = PYCONV_MR,
    .NR = kNR<T>,
    .MC = index_t{144} / PYCONV_MR * PYCONV_MR,
    .KC = kKC<T>,
    .NC = index_t{2048},
    .fetches_ahead = is_large_tile<T, PYCONV_MR, PYCONV_NV>(),
    .narrow = narrow_kernels<T>(),
    .gemm = gemm<T, PYCONV_MR, PYCONV_NV>,
    .gemm_packing = gemm_packing<T, PYCONV_MR, PYCONV_NV>,
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
    .stage_rows = stage_rows<T>,
    .window = window<T>,
    .depthwise = depthwise<T>,
    .depthwise_gradient = depthwise_gradient<T>,
    .depthwise_weight_gradient = depthwise_weight_gradient<T>,
    .window_gradient = window_gradient<T>,
    .max_pool = max_pool<T>,
    .max_pool_indices = max_pool_indices<T>,
    .avg_pool = avg_pool<T>,
    .avg_pool_backward = avg_pool_backward<T>,
    .max_pool_backward = max_pool_backward<T>,
    .move_lanes = move_lanes<T>,
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
    .moments = moments<T>,
    .normalize = normalize<T>,
    .normalize_sums = normalize_sums<T>,
    .normalize_backward = normalize_backward<T>,
    .normalize_row = normalize_row<T>,
    .weighted_sums = weighted_sums<T>,
    .normalize_row_backward = normalize_row_backward<T>,
    .response_norm = response_norm<T>,
    .response_norm_terms = response_norm_terms<T>,
    .response_norm_backward = response_norm_backward<T>,
    .sgd = sgd<T>,
    .adam = adam<T>,
    .rmsprop = rmsprop<T>,
    .clip = clip<T>,
    .fma_peak = fma_peak<T, PYCONV_MR * PYCONV_NV>,
};

extern const Kernels<float> float_kernels;
extern const Kernels<double> double_kernels;
constinit const Kernels<float> float_kernels = kTable<float>;
constinit const Kernels<double> double_kernels = kTable<double>;

}  // namespace pyconv::PYCONV_ISA
