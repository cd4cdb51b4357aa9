// SPDX-License-Identifier: BSD-3-Clause
// The im2col matrix is never stored: a task packs the part that it needs, straight from the image,
// into panels that stay in L2 while all rows of A pass over them. Stride, dilation, padding and
// ragged edges live in that packing and nowhere else.
#include "ops/tap_gemm.h"

#include <algorithm>
#include <optional>

#include "base/parallel.h"
#include "ops/gemm_panel.h"
#include "ops/tap_panel.h"

namespace pyconv {
namespace {

// Bytes of packed B that a task works on. Each panel is used once for every MC rows and may come from
// L3 then; the more columns, the fewer times is A read, or packed.
constexpr index_t kPackedBytes = index_t{320} << 10;
constexpr index_t kMaxPanels = 24;
// A value that is written and not computed.
constexpr double kFillNanoseconds = 0.1;

// How one call is cut into blocks and tasks: by its shape alone.
template <typename T>
struct Plan {
    index_t channels;      // of a block of the sum
    index_t column_block;  // pixels of a task
    index_t column_tasks, row_block, row_tasks;

    Plan(const Kernels<T>& kernel, const TapGemm<T>& g) {
        const index_t NR = kernel.NR, columns = g.N * g.pixels();
        channels = tap_channel_block(kernel, g.C, g.taps(), g.ways());
        const index_t bytes = std::max<index_t>(channels * g.taps(), 1) * index_t{sizeof(T)};
        const index_t most = std::clamp(kPackedBytes / bytes / NR, index_t{1}, kMaxPanels) * NR;
        column_block = even_block(columns, most, NR);
        column_tasks = ceil_div(columns, column_block);
        row_block = tap_row_block(g.M, kernel.MR, column_tasks * g.G);
        row_tasks = ceil_div(g.M, row_block);
    }
};

// One block of rows and columns, in scratch of its own.
template <typename T>
class Task {
  public:
    Task(const Kernels<T>& the_kernel, const TapGemm<T>& the_sum, const Plan<T>& the_plan,
         const std::vector<PackedTapWeights<T>>& weights, index_t group, index_t column,
         index_t count)
        : kernel(the_kernel),
          g(the_sum),
          plan(the_plan),
          packed_weights(weights),
          group_(group),
          count_(count),
          panels(static_cast<size_t>(ceil_div(count, kernel.NR))) {
        for (size_t p = 0; p < panels.size(); ++p) {
            const index_t lane = static_cast<index_t>(p) * kernel.NR;
            locate(g, group, column + lane, std::min(kernel.NR, count - lane), panels[p]);
        }
    }

    // Rows m .. m + rows.
    void run(index_t m, index_t rows) {
        const index_t MR = kernel.MR, NR = kernel.NR;
        const index_t MC = even_block(rows, kernel.MC, MR);
        const bool flat = is_flat();
        // With a single block of A, a panel of B is used once, and best while it is in L1.
        const auto step = MC >= rows ? index_t{1} : static_cast<index_t>(panels.size());
        const index_t block_steps = std::min(plan.channels, g.C) * g.taps();
        const AlignedBuffer<T> b_block(step * NR * block_steps);
        const AlignedBuffer<T> a_block(packed_weights.empty() ? MC * block_steps : 0);
        tiles_ = AlignedBuffer<T>(g.ways() > 1 ? 2 * g.ways() * MR * NR : 0);
        std::vector<const T*> a;
        // Runs once when there is nothing to sum, to write the bias.
        for (index_t c = 0; c == 0 || c < g.C; c += plan.channels) {
            const index_t channels = std::min(plan.channels, g.C - c);
            const T* source = g.source + group_ * g.source_group + c * g.plane();
            loops_.clear();
            for (const TapSum<T>& sum : g.sums)
                loops_.push_back(packed_loop(kernel, channels * sum.taps.count()));
            for (size_t p = 0; p < panels.size(); p += static_cast<size_t>(step)) {
                const std::span<const Panel<T>> columns(panels.data() + p,
                                                        static_cast<size_t>(step));
                if (!flat) pack_panels(columns, source, channels, b_block.data());
                for (index_t ic = m; ic < m + rows; ic += MC) {
                    const index_t mc = std::min(MC, m + rows - ic);
                    if (p == 0) a = weights(ic, mc, c, channels, a_block.data());
                    multiply(ic, mc, c, c + channels >= g.C, a, b_block.data(), columns,
                             flat && ic == m ? source : nullptr);
                }
            }
        }
    }

  private:
    // Panel by panel, and for each panel sum by sum.
    void pack_panels(std::span<const Panel<T>> columns, const T* source, index_t channels,
                     T* packed) const {
        for (const Panel<T>& panel : columns) {
            for (const TapSum<T>& sum : g.sums) {
                pack_panel(kernel, g, sum.taps, panel, source, channels, packed);
                packed += kernel.NR * channels * sum.taps.count();
            }
        }
    }

    // A single tap that reads what lies at the pixel itself, all in one row of one image: a plain
    // matrix, read in the order in which it lies.
    bool is_flat() const {
        const GridRun& first = panels.front().runs[0];
        const Panel<T>& last = panels.back();
        const TapGrid& taps = g.sums.front().taps;
        return g.ways() == 1 && taps.count() == 1 && g.PH * g.PD == 1 && g.H * g.D == 1 &&
               g.stride_w == 1 && taps.w.first == 0 && g.PW == g.W && taps.h.first == 0 &&
               taps.d.first == 0 && last.run_count == 1 && last.runs[0].n == first.n;
    }

    // Where each sum's panels of A for rows ic .. ic + mc begin.
    std::vector<const T*> weights(index_t ic, index_t mc, index_t c, index_t channels,
                                  T* scratch) const {
        std::vector<const T*> a;
        for (size_t q = 0; q < g.sums.size(); ++q) {
            if (!packed_weights.empty()) {
                a.push_back(packed_weights[q].block(group_, ic, c, channels));
                continue;
            }
            pack_tap_weights(kernel, g.sums[q].weights, group_, ic, mc, c, channels, kernel.MR,
                             scratch);
            a.push_back(scratch);
            scratch += round_up(mc, kernel.MR) * channels * g.sums[q].taps.count();
        }
        return a;
    }

    // Rows ic .. ic + mc of some panels, for the block of channels from c on. `matrix`: these channels of a
    // source that is_flat(), from which b is still to be packed.
    void multiply(index_t ic, index_t mc, index_t c, bool last, const std::vector<const T*>& a,
                  T* b, std::span<const Panel<T>> columns, const T* matrix) {
        Epilogue<T> e{.accumulate = c > 0};
        if (last && g.extras.bias != nullptr) e.row_bias = g.extras.bias + group_ * g.M + ic;
        if (last) e.activation = g.extras.activation;
        for (const Panel<T>& panel : columns) {
            ColumnRun<T> runs[kMaxRuns];
            for (index_t r = 0; r < panel.column_run_count; ++r) {
                runs[r] = panel.column_runs[r];
                runs[r].c += ic * g.output_m;
                if (last) runs[r].residual = g.residual(runs[r].c);
            }
            const std::span<const ColumnRun<T>> to(runs,
                                                   static_cast<size_t>(panel.column_run_count));
            loops_[0].far = &panel == panels.data() ? Far::A : Far::None;
            if (matrix != nullptr) {
                const GridRun& run = panel.runs[0];
                pack_and_multiply_panel<T>(kernel, mc, loops_[0], a[0], kernel.MR * loops_[0].steps,
                                           matrix + run.n * g.source_image + run.pw, g.plane(), b,
                                           to, g.output_m, e, &panel != &panels.back());
            } else if (g.ways() == 1) {
                multiply_panel<T>(kernel, mc, loops_[0], a[0], kernel.MR * loops_[0].steps, b, to,
                                  g.output_m, e);
            } else {
                multiply_ways(mc, a, b, panel, to, e);
            }
            for (const KLoop& k : loops_) b += kernel.NR * k.steps;
        }
    }

    // The tiles of all sums, and then their columns in turn.
    void multiply_ways(index_t mc, const std::vector<const T*>& a, const T* b,
                       const Panel<T>& panel, std::span<const ColumnRun<T>> columns,
                       const Epilogue<T>& epilogue) {
        const index_t MR = kernel.MR, NR = kernel.NR, ways = g.ways();
        const GridRun& end = panel.runs[panel.run_count - 1];
        T* joined = tiles_.data() + ways * MR * NR;
        for (index_t i = 0; i < mc; i += MR) {
            const index_t mr = std::min(MR, mc - i);
            const T* b_sum = b;
            for (size_t q = 0; q < loops_.size(); ++q) {
                T* tile = tiles_.data() + static_cast<index_t>(q) * MR * NR;
                const ColumnRun<T> run{0, end.first + end.count, tile, 1};
                multiply_panel<T>(kernel, mr, loops_[q], a[q] + i * loops_[q].steps, 0, b_sum,
                                  {&run, 1}, NR, {});
                b_sum += NR * loops_[q].steps;
            }
            kernel.interleave(1, mr * NR, ways, tiles_.data(), 0, MR * NR, joined, 0);
            const Epilogue<T> e = epilogue_from<T>(epilogue, nullptr, i, g.output_m);
            for (const ColumnRun<T>& run : columns)
                kernel.merge_tile(mr, run.count, joined + run.first, ways * NR,
                                  run.c + i * g.output_m, g.output_m, 1, e);
        }
    }

    const Kernels<T>& kernel;
    const TapGemm<T>& g;
    const Plan<T>& plan;
    const std::vector<PackedTapWeights<T>>& packed_weights;  // one a sum, or empty
    const index_t group_, count_;
    std::vector<Panel<T>> panels;
    AlignedBuffer<T> tiles_;
    std::vector<KLoop> loops_;  // one a sum, for the block of channels at hand
};

// A sum of nothing: the bias.
template <typename T>
void write_bias(const Kernels<T>& kernel, const TapGemm<T>& g) {
    const index_t rows = g.PD * g.PH;
    const double values = static_cast<double>(g.N * g.G * g.M * rows * g.output_width);
    parallel_for(g.N * g.G * g.M, values * kFillNanoseconds, [&](index_t task) {
        const index_t m = task % g.M, group = task / g.M % g.G, n = task / (g.M * g.G);
        const Epilogue<T> e{
            .row_bias = g.extras.bias != nullptr ? g.extras.bias + group * g.M + m : nullptr,
            .activation = g.extras.activation};
        T value = 0;
        kernel.merge_tile(1, 1, &value, 1, &value, 1, 1, e);
        T* plane = g.output + n * g.output_image + group * g.output_group + m * g.output_m;
        for (index_t row = 0; row < rows; ++row)
            std::fill_n(plane + row / g.PH * g.output_d + row % g.PH * g.output_h, g.output_width,
                        value);
    });
}

// The same sum in the fewest rows: a 1 x 1 window at stride 1 sees none, the plane is one long row.
template <typename T>
TapGemm<T> flattened(const TapGemm<T>& g) {
    TapGemm<T> flat = g;
    const bool same_size = g.PD == g.D && g.PH == g.H && g.PW == g.W;
    const bool dense = g.ways() == 1 && g.output_h == g.PW && g.output_d == g.PH * g.PW;
    if (!same_size || !dense || g.taps() != 1 || g.stride_d * g.stride_h * g.stride_w != 1)
        return flat;
    const TapGrid& taps = g.sums.front().taps;
    if (taps.d.first != 0 || taps.h.first != 0 || taps.w.first != 0) return flat;
    flat.PW = flat.W = flat.output_width = g.plane();
    flat.PD = flat.PH = flat.D = flat.H = 1;
    flat.output_d = flat.output_h = flat.PW;
    return flat;
}

}  // namespace

template <typename T>
void tap_gemm(const Kernels<T>& kernel, const TapGemm<T>& any) {
    const TapGemm<T> g = flattened(any);
    const index_t columns = g.N * g.pixels();
    if (columns == 0 || g.M == 0 || g.G == 0) return;
    if (g.C * g.taps() == 0 && g.extras.residual == nullptr) return write_bias(kernel, g);
    const Plan<T> plan(kernel, g);
    std::vector<PackedTapWeights<T>> none;
    const auto pack = [&] {
        std::vector<PackedTapWeights<T>> made;
        for (const TapSum<T>& sum : g.sums)
            made.emplace_back(kernel, g, sum.weights, plan.channels, kernel.MR);
        return made;
    };
    const bool shared = g.extras.cache != nullptr || plan.column_tasks >= kSharedTasks;
    const auto kept =
        shared ? WeightCache::get(g.extras.cache, g.key(kernel, plan.channels), pack) : nullptr;
    const std::vector<PackedTapWeights<T>>& packed = shared ? *kept : none;

    parallel_for(g.G * plan.column_tasks * plan.row_tasks, arithmetic_nanoseconds(g.work()),
                 [&](index_t task) {
                     const index_t m = task % plan.row_tasks * plan.row_block;
                     const index_t column =
                         task / plan.row_tasks % plan.column_tasks * plan.column_block;
                     const index_t group = task / (plan.row_tasks * plan.column_tasks);
                     Task<T>(kernel, g, plan, packed, group, column,
                             std::min(plan.column_block, columns - column))
                         .run(m, std::min(plan.row_block, g.M - m));
                 });
}

template void tap_gemm(const Kernels<float>&, const TapGemm<float>&);
template void tap_gemm(const Kernels<double>&, const TapGemm<double>&);

}  // namespace pyconv
