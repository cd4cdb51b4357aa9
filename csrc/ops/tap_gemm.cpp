// SPDX-License-Identifier: BSD-3-Clause
// The im2col matrix is never stored: a task packs the part that it needs, straight from the image,
// into panels that stay in L2 while all rows of A pass over them. Stride, dilation, padding and
// ragged edges live in that packing and nowhere else.
#include "ops/tap_gemm.h"

#include <algorithm>

#include "base/buffer.h"
#include "base/parallel.h"
#include "ops/conv2d_shape.h"
#include "ops/gemm_panel.h"

namespace pyconv {
namespace {

// Bytes of packed B that a task works on: with an MC x KC block of A, under 3/4 of a 512 KiB L2.
constexpr index_t kPackedBytes = index_t{192} << 10;
constexpr index_t kMaxRuns = 32;  // pixels of a panel: NR of the widest tile

// Pixels of one panel that are neighbours in one row of one image.
struct GridRun {
    index_t first, count;  // lanes
    index_t n, ph, pw;     // the first of the pixels
};

// A panel: which pixels its lanes are, and where in the output they go.
template <typename T>
struct Panel {
    index_t run_count = 0, column_run_count = 0;
    GridRun runs[kMaxRuns];
    ColumnRun<T> column_runs[kMaxRuns];
};

template <typename T>
void locate(const TapGemm<T>& g, index_t column, index_t count, Panel<T>& panel) {
    const index_t pixels = g.PH * g.PW;
    const bool dense = g.output_w == 1 && g.output_h == g.PW;
    panel.run_count = panel.column_run_count = 0;
    index_t n = column / pixels, ph = column % pixels / g.PW, pw = column % g.PW;
    for (index_t lane = 0; lane < count;) {
        const index_t length = std::min(count - lane, g.PW - pw);
        panel.runs[panel.run_count++] = {lane, length, n, ph, pw};
        if (dense && lane > 0 && ph > 0) {
            panel.column_runs[panel.column_run_count - 1].count += length;
        } else {
            T* c = g.output + n * g.output_image + ph * g.output_h + pw * g.output_w;
            panel.column_runs[panel.column_run_count++] = {lane, length, c, g.output_w};
        }
        lane += length;
        pw = 0;
        if (++ph == g.PH) {
            ph = 0;
            ++n;
        }
    }
}

// Packs channels c0 .. c0 + channels of all taps for the pixels of `panel`.
template <typename T>
void pack_panel(const Kernels<T>& kernel, const TapGemm<T>& g, const Panel<T>& panel, index_t c0,
                index_t channels, T* packed) {
    const index_t taps = g.taps.count();
    const T* source = g.source + c0 * g.H * g.W;
    PixelRun runs[kMaxRuns];
    for (index_t t = 0; t < taps; ++t) {
        const index_t tap_h = g.taps.h + t / g.taps.cols * g.taps.h_step;
        const index_t tap_w = g.taps.w + t % g.taps.cols * g.taps.w_step;
        index_t count = 0;
        for (index_t r = 0; r < panel.run_count; ++r) {
            const GridRun& run = panel.runs[r];
            const index_t h = run.ph * g.stride_h + tap_h;
            if (h < 0 || h >= g.H) continue;
            const index_t w = run.pw * g.stride_w + tap_w;
            const Range in = taps_inside(run.count, g.stride_w, w, g.W);
            if (in.begin == in.end) continue;
            runs[count++] = {run.first + in.begin, in.end - in.begin,
                             run.n * g.source_image + h * g.W + w + in.begin * g.stride_w};
        }
        kernel.pack_pixels(channels, g.H * g.W, source, g.stride_w, runs, count, taps * kernel.NR,
                           packed + t * kernel.NR);
    }
}

// Rows m .. m + rows, columns column .. column + count, in scratch of its own.
template <typename T>
void run_task(const Kernels<T>& kernel, const TapGemm<T>& g, const TapGemmBlocks& blocks, index_t m,
              index_t rows, index_t column, index_t count) {
    const index_t NR = kernel.NR;
    const index_t taps = g.taps.count();
    const index_t panel_count = ceil_div(count, NR);
    std::vector<Panel<T>> panels(static_cast<size_t>(panel_count));
    for (index_t p = 0; p < panel_count; ++p)
        locate(g, column + p * NR, std::min(NR, count - p * NR), panels[static_cast<size_t>(p)]);

    const AlignedBuffer<T> packed(panel_count * NR * blocks.channels * taps);
    const index_t MC = even_block(rows, kernel.MC, kernel.MR);
    // Runs once when there is nothing to sum, to write the bias.
    for (index_t c = 0; c == 0 || c < g.C; c += blocks.channels) {
        const index_t channels = std::min(blocks.channels, g.C - c);
        const index_t kc = channels * taps;
        for (index_t p = 0; p < panel_count; ++p) {
            pack_panel(kernel, g, panels[static_cast<size_t>(p)], c, channels,
                       packed.data() + p * NR * kc);
        }
        const bool last = c + channels >= g.C;
        const T* a_block = g.a_panels + round_up(g.M, kernel.MR) * c * taps;
        for (index_t ic = m; ic < m + rows; ic += MC) {
            const index_t mc = std::min(MC, m + rows - ic);
            Epilogue<T> epilogue{.accumulate = c > 0};
            if (last && g.bias != nullptr) epilogue.row_bias = g.bias + ic;
            if (last) epilogue.activation = g.activation;
            for (index_t p = 0; p < panel_count; ++p) {
                ColumnRun<T> runs[kMaxRuns];
                const Panel<T>& panel = panels[static_cast<size_t>(p)];
                for (index_t r = 0; r < panel.column_run_count; ++r) {
                    runs[r] = panel.column_runs[r];
                    runs[r].c += ic * g.output_m;
                }
                multiply_panel<T>(kernel, mc, packed_loop(kernel, kc), a_block + ic * kc,
                                  kernel.MR * kc, packed.data() + p * NR * kc,
                                  {runs, static_cast<size_t>(panel.column_run_count)}, g.output_m,
                                  epilogue);
            }
        }
    }
}

}  // namespace

template <typename T>
TapGemmBlocks tap_gemm_blocks(const Kernels<T>& kernel, index_t C, index_t taps) {
    const index_t channels =
        even_block(C, std::max<index_t>(1, kernel.KC / std::max<index_t>(taps, 1)), 1);
    const index_t step_bytes = std::max<index_t>(channels * taps, 1) * index_t{sizeof(T)};
    const index_t columns = kPackedBytes / step_bytes / kernel.NR * kernel.NR;
    return {channels, std::clamp(columns, kernel.NR, 16 * kernel.NR)};
}

index_t tap_row_block(index_t M, index_t MR, index_t other_tasks) {
    return even_block(M, std::max<index_t>(1, M * other_tasks / kEnoughTasks), MR);
}

template <typename T>
void tap_gemm(const Kernels<T>& kernel, const std::vector<TapGemm<T>>& groups) {
    if (groups.empty()) return;
    const TapGemm<T>& g = groups.front();  // all have the same sizes
    const index_t columns = g.N * g.PH * g.PW;
    if (columns == 0 || g.M == 0) return;
    const index_t taps = g.taps.count();
    const TapGemmBlocks blocks = tap_gemm_blocks(kernel, g.C, taps);

    const index_t column_block = even_block(columns, blocks.columns, kernel.NR);
    const index_t column_tasks = ceil_div(columns, column_block);
    const index_t other_tasks = column_tasks * static_cast<index_t>(groups.size());
    const index_t row_block = tap_row_block(g.M, kernel.MR, other_tasks);
    const index_t row_tasks = ceil_div(g.M, row_block);

    const double multiply_adds = g.work() * static_cast<double>(groups.size());
    parallel_for(other_tasks * row_tasks, arithmetic_nanoseconds(multiply_adds), [&](index_t task) {
        const index_t group = task / (column_tasks * row_tasks);
        const index_t column = task / row_tasks % column_tasks * column_block;
        const index_t m = task % row_tasks * row_block;
        run_task(kernel, groups[static_cast<size_t>(group)], blocks, m,
                 std::min(row_block, g.M - m), column, std::min(column_block, columns - column));
    });
}

template TapGemmBlocks tap_gemm_blocks(const Kernels<float>&, index_t, index_t);
template TapGemmBlocks tap_gemm_blocks(const Kernels<double>&, index_t, index_t);
template void tap_gemm(const Kernels<float>&, const std::vector<TapGemm<float>>&);
template void tap_gemm(const Kernels<double>&, const std::vector<TapGemm<double>>&);

}  // namespace pyconv
