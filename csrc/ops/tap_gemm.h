// SPDX-License-Identifier: BSD-3-Clause
// A sum over the taps of a window: the one loop behind the convolution and its input gradient, in two
// ways of feeding the micro-kernel.
#pragma once

#include <vector>

#include "base/buffer.h"
#include "base/types.h"
#include "kernels/registry.h"
#include "ops/conv.h"

namespace pyconv {

// Tap i of one axis reads at first + i * step, relative to the pixel that it contributes to. Steps
// may be negative.
struct TapAxis {
    index_t first, step, count;
};

struct TapGrid {
    TapAxis d, h, w;

    index_t count() const { return d.count * h.count * w.count; }
};

// The weights of one sum: A[m, (c, t)] = data[m * m_step + c * c_step + element[t]].
template <typename T>
struct TapWeights {
    const T* data;
    index_t group_step, m_step, c_step;
    std::vector<index_t> element;  // one a tap
};

template <typename T>
struct TapSum {
    TapGrid taps;
    TapWeights<T> weights;
};

// For each group g, image n, row m and pixel (pd, ph, pw) of a PD x PH x PW grid,
//
//   output[n, g, m, pd, ph, pw * ways + q] = activation(bias[m] + sum over c, t of
//       A_q[m, (c, t)] * source[n, g, c, pd * stride_d + d(t), ph * stride_h + h(t), pw * stride_w + w(t)])
//
// where source is 0 outside its planes and `q` counts the sums: one, or for the input gradient of a
// strided convolution as many as the stride, whose pixels alternate along a row of output. As a GEMM: M
// rows, C * taps steps, and all pixels of all images as columns, so that maps smaller than a tile
// still fill it.
template <typename T>
struct TapGemm {
    index_t G, N, M, C, PD, PH, PW;
    std::vector<TapSum<T>> sums;
    index_t stride_d, stride_h, stride_w;
    ConvExtras<T> extras;  // bias: G * M values; residual and cache for a single sum only
    const T* source;       // planes of D x H x W values, contiguous
    index_t D, H, W, source_image, source_group;
    T* output;  // any steps between images, groups, rows m, planes and rows of pixels
    index_t output_image, output_group, output_m, output_d, output_h;
    index_t output_width;  // values in a row of output: the last way may have one pixel less

    // Where the residual of an output lies.
    const T* residual(const T* at) const {
        return extras.residual == nullptr ? nullptr : extras.residual + (at - output);
    }
    WeightCache::Key key(const Kernels<T>& kernel, index_t channel_block) const {
        return {WeightCache::Key::Maker::TapGemm, &kernel, {G, M, C, taps(), channel_block}};
    }
    index_t ways() const { return static_cast<index_t>(sums.size()); }
    index_t pixels() const { return PD * PH * PW; }
    index_t plane() const { return D * H * W; }
    index_t taps() const {
        index_t count = 0;
        for (const TapSum<T>& sum : sums) count += sum.taps.count();
        return count;
    }
    // Multiply-adds of the whole sum.
    double work() const {
        return static_cast<double>(G * N * M) * static_cast<double>(pixels()) *
               static_cast<double>(C * taps() + 1);
    }
};

// Channels that a block of the sum takes: whole ones, as many as fill KC. A third more if that spares the
// second block, where several ways make it dear to come back to the output.
template <typename T>
index_t tap_channel_block(const Kernels<T>& kernel, index_t C, index_t taps, index_t ways);

// Rows of A for one task: all M, or fewer when there are too few other tasks to share out.
inline constexpr index_t kEnoughTasks = 4;
index_t tap_row_block(index_t M, index_t MR, index_t other_tasks);

// Packs rows m .. m + rows of channels c .. c + channels into panels of `width` rows: MR, for the rows of a tile, or
// NR.
template <typename T>
void pack_tap_weights(const Kernels<T>& kernel, const TapWeights<T>& weights, index_t group,
                      index_t m, index_t rows, index_t c, index_t channels, index_t width,
                      T* panels);

// With fewer tasks than this for different pixels, A is packed where it is used: it would go out to memory and
// back between one use and the next to no purpose.
inline constexpr index_t kSharedTasks = 3;

// All of A, packed: block of channels by block of channels, and each of these panel by panel.
template <typename T>
class PackedTapWeights {
  public:
    PackedTapWeights(const Kernels<T>& kernel, const TapGemm<T>& g, const TapWeights<T>& weights,
                     index_t channel_block, index_t width);
    // The panels from row m on (a multiple of their width) of the block of channels c .. c + channels.
    const T* block(index_t group, index_t m, index_t c, index_t channels) const {
        return packed_.data() + (group * C_ + c) * taps_ * padded_rows_ + m * channels * taps_;
    }

  private:
    index_t C_, taps_, padded_rows_;
    AlignedBuffer<T> packed_;
};

// Implicit GEMM: pixels are packed into panels, tap by tap. Tasks cover the groups, the columns and,
// where those are few, the rows.
template <typename T>
void tap_gemm(const Kernels<T>& kernel, const TapGemm<T>& g);

// The same with pixels for rows, and each row m a column: for few pixels, and a single sum.
template <typename T>
void tap_pixel_rows(const Kernels<T>& kernel, const TapGemm<T>& g);
// True if that is possible and expected to be faster than tap_gemm.
template <typename T>
bool prefers_pixel_rows(const Kernels<T>& kernel, const TapGemm<T>& g);

// Direct: the micro-kernel reads the image rows themselves, from a padded copy. Nothing is packed per
// tap, but tiles do not reach across image rows. For a single sum.
template <typename T>
void tap_direct(const Kernels<T>& kernel, const TapGemm<T>& g);

// Depthwise: pixels are the vectors, a few filters at once. For one plane of depth (can_depthwise).
template <typename T>
void tap_depthwise(const Kernels<T>& kernel, const TapGemm<T>& g);
template <typename T>
bool can_depthwise(const TapGemm<T>& g);

// The same for a window to each plane, without any copy: false, with nothing done, if the kernel does not fit.
template <typename T>
bool tap_planes(const Kernels<T>& kernel, const TapGemm<T>& g);

// True if tap_direct is expected to be faster than tap_gemm.
template <typename T>
bool prefers_direct(const Kernels<T>& kernel, const TapGemm<T>& g);

}  // namespace pyconv
