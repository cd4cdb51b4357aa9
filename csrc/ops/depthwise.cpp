// SPDX-License-Identifier: BSD-3-Clause
// The weight gradient of groups of few channels: the image rows are staged as for the forward pass, and for
// each filter and tap a vector of sums walks along them beside grad_output. The lanes are added up in double
// after every kChunk vectors, so that the rounding error does not grow with the number of pixels
// (fixed-chunk summation). Each block of the result belongs to one task.
#include "ops/depthwise.h"

#include <vector>

#include "base/buffer.h"
#include "base/parallel.h"
#include "ops/gemm_panel.h"
#include "ops/row_stage.h"

namespace pyconv::depthwise {
namespace {

constexpr index_t kTasks = 16;
// Vectors that are summed in one lane before they are added to the total.
constexpr index_t kChunk = 512;
// An input that is read as it lies is read once a strip: in bands of rows that stay in L1.
constexpr index_t kBandBytes = index_t{16} << 10;
// Filters of a task, where there are few groups.
constexpr index_t kFilters = 4;

RowStage stage_of(const ConvShape& s) {
    return {TapReach(TapAxis{-s.pad_top, s.dilation_h, s.KH}),
            TapReach(TapAxis{-s.pad_left, s.dilation_w, s.KW}),
            s.stride_h,
            s.stride_w,
            even_block(s.OW, kStageColumns, 1),
            s.OW,
            s.W};
}

template <typename T>
class WeightGradient {
  public:
    WeightGradient(const ConvShape& shape, const T* grad_output, const T* input, T* grad_weight)
        : s(shape),
          M(s.OC / s.G),
          C(s.C / s.G),
          steps_(C * s.taps()),
          grad_output_(grad_output),
          input_(input),
          grad_weight_(grad_weight),
          stage_(stage_of(s)),
          cols_(even_block(s.OW, kStageColumns, 1)) {
        rows_ = stage_.rows_at_once<T>(C, s.OH, 1);
        slab_ = stage_.rows(rows_) * stage_.row();
        const bool whole = rows_ == s.OH && cols_ == s.OW;
        images_ =
            whole
                ? even_block(
                      s.N, std::max<index_t>(kStagedBytes / index_t{sizeof(T)} / (C * slab_), 1), 1)
                : 1;
        for (index_t c = 0; c < C; ++c)
            for (index_t kw = 0; kw < s.KW; ++kw)
                offset_.push_back(c * slab_ +
                                  stage_.offset(-s.pad_top, kw * s.dilation_w - s.pad_left));
    }

    void run() const {
        const index_t filters = s.G >= kTasks ? M : std::min(M, kFilters);
        const index_t parts = ceil_div(M, filters),
                      groups = even_block(s.G, ceil_div(s.G, 2 * kTasks), 1);
        const double nanoseconds = arithmetic_nanoseconds(s.multiply_adds()) +
                                   0.1 * static_cast<double>(s.C * s.N * s.input_plane());
        parallel_for(ceil_div(s.G, groups) * parts, nanoseconds, [&](index_t task) {
            const index_t m = task % parts * filters, g = task / parts * groups;
            const index_t count = std::min(groups, s.G - g);
            const index_t some = std::min(filters, M - m);
            has_plane_kernel() ? run_planes(g, count, m, some) : run_task(g, count, m, some);
        });
    }

  private:
    // Planes as they lie, without a copy. Where a vector is not a line of cache, that is slower for several filters.
    bool has_plane_kernel() const {
        const bool one_to_one = M == 1 && C == 1;
        return s.N * s.output_plane() > 0 && (one_to_one || L * index_t{sizeof(T)} == 64) &&
               s.KH == s.KW && (s.KH == 3 || s.KH == 5) && s.stride_h == s.stride_w &&
               (s.stride_h == 1 || s.stride_h == 2) && s.dilation_h == 1 && s.dilation_w == 1 &&
               s.pad_top < s.KH && (s.OH - 1) * s.stride_h - s.pad_top < s.H &&
               ceil_div(s.OW, L) <= kChunk;
    }

    void run_planes(index_t first, index_t groups, index_t m, index_t filters) const {
        const AlignedBuffer<T> lanes(filters * steps_ * L);
        const AlignedBuffer<double> totals(filters * steps_);
        std::fill_n(lanes.data(), lanes.size(), T(0));
        const index_t plane = s.H * s.W, outputs = s.OH * s.OW;
        const index_t row_bytes = s.W * s.stride_h * index_t{sizeof(T)};
        const bool is_small = plane * index_t{sizeof(T)} <= kBandBytes;
        const index_t fitting =
            std::min(is_small ? s.OH : kBandBytes / row_bytes, kChunk / ceil_div(s.OW, L));
        const index_t rows = even_block(s.OH, std::max<index_t>(fitting, 1), 4);
        // Planes that are read more than once stay in L1 between.
        const index_t image_bytes = (C * plane + filters * outputs) * index_t{sizeof(T)};
        const index_t in_cache = C * filters > 1 ? 2 * kBandBytes / image_bytes : kChunk;
        const index_t in_chunk = kChunk / (s.OH * ceil_div(s.OW, L));
        const index_t images = std::clamp<index_t>(std::min(in_cache, in_chunk), 1, s.N);
        DepthwiseWalk walk{.planes = 0,
                           .H = s.H,
                           .W = s.W,
                           .OH = s.OH,
                           .OW = s.OW,
                           .in_plane = s.input_plane(),
                           .in_row = s.W,
                           .out_plane = s.output_plane(),
                           .out_row = s.OW,
                           .first = 0,
                           .last = s.OH,
                           .top = -s.pad_top,
                           .left = -s.pad_left,
                           .kernel = s.KH,
                           .stride = s.stride_h,
                           .dilation = 1,
                           .weights_plane = 0,
                           .weights_h = 0,
                           .weights_w = 0};
        for (index_t group = first; group < first + groups; ++group) {
            std::fill_n(totals.data(), totals.size(), 0.0);
            index_t vectors = 0;  // in each lane
            for (index_t n = 0; n < s.N; n += images) {
                walk.planes = std::min(images, s.N - n);
                for (walk.first = 0; walk.first < s.OH; walk.first = walk.last) {
                    walk.last = std::min(walk.first + rows, s.OH);
                    const index_t more = walk.planes * (walk.last - walk.first) * ceil_div(s.OW, L);
                    if (vectors + more > kChunk) {
                        kernel.move_lanes(totals.size(), lanes.data(), totals.data());
                        vectors = 0;
                    }
                    vectors += more;
                    kernel.depthwise_weight_gradient(
                        walk, filters, C, grad_output_ + (n * s.OC + group * M + m) * outputs,
                        s.OC * outputs, input_ + (n * s.C + group * C) * plane, s.C * plane,
                        lanes.data());
                }
            }
            kernel.move_lanes(totals.size(), lanes.data(), totals.data());
            write(group * M + m, filters, totals.data());
        }
    }

    // The totals of some filters, from `filter` on. Summed are columns of taps, wanted rows.
    void write(index_t filter, index_t filters, const double* totals) const {
        T* to = grad_weight_ + filter * steps_;
        for (index_t i = 0; i < filters * C; ++i, to += s.taps())
            for (index_t kw = 0; kw < s.KW; ++kw)
                for (index_t kh = 0; kh < s.KH; ++kh)
                    to[kh * s.KW + kw] = static_cast<T>(*totals++);
    }

    void run_task(index_t first, index_t groups, index_t m, index_t filters) const {
        const index_t slack = 2 * kernel.NR;  // what the copies may overwrite, and vectors read
        const AlignedBuffer<T> stage(images_ * C * slab_ + slack);
        std::fill_n(stage.data() + images_ * C * slab_, slack, T(0));
        const AlignedBuffer<T> lanes(filters * steps_ * L);
        const AlignedBuffer<double> totals(filters * steps_);
        for (index_t group = first; group < first + groups; ++group) {
            std::fill_n(totals.data(), totals.size(), 0.0);
            std::fill_n(lanes.data(), lanes.size(), T(0));
            index_t vectors = 0;
            for (index_t n = 0; n < s.N; n += images_) {
                for (index_t oh = 0; oh < s.OH; oh += rows_) {
                    for (index_t ow = 0; ow < s.OW; ow += cols_) {
                        const index_t images = std::min(images_, s.N - n);
                        const index_t rows = std::min(rows_, s.OH - oh);
                        const index_t cols = std::min(cols_, s.OW - ow);
                        const index_t more = images * rows * ceil_div(cols, L);
                        if (vectors > 0 && vectors + more > kChunk) {
                            kernel.move_lanes(totals.size(), lanes.data(), totals.data());
                            vectors = 0;
                        }
                        vectors += more;
                        add_block(group, m, filters, {n, oh, ow, images, rows, cols}, stage.data(),
                                  lanes.data());
                    }
                }
            }
            kernel.move_lanes(totals.size(), lanes.data(), totals.data());
            write(group * M + m, filters, totals.data());
        }
    }

    // Some pixels of some images.
    struct Block {
        index_t n, oh, ow, images, rows, cols;
    };

    void add_block(index_t group, index_t m, index_t filters, const Block& b, T* stage,
                   T* lanes) const {
        const index_t plane = s.H * s.W, outputs = s.OH * s.OW;
        const T* x = input_ + (b.n * s.C + group * C) * plane;
        const bool whole = b.rows == s.OH && b.cols == s.OW;
        // After this block come more rows of the plane, more images or, after the last, the next group.
        const bool last = b.n + b.images == s.N;
        const index_t ahead = !whole ? b.rows * s.stride_h * s.W
                              : last ? C * plane
                                     : b.images * s.C * plane;
        if (C == 1) {
            stage_.fill(kernel, b.images, s.C * plane, s.H, s.W, b.oh, b.ow, b.rows, slab_, ahead,
                        x, stage);
        } else {
            for (index_t i = 0; i < b.images; ++i)
                stage_.fill(kernel, C, plane, s.H, s.W, b.oh, b.ow, b.rows, slab_, ahead,
                            x + i * s.C * plane, stage + i * C * slab_);
        }
        const T* g = grad_output_ + (b.n * s.OC + group * M + m) * outputs + b.oh * s.OW + b.ow;
        WindowGradientWalk walk{.columns = C * s.KW,
                                .offset = offset_.data(),
                                .tap_rows = s.KH,
                                .tap_row = s.dilation_h * stage_.row(),
                                .images = b.images,
                                .rows = b.rows,
                                .cols = b.cols,
                                .in_image = C * slab_,
                                .in_row = s.stride_h * stage_.row(),
                                .out_image = s.OC * outputs,
                                .out_row = s.OW,
                                .out_filter = outputs,
                                .sums_filter = steps_ * L,
                                .ahead = !whole ? b.rows * s.OW
                                         : last ? M * outputs
                                                : b.images * s.OC * outputs};
        // With a dilation every so many rows are taken together: neighbours among them share what they read.
        const index_t apart = s.stride_h == 1 && s.KH > 1 ? std::min(s.dilation_h, b.rows) : 1;
        walk.in_row *= apart;
        walk.out_row *= apart;
        for (index_t r = 0; r < apart; ++r) {
            walk.rows = ceil_div(b.rows - r, apart);
            for (index_t i = 0, count = 0; i < filters; i += count) {
                count = filters_at_once(filters - i);
                kernel.window_gradient(count, walk, g + i * outputs + r * s.OW,
                                       stage + r * stage_.row(), lanes + i * steps_ * L);
            }
        }
    }

    const ConvShape& s;
    index_t M, C, steps_;  // of a group
    const T* grad_output_;
    const T* input_;
    T* grad_weight_;
    RowStage stage_;
    index_t cols_, rows_, slab_, images_;  // of a block; slab: staged values of a channel
    std::vector<index_t> offset_;
    const Kernels<T>& kernel = row_kernels(kernels<T>(), s.OW);
    const index_t L = kernel.lanes;
};

// One group of few channels: a sum of at most some 30 products, which fills no tile either. Measured as below:
// 3 x 3 on 3 channels of 32 x 32 pixels: 92 GFLOP/s forward for 16 filters and 77 for 32, where the gemm kernel
// has 70; 64 and 74 for 64 filters on larger images. The weight gradient has 57 to 85, where that has 45 to 54, the
// input gradient 67 and 54 for 16 filters, 67 and 73 for 32, or 124 and 105 with vectors of 16 lanes, and 82 and 57 for
// 32 filters of 5 x 5 taps and one channel. With vectors of 16 lanes (Zen 5) the weight gradient has
// 150 for 16 to 64 filters, where the gemm kernel has 86 to 121, but for 5 x 5 taps 139, and that 99 for 20 filters and
// 150 for 32.
bool suits_first_layer(const ConvShape& s, Direction direction) {
    constexpr index_t kChannels = 4, kProducts = 36;
    if (s.C > kChannels || s.C * s.taps() > kProducts || s.stride_h * s.stride_w != 1) return false;
    const index_t most_of_weight = kernels<float>().lanes < 16 || s.taps() <= 9 ? 64 : 24;
    const index_t most_of_input = kernels<float>().lanes < 16 && s.C > 1 ? 16 : 32;
    const index_t most = direction == Direction::Forward          ? 32
                         : direction == Direction::BackwardWeight ? most_of_weight
                                                                  : most_of_input;
    return s.OC <= most;
}

}  // namespace

bool applies(const ConvShape& s) {
    if (s.D * s.KD * s.OD != 1 || s.pad_front != 0) return false;
    // Of all directions: the input gradient's rows may be longer by the extent of the taps.
    const RowStage stage = stage_of(s);
    const double longer = static_cast<double>(stage.h.extent) * static_cast<double>(stage.w.extent);
    return static_cast<double>(std::max(s.C, s.OC) / s.G) * (stage.least_values() + longer) <=
           static_cast<double>(kMaxStageBytes / 8);
}

// With stride 2 Winograd's takes 1.1 times as long as this one with 16 channels a group (Zen 3).
// Measured (Zen 4, AVX2): with 8 channels a group this algorithm has 70 GFLOP/s forward and 48 in the weight
// gradient, Winograd's 51 in both and the gemm kernel 50 and 43; with 16 it is 80 and 48 against 137 and 76.
bool is_faster(const ConvShape& s, Direction direction, bool winograd) {
    if (!applies(s)) return false;
    if (direction == Direction::BackwardInput && has_gradient_kernel(s)) return true;
    if (s.G == 1) return suits_first_layer(s, direction);
    constexpr index_t kSmallMap = 14 * 14;
    const index_t lanes = kernels<float>().lanes;
    const bool fills_lanes = lanes >= 16 && 8 * s.OW >= 7 * round_up(s.OW, lanes);
    const bool beaten =
        winograd && s.stride_h == 1 && !(fills_lanes && s.output_plane() <= kSmallMap);
    const bool others = beaten || direction == Direction::BackwardWeight;
    const index_t most = others ? 8 : 16;
    return s.C / s.G <= most && s.OC / s.G <= most;
}

template <typename T>
void conv_backward_weight(const ConvShape& s, const T* grad_output, const T* input,
                          T* grad_weight) {
    if (s.OC * s.C * s.taps() == 0) return;
    WeightGradient<T>(s, grad_output, input, grad_weight).run();
}

template void conv_backward_weight(const ConvShape&, const float*, const float*, float*);
template void conv_backward_weight(const ConvShape&, const double*, const double*, double*);

}  // namespace pyconv::depthwise
