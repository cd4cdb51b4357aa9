// SPDX-License-Identifier: BSD-3-Clause
// tap_depthwise: each plane of output is summed from the image rows themselves, a few filters at a time.
//
// A group of one or a few channels has too few rows and steps for a tile of the gemm kernel, but its
// weights are so few that they need no packing to speak of. What is left is to read each plane once: a
// task copies some rows of it, padded, into L1 and slides the window over them there.
#include <vector>

#include "base/buffer.h"
#include "base/parallel.h"
#include "ops/gemm_panel.h"
#include "ops/row_stage.h"
#include "ops/tap_gemm.h"

namespace pyconv {
namespace {

// Rows of pixels that are computed from one copy, at least.
constexpr index_t kMinRows = 4;
// Values of the weights that a task gathers.
constexpr index_t kWeights = 4096;
constexpr index_t kTasks = 16;
// Planes of a task: enough bytes to be worth one.
constexpr index_t kTaskBytes = index_t{128} << 10;

// Pixels of a row in a block, of each way.
template <typename T>
index_t columns_of(const TapGemm<T>& g) {
    return even_block(g.PW, std::max<index_t>(kStageColumns / g.ways(), 1), 1);
}

template <typename T>
RowStage stage_of(const TapGemm<T>& g, index_t cols) {
    const TapGrid* first = nullptr;
    for (const TapSum<T>& sum : g.sums)
        if (sum.taps.count() > 0 && first == nullptr) first = &sum.taps;
    constexpr TapAxis kNone{0, 0, 1};
    TapReach h(first == nullptr ? kNone : first->h), w(first == nullptr ? kNone : first->w);
    for (const TapSum<T>& sum : g.sums) {
        if (sum.taps.count() == 0) continue;
        h.include(TapReach(sum.taps.h));
        w.include(TapReach(sum.taps.w));
    }
    return {h, w, g.stride_h, g.stride_w, cols, g.PW, g.W};
}

template <typename T>
class Depthwise {
  public:
    Depthwise(const Kernels<T>& table, const TapGemm<T>& gemm)
        : kernel(table), g(gemm), cols_(columns_of(g)), stage_(stage_of(g, cols_)) {
        const index_t budget = kStagedBytes / index_t{sizeof(T)};
        rows_ = stage_.rows_at_once<T>(g.C, g.PH, kMinRows);
        slab_ = stage_.rows(rows_) * stage_.row();
        weights_ = g.M * g.C * g.taps();

        const index_t plane_bytes =
            (g.C * g.plane() + g.M * g.PH * g.output_width) * index_t{sizeof(T)};
        const index_t by_bytes = kTaskBytes / std::max<index_t>(plane_bytes, 1);
        const index_t by_weights = kWeights / std::max<index_t>(weights_, 1);
        groups_ = even_block(
            g.G, std::clamp<index_t>(std::min(by_bytes, by_weights), 1, ceil_div(g.G, kTasks)), 1);
        // Images share the weights that a task gathered, where there are tasks enough without them.
        images_ = ceil_div(g.G, groups_) >= kTasks ? g.N : 1;
        const index_t tasks = ceil_div(g.G, groups_) * ceil_div(g.N, images_);
        // Whole planes of several groups are staged and summed together.
        const bool whole = rows_ == g.PH && cols_ == g.PW;
        batch_ = whole ? std::clamp<index_t>(budget / (g.C * slab_), 1, groups_) : 1;
        find_offsets();
        find_weights();
        bands_ = tasks >= kTasks ? 1 : std::min(ceil_div(kTasks, tasks), ceil_div(g.PH, rows_));
    }

    void run() const {
        const index_t group_tasks = ceil_div(g.G, groups_), image_tasks = ceil_div(g.N, images_);
        const double nanoseconds =
            arithmetic_nanoseconds(g.work()) + 0.1 * static_cast<double>(g.G * g.N * g.plane());
        parallel_for(group_tasks * image_tasks * bands_, nanoseconds, [&](index_t task) {
            const index_t band = task % bands_, image = task / bands_ % image_tasks;
            run_task(task / (bands_ * image_tasks) * groups_, image * images_, band);
        });
    }

  private:
    // Groups and images from `group` and `n` on, and of each plane one of bands_ parts.
    void run_task(index_t group, index_t n, index_t band) const {
        const index_t groups = std::min(groups_, g.G - group), images = std::min(images_, g.N - n);
        const index_t L = kernel.NR;  // at least a vector
        const index_t staged = batch_ * g.C * slab_;
        const AlignedBuffer<T> stage(staged + 2 * L);
        std::fill_n(stage.data() + staged, 2 * L, T(0));
        const AlignedBuffer<T> weights(groups * weights_);
        const AlignedBuffer<T> ways(g.ways() > 1 ? g.ways() * 4 * batch_ * rows_ * cols_ : 0);
        // All sums share their weights: they differ in the elements that they take.
        const TapWeights<T>& w = g.sums.front().weights;
        for (index_t i = 0; i < groups; ++i)
            for (index_t j = 0; j < weights_; ++j)
                weights.data()[i * weights_ + j] =
                    w.data[(group + i) * w.group_step + weight_[static_cast<size_t>(j)]];

        const index_t blocks = ceil_div(g.PH, rows_);
        const index_t first = band * blocks / bands_, last = (band + 1) * blocks / bands_;
        for (index_t image = n; image < n + images; ++image)
            for (index_t i = 0; i < groups; i += batch_)
                for (index_t ph = first * rows_; ph < std::min(last * rows_, g.PH); ph += rows_)
                    for (index_t pw = 0; pw < g.PW; pw += cols_)
                        run_block(image, group + i, std::min(batch_, groups - i), ph, pw,
                                  weights.data() + i * weights_, stage.data(), ways.data());
    }

    // Where each column of taps of each sum, channel by channel, reads for the first pixel.
    void find_offsets() {
        for (const TapSum<T>& sum : g.sums) {
            const TapAxis& w = sum.taps.w;
            for (index_t c = 0; c < g.C; ++c)
                for (index_t j = 0; j < w.count; ++j)
                    offset_.push_back(c * slab_ + stage_.offset(TapReach(sum.taps.h).first,
                                                                w.first + j * w.step));
        }
    }

    // Where the weights of a group lie, in the order in which they are used: [sum][filters at once][channel]
    // [column of taps, from the top][filter].
    void find_weights() {
        for (const TapSum<T>& sum : g.sums) {
            const TapWeights<T>& w = sum.weights;
            const TapGrid& taps = sum.taps;
            for (index_t m = 0, count = 0; m < g.M; m += count) {
                count = filters_at_once(g.M - m);
                for (index_t c = 0; c < g.C; ++c)
                    for (index_t j = 0; j < taps.w.count; ++j)
                        for (index_t k = 0; k < taps.h.count; ++k) {
                            const index_t row = taps.h.step < 0 ? taps.h.count - 1 - k : k;
                            const index_t element =
                                w.element[static_cast<size_t>(row * taps.w.count + j)];
                            for (index_t i = 0; i < count; ++i)
                                weight_.push_back((m + i) * w.m_step + c * w.c_step + element);
                        }
            }
        }
    }

    // rows_ x cols_ pixels, from (ph, pw) on, of all filters of some groups.
    void run_block(index_t n, index_t group, index_t groups, index_t ph, index_t pw,
                   const T* weights, T* stage, T* ways) const {
        const index_t rows = std::min(rows_, g.PH - ph), cols = std::min(cols_, g.PW - pw);
        const index_t ahead = groups * g.C * std::min(rows * g.stride_h, g.H) * g.W;
        stage_.fill(kernel, groups * g.C, g.plane(), g.H, g.W, ph, pw, rows, slab_, ahead,
                    g.source + n * g.source_image + group * g.source_group, stage);
        T* const out = g.output + n * g.output_image + group * g.output_group + ph * g.output_h +
                       pw * g.ways();
        Epilogue<T> epilogue{.activation = g.extras.activation};
        for (index_t m = 0, count = 0; m < g.M; m += count) {
            count = filters_at_once(g.M - m);
            if (g.extras.bias != nullptr) epilogue.row_bias = g.extras.bias + group * g.M + m;
            T* to = out + m * g.output_m;
            WindowWalk walk{.columns = 0,
                            .offset = offset_.data(),
                            .tap_rows = 0,
                            .tap_row = 0,
                            .rows = rows,
                            .cols = cols,
                            .in_row = stage_.stride_h * stage_.row(),
                            .out_row = g.output_h,
                            .out_filter = g.output_m,
                            .groups = groups,
                            .in_group = g.C * slab_,
                            .weights_group = weights_,
                            .bias_group = g.M,
                            .out_group = g.output_group};
            if (g.ways() > 1) {
                walk.out_row = cols;
                walk.out_filter = rows * cols;
                walk.out_group = count * rows * cols;
            }
            const T* factors = weights;
            for (index_t q = 0; q < g.ways(); ++q) {
                const TapGrid& taps = g.sums[static_cast<size_t>(q)].taps;
                walk.columns = g.C * taps.w.count;
                walk.tap_rows = taps.h.count;
                // One row of taps is as far from the next as its pixels are.
                walk.tap_row =
                    taps.h.count <= 1 ? walk.in_row : std::abs(taps.h.step) * stage_.row();
                slide(count, walk, stage, factors + m * g.C * taps.count(),
                      g.ways() == 1 ? g.residual(to) : nullptr,
                      g.ways() == 1 ? to : ways + q * groups * walk.out_group, epilogue);
                walk.offset += walk.columns;
                factors += g.M * g.C * taps.count();
            }
            if (g.ways() > 1) interleave(groups, count, rows, cols, pw, ways, to);
        }
    }

    // With a dilation every so many rows are taken together: neighbours among them share what they read.
    void slide(index_t filters, const WindowWalk& walk, const T* in, const T* weights,
               const T* residual, T* out, const Epilogue<T>& epilogue) const {
        const bool dilated = walk.tap_rows > 1 && g.stride_h == 1 && walk.tap_row > walk.in_row;
        if (!dilated) return kernel.window(filters, walk, in, weights, residual, out, epilogue);
        const index_t apart = walk.tap_row / walk.in_row;
        WindowWalk part = walk;
        part.in_row *= apart;
        part.out_row *= apart;
        for (index_t r = 0; r < std::min(apart, walk.rows); ++r) {
            part.rows = ceil_div(walk.rows - r, apart);
            const index_t at = r * walk.out_row;
            kernel.window(filters, part, in + r * walk.in_row, weights,
                          residual != nullptr ? residual + at : nullptr, out + at, epilogue);
        }
    }

    // ways[q][group][m][row][i] becomes pixel i * ways + q of its row.
    void interleave(index_t groups, index_t filters, index_t rows, index_t cols, index_t pw,
                    const T* ways, T* out) const {
        const index_t step = groups * filters * rows * cols;
        const index_t width = std::min(cols * g.ways(), g.output_width - pw * g.ways());
        const index_t whole = width / g.ways();
        for (index_t i = 0; i < groups * filters; ++i, ways += rows * cols) {
            T* to = out + i / filters * g.output_group + i % filters * g.output_m;
            kernel.interleave(rows, whole, g.ways(), ways, cols, step, to, g.output_h);
            for (index_t r = 0; r < (whole < cols ? rows : 0); ++r)
                for (index_t q = 0; q < width % g.ways(); ++q)
                    to[r * g.output_h + whole * g.ways() + q] = ways[r * cols + q * step + whole];
        }
    }

    const Kernels<T>& kernel;
    const TapGemm<T>& g;
    index_t cols_;
    RowStage stage_;
    index_t rows_, slab_;              // rows of pixels in a block; staged values of a channel
    index_t weights_;                  // values of a group
    index_t groups_, images_, bands_;  // of a task; bands_: parts of a plane
    index_t batch_;                    // groups that are staged at a time
    std::vector<index_t> offset_, weight_;
};

}  // namespace

template <typename T>
void tap_depthwise(const Kernels<T>& any, const TapGemm<T>& g) {
    const Kernels<T>& kernel = row_kernels(any, g.PW);
    if (g.G * g.N * g.pixels() == 0 || g.M == 0 || tap_planes(kernel, g)) return;
    Depthwise<T>(kernel, g).run();
}

template <typename T>
bool can_depthwise(const TapGemm<T>& g) {
    if (g.C == 0 || g.D * g.PD != 1 || g.pixels() == 0) return false;
    for (const TapSum<T>& sum : g.sums)
        if (sum.taps.count() > 0 && (sum.taps.d.first != 0 || sum.taps.d.count != 1)) return false;
    const RowStage stage = stage_of(g, columns_of(g));
    return static_cast<double>(g.C) * stage.least_values() <=
           static_cast<double>(kMaxStageBytes / index_t{sizeof(T)});
}

template void tap_depthwise(const Kernels<float>&, const TapGemm<float>&);
template void tap_depthwise(const Kernels<double>&, const TapGemm<double>&);
template bool can_depthwise(const TapGemm<float>&);
template bool can_depthwise(const TapGemm<double>&);

}  // namespace pyconv
