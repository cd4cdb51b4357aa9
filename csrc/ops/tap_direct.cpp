// SPDX-License-Identifier: BSD-3-Clause
// tap_direct: B is not packed. The NR pixels of a tile are neighbours in an image row, and for each
// tap their sources are neighbours too: the micro-kernel walks (channel, tap row, tap column) over a
// copy of the rows that a task needs, padded with zeros.
//
//   stage[c][row][phase][column]     columns `stride_w` apart lie side by side, one phase after
//                                    the other, so that a strided convolution reads neighbours too
//
// The copy costs one pass over the input instead of one for each tap. What it does not do is merge
// the end of one row with the beginning of the next: narrow images leave lanes empty.
#include <algorithm>
#include <cstdlib>

#include "base/buffer.h"
#include "base/parallel.h"
#include "ops/conv2d_shape.h"
#include "ops/gemm_panel.h"
#include "ops/tap_gemm.h"

namespace pyconv {
namespace {

// Bytes of staged rows a task works on: they stay in L2 beside a block of A.
constexpr index_t kStageBytes = index_t{128} << 10;

// Where things lie in the staged rows of one task.
struct Stage {
    index_t first_w;     // source column of stage column 0, phase 0
    index_t phase;       // values between phases
    index_t row;         // between rows
    index_t min_tap_h;   // the topmost tap
    index_t tap_extent;  // rows from the topmost tap to the one below the lowest

    template <typename T>
    Stage(const TapGemm<T>& g, index_t NR) {
        const TapGrid& t = g.taps;
        const index_t reach_w = t.w_step * (t.cols - 1), reach_h = t.h_step * (t.rows - 1);
        first_w = t.w + std::min<index_t>(reach_w, 0);
        min_tap_h = t.h + std::min<index_t>(reach_h, 0);
        tap_extent = std::abs(reach_h) + 1;
        const index_t width = (g.PW - 1) * g.stride_w + std::abs(reach_w) + 1;
        // NR more: a tile at the end of a row reads whole vectors.
        phase = ceil_div(width, g.stride_w) + NR;
        row = g.stride_w * phase;
    }

    // Rows staged for `count` rows of pixels.
    template <typename T>
    index_t rows(const TapGemm<T>& g, index_t count) const {
        return (count - 1) * g.stride_h + tap_extent;
    }
};

// Where step k = (c, tap) reads, for the first pixel of a row of pixels.
template <typename T>
void find_offsets(const TapGemm<T>& g, const Stage& stage, index_t channels, index_t channel_step,
                  index_t* offset) {
    const TapGrid& t = g.taps;
    for (index_t c = 0; c < channels; ++c) {
        for (index_t i = 0; i < t.rows; ++i) {
            const index_t row = t.h + i * t.h_step - stage.min_tap_h;
            for (index_t j = 0; j < t.cols; ++j) {
                const index_t w = t.w + j * t.w_step - stage.first_w;
                *offset++ = c * channel_step + row * stage.row + w % g.stride_w * stage.phase +
                            w / g.stride_w;
            }
        }
    }
}

// Copies what the pixel rows ph .. ph + count need of channels c .. c + channels of image n.
template <typename T>
void fill(const TapGemm<T>& g, const Stage& stage, index_t n, index_t ph, index_t count, index_t c,
          index_t channels, T* to) {
    const index_t rows = stage.rows(g, count);
    const T* image = g.source + n * g.source_image + c * g.H * g.W;
    for (index_t channel = 0; channel < channels; ++channel, image += g.H * g.W) {
        for (index_t r = 0; r < rows; ++r, to += stage.row) {
            const index_t h = ph * g.stride_h + stage.min_tap_h + r;
            if (h < 0 || h >= g.H) {
                std::fill_n(to, stage.row, T(0));
                continue;
            }
            const T* from = image + h * g.W;
            for (index_t p = 0; p < g.stride_w; ++p) {
                T* phase = to + p * stage.phase;
                const index_t w = stage.first_w + p;
                const Range in = taps_inside(stage.phase, g.stride_w, w, g.W);
                std::fill_n(phase, in.begin, T(0));
                if (g.stride_w == 1) {
                    std::copy_n(from + w + in.begin, in.end - in.begin, phase + in.begin);
                } else {
                    for (index_t i = in.begin; i < in.end; ++i) phase[i] = from[w + i * g.stride_w];
                }
                std::fill_n(phase + in.end, stage.phase - in.end, T(0));
            }
        }
    }
}

// Pixel rows ph .. ph + count of image n, rows m .. m + rows of A.
template <typename T>
void run_task(const Kernels<T>& kernel, const TapGemm<T>& g, index_t block, index_t n, index_t ph,
              index_t count, index_t m, index_t rows) {
    const index_t MR = kernel.MR, NR = kernel.NR, taps = g.taps.count();
    const Stage stage(g, NR);
    const index_t channel_step = stage.rows(g, count) * stage.row;
    const AlignedBuffer<T> staged(std::min(block, g.C) * channel_step);
    const AlignedBuffer<index_t> offset(std::min(block, g.C) * taps);
    find_offsets(g, stage, std::min(block, g.C), channel_step, offset.data());

    for (index_t c = 0; c < g.C; c += block) {
        const index_t channels = std::min(block, g.C - c);
        fill(g, stage, n, ph, count, c, channels, staged.data());
        const KLoop k{.steps = channels * taps, .a_k = MR, .b_offset = offset.data()};
        const T* a = g.a_panels + round_up(g.M, MR) * c * taps + m * channels * taps;
        const bool last = c + channels >= g.C;
        Epilogue<T> epilogue{.accumulate = c > 0};
        if (last && g.bias != nullptr) epilogue.row_bias = g.bias + m;
        if (last) epilogue.activation = g.activation;
        for (index_t row = 0; row < count; ++row) {
            const T* b = staged.data() + row * g.stride_h * stage.row;
            T* out = g.output + n * g.output_image + m * g.output_m + (ph + row) * g.output_h;
            for (index_t pw = 0; pw < g.PW; pw += NR) {
                const ColumnRun<T> run{.first = 0,
                                       .count = std::min(NR, g.PW - pw),
                                       .c = out + pw * g.output_w,
                                       .c_step = g.output_w};
                multiply_panel<T>(kernel, rows, k, a, MR * k.steps, b + pw, {&run, 1}, g.output_m,
                                  epilogue);
            }
        }
    }
}

}  // namespace

template <typename T>
void tap_direct(const Kernels<T>& kernel, const std::vector<TapGemm<T>>& groups) {
    if (groups.empty()) return;
    const TapGemm<T>& g = groups.front();  // all have the same sizes
    if (g.N * g.PH * g.PW == 0 || g.M == 0) return;
    const index_t block = tap_gemm_blocks(kernel, g.C, g.taps.count()).channels;
    const Stage stage(g, kernel.NR);
    const index_t row_bytes = std::min(block, g.C) * stage.row * g.stride_h * index_t{sizeof(T)};
    const index_t fitting = kStageBytes / row_bytes - ceil_div(stage.tap_extent, g.stride_h);
    const index_t band = even_block(g.PH, std::max<index_t>(fitting, 1), 1);
    const index_t bands = ceil_div(g.PH, band);
    const index_t other_tasks = static_cast<index_t>(groups.size()) * g.N * bands;
    const index_t row_block = tap_row_block(g.M, kernel.MR, other_tasks);
    const index_t row_tasks = ceil_div(g.M, row_block);

    parallel_for(other_tasks * row_tasks,
                 arithmetic_nanoseconds(g.work() * static_cast<double>(groups.size())),
                 [&](index_t task) {
                     const index_t m = task % row_tasks * row_block;
                     const index_t ph = task / row_tasks % bands * band;
                     const index_t n = task / (row_tasks * bands) % g.N;
                     const index_t group = task / (row_tasks * bands * g.N);
                     run_task(kernel, groups[static_cast<size_t>(group)], block, n, ph,
                              std::min(band, g.PH - ph), m, std::min(row_block, g.M - m));
                 });
}

// Both ways do the same multiply-adds at the same speed; what they waste, as a fraction:
//   direct    lanes beyond the end of an image row (a half-empty tile costs two thirds of a whole
//             one: with half the accumulators it is bound by latency)
//   packed    per tap and panel about 25 ns, and 1.5 ns a channel, against M * NR multiply-adds a
//             channel at some 50 a nanosecond
// Measured on Zen 3 with AVX2 and float32; other ISAs and types shift both alike.
template <typename T>
bool prefers_direct(const Kernels<T>& kernel, const TapGemm<T>& g) {
    if (g.C == 0 || g.taps.count() <= 1) return false;
    const index_t NR = kernel.NR, rest = g.PW % NR;
    const double tiles = static_cast<double>(g.PW / NR) + (rest == 0        ? 0.0
                                                           : rest <= NR / 2 ? 0.67
                                                                            : 1.0);
    const double direct = tiles * static_cast<double>(NR) / static_cast<double>(g.PW);
    const double packed = 1 + (75 / static_cast<double>(g.C) + 4.5) / static_cast<double>(g.M);
    return direct < packed;
}

template void tap_direct(const Kernels<float>&, const std::vector<TapGemm<float>>&);
template void tap_direct(const Kernels<double>&, const std::vector<TapGemm<double>>&);
template bool prefers_direct(const Kernels<float>&, const TapGemm<float>&);
template bool prefers_direct(const Kernels<double>&, const TapGemm<double>&);

}  // namespace pyconv
