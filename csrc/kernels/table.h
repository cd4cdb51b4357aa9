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
#include "kernels/optimizer.h"

namespace pyconv {

// The gemm and Winograd kernels do not know the last one: there, ops/conv.cpp makes a second pass.
enum class Activation { None, Relu, Relu6, Hardswish };

// What a whole tile brings into the caches for later ones: a cache line every second step, `step` bytes from one
// to the next.
struct Fetch {
    const void* line;
    index_t step;
};

// The k-loop of a GEMM tile: `steps` products for each of its values, and how far apart the operands
// are from one step to the next. A packed panel has a_k = MR and b_k = NR; a matrix as it lies has its
// own row or column step. With b_offset, step k takes its NR values of B at b + b_offset[k]: the pixels
// that the taps of a convolution read, or those that a weight gradient sums over, where they lie.
// A packed operand that comes from beyond L2: too far away for out-of-order execution to hide. It is fetched ahead.
enum class Far { None, A, B };

struct KLoop {
    index_t steps;
    index_t a_k = 0;
    // Between the MR values of A that one step needs. Of a_k and a_step one is 1; a_step, with b_offset.
    index_t a_step = 1;
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
    // Only for kernels that fetch ahead, and not needed.
    const Fetch* fetch = nullptr;
    Far far = Far::None;
    // From the tile of C at hand to the one that comes next, if that is known.
    index_t next_c = 0;
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

// The forms of Winograd's convolution, and the transforms of each: winograd-inl.h.
enum class WinogradForm {
    Tile2Taps3,       // F(2 x 2, 3 x 3)
    Tile4Taps3,       // F(4 x 4, 3 x 3)
    Tile2Taps5,       // F(2 x 2, 5 x 5)
    Stride2,          // 2 x 2 outputs of a 3 x 3 window with stride 2
    Stride2Gradient,  // 4 x 4 pixels of its input gradient
};
enum class Winograd { Input, Output, Gradient, Weight, WeightGradient };

// `count` small square matrices, in_next apart, are transformed into as many, out_next apart. Element
// (i, j) is a whole vector, at i * row + j * col. Of the epilogue: col_bias (one vector), residual
// (laid out as the result) and activation.
struct WinogradWalk {
    WinogradForm form;
    Winograd transform;
    index_t count;
    index_t in_row, in_col, in_next;
    index_t out_row, out_col, out_next;
};

// How image rows are copied before a window slides over them: see stage_rows.
struct StagedRows {
    index_t planes, plane_step, H, W;
    index_t first_h, first_w;  // row and column that come first; may be negative
    index_t rows;              // of the copy
    index_t phases;            // columns so far apart lie side by side, one phase after the other
    index_t phase;             // values in each
    index_t slab;              // values between the copies of two planes
    index_t tail;              // zeros after the last row
    index_t ahead;             // how far from here lies what will be wanted next
};

// `rows` x `cols` pixels, of which each reads some columns of taps: tap_rows values, tap_row apart, from
// offset[c] on from its own place.
struct WindowWalk {
    index_t columns;
    const index_t* offset;
    index_t tap_rows, tap_row;
    index_t rows, cols;
    index_t in_row;
    index_t out_row, out_filter;
    // Some groups, each with weights of its own, and the steps between them.
    index_t groups, in_group, weights_group, bias_group, out_group;
};

// Rows first .. last of windows of `kernel` x `kernel` taps on planes that lie one behind the other: the first tap of
// the first pixel reads row `top` and column `left` of its plane, both usually negative. The kernel is 3 or 5, the
// stride 1 or 2; the first window reaches less than its size beyond the plane, and so does the last. In the forward pass
// windows of stride 1 may have a dilation; the rows are then every so many of those of image and output.
struct DepthwiseWalk {
    index_t planes, H, W, OH, OW;
    index_t in_plane, in_row, out_plane, out_row;  // steps
    index_t first, last;
    index_t top, left;
    index_t kernel, stride, dilation;
    index_t weights_plane, weights_h, weights_w;  // steps
};

// The same pixels of several images, and a vector of sums for each filter and tap.
struct WindowGradientWalk {
    index_t columns;
    const index_t* offset;
    index_t tap_rows, tap_row;
    index_t images, rows, cols;
    index_t in_image, in_row;
    index_t out_image, out_row, out_filter;
    index_t sums_filter;
    index_t ahead;  // how far from here lies the grad_output that will be wanted next
};

// Lanes first .. first + count of a packed panel come from image[start], image[start + step], ...
struct PixelRun {
    index_t first, count, start;
};

// `count` runs of `size` values each, `step` apart: the planes of one channel in all images, or of a
// group of channels. Arrays that are walked together are laid out alike.
struct Planes {
    index_t count, step, size;
};

// y = activation((x - center) * factor + shift)
template <typename T>
struct Normalization {
    T center, factor, shift;
    Activation activation = Activation::None;
};

// grad_input = g * factor_g + (input - center) * factor_x + constant; without `of_statistics`, g *
// factor_g.
template <typename T>
struct NormalizationGradient {
    T factor_g, factor_x, constant;
    bool of_statistics;
};

// Local response normalisation: y = x * (k + factor * sum of x^2 over a window of channels)^-beta
template <typename T>
struct ResponseNorm {
    T k, factor, beta;
};

// A window of pooling along one axis: taps begin, begin + dilation, ... below end, all inside the plane;
// none when begin == end.
struct Window {
    index_t begin, end;
    index_t extent;  // what the average divides by along this axis, padding counted or not
};

// The windows first .. last - 1 of an axis hold a pixel; none when first == last.
struct Cover {
    index_t first, last;
};

// How pooling passes over `planes` planes that lie one behind the other: pool-inl.h. The input has
// planes of H x W pixels, the output of OH x OW.
struct PoolWalk {
    index_t planes;
    index_t H, W, OH, OW;
    const Window* rows;  // OH of them
    const Window* cols;  // OW of them
    index_t dilation_h, dilation_w;
    // Where all windows along W have the same taps in a row with `left` values of padding in front, tap k
    // of window o is value o * stride + k * dilation_w of it; stride is 1 or 2. Other windows, with
    // stride 0, are found in `cols`.
    index_t stride, taps, left;
    bool whole_rows;  // a window is as wide as the plane, and its rows follow each other
    // Scratch: `lines` rows of `pitch` values.
    index_t lines, pitch;
    // For gradients: the windows over each of the H rows and W columns, and how many rows of grad_input
    // are made at a time.
    const Cover* row_covers = nullptr;
    const Cover* col_covers = nullptr;
    index_t block = 0;
};

// Planes of H x W pixels, and as many of OH x OW outputs.
struct PlaneSizes {
    index_t planes;
    index_t H, W, OH, OW;
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
    X(gemm_packing, void, const KLoop& k, const T* a, const T* b, T* packed, T* c, index_t ldc,    \
      const Epilogue<T>& e)                                                                        \
    X(gemm_edge, void, index_t mr, index_t nr, const KLoop& k, const T* a, const T* b, T* c,       \
      index_t ldc, const Epilogue<T>& e)                                                           \
    X(merge_tile, void, index_t mr, index_t nr, const T* tile, index_t tile_row, T* c,             \
      index_t ldc, index_t c_step, const Epilogue<T>& e)                                           \
    X(scatter_add, void, index_t rows, const T* tile, const index_t* offset, T* sums)              \
    X(interleave, void, index_t rows, index_t count, index_t ways, const T* in, index_t in_row,    \
      index_t in_step, T* out, index_t out_row)                                                    \
    X(dot, void, index_t Q, index_t R, index_t K, const T* x, index_t x_step, const T* rows,       \
      index_t row_step, T* sums)                                                                   \
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
    X(stage_rows, void, const StagedRows& s, const T* planes, T* to)                               \
    X(window, void, index_t filters, const WindowWalk& w, const T* in, const T* weights,           \
      const T* residual, T* out, const Epilogue<T>& e)                                             \
    X(depthwise, void, const DepthwiseWalk& w, const T* in, const T* weights, T* out,              \
      const Epilogue<T>& e)                                                                        \
    X(depthwise_gradient, void, const DepthwiseWalk& w, index_t filters, const T* grad_output,     \
      const T* weights, index_t weights_filter, T* grad_input, const Epilogue<T>& e)               \
    X(depthwise_weight_gradient, void, const DepthwiseWalk& w, index_t filters, index_t channels,  \
      const T* grad_output, index_t grad_image, const T* in, index_t in_image, T* sums)            \
    X(window_gradient, void, index_t filters, const WindowGradientWalk& w, const T* grad_output,   \
      const T* in, T* sums)                                                                        \
    X(max_pool, void, const PoolWalk& p, const T* in, T* out, T* scratch)                          \
    X(max_pool_indices, void, const PoolWalk& p, const T* in, T* out, int32_t* indices,            \
      T* scratch)                                                                                  \
    X(avg_pool, void, const PoolWalk& p, T divisor, const T* in, T* out, T* scratch)               \
    X(avg_pool_backward, void, const PoolWalk& p, T divisor, const T* grad_output, T* grad_input,  \
      T* scratch)                                                                                  \
    X(max_pool_backward, index_t, const PlaneSizes& s, const T* grad_output,                       \
      const int32_t* indices, T* grad_input)                                                       \
    X(move_lanes, void, index_t n, T* sums, double* totals)                                        \
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
    X(reduce_square, double, index_t n, const T* in)                                               \
    X(moments, void, const Planes& p, const T* in, double* mean, double* squares)                  \
    X(normalize, void, const Planes& p, const Normalization<T>& z, const T* in, T* out)            \
    X(normalize_sums, void, const Planes& p, const Normalization<T>& z, const T* grad_output,      \
      const T* input, double* sums)                                                                \
    X(normalize_backward, void, const Planes& p, const Normalization<T>& z,                        \
      const NormalizationGradient<T>& d, const T* grad_output, const T* input, T* grad_input)      \
    X(normalize_row, void, index_t n, T center, T factor, const T* in, const T* weight,            \
      const T* bias, T* out)                                                                       \
    X(weighted_sums, void, index_t n, T center, const T* grad_output, const T* input,              \
      const T* weight, double* sums)                                                               \
    X(normalize_row_backward, void, index_t n, T center, T factor, T factor_x, T constant,         \
      const T* grad_output, const T* input, const T* weight, T* grad_input, T* grad_weight,        \
      T* grad_bias)                                                                                \
    X(response_norm, void, const ResponseNorm<T>& r, index_t n, index_t rows, index_t row_step,    \
      const T* window, const T* in, T* out)                                                        \
    X(response_norm_terms, void, const ResponseNorm<T>& r, index_t n, index_t rows,                \
      index_t row_step, const T* window, const T* grad_output, const T* input, T* scaled,          \
      T* terms)                                                                                    \
    X(response_norm_backward, void, T factor, index_t n, index_t rows, index_t row_step,           \
      const T* terms, const T* scaled, const T* input, T* grad_input)                              \
    X(sgd, void, index_t n, const SgdStep<T>& s, const T* grad, T* value, T* velocity)             \
    X(adam, void, index_t n, const AdamStep<T>& s, const T* grad, T* value, T* mean, T* square)    \
    X(rmsprop, void, index_t n, const RmspropStep<T>& s, const T* grad, T* value, T* square,       \
      T* mean, T* buffer)                                                                          \
    X(clip, void, index_t n, T low, T high, T* values)                                             \
    X(fma_peak, double, index_t steps, T* result)

template <typename T>
struct Kernels {
    // Tile of the gemm kernel, and the cache blocks that go with it (Low et al., "Analytical
    // Modeling Is Enough for High-Performance BLIS", 2016): a KC x NR panel of B takes half of L1
    // (with AVX-512 it comes from L2, at a third of what L2 can give), an MC x KC block of A under half of L2,
    // a KC x NC block of B a share of L3.
    index_t lanes;  // values in a vector
    index_t MR, NR;
    index_t MC, KC, NC;
    bool fetches_ahead;
    const Kernels* narrow;  // of vectors half as wide, or nullptr
#define PYCONV_MEMBER(name, result, ...) result (*name)(__VA_ARGS__);
    PYCONV_KERNELS(PYCONV_MEMBER)
#undef PYCONV_MEMBER
};

// The kernels for image rows of `length` pixels, which should fill more than half of a vector.
template <typename T>
const Kernels<T>& row_kernels(const Kernels<T>& kernel, index_t length) {
    return kernel.narrow != nullptr && 2 * length <= kernel.lanes ? *kernel.narrow : kernel;
}

// No tile of any instruction set is larger: the size of a scratch tile on the stack.
inline constexpr index_t kMaxTile = 16 * 32;

}  // namespace pyconv
