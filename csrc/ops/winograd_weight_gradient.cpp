// SPDX-License-Identifier: BSD-3-Clause
// The weight gradient by Winograd's algorithm, F(3x3, mxm) over the tiles of the forward pass:
//
//   V = BT d B                  a block of tiles        [point][tile][channel]
//   Q = A dy AT                 the same tiles          [point][tile][filter]
//   D += sum over tiles V Q     one GEMM a point        [point][channel][filter]
//   dg = GT D G                 once, at the end
//
// Both operands are read as the transforms leave them. A block is a fixed chunk of the sum: the rounding
// error grows with the number of blocks and not with that of the tiles.
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
// Copies of D, and their bytes together.
constexpr index_t kWays = 4;
constexpr index_t kSumBytes = index_t{4} << 20;

template <typename T>
class WeightGradient {
  public:
    WeightGradient(const ConvShape& shape, const T* grad_output, const T* input, T* grad_weight,
                   index_t m)
        : kernel(kernels<T>()),
          s(shape),
          L(lanes_of(kernel)),
          C(s.C / s.G),
          OC(s.OC / s.G),
          tiling(s.N, m, s.OH, s.OW),
          blocks(tiling, std::clamp<index_t>(kBlockBytes / (index_t{sizeof(T)} * tiling.points() *
                                                            (odd_lines<T>(C) + odd_lines<T>(OC))),
                                             16, kBlockTiles)),
          v(blocks.tiles(), C),
          q(blocks.tiles(), OC),
          sum(C, round_up(OC, kernel.NR)),
          grad_output_(grad_output),
          input_(input),
          grad_weight_(grad_weight) {}

    void run() {
        const index_t size = sum.size(tiling.points());
        // Small sums are kept several times, each for a share of the tiles: a thread then works on tiles and
        // sums of its own. Large ones are shared out point by point.
        const index_t ways = std::clamp<index_t>(
            kSumBytes / (size * index_t{sizeof(T)}), 1, std::min(kWays, blocks.count()));
        const AlignedBuffer<T> sums(ways * size);
        for (index_t g = 0; g < s.G; ++g) {
            parallel_for(ways, nanoseconds(tiling.tiles()), [&](index_t way) {
                add_blocks(g, blocks.count() * way / ways, blocks.count() * (way + 1) / ways,
                           sums.data() + way * size);
            });
            for (index_t way = 1; way < ways; ++way)
                kernel.add_to(size, sums.data() + way * size, sums.data());
            transform_sums(g, sums.data());
        }
    }

  private:
    double nanoseconds(index_t tiles) const {
        return arithmetic_nanoseconds(static_cast<double>(tiles * tiling.points()) *
                                      static_cast<double>(C * OC));
    }

    // D = the sum over blocks first .. last.
    void add_blocks(index_t g, index_t first, index_t last, T* sums) const {
        const index_t c_vectors = ceil_div(C, L), oc_vectors = ceil_div(OC, L);
        const AlignedBuffer<T> v_points(v.size(tiling.points())), q_points(q.size(tiling.points()));
        const TileSource<T> image{.transform = Winograd::Input,
                                  .size = tiling.n(),
                                  .data = input_ + g * C * s.input_plane(),
                                  .H = s.H,
                                  .W = s.W,
                                  .pad_top = s.pad_top,
                                  .pad_left = s.pad_left,
                                  .image_step = s.C * s.input_plane()};
        const TileSource<T> gradient{.transform = Winograd::Gradient,
                                     .size = tiling.m,
                                     .data = grad_output_ + g * OC * s.output_plane(),
                                     .H = s.OH,
                                     .W = s.OW,
                                     .pad_top = 0,
                                     .pad_left = 0,
                                     .image_step = s.OC * s.output_plane()};
        for (index_t b = first; b < last; ++b) {
            const TileBlock block = blocks(tiling, b);
            const double work = nanoseconds(block.tiles());
            parallel_for(c_vectors + oc_vectors, work, [&](index_t task) {
                const AlignedBuffer<T> stage(stage_size(kernel, tiling, blocks));
                const bool of_image = task < c_vectors;
                const index_t channel = (of_image ? task : task - c_vectors) * L;
                transform_tiles(kernel, tiling, block, of_image ? image : gradient, channel,
                                std::min(L, (of_image ? C : OC) - channel), of_image ? v : q,
                                stage.data(), of_image ? v_points.data() : q_points.data());
            });
            parallel_for(tiling.points(), work, [&](index_t e) {
                add_products(block.tiles(), b > first, v_points.data() + e * v.point_step,
                             q_points.data() + e * q.point_step, sums + e * sum.point_step);
            });
        }
    }

    // One point of D, from one block of tiles.
    void add_products(index_t tiles, bool accumulate, const T* a, const T* b, T* to) const {
        const index_t NR = kernel.NR;
        const KLoop k{.steps = tiles,
                      .a_k = v.tile_step,
                      .a_step = 1,
                      .b_k = q.tile_step,
                      .b_padded = true,
                      .a_padded = true};
        for (index_t oc = 0; oc < OC; oc += NR) {
            const ColumnRun<T> run{0, NR, to + oc, 1};
            multiply_panel<T>(kernel, C, k, a, kernel.MR, b + oc, {&run, 1}, sum.tile_step,
                              {.accumulate = accumulate});
        }
    }

    void transform_sums(index_t g, const T* sums) const {
        const index_t tasks = ceil_div(C, kInverseChannels), vectors = ceil_div(OC, L);
        const double values = static_cast<double>(C * OC) * 45;
        parallel_for(tasks * vectors, values * kTransformNanoseconds, [&](index_t task) {
            const index_t c = task % tasks * kInverseChannels, oc = task / tasks * L;
            const index_t channels = std::min(kInverseChannels, C - c);
            const AlignedBuffer<T> stage(kInverseChannels * 9 * L);
            kernel.winograd({.transform = Winograd::WeightGradient,
                             .m = tiling.m,
                             .count = channels,
                             .in_row = tiling.n() * sum.point_step,
                             .in_col = sum.point_step,
                             .in_next = sum.tile_step,
                             .out_row = 3 * L,
                             .out_col = L,
                             .out_next = 9 * L},
                            sums + c * sum.tile_step + oc, stage.data(), {});
            kernel.transpose(channels * 9, std::min(L, OC - oc), stage.data(), L,
                             grad_weight_ + ((g * OC + oc) * C + c) * 9, C * 9);
        });
    }

    const Kernels<T>& kernel;
    const ConvShape& s;
    const index_t L, C, OC;
    const Tiling tiling;
    const TileBlocks blocks;
    const TilePoints<T> v, q, sum;
    const T *const grad_output_, *const input_;
    T* const grad_weight_;
};

}  // namespace

template <typename T>
void conv_backward_weight(const ConvShape& s, const T* grad_output, const T* input,
                          T* grad_weight) {
    if (s.OC * s.C == 0) return;
    if (s.N * s.output_plane() == 0) {
        std::fill_n(grad_weight, s.OC * (s.C / s.G) * 9, T(0));
        return;
    }
    WeightGradient<T>(s, grad_output, input, grad_weight, choose_tile(s, Direction::BackwardWeight))
        .run();
}

template void conv_backward_weight(const ConvShape&, const float*, const float*, float*);
template void conv_backward_weight(const ConvShape&, const double*, const double*, double*);

}  // namespace pyconv::winograd
