// SPDX-License-Identifier: BSD-3-Clause
// The weight gradient by Winograd's algorithm, over the tiles of the forward pass:
//
//   V = BT d B                  a block of tiles        [point][tile][channel]
//   Q = A dy AT                 the same tiles          [point][tile][filter]
//   D += sum over tiles V Q     a GEMM for each product [point][channel][filter]
//   dg = GT D G                 once, at the end
//
// Both operands are read as the transforms leave them. A block is a fixed chunk of the sum: the rounding
// error grows with the number of blocks and not with that of the tiles.
#include <numeric>

#include "base/parallel.h"
#include "ops/conv_winograd.h"
#include "ops/winograd_tiles.h"

namespace pyconv::winograd {
namespace {

// Tiles of a block: the longer the sums, the fewer times is D read and written.
constexpr index_t kBlockTiles = 128;
// V and Q of a block.
constexpr index_t kBlockBytes = index_t{12} << 20;
constexpr index_t kInverseChannels = 8;
// One value of D, of a copy that another core may have written.
constexpr double kAddNanoseconds = 0.2;
// Copies of D, a power of two that threads share evenly, and their bytes together.
constexpr index_t kWays = 4;
constexpr index_t kLeastTiles = 32;
constexpr index_t kSumBytes = index_t{21} << 19;
// Channels that a task takes from the image to their weights, and their V and D: what L2 holds.
constexpr index_t kSlabChannels = 48;
constexpr index_t kSlabBytes = index_t{768} << 10;

template <typename T>
class WeightGradient {
  public:
    WeightGradient(const ConvShape& shape, const T* grad_output, const T* input, T* grad_weight,
                   const Form& the_form)
        : kernel(kernels<T>()),
          form(the_form),
          s(shape),
          L(kernel.lanes),
          C(s.C / s.G),
          OC(s.OC / s.G),
          tiling(s.N, form.tile, s.OH, s.OW),
          sum(C, round_up(OC, kernel.NR)),
          blocks(tiling, block_tiles()),
          v(blocks.tiles(), C),
          q(blocks.tiles(), OC),
          grad_output_(grad_output),
          input_(input),
          grad_weight_(grad_weight) {}

    void run() {
        const double work = static_cast<double>(s.G) * nanoseconds(tiling.tiles());
        if (blocks.count() == 1)
            return for_each_group(s.G, work, [&](index_t g) { by_channels(g); });
        // Small sums are kept several times, each for a share of the tiles: a thread then works on tiles and
        // sums of its own. Large ones are shared out point by point.
        const index_t size = sum.size(form.u_points());
        const index_t ways = std::min(this->ways(), blocks.count());
        for_each_group(s.G, work, [&](index_t g) {
            const AlignedBuffer<T> sums(ways * size);
            parallel_for(ways, nanoseconds(tiling.tiles()), [&](index_t way) {
                add_blocks(g, blocks.count() * way / ways, blocks.count() * (way + 1) / ways,
                           sums.data() + way * size);
            });
            const double values = static_cast<double>((ways - 1) * size);
            parallel_for(form.u_points(), values * kAddNanoseconds, [&](index_t e) {
                for (index_t way = 1; way < ways; ++way)
                    kernel.add_to(sum.point_step, sums.data() + way * size + e * sum.point_step,
                                  sums.data() + e * sum.point_step);
            });
            transform_sums(g, sums.data());
        });
    }

  private:
    // A block: an equal share of the tiles where D is kept several times, else all of them if their Q fits.
    index_t block_tiles() const {
        constexpr index_t fitting = kBlockBytes / index_t{sizeof(T)};
        const index_t filters = form.m_points() * odd_lines<T>(OC);
        const index_t block = std::clamp<index_t>(
            fitting / (form.v_points() * odd_lines<T>(C) + filters), 1, kBlockTiles);
        if (ways() > 1) return std::min(ceil_div(tiling.tiles(), ways()), block);
        const bool fits = tiling.tiles() <= fitting / (filters + form.v_points() * kSlabChannels);
        return fits ? tiling.tiles() : block;
    }
    // How many times D is kept.
    index_t ways() const {
        const index_t bytes = index_t{sizeof(T)} * sum.size(form.u_points());
        index_t count = kWays;
        while (count > 1 && (count * bytes > kSumBytes || count * kLeastTiles > tiling.tiles()))
            count /= 2;
        return count;
    }

    double nanoseconds(index_t tiles) const {
        return arithmetic_nanoseconds(static_cast<double>(tiles * form.products * form.products) *
                                      static_cast<double>(C * OC));
    }

    // With all tiles in one block a task takes some channels from the image to their weights: their V and D
    // stay in L2, and Q alone is shared.
    void by_channels(index_t g) const {
        const AlignedBuffer<T> q_points(q.size(form.m_points()));
        const TileBlock block = blocks(tiling, 0);
        parallel_for(ceil_div(OC, L), nanoseconds(tiling.tiles()), [&](index_t task) {
            transform_gradient(g, block, task * L, q_points.data() + task * L);
        });
        const index_t channel = form.u_points() * sum.tile_step + form.v_points() * tiling.tiles();
        const index_t fitting = kSlabBytes / (index_t{sizeof(T)} * channel);
        const index_t step = even_block(
            C, std::clamp(fitting, index_t{1}, std::min(kSlabChannels, ceil_div(C, kWays))),
            std::lcm(kernel.MR, L));
        const TilePoints<T> own_v(tiling.tiles(), step), own_sum(step, sum.tile_step);
        parallel_for(ceil_div(C, step), nanoseconds(tiling.tiles()), [&](index_t task) {
            const index_t c = task * step, channels = std::min(step, C - c);
            const AlignedBuffer<T> v_points(own_v.size(form.v_points()));
            const AlignedBuffer<T> sums(own_sum.size(form.u_points()));
            for (index_t i = 0; i < channels; i += L)
                transform_image(g, block, c + i, own_v, v_points.data() + i);
            for (index_t e = 0; e < form.u_points(); ++e)
                add_products(e, tiling.tiles(), channels, false, own_v, v_points.data(),
                             q_points.data(), sums.data() + e * own_sum.point_step);
            for (index_t oc = 0; oc < OC; oc += L)
                for (index_t i = 0; i < channels; i += kInverseChannels)
                    transform_sums(g, own_sum, sums.data() + i * own_sum.tile_step, c + i, oc,
                                   std::min(kInverseChannels, channels - i));
        });
    }

    // D = the sum over blocks first .. last.
    void add_blocks(index_t g, index_t first, index_t last, T* sums) const {
        const AlignedBuffer<T> v_points(v.size(form.v_points())), q_points(q.size(form.m_points()));
        const index_t c_vectors = ceil_div(C, L), oc_vectors = ceil_div(OC, L);
        for (index_t b = first; b < last; ++b) {
            const TileBlock block = blocks(tiling, b);
            const double work = nanoseconds(block.tiles());
            parallel_for(c_vectors + oc_vectors, work, [&](index_t task) {
                const index_t oc = (task - c_vectors) * L;
                if (oc < 0) {
                    transform_image(g, block, task * L, v, v_points.data() + task * L);
                } else {
                    transform_gradient(g, block, oc, q_points.data() + oc);
                }
            });
            parallel_for(form.u_points(), work, [&](index_t e) {
                add_products(e, block.tiles(), C, b > first, v, v_points.data(), q_points.data(),
                             sums + e * sum.point_step);
            });
        }
    }

    // One vector of channels of V, and of Q.
    void transform_image(index_t g, const TileBlock& block, index_t c, const TilePoints<T>& layout,
                         T* out) const {
        const AlignedBuffer<T> stage(stage_size(kernel, form, tiling, blocks));
        transform_tiles(kernel, tiling, block,
                        {.form = form.name,
                         .transform = Winograd::Input,
                         .size = form.size,
                         .step = form.step,
                         .points = form.v,
                         .data = input_ + g * C * s.input_plane(),
                         .H = s.H,
                         .W = s.W,
                         .pad_top = s.pad_top,
                         .pad_left = s.pad_left,
                         .image_step = s.C * s.input_plane(),
                         .mirror = {false, false}},
                        c, std::min(L, C - c), layout, stage.data(), out);
    }
    void transform_gradient(index_t g, const TileBlock& block, index_t oc, T* out) const {
        const AlignedBuffer<T> stage(stage_size(kernel, form, tiling, blocks));
        transform_tiles(kernel, tiling, block,
                        {.form = form.name,
                         .transform = Winograd::Gradient,
                         .size = form.tile,
                         .step = form.tile,
                         .points = form.m,
                         .data = grad_output_ + g * OC * s.output_plane(),
                         .H = s.OH,
                         .W = s.OW,
                         .pad_top = 0,
                         .pad_left = 0,
                         .image_step = s.OC * s.output_plane(),
                         .mirror = {false, false}},
                        oc, std::min(L, OC - oc), q, stage.data(), out);
    }

    // Point e of D for some channels, from one block of tiles.
    void add_products(index_t e, index_t tiles, index_t channels, bool accumulate,
                      const TilePoints<T>& layout, const T* v_points, const T* q_points,
                      T* to) const {
        const index_t NR = kernel.NR;
        const KLoop k{.steps = tiles,
                      .a_k = layout.tile_step,
                      .a_step = 1,
                      .b_k = q.tile_step,
                      .b_padded = true,
                      .a_padded = true};
        for_each_product(form, &Product::u, e, [&](const Product& x) {
            for (index_t oc = 0; oc < OC; oc += NR) {
                const ColumnRun<T> run{0, NR, to + oc, 1};
                multiply_panel<T>(kernel, channels, k, v_points + x.v * layout.point_step,
                                  kernel.MR, q_points + x.m * q.point_step + oc, {&run, 1},
                                  sum.tile_step, {.accumulate = accumulate});
            }
            accumulate = true;
        });
    }

    void transform_sums(index_t g, const T* sums) const {
        const index_t tasks = ceil_div(C, kInverseChannels), vectors = ceil_div(OC, L);
        const double values = static_cast<double>(C * OC * (form.u_points() + form.weights()));
        parallel_for(tasks * vectors, values * kTransformNanoseconds, [&](index_t task) {
            const index_t c = task % tasks * kInverseChannels;
            transform_sums(g, sum, sums + c * sum.tile_step, c, task / tasks * L,
                           std::min(kInverseChannels, C - c));
        });
    }

    // The gradients of the weights from channel c and filter oc on.
    void transform_sums(index_t g, const TilePoints<T>& layout, const T* sums, index_t c,
                        index_t oc, index_t channels) const {
        const index_t weights = form.weights();
        alignas(64) T stage[kInverseChannels * kMaxWeights * kMaxLanes];
        kernel.winograd({.form = form.name,
                         .transform = Winograd::WeightGradient,
                         .count = channels,
                         .in_row = form.u * layout.point_step,
                         .in_col = layout.point_step,
                         .in_next = layout.tile_step,
                         .out_row = form.taps * L,
                         .out_col = L,
                         .out_next = weights * L},
                        sums + oc, stage, {});
        kernel.transpose(channels * weights, std::min(L, OC - oc), stage, L,
                         grad_weight_ + ((g * OC + oc) * C + c) * weights, C * weights);
    }

    const Kernels<T>& kernel;
    const Form& form;
    const ConvShape& s;
    const index_t L, C, OC;
    const Tiling tiling;
    const TilePoints<T> sum;
    const TileBlocks blocks;
    const TilePoints<T> v, q;
    const T *const grad_output_, *const input_;
    T* const grad_weight_;
};

}  // namespace

template <typename T>
void conv_backward_weight(const ConvShape& s, const T* grad_output, const T* input,
                          T* grad_weight) {
    if (s.OC * s.C == 0) return;
    if (s.N * s.output_plane() == 0) {
        std::fill_n(grad_weight, s.OC * (s.C / s.G) * s.KH * s.KW, T(0));
        return;
    }
    WeightGradient<T>(s, grad_output, input, grad_weight,
                      choose_form(s, Direction::BackwardWeight, false))
        .run();
}

template void conv_backward_weight(const ConvShape&, const float*, const float*, float*);
template void conv_backward_weight(const ConvShape&, const double*, const double*, double*);

}  // namespace pyconv::winograd
