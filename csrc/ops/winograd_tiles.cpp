// SPDX-License-Identifier: BSD-3-Clause
// An image has its pixels side by side, the transforms want the channels: the rows that a strip of tiles
// reads are transposed into a stage that stays in L1 or L2, with zeros around them, and the tiles are
// transformed from there. Rows that two tiles share are transposed once.
#include "ops/winograd_tiles.h"

namespace pyconv::winograd {

template <typename T>
index_t stage_size(const Kernels<T>& kernel, const Form& form, const Tiling& t,
                   const TileBlocks& blocks) {
    const index_t rows = std::min(blocks.rows, t.TY), cols = blocks.columns;
    const auto extent = [&](index_t tiles) { return (tiles - 1) * form.step + form.size; };
    // Or two strips of the outputs of one row of tiles.
    return std::max(extent(rows) * extent(cols), 2 * form.tile * cols * form.tile) * kernel.lanes;
}

template <typename T>
void transform_tiles(const Kernels<T>& kernel, const Tiling& t, const TileBlock& block,
                     const TileSource<T>& source, index_t channel, index_t channels,
                     const TilePoints<T>& points, T* stage, T* out) {
    const index_t L = kernel.lanes, plane = source.H * source.W;
    const index_t step = source.step, overlap = source.size - step;
    const index_t cols = block.columns * step + overlap, pitch = cols * L;
    const index_t left = block.column * step - source.pad_left;
    const MatrixWalk from(source.size, pitch, L, source.mirror);
    const index_t first = std::clamp<index_t>(-left, 0, cols);
    const index_t last = std::clamp<index_t>(source.W - left, first, cols);
    for_each_image(t, block, [&](index_t n, index_t ty, index_t rows, index_t tile) {
        const T* image = source.data + n * source.image_step + channel * plane;
        const index_t height = rows * step + overlap;
        // The lanes of channels that do not exist are 0, too.
        if (channels < L) std::fill_n(stage, height * pitch, T(0));
        for (index_t r = 0; r < height; ++r) {
            T* row = stage + r * pitch;
            const index_t h = ty * step - source.pad_top + r;
            if (h < 0 || h >= source.H) {
                std::fill_n(row, pitch, T(0));
                continue;
            }
            std::fill_n(row, first * L, T(0));
            kernel.transpose(channels, last - first, image + h * source.W + left + first, plane,
                             row + first * L, L);
            std::fill_n(row + last * L, (cols - last) * L, T(0));
        }
        const WinogradWalk walk{.form = source.form,
                                .transform = source.transform,
                                .count = block.columns,
                                .in_row = from.row,
                                .in_col = from.col,
                                .in_next = step * L,
                                .out_row = source.points * points.point_step,
                                .out_col = points.point_step,
                                .out_next = points.tile_step};
        for (index_t r = 0; r < rows; ++r)
            kernel.winograd(walk, stage + r * step * pitch + from.first,
                            out + (tile + r * block.columns) * points.tile_step, {});
    });
}

template index_t stage_size(const Kernels<float>&, const Form&, const Tiling&, const TileBlocks&);
template index_t stage_size(const Kernels<double>&, const Form&, const Tiling&, const TileBlocks&);
template void transform_tiles(const Kernels<float>&, const Tiling&, const TileBlock&,
                              const TileSource<float>&, index_t, index_t, const TilePoints<float>&,
                              float*, float*);
template void transform_tiles(const Kernels<double>&, const Tiling&, const TileBlock&,
                              const TileSource<double>&, index_t, index_t,
                              const TilePoints<double>&, double*, double*);

}  // namespace pyconv::winograd
