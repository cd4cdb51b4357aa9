// SPDX-License-Identifier: BSD-3-Clause
// The table of kernels: every leaf loop, for each element type and instruction set.
//
// A kernel is a template in one of the *-inl.h files. Each isa_*.cpp compiles all of them for one
// instruction set and fills one table; ops/ fetches the table of the current ISA, and tests and
// benchmarks read the same rows (registry.h). Adding a kernel is one line in PYCONV_KERNELS, one in
// instantiate-inl.h and one template. No standard C++ header may be included here: see
// instantiate-inl.h.
//
// Conventions: sizes first, then inputs, then output; all pointers point at whole arrays of the
// given sizes; nothing outside them is read or written; outputs overlap no input unless it says so.
#pragma once

#include "base/types.h"

namespace pyconv {

enum class Activation { None, Relu };

// The k-loop of a GEMM tile: `steps` products for each of its values, and how far apart the operands
// are from one step to the next. A packed panel has a_k = MR and b_k = NR; a matrix as it lies has its
// own row or column step. With b_offset, step k takes its NR values of B at b + b_offset[k]: the pixels
// that the taps of a convolution read, or those that a weight gradient sums over, where they lie.
struct KLoop {
    index_t steps;
    index_t a_k = 0;
    index_t a_step = 1;  // between the MR values of A that one step needs; 1 with b_offset
    index_t b_k = 0;
    const index_t* b_offset = nullptr;
    // With a_offset, value i of A at step k is a[a_row[i] + a_offset[k]]: a weight gradient, whose rows
    // are the weights and whose steps are the pixels.
    const index_t* a_offset = nullptr;
    const index_t* a_row = nullptr;
    // Packed panels are padded: at every step NR values of B may be read, or MR of A, even where fewer are
    // needed. Implied for B by both kinds of offsets.
    bool b_padded = false;
    bool a_padded = false;
};

// What happens to a tile on its way to memory: C = activation(C * accumulate + alpha * tile + bias +
// residual).
template <typename T>
struct Epilogue {
    T alpha = 1;
    bool accumulate = false;
    const T* row_bias = nullptr;  // one value a row of the tile, or nullptr
    const T* col_bias = nullptr;  // one value a column of the tile, or nullptr
    const T* residual = nullptr;  // as many values as the tile has, laid out as C
    Activation activation = Activation::None;
};

// How many vectors `dot` takes at once.
inline constexpr index_t kMaxDotVectors = 3;

// The transforms of Winograd's convolution: winograd-inl.h.
enum class Winograd { Input, Output, Gradient, Weight, WeightGradient };

// `count` small square matrices, in_next apart, are transformed into as many, out_next apart. Element
// (i, j) is a whole vector, at i * row + j * col. Of the epilogue: col_bias (one vector), residual
// (laid out as the result) and activation.
struct WinogradWalk {
    Winograd transform;
    index_t m;  // F(m x m, 3 x 3): 2 or 4
    index_t count;
    index_t in_row, in_col, in_next;
    index_t out_row, out_col, out_next;
};

// Lanes first .. first + count of a packed panel come from image[start], image[start + step], ...
struct PixelRun {
    index_t first, count, start;
};

// The maps of one array that the kernel `unary` makes, and of two for `binary`: activation-inl.h. The last
// ones of Unary are there for the tests of math-inl.h.
enum class Unary {
    Relu,
    LeakyRelu,
    Relu6,
    Hardsigmoid,
    Hardswish,
    Elu,
    Sigmoid,
    Silu,
    Tanh,
    Gelu,
    GeluTanh,
    Softplus,
    Exp,
    Expm1OfNegative,
    Log,
    Log1pOfFraction,
    NormalDistribution,
};
enum class Binary {
    Add,
    AddRelu,
    Multiply,
    ReluBackward,
    LeakyReluBackward,
    Relu6Backward,
    HardsigmoidBackward,
    HardswishBackward,
    EluBackward,
    SigmoidBackward,
    SiluBackward,
    TanhBackward,
    GeluBackward,
    GeluTanhBackward,
    SoftplusBackward,
};

// `count` lines of `size` values each, for softmax: value i of line l is at l * size + i if the lines lie one
// after the other, else (`step` > 1) side by side, at l + i * step.
struct Lines {
    index_t count, size, step;
};

// Name and signature of every kernel of element type T. What each computes stands at its template.
#define PYCONV_KERNELS(X)                                                                          \
    X(gemm, void, const KLoop& k, const T* a, const T* b, T* c, index_t ldc, const Epilogue<T>& e) \
    X(gemm_edge, void, index_t mr, index_t nr, const KLoop& k, const T* a, const T* b, T* c,       \
      index_t ldc, const Epilogue<T>& e)                                                           \
    X(merge_tile, void, index_t mr, index_t nr, const T* tile, index_t tile_row, T* c,             \
      index_t ldc, index_t c_step, const Epilogue<T>& e)                                           \
    X(scatter_add, void, index_t rows, const T* tile, const index_t* offset, T* sums)              \
    X(interleave, void, index_t count, index_t ways, const T* in, index_t in_step, T* out)         \
    X(dot, void, index_t Q, index_t R, index_t K, const T* x, index_t x_step, const T* rows,       \
      index_t row_step, T* c, index_t c_q, index_t c_r, const Epilogue<T>& e)                      \
    X(add_scaled_rows, void, index_t M, index_t K, index_t cols, const T* a, index_t a_row,        \
      index_t a_col, const T* b, index_t b_row, T* sums, index_t sums_row)                         \
    X(pack_a, void, index_t rows, index_t kc, const T* a, index_t row_step, index_t k_step,        \
      index_t panel_step, T* panels)                                                               \
    X(pack_b, void, index_t kc, index_t cols, const T* b, index_t k_step, index_t col_step,        \
      index_t panel_step, T* panels)                                                               \
    X(pack_pixels, void, index_t planes, index_t plane_step, const T* image, index_t step,         \
      const PixelRun* runs, index_t run_count, index_t panel_step, T* panel)                       \
    X(transpose, void, index_t rows, index_t cols, const T* in, index_t in_step, T* out,           \
      index_t out_step)                                                                            \
    X(winograd, void, const WinogradWalk& w, const T* in, T* out, const Epilogue<T>& e)            \
    X(max_rows, void, index_t rows, index_t cols, const T* in, index_t row_step, T* maximum,       \
      int32_t* row)                                                                                \
    X(add_rows, void, index_t rows, index_t cols, const T* in, index_t row_step, T* sum)           \
    X(add_to, void, index_t n, const T* in, T* sum)                                                \
    X(scale, void, index_t n, T factor, T* values)                                                 \
    X(unary, void, Unary function, index_t n, T a, T b, const T* in, T* out)                       \
    X(binary, void, Binary function, index_t n, T a, T b, const T* first, const T* second, T* out) \
    X(dropout, void, index_t n, T p, T factor, const T* draws, const T* in, T* mask, T* out)       \
    X(softmax, void, const Lines& v, const T* in, T* out)                                          \
    X(softmax_backward, void, const Lines& v, const T* grad_output, const T* output,               \
      T* grad_input)                                                                               \
    X(log_softmax, void, const Lines& v, const T* in, T* out)                                      \
    X(log_softmax_backward, void, const Lines& v, const T* grad_output, const T* output,           \
      T* grad_input)                                                                               \
    X(cross_entropy, void, const Lines& v, const T* logits, const T* factor, T* largest,           \
      T* log_sum, T* grad)                                                                         \
    X(reduce_sum, double, index_t n, const T* in)                                                  \
    X(reduce_square, double, index_t n, const T* in, T center)                                     \
    X(reduce_product, double, index_t n, const T* a, const T* b, T center)                         \
    X(affine, void, index_t n, const T* in, T center, T factor, T shift, T* out)                   \
    X(affine2, void, index_t n, const T* a, const T* b, T center, T factor_a, T factor_b, T shift, \
      T* out)                                                                                      \
    X(fma_peak, double, index_t steps, T* result)

template <typename T>
struct Kernels {
    // Tile of the gemm kernel, and the cache blocks that go with it (Low et al., "Analytical
    // Modeling Is Enough for High-Performance BLIS", 2016): a KC x NR panel of B takes half of L1,
    // an MC x KC block of A under half of L2, a KC x NC block of B a share of L3.
    index_t MR, NR;
    index_t MC, KC, NC;
#define PYCONV_MEMBER(name, result, ...) result (*name)(__VA_ARGS__);
    PYCONV_KERNELS(PYCONV_MEMBER)
#undef PYCONV_MEMBER
};

// No tile of any instruction set is larger: the size of a scratch tile on the stack.
inline constexpr index_t kMaxTile = 16 * 32;

}  // namespace pyconv
