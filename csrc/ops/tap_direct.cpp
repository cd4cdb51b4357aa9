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
#include "ops/conv_shape.h"
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
        const TapGrid& t = g.sums.front().taps;
        const index_t reach_w = t.w.step * (t.w.count - 1), reach_h = t.h.step * (t.h.count - 1);
        first_w = t.w.first + std::min<index_t>(reach_w, 0);
        min_tap_h = t.h.first + std::min<index_t>(reach_h, 0);
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

// Where step k = (c, tap) reads, for the first pixel of a row of pixels. Each tap along d has rows of
// its own.
template <typename T>
void find_offsets(const TapGemm<T>& g, const Stage& stage, index_t channels, index_t slab,
                  index_t* offset) {
    const TapGrid& t = g.sums.front().taps;
    for (index_t c = 0; c < channels * t.d.count; ++c) {
        for (index_t i = 0; i < t.h.count; ++i) {
            const index_t row = t.h.first + i * t.h.step - stage.min_tap_h;
            for (index_t j = 0; j < t.w.count; ++j) {
                const index_t w = t.w.first + j * t.w.step - stage.first_w;
                *offset++ =
                    c * slab + row * stage.row + w % g.stride_w * stage.phase + w / g.stride_w;
            }
        }
    }
}

// Copies row h of a plane, or zeros where it is none, with its columns sorted by phase.
template <typename T>
void fill_row(const TapGemm<T>& g, const Stage& stage, const T* plane, index_t h, T* to) {
    if (plane == nullptr || h < 0 || h >= g.H) {
        std::fill_n(to, stage.row, T(0));
        return;
    }
    const T* from = plane + h * g.W;
    for (index_t p = 0; p < g.stride_w; ++p, to += stage.phase) {
        const index_t w = stage.first_w + p;
        const Range in = taps_inside(stage.phase, g.stride_w, w, g.W);
        std::fill_n(to, in.begin, T(0));
        if (g.stride_w == 1) {
            std::copy_n(from + w + in.begin, in.end - in.begin, to + in.begin);
        } else {
            for (index_t i = in.begin; i < in.end; ++i) to[i] = from[w + i * g.stride_w];
        }
        std::fill_n(to + in.end, stage.phase - in.end, T(0));
    }
}

// Some rows of pixels of one plane of output.
struct Band {
    index_t group, n, pd, ph, count;
};

// Copies what the pixels of a band need of channels c .. c + channels.
template <typename T>
void fill(const TapGemm<T>& g, const Stage& stage, const Band& band, index_t c, index_t channels,
          T* to) {
    const TapAxis& depth = g.sums.front().taps.d;
    const index_t rows = stage.rows(g, band.count);
    const T* volume =
        g.source + band.n * g.source_image + band.group * g.source_group + c * g.plane();
    for (index_t channel = 0; channel < channels; ++channel, volume += g.plane()) {
        for (index_t i = 0; i < depth.count; ++i) {
            const index_t d = band.pd * g.stride_d + depth.first + i * depth.step;
            const T* plane = d >= 0 && d < g.D ? volume + d * g.H * g.W : nullptr;
            for (index_t r = 0; r < rows; ++r, to += stage.row)
                fill_row(g, stage, plane, band.ph * g.stride_h + stage.min_tap_h + r, to);
        }
    }
}

// A band's pixels, rows m .. m + rows of A.
template <typename T>
void run_task(const Kernels<T>& kernel, const TapGemm<T>& g, const PackedTapWeights<T>& weights,
              index_t block, const Band& band, index_t m, index_t rows) {
    const index_t MR = kernel.MR, NR = kernel.NR, taps = g.taps();
    const Stage stage(g, NR);
    const index_t slab = stage.rows(g, band.count) * stage.row;
    const index_t slabs = std::min(block, g.C) * g.sums.front().taps.d.count;
    const AlignedBuffer<T> staged(slabs * slab);
    const AlignedBuffer<index_t> offset(std::min(block, g.C) * taps);
    find_offsets(g, stage, std::min(block, g.C), slab, offset.data());

    for (index_t c = 0; c < g.C; c += block) {
        const index_t channels = std::min(block, g.C - c);
        fill(g, stage, band, c, channels, staged.data());
        const KLoop k{
            .steps = channels * taps, .a_k = MR, .b_offset = offset.data(), .a_padded = true};
        const T* a = weights.block(band.group, m, c, channels);
        const bool last = c + channels >= g.C;
        Epilogue<T> epilogue{.accumulate = c > 0};
        if (last && g.extras.bias != nullptr)
            epilogue.row_bias = g.extras.bias + band.group * g.M + m;
        if (last) epilogue.activation = g.extras.activation;
        T* out = g.output + band.n * g.output_image + band.group * g.output_group + m * g.output_m +
                 band.pd * g.output_d + band.ph * g.output_h;
        for (index_t row = 0; row < band.count; ++row) {
            const T* b = staged.data() + row * g.stride_h * stage.row;
            for (index_t pw = 0; pw < g.PW; pw += NR) {
                T* to = out + row * g.output_h + pw;
                const ColumnRun<T> run{.first = 0,
                                       .count = std::min(NR, g.PW - pw),
                                       .c = to,
                                       .c_step = 1,
                                       .residual = last ? g.residual(to) : nullptr};
                multiply_panel<T>(kernel, rows, k, a, MR * k.steps, b + pw, {&run, 1}, g.output_m,
                                  epilogue);
            }
        }
    }
}

}  // namespace

template <typename T>
void tap_direct(const Kernels<T>& kernel, const TapGemm<T>& g) {
    if (g.G * g.N * g.pixels() == 0 || g.M == 0) return;
    const index_t block = tap_channel_block(kernel, g.C, g.taps(), 1);
    const auto packed = WeightCache::get(g.extras.cache, g.key(kernel, block), [&] {
        std::vector<PackedTapWeights<T>> made;
        made.emplace_back(kernel, g, g.sums.front().weights, block);
        return made;
    });
    const PackedTapWeights<T>& weights = packed->front();
    const Stage stage(g, kernel.NR);
    const index_t slabs = std::min(block, g.C) * g.sums.front().taps.d.count;
    const index_t row_bytes = slabs * stage.row * g.stride_h * index_t{sizeof(T)};
    const index_t fitting = kStageBytes / row_bytes - ceil_div(stage.tap_extent, g.stride_h);
    const index_t band = even_block(g.PH, std::max<index_t>(fitting, 1), 1);
    const index_t bands = ceil_div(g.PH, band);
    const index_t other_tasks = g.G * g.N * g.PD * bands;
    const index_t row_block = tap_row_block(g.M, kernel.MR, other_tasks);
    const index_t row_tasks = ceil_div(g.M, row_block);

    parallel_for(other_tasks * row_tasks, arithmetic_nanoseconds(g.work()), [&](index_t task) {
        const index_t m = task % row_tasks * row_block;
        const index_t ph = task / row_tasks % bands * band;
        const index_t volume = task / (row_tasks * bands);
        run_task(kernel, g, weights, block,
                 {.group = volume / (g.N * g.PD),
                  .n = volume / g.PD % g.N,
                  .pd = volume % g.PD,
                  .ph = ph,
                  .count = std::min(band, g.PH - ph)},
                 m, std::min(row_block, g.M - m));
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
    if (g.C == 0 || g.taps() <= 1) return false;
    const index_t NR = kernel.NR, rest = g.PW % NR;
    const double tiles = static_cast<double>(g.PW / NR) + (rest == 0        ? 0.0
                                                           : rest <= NR / 2 ? 0.67
                                                                            : 1.0);
    const double direct = tiles * static_cast<double>(NR) / static_cast<double>(g.PW);
    const double packed = 1 + (75 / static_cast<double>(g.C) + 4.5) / static_cast<double>(g.M);
    return direct < packed;
}

template void tap_direct(const Kernels<float>&, const TapGemm<float>&);
template void tap_direct(const Kernels<double>&, const TapGemm<double>&);
template bool prefers_direct(const Kernels<float>&, const TapGemm<float>&);
template bool prefers_direct(const Kernels<double>&, const TapGemm<double>&);

}  // namespace pyconv
