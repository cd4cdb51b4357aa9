// SPDX-License-Identifier: BSD-3-Clause
// Panels of pixels: where the columns of the im2col matrix, which is never stored, lie in the image and in
// the output. Stride, dilation, padding and ragged edges live in their packing and nowhere else.
#pragma once

#include <algorithm>

#include "kernels/registry.h"
#include "ops/conv_shape.h"
#include "ops/gemm_panel.h"
#include "ops/tap_gemm.h"

namespace pyconv {

inline constexpr index_t kMaxRuns = 32;  // pixels of a panel: NR of the widest tile

// Pixels of one panel that are neighbours in one row of one image.
struct GridRun {
    index_t first, count;   // lanes
    index_t n, pd, ph, pw;  // the first of the pixels
};

// A panel: which pixels its lanes are, and where in the output they go.
template <typename T>
struct Panel {
    Panel() {}  // the runs are not set to 0 first: there are usually one or two
    index_t run_count = 0, column_run_count = 0;
    GridRun runs[kMaxRuns];
    ColumnRun<T> column_runs[kMaxRuns];
};

template <typename T>
void locate(const TapGemm<T>& g, index_t group, index_t column, index_t count, Panel<T>& panel) {
    const index_t ways = g.ways();
    const bool dense = ways == 1 && g.output_h == g.PW && g.output_d == g.PH * g.PW;
    panel.run_count = panel.column_run_count = 0;
    index_t pw = column % g.PW, row = column / g.PW;
    index_t ph = row % g.PH, pd = row / g.PH % g.PD, n = row / (g.PH * g.PD);
    for (index_t lane = 0; lane < count;) {
        const index_t length = std::min(count - lane, g.PW - pw);
        panel.runs[panel.run_count++] = {lane, length, n, pd, ph, pw};
        const bool image_begins = pd == 0 && ph == 0;
        if (dense && lane > 0 && !image_begins) {
            panel.column_runs[panel.column_run_count - 1].count += length;
        } else {
            T* c = g.output + n * g.output_image + group * g.output_group + pd * g.output_d +
                   ph * g.output_h + pw * ways;
            panel.column_runs[panel.column_run_count++] = {
                lane * ways, std::min(length * ways, g.output_width - pw * ways), c, 1};
        }
        lane += length;
        pw = 0;
        if (++ph < g.PH) continue;
        ph = 0;
        if (++pd < g.PD) continue;
        pd = 0;
        ++n;
    }
}

// Where the lanes of a panel read for one tap.
template <typename T>
index_t find_runs(const TapGemm<T>& g, const Panel<T>& panel, index_t tap_d, index_t tap_h,
                  index_t tap_w, PixelRun* runs) {
    index_t count = 0;
    for (index_t r = 0; r < panel.run_count; ++r) {
        const GridRun& run = panel.runs[r];
        const index_t d = run.pd * g.stride_d + tap_d;
        const index_t h = run.ph * g.stride_h + tap_h;
        if (d < 0 || d >= g.D || h < 0 || h >= g.H) continue;
        const index_t w = run.pw * g.stride_w + tap_w;
        const Range in = taps_inside(run.count, g.stride_w, w, g.W);
        if (in.begin == in.end) continue;
        const PixelRun found{
            run.first + in.begin, in.end - in.begin,
            run.n * g.source_image + (d * g.H + h) * g.W + w + in.begin * g.stride_w};
        // Whole rows that lie one after the other are one run.
        PixelRun* last = count > 0 ? &runs[count - 1] : nullptr;
        if (last != nullptr && last->first + last->count == found.first &&
            last->start + last->count * g.stride_w == found.start) {
            last->count += found.count;
        } else {
            runs[count++] = found;
        }
    }
    return count;
}

// Packs the channels at `source` for all taps and the pixels of `panel`.
template <typename T>
void pack_panel(const Kernels<T>& kernel, const TapGemm<T>& g, const TapGrid& taps,
                const Panel<T>& panel, const T* source, index_t channels, T* packed) {
    const index_t k_step = taps.count() * kernel.NR;
    PixelRun runs[kMaxRuns];
    for (index_t i = 0; i < taps.d.count; ++i) {
        for (index_t j = 0; j < taps.h.count; ++j) {
            for (index_t k = 0; k < taps.w.count; ++k, packed += kernel.NR) {
                const index_t count =
                    find_runs(g, panel, taps.d.first + i * taps.d.step,
                              taps.h.first + j * taps.h.step, taps.w.first + k * taps.w.step, runs);
                kernel.pack_pixels(channels, g.plane(), source, g.stride_w, runs, count, k_step,
                                   packed);
            }
        }
    }
}

}  // namespace pyconv
