// SPDX-License-Identifier: BSD-3-Clause
// The tiles of Winograd's convolution, and the way from an image to its transformed tiles.
#pragma once

#include <algorithm>

#include "base/buffer.h"
#include "base/checked.h"
#include "base/parallel.h"
#include "kernels/registry.h"
#include "kernels/winograd_form.h"
#include "ops/gemm_panel.h"

namespace pyconv::winograd {

// The outputs of a batch, cut into square tiles: TY x TX to an image, and N * TY rows of tiles in all.
struct Tiling {
    index_t N, TY, TX;

    Tiling(index_t images, index_t tile, index_t OH, index_t OW)
        : N(images), TY(ceil_div(OH, tile)), TX(ceil_div(OW, tile)) {}
    index_t rows() const { return N * TY; }
    index_t tiles() const { return rows() * TX; }
};

// Some rows of tiles, between two columns.
struct TileBlock {
    index_t row, rows, column, columns;

    index_t tiles() const { return rows * columns; }
};

// Cuts a tiling into blocks of about `target` tiles, of which two or four threads get equal shares.
struct TileBlocks {
    index_t row_blocks, column_blocks;
    index_t rows, columns;  // of a block, at most

    TileBlocks(const Tiling& t, index_t target)
        : row_blocks(shareable(ceil_div(t.rows(), std::max<index_t>(1, target / t.TX)), t.rows())),
          column_blocks(ceil_div(t.TX, target * 4 / 3)),
          rows(ceil_div(t.rows(), row_blocks)),
          columns(ceil_div(t.TX, column_blocks)) {}
    index_t count() const { return row_blocks * column_blocks; }
    index_t tiles() const { return rows * columns; }
    TileBlock operator()(const Tiling& t, index_t block) const {
        const index_t i = block / column_blocks, j = block % column_blocks;
        const index_t row = t.rows() * i / row_blocks, column = t.TX * j / column_blocks;
        return {row, t.rows() * (i + 1) / row_blocks - row, column,
                t.TX * (j + 1) / column_blocks - column};
    }

  private:
    // The nearest multiple of 4; many blocks are shared well whatever their number.
    static index_t shareable(index_t count, index_t most) {
        constexpr index_t kShares = 4, kMany = 16;
        if (count < kShares - 1 || count > kMany) return count;
        return std::min((count + kShares / 2) / kShares * kShares, most);
    }
};

// Calls f(image, first tile row in it, tile rows, first tile of the block) for each image that a block
// reaches into.
template <typename F>
void for_each_image(const Tiling& t, const TileBlock& block, F&& f) {
    for (index_t row = block.row, end = block.row + block.rows; row < end;) {
        const index_t ty = row % t.TY, rows = std::min(t.TY - ty, end - row);
        f(row / t.TY, ty, rows, (row - block.row) * block.columns);
        row += rows;
    }
}

// Rounds up to an odd number of cache lines, so that as many steps of this length fall into as many sets of a
// cache, where a power of two would fall into few.
template <typename T>
index_t odd_lines(index_t size) {
    constexpr index_t line = index_t{kCacheLine} / index_t{sizeof(T)};
    const index_t lines = ceil_div(size, line);
    return (lines | 1) * line;
}

// Transformed tiles: element (point, tile, channel) at point * point_step + tile * tile_step + channel.
// What lies between the channels and tile_step is readable, and never used.
template <typename T>
struct TilePoints {
    index_t tile_step, point_step;

    TilePoints(index_t tiles, index_t channels)
        : tile_step(odd_lines<T>(channels)), point_step(odd_lines<T>(tiles * tile_step)) {}
    // With room for a tile of A to be read at the end.
    index_t size(index_t points) const { return points * point_step + kMaxTile; }
};

// Whether something is seen in a mirror, along either axis.
struct Mirror {
    bool h, w;
};

// Calls body(product) with the two-dimensional products in which a point of one kind takes part: of
// &Product::m, those that are added to point e of M; of &Product::u, those with point e of the weight.
template <typename Body>
void for_each_product(const Form& form, index_t Product::* kind, index_t e, Body&& body) {
    const index_t points = kind == &Product::m ? form.m : form.u;
    for (index_t i = 0; i < form.products; ++i) {
        const Product& h = form.product[i];
        if (h.*kind != e / points) continue;
        for (index_t j = 0; j < form.products; ++j) {
            const Product& w = form.product[j];
            if (w.*kind != e % points) continue;
            body(Product{h.v * form.v + w.v, h.u * form.u + w.u, h.m * form.m + w.m});
        }
    }
}

// The images that a transform reads: tile (ty, tx) covers `size` x `size` pixels from
// (ty * step - pad_top, tx * step - pad_left) on, and what is outside counts as 0.
template <typename T>
struct TileSource {
    WinogradForm form;
    Winograd transform;  // Input or Gradient
    index_t size, step;
    index_t points;  // of an axis, that come of it
    const T* data;
    index_t H, W, pad_top, pad_left, image_step;
    Mirror mirror;
};

// A matrix of size x size vectors as a transform walks over it.
struct MatrixWalk {
    index_t first, row, col;

    MatrixWalk(index_t size, index_t row_step, index_t col_step, Mirror mirror)
        : first((mirror.h ? (size - 1) * row_step : 0) + (mirror.w ? (size - 1) * col_step : 0)),
          row(mirror.h ? -row_step : row_step),
          col(mirror.w ? -col_step : col_step) {}
};

// Transforms up to one vector of channels, from `channel` on, of all tiles of a block. `out` is where the
// first of these channels goes. `stage` holds stage_size() values.
template <typename T>
void transform_tiles(const Kernels<T>& kernel, const Tiling& t, const TileBlock& block,
                     const TileSource<T>& source, index_t channel, index_t channels,
                     const TilePoints<T>& points, T* stage, T* out);
template <typename T>
index_t stage_size(const Kernels<T>& kernel, const Form& form, const Tiling& t,
                   const TileBlocks& blocks);

// Lanes of a vector: it has 64 bytes at most.
inline constexpr index_t kMaxLanes = 16;
// Of Form::weights(), at most.
inline constexpr index_t kMaxWeights = 25;

// Calls body(group): with several groups a task takes one whole, and what is parallel inside runs inline;
// small groups have too little of that.
template <typename Body>
void for_each_group(index_t groups, double nanoseconds, Body&& body) {
    constexpr index_t kManyGroups = 4;
    if (groups >= kManyGroups) return parallel_for(groups, nanoseconds, body);
    for (index_t g = 0; g < groups; ++g) body(g);
}

// What one value costs to load, transform and store, for parallel_for.
inline constexpr double kTransformNanoseconds = 0.25;

}  // namespace pyconv::winograd
