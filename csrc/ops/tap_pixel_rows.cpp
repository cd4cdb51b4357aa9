// SPDX-License-Identifier: BSD-3-Clause
// The implicit GEMM for few pixels and many filters, transposed: pixels are the rows of a tile, and output
// channels its columns. 49 pixels waste a quarter of the lanes of two vectors of 16, or of four of 8, but hardly
// any of rows that can be cut anywhere; and each weight, which there are more of than pixels, is read just once.
// The price is to turn the output round, which is why the sum must be long.
#include <algorithm>
#include <vector>

#include "base/parallel.h"
#include "ops/gemm_panel.h"
#include "ops/tap_gemm.h"
#include "ops/tap_panel.h"

namespace pyconv {
namespace {

// Bytes of packed pixels of a task, which are read once for every panel of weights: four bytes a cycle, from L3 if
// need be.
constexpr index_t kMostPixelBytes = index_t{1} << 20;
// Tiles of pixels in a task: the weights that are fetched while the first is summed serve the others, too.
constexpr index_t kTiles = 4;
// Multiply-adds that take as long as turning a sum round and adding it to the output; and as packing a value of the
// image, for wide panels or for those of pixels.
constexpr double kTurning = 40, kPackedColumn = 22, kPackedRow = 17;

// How one call is cut into tasks: by its shape alone.
template <typename T>
struct Plan {
    index_t channels;  // of a block of the sum
    index_t
        panel_rows;  // pixels packed together: whole tiles, and in the last panel what its lanes hold
    index_t task_rows, pixel_tasks;  // the last task has the pixels that are left, too
    index_t weight_rows, weight_tasks;

    Plan(const Kernels<T>& kernel, const TapGemm<T>& g) {
        const index_t tiles = std::max(g.N * g.pixels() / kernel.MR, index_t{1});
        channels = tap_channel_block(kernel, g.C, g.taps(), 1);
        panel_rows = kernel.NR < kernel.MR ? kernel.NR : kernel.NR / kernel.MR * kernel.MR;
        // At least two tasks, which read no pixel twice; but one rather than two that pack the weights each.
        const bool packs = g.extras.cache == nullptr && tiles < kSharedTasks * kTiles;
        const index_t task_tiles = packs ? tiles : std::min(kTiles, ceil_div(tiles, 2));
        pixel_tasks = tiles / task_tiles;
        task_rows = task_tiles * kernel.MR;
        weight_rows = tap_row_block(g.M, kernel.NR, pixel_tasks * g.G);
        weight_tasks = ceil_div(g.M, weight_rows);
    }

    // The last panel has as many rows as there are lanes for, rather than that a few are alone: they would wait
    // for their own sums.
    index_t panel_count(const Kernels<T>& kernel, index_t pixels) const {
        return std::max(ceil_div(pixels - (kernel.NR - panel_rows), panel_rows), index_t{1});
    }
};

// Some pixels of one group, and some panels of weights.
template <typename T>
class Task {
  public:
    Task(const Kernels<T>& the_kernel, const TapGemm<T>& the_sum, const Plan<T>& the_plan,
         const PackedTapWeights<T>* weights, index_t group, index_t first, index_t pixels)
        : kernel(the_kernel),
          g(the_sum),
          plan(the_plan),
          packed_weights(weights),
          group_(group),
          pixels_(pixels),
          steps_(the_sum.taps()),
          panels_(static_cast<size_t>(the_plan.panel_count(the_kernel, pixels))),
          pixel_panels_(g.C * steps_ * panel_count() * kernel.NR),
          sums_(pixels * kernel.NR),
          turned_(kernel.NR * turned_row()) {
        for (index_t p = 0; p < panel_count(); ++p) locate_panel(first, p);
        for (index_t c = 0; c < g.C; c += plan.channels)
            for (index_t p = 0; p < panel_count(); ++p)
                pack_panel(kernel, g, g.sums.front().taps, panels_[static_cast<size_t>(p)],
                           g.source + group * g.source_group + c * g.plane(), channels_from(c),
                           pixel_panel(c, p));
    }

    // Rows m .. m + rows, which become columns.
    void run(index_t m, index_t rows) {
        const index_t NR = kernel.NR;
        const AlignedBuffer<T> scratch(
            packed_weights == nullptr ? std::min(plan.channels, g.C) * steps_ * NR : 0);
        for (index_t j = m; j < m + rows; j += NR) {
            const index_t columns = std::min(NR, m + rows - j);
            for (index_t c = 0; c < g.C; c += plan.channels) {
                if (packed_weights == nullptr)
                    pack_tap_weights(kernel, g.sums.front().weights, group_, j, columns, c,
                                     channels_from(c), NR, scratch.data());
                multiply(j, columns, c, scratch.data());
            }
            finish(j, columns);
        }
    }

  private:
    index_t panel_count() const { return static_cast<index_t>(panels_.size()); }
    index_t rows_of(index_t panel) const {
        const index_t before = panel * plan.panel_rows;
        return panel == panel_count() - 1 ? pixels_ - before : plan.panel_rows;
    }
    index_t turned_row() const { return round_up(pixels_, kernel.lanes); }
    index_t channels_from(index_t c) const { return std::min(plan.channels, g.C - c); }
    T* pixel_panel(index_t c, index_t panel) {
        return pixel_panels_.data() +
               kernel.NR * steps_ * (c * panel_count() + panel * channels_from(c));
    }

    // Where the pixels of a panel are, and where they go: what lies side by side in the output is one run, whatever
    // the panels.
    void locate_panel(index_t first, index_t p) {
        Panel<T>& panel = panels_[static_cast<size_t>(p)];
        const index_t before = p * plan.panel_rows;
        locate(g, group_, first + before, rows_of(p), panel);
        for (index_t r = 0; r < panel.column_run_count; ++r) {
            ColumnRun<T> run = panel.column_runs[r];
            run.first += before;
            if (!outputs_.empty() && outputs_.back().c + outputs_.back().count == run.c) {
                outputs_.back().count += run.count;
            } else {
                outputs_.push_back(run);
            }
        }
    }

    // Adds the block of channels from c on to the sums.
    void multiply(index_t j, index_t columns, index_t c, const T* b) {
        const index_t NR = kernel.NR;
        KLoop loop{.steps = channels_from(c) * steps_, .a_k = NR, .b_k = NR, .b_padded = true};
        if (packed_weights != nullptr)
            b = packed_weights->block(group_, j, 0, g.C) + c * steps_ * NR;
        for (index_t p = 0; p < panel_count(); ++p) {
            const ColumnRun<T> run{0, columns, sums_.data() + p * plan.panel_rows * NR, 1};
            loop.far = packed_weights != nullptr && p == 0 ? Far::B : Far::None;
            multiply_panel<T>(kernel, rows_of(p), loop, pixel_panel(c, p), 0, b, {&run, 1}, NR,
                              {.accumulate = c > 0});
        }
    }

    // Turns the sums round and writes them.
    void finish(index_t j, index_t columns) {
        const index_t row = turned_row();
        kernel.transpose(pixels_, columns, sums_.data(), kernel.NR, turned_.data(), row);
        Epilogue<T> e{.activation = g.extras.activation};
        if (g.extras.bias != nullptr) e.row_bias = g.extras.bias + group_ * g.M + j;
        for (const ColumnRun<T>& run : outputs_) {
            T* to = run.c + j * g.output_m;
            e.residual = g.residual(to);
            kernel.merge_tile(columns, run.count, turned_.data() + run.first, row, to, g.output_m,
                              1, e);
        }
    }

    const Kernels<T>& kernel;
    const TapGemm<T>& g;
    const Plan<T>& plan;
    const PackedTapWeights<T>* packed_weights;  // or nullptr
    const index_t group_, pixels_, steps_;      // steps a channel
    std::vector<Panel<T>> panels_;
    std::vector<ColumnRun<T>> outputs_;
    AlignedBuffer<T> pixel_panels_;  // block of channels by block of channels, each panel by panel
    AlignedBuffer<T> sums_, turned_;
};

// Lanes that `count` columns take: a last vector alone is not quite as fast as half of a tile.
double lanes_of(index_t count, index_t NR) {
    const index_t rest = count % NR;
    const double last = rest == 0 ? 0.0 : rest * 2 <= NR ? 0.8 : 1.0;
    return static_cast<double>(NR) * (static_cast<double>(count / NR) + last);
}

}  // namespace

template <typename T>
bool prefers_pixel_rows(const Kernels<T>& kernel, const TapGemm<T>& g) {
    const index_t pixels = g.N * g.pixels(), steps = g.C * g.taps();
    if (g.ways() != 1 || g.M < kernel.NR || pixels == 0 || steps == 0) return false;
    const Plan<T> plan(kernel, g);
    const index_t task_rows = pixels - (plan.pixel_tasks - 1) * plan.task_rows;  // the largest
    if (steps * task_rows * index_t{sizeof(T)} > kMostPixelBytes) return false;
    // The taps of an input gradient lie apart, and are dear to pack into wide panels.
    if (g.extras.cache == nullptr && g.taps() > 1 && g.sums.front().weights.c_step != g.taps())
        return false;
    const auto packed = static_cast<double>(steps * pixels);
    const double as_columns =
        static_cast<double>(steps * g.M) * lanes_of(pixels, kernel.NR) + kPackedColumn * packed;
    const double as_rows = packed * (lanes_of(g.M, kernel.NR) + kPackedRow) +
                           kTurning * static_cast<double>(g.M * pixels);
    return as_rows < as_columns;
}

template <typename T>
void tap_pixel_rows(const Kernels<T>& kernel, const TapGemm<T>& g) {
    const Plan<T> plan(kernel, g);
    const TapWeights<T>& weights = g.sums.front().weights;
    const WeightCache::Key key{
        WeightCache::Key::Maker::TapPixelRows, &kernel, {g.G, g.M, g.C, g.taps()}};
    // One panel after another: what is fetched ahead is what is used next.
    const auto pack = [&] { return PackedTapWeights<T>(kernel, g, weights, g.C, kernel.NR); };
    const bool shared = g.extras.cache != nullptr || plan.pixel_tasks >= kSharedTasks;
    const auto kept = shared ? WeightCache::get(g.extras.cache, key, pack) : nullptr;
    parallel_for(g.G * plan.pixel_tasks * plan.weight_tasks, arithmetic_nanoseconds(g.work()),
                 [&](index_t task) {
                     const index_t m = task % plan.weight_tasks * plan.weight_rows;
                     const index_t part = task / plan.weight_tasks % plan.pixel_tasks;
                     const index_t group = task / plan.weight_tasks / plan.pixel_tasks;
                     const index_t first = part * plan.task_rows;
                     const bool last = part == plan.pixel_tasks - 1;
                     Task<T>(kernel, g, plan, kept.get(), group, first,
                             last ? g.N * g.pixels() - first : plan.task_rows)
                         .run(m, std::min(plan.weight_rows, g.M - m));
                 });
}

template bool prefers_pixel_rows(const Kernels<float>&, const TapGemm<float>&);
template bool prefers_pixel_rows(const Kernels<double>&, const TapGemm<double>&);
template void tap_pixel_rows(const Kernels<float>&, const TapGemm<float>&);
template void tap_pixel_rows(const Kernels<double>&, const TapGemm<double>&);

}  // namespace pyconv
