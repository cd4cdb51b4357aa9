// SPDX-License-Identifier: BSD-3-Clause
// tap_direct: B is not packed. The NR pixels of a tile are neighbours in an image row, and for each
// tap their sources are neighbours too: the micro-kernel walks (channel, tap row, tap column) over a
// copy of the rows that a task needs, padded with zeros.
//
// The copy costs one pass over the input instead of one for each tap. What it does not do is merge
// the end of one row with the beginning of the next: narrow images leave lanes empty.
#include <algorithm>

#include "base/buffer.h"
#include "base/parallel.h"
#include "ops/gemm_panel.h"
#include "ops/row_stage.h"
#include "ops/tap_gemm.h"

namespace pyconv {
namespace {

// Bytes of staged rows a task works on: they stay in L2 beside a block of A.
constexpr index_t kStageBytes = index_t{128} << 10;

template <typename T>
RowStage stage_of(const TapGemm<T>& g) {
    const TapGrid& t = g.sums.front().taps;
    return {TapReach(t.h), TapReach(t.w), g.stride_h, g.stride_w, g.PW, g.PW, g.W};
}

// Where step k = (c, tap) reads, for the first pixel of a row of pixels. Each tap along d has rows of
// its own.
template <typename T>
void find_offsets(const TapGemm<T>& g, const RowStage& stage, index_t channels, index_t slab,
                  index_t* offset) {
    const TapGrid& t = g.sums.front().taps;
    for (index_t c = 0; c < channels * t.d.count; ++c)
        for (index_t i = 0; i < t.h.count; ++i)
            for (index_t j = 0; j < t.w.count; ++j)
                *offset++ =
                    c * slab + stage.offset(t.h.first + i * t.h.step, t.w.first + j * t.w.step);
}

// Some rows of pixels of one plane of output.
struct Band {
    index_t group, n, pd, ph, count;
};

// Copies what the pixels of a band need of channels c .. c + channels.
template <typename T>
void fill(const Kernels<T>& kernel, const TapGemm<T>& g, const RowStage& stage, const Band& band,
          index_t c, index_t channels, index_t slab, T* to) {
    const TapAxis& depth = g.sums.front().taps.d;
    const T* volume =
        g.source + band.n * g.source_image + band.group * g.source_group + c * g.plane();
    // The next band reads the rows that follow.
    const index_t ahead = band.count * g.stride_h * g.W;
    // In the order in which the copies lie: each may overwrite the beginning of the next.
    const index_t together = depth.count == 1 ? channels : 1;
    for (index_t channel = 0; channel < channels; channel += together, volume += g.plane()) {
        for (index_t i = 0; i < depth.count; ++i, to += slab) {
            const index_t d = band.pd * g.stride_d + depth.first + i * depth.step;
            // A plane that is not there has no rows.
            const bool inside = d >= 0 && d < g.D;
            stage.fill(kernel, together, g.plane(), inside ? g.H : 0, g.W, band.ph, 0, band.count,
                       slab, ahead, volume + (inside ? d * g.H * g.W : 0), to);
        }
    }
}

// A band's pixels, rows m .. m + rows of A.
template <typename T>
void run_task(const Kernels<T>& kernel, const TapGemm<T>& g, const PackedTapWeights<T>& weights,
              index_t block, const Band& band, index_t m, index_t rows) {
    const index_t MR = kernel.MR, NR = kernel.NR, taps = g.taps();
    const RowStage stage = stage_of(g);
    const index_t slab = stage.rows(band.count) * stage.row();
    const index_t size = std::min(block, g.C) * g.sums.front().taps.d.count * slab;
    // A tile at the end of the last row reads whole vectors, as one at the end of another reads on in the next.
    const index_t slack = 2 * NR;
    const AlignedBuffer<T> staged(size + slack);
    std::fill_n(staged.data() + size, slack, T(0));
    const AlignedBuffer<index_t> offset(std::min(block, g.C) * taps);
    find_offsets(g, stage, std::min(block, g.C), slab, offset.data());

    for (index_t c = 0; c < g.C; c += block) {
        const index_t channels = std::min(block, g.C - c);
        fill(kernel, g, stage, band, c, channels, slab, staged.data());
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
            const T* b = staged.data() + row * g.stride_h * stage.row();
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
        made.emplace_back(kernel, g, g.sums.front().weights, block, kernel.MR);
        return made;
    });
    const PackedTapWeights<T>& weights = packed->front();
    const RowStage stage = stage_of(g);
    const index_t slabs = std::min(block, g.C) * g.sums.front().taps.d.count;
    const index_t row_bytes = slabs * stage.row() * g.stride_h * index_t{sizeof(T)};
    const index_t fitting = kStageBytes / row_bytes - ceil_div(stage.h.extent, g.stride_h);
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
