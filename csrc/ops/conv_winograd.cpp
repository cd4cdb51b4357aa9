// SPDX-License-Identifier: BSD-3-Clause
// The convolution and its input gradient by Winograd's algorithm:
//
//   U = G g GT      weights, once a call                     [panel of NR rows][point][channel][NR]
//   V = BT d B      a block of tiles                         [point][tile][channel]
//   M += V U        a GEMM for each product: tiles x rows    [point][tile][row]
//   y = AT M A      the tiles of output, with bias and activation
//
// The input gradient is a convolution of grad_output with the weights transposed and turned by 180
// degrees; with stride 2 it has a form of its own. V is operand A as it lies and U is packed when it is made, so that
// nothing is packed again. A task takes a block of tiles, few enough for V and M to stay in cache, and of M some panels
// at a time.
#include "ops/conv_winograd.h"

#include "base/parallel.h"
#include "ops/winograd_tiles.h"

namespace pyconv::winograd {
namespace {

// Tiles of a block. A value of U that is fetched serves all of them: they are more where U comes from L3 or
// from memory, if there are enough of them for every task.
constexpr index_t kBlockTiles = 48, kLargeBlockTiles = 96;
constexpr index_t kLargeWeightBytes = index_t{4} << 20;
// Of their V, at most: with fewer than kEnoughTasks blocks, that of all of them is kept at once.
constexpr index_t kPointBytes = index_t{4} << 20, kLargePointBytes = index_t{8} << 20;
// Bytes of M that a task computes before it transforms them: half of L2.
constexpr index_t kProductBytes = index_t{512} << 10;
// With fewer blocks tasks share M out and not the tiles: what one core has written, another reads slowly.
constexpr index_t kEnoughTasks = 4;
constexpr index_t kWeightChannels = 8;  // channels of the weight that are staged together

template <typename T>
struct Problem {
    index_t G, N, M, C;    // groups, images, and of each group rows (filters) and channels
    index_t H, W, OH, OW;  // of source and output
    index_t pad_top, pad_left;
    const T* weight;
    index_t weight_group, weight_m, weight_c;  // steps between groups, rows and channels
    Mirror turned;                             // of the taps
    Mirror mirrored;                           // of the tiles, as they are read and written
    ConvExtras<T> extras;
    const T* source;
    T* output;
};

template <typename T>
class Convolution {
  public:
    Convolution(const Problem<T>& problem, const Form& the_form)
        : kernel(kernels<T>()),
          p(problem),
          form(the_form),
          L(kernel.lanes),
          tiling(p.N, form.tile, p.OH, p.OW),
          blocks(tiling, block_tiles()),
          v(blocks.tiles(), p.C),
          panels(ceil_div(p.M, kernel.NR)),
          chunk(std::clamp<index_t>(
              kProductBytes / (index_t{sizeof(T)} * form.m_points() * blocks.tiles() * kernel.NR),
              1, panels)),
          product(blocks.tiles(), chunk * kernel.NR),
          u_point(odd_lines<T>(p.C * kernel.NR)) {}

    void run() {
        // Few tiles use each weight few times: it is transformed where it is used, and then does not go
        // out to memory and back.
        const bool many = blocks.count() >= kEnoughTasks;
        const bool whole = many || p.extras.cache != nullptr;
        const index_t group = panels * panel_size();
        const auto all = !whole ? nullptr : WeightCache::get(p.extras.cache, key(), [&] {
            AlignedBuffer<T> u(p.G * group);
            const double work = static_cast<double>(p.G * group) * kTransformNanoseconds;
            for_each_group(p.G, work,
                           [&](index_t g) { transform_weights(g, u.data() + g * group); });
            return u;
        });
        for_each_group(p.G, static_cast<double>(p.G) * nanoseconds(), [&](index_t g) {
            const T* weights = whole ? all->data() + g * group : nullptr;
            many ? by_tiles(g, weights) : by_panels(g, weights);
        });
    }

  private:
    index_t block_tiles() const {
        const bool large = index_t{sizeof(T)} * form.u_points() * p.C * p.M > kLargeWeightBytes &&
                           tiling.tiles() >= kEnoughTasks * kLargeBlockTiles;
        const index_t tile = index_t{sizeof(T)} * form.v_points() * odd_lines<T>(p.C);
        const index_t fitting = (large ? kLargePointBytes : kPointBytes) / tile;
        return std::clamp<index_t>(fitting, 1, large ? kLargeBlockTiles : kBlockTiles);
    }

    double nanoseconds() const {
        return arithmetic_nanoseconds(
            static_cast<double>(form.products * form.products * tiling.tiles()) *
            static_cast<double>(p.C * p.M));
    }

    WeightCache::Key key() const {
        return {WeightCache::Key::Maker::Winograd,
                &kernel,
                {static_cast<index_t>(form.name), p.G, p.M, p.C, 2 * p.turned.h + p.turned.w}};
    }
    index_t panel_size() const { return form.u_points() * u_point; }

    // A task takes a block of tiles.
    void by_tiles(index_t g, const T* weights) const {
        parallel_for(blocks.count(), nanoseconds(), [&](index_t block) {
            const TileBlock tiles = blocks(tiling, block);
            const AlignedBuffer<T> points(v.size(form.v_points()));
            const AlignedBuffer<T> stage(stage_size(kernel, form, tiling, blocks));
            for (index_t c = 0; c < p.C; c += L) transform(g, tiles, c, stage, points.data());
            for (index_t j = 0; j < panels; j += chunk)
                multiply(g, tiles, j, std::min(chunk, panels - j), points.data(),
                         weights + j * panel_size(), stage);
        });
    }

    // First all of V, which is small; then a task takes some panels of M, and transforms their weights
    // unless it is given all of them.
    void by_panels(index_t g, const T* weights) const {
        const index_t count = blocks.count(), size = v.size(form.v_points());
        const index_t vectors = ceil_div(p.C, L),
                      stage_values = stage_size(kernel, form, tiling, blocks);
        const AlignedBuffer<T> points(count * size);
        parallel_for(count * vectors, nanoseconds(), [&](index_t task) {
            const AlignedBuffer<T> stage(stage_values);
            const index_t block = task / vectors;
            transform(g, blocks(tiling, block), task % vectors * L, stage,
                      points.data() + block * size);
        });
        const index_t step = std::min(chunk, ceil_div(panels, 2 * kEnoughTasks));
        const index_t steps = ceil_div(panels, step);
        const index_t shares =
            steps >= kEnoughTasks ? 1 : std::min(count, ceil_div(2 * kEnoughTasks, steps));
        parallel_for(steps * shares, nanoseconds(), [&](index_t task) {
            const index_t j = task / shares * step, some = std::min(step, panels - j);
            const index_t share = task % shares;
            const AlignedBuffer<T> stage(stage_values);
            const AlignedBuffer<T> own(weights == nullptr ? some * panel_size() : 0);
            for (index_t i = 0; weights == nullptr && i < some; ++i)
                for (index_t c = 0; c < p.C; c += kWeightChannels)
                    transform_weights(g, j + i, c, own.data() + i * panel_size());
            for (index_t block = count * share / shares; block < count * (share + 1) / shares;
                 ++block)
                multiply(g, blocks(tiling, block), j, some, points.data() + block * size,
                         weights == nullptr ? own.data() : weights + j * panel_size(), stage);
        });
    }

    // U of one group.
    void transform_weights(index_t g, T* weights) const {
        const index_t tasks = ceil_div(p.C, kWeightChannels);
        const double values =
            static_cast<double>(p.C * panels * kernel.NR * (form.weights() + form.u_points()));
        parallel_for(panels * tasks, values * kTransformNanoseconds, [&](index_t task) {
            const index_t panel = task / tasks;
            transform_weights(g, panel, task % tasks * kWeightChannels,
                              weights + panel * panel_size());
        });
    }

    // Some channels of one panel of U.
    void transform_weights(index_t g, index_t panel, index_t c, T* to) const {
        const index_t NR = kernel.NR, channels = std::min(kWeightChannels, p.C - c);
        const index_t weights = form.weights();
        const T* group = p.weight + g * p.weight_group;
        const MatrixWalk filter(form.taps, form.taps * L, L, p.turned);
        alignas(64) T stage[kWeightChannels * kMaxWeights * kMaxLanes];
        for (index_t lane = 0; lane < NR; lane += L) {
            const index_t m = panel * NR + lane, rows = std::clamp<index_t>(p.M - m, 0, L);
            if (rows < L) std::fill_n(stage, kWeightChannels * weights * L, T(0));
            const T* from = group + m * p.weight_m + c * p.weight_c;
            if (p.weight_c == weights) {
                kernel.transpose(rows, channels * weights, from, p.weight_m, stage, L);
            } else {
                // Filters far apart: no prefetcher follows.
                constexpr index_t kAhead = 4;
                for (index_t i = 0; i < channels; ++i) {
                    const T* next = from + std::min(i + kAhead, channels - 1) * p.weight_c;
                    for (index_t j = 0; j < rows * weights; j += 64 / index_t{sizeof(T)})
                        __builtin_prefetch(next + j);
                    kernel.transpose(rows, weights, from + i * p.weight_c, p.weight_m,
                                     stage + i * weights * L, L);
                }
            }
            kernel.winograd({.form = form.name,
                             .transform = Winograd::Weight,
                             .count = channels,
                             .in_row = filter.row,
                             .in_col = filter.col,
                             .in_next = weights * L,
                             .out_row = form.u * u_point,
                             .out_col = u_point,
                             .out_next = NR},
                            stage + filter.first, to + c * NR + lane, {});
        }
    }

    void transform(index_t g, const TileBlock& block, index_t c, const AlignedBuffer<T>& stage,
                   T* points) const {
        const index_t plane = p.H * p.W;
        transform_tiles(kernel, tiling, block,
                        {.form = form.name,
                         .transform = Winograd::Input,
                         .size = form.size,
                         .step = form.step,
                         .points = form.v,
                         .data = p.source + g * p.C * plane,
                         .H = p.H,
                         .W = p.W,
                         .pad_top = p.pad_top,
                         .pad_left = p.pad_left,
                         .image_step = p.G * p.C * plane,
                         .mirror = p.mirrored},
                        c, std::min(L, p.C - c), v, stage.data(), points + c);
    }

    // Panels first .. first + count of M, and the outputs that come of them. `weights` begins with theirs.
    void multiply(index_t g, const TileBlock& block, index_t first, index_t count, const T* points,
                  const T* weights, const AlignedBuffer<T>& stage) const {
        const index_t NR = kernel.NR, KC = even_block(p.C, form.sum, 1);
        const AlignedBuffer<T> products(product.size(form.m_points()));
        for (index_t e = 0; e < form.m_points(); ++e) {
            bool accumulate = false;
            for_each_product(form, &Product::m, e, [&](const Product& x) {
                for (index_t c = 0; c < p.C; c += KC) {
                    const KLoop k{.steps = std::min(KC, p.C - c),
                                  .a_k = 1,
                                  .a_step = v.tile_step,
                                  .b_k = NR,
                                  .b_padded = true,
                                  .far = Far::B};
                    for (index_t j = 0; j < count; ++j) {
                        const ColumnRun<T> run{
                            0, NR, products.data() + e * product.point_step + j * NR, 1};
                        multiply_panel<T>(kernel, block.tiles(), k, points + x.v * v.point_step + c,
                                          0, weights + j * panel_size() + x.u * u_point + c * NR,
                                          {&run, 1}, product.tile_step, {.accumulate = accumulate});
                    }
                    accumulate = true;
                }
            });
        }
        for (index_t m = first * NR; m < std::min(p.M, (first + count) * NR); m += L)
            write(g, block, m, products.data() + m - first * NR, stage.data());
    }

    // Rows m .. m + L of the output.
    void write(index_t g, const TileBlock& block, index_t m, const T* products, T* stage) const {
        const index_t rows = std::min(L, p.M - m), plane = p.OH * p.OW;
        const index_t left = block.column * form.tile;
        const index_t pitch = block.columns * form.tile * L;
        const index_t width = std::min(block.columns * form.tile, p.OW - left);
        const MatrixWalk to(form.tile, pitch, L, p.mirrored);
        alignas(64) T bias[kMaxTile];
        Epilogue<T> e{.activation = p.extras.activation};
        if (p.extras.bias != nullptr) {
            std::fill_n(bias, L, T(0));
            std::copy_n(p.extras.bias + g * p.M + m, rows, bias);
            e.col_bias = bias;
        }
        for_each_image(tiling, block, [&](index_t n, index_t ty, index_t tile_rows, index_t tile) {
            const index_t first = ((n * p.G + g) * p.M + m) * plane + left;
            T* out = p.output + first;
            T* residual = stage + form.tile * pitch;
            if (p.extras.residual != nullptr) e.residual = residual + to.first;
            for (index_t r = 0; r < tile_rows; ++r) {
                const index_t oh = (ty + r) * form.tile;
                const index_t height = std::min(form.tile, p.OH - oh);
                for (index_t i = 0; i < height && e.residual != nullptr; ++i)
                    kernel.transpose(rows, width, p.extras.residual + first + (oh + i) * p.OW,
                                     plane, residual + i * pitch, L);
                kernel.winograd({.form = form.name,
                                 .transform = Winograd::Output,
                                 .count = block.columns,
                                 .in_row = form.m * product.point_step,
                                 .in_col = product.point_step,
                                 .in_next = product.tile_step,
                                 .out_row = to.row,
                                 .out_col = to.col,
                                 .out_next = form.tile * L},
                                products + (tile + r * block.columns) * product.tile_step,
                                stage + to.first, e);
                for (index_t i = 0; i < height; ++i)
                    kernel.transpose(width, rows, stage + i * pitch, L, out + (oh + i) * p.OW,
                                     plane);
            }
        });
    }

    const Kernels<T>& kernel;
    const Problem<T>& p;
    const Form& form;
    const index_t L;
    const Tiling tiling;
    const TileBlocks blocks;
    const TilePoints<T> v;
    const index_t panels;  // of NR rows
    const index_t chunk;   // panels whose products a task holds
    const TilePoints<T> product;
    const index_t u_point;
};

template <typename T>
void run(const Problem<T>& p, const Form& form) {
    if (p.G * p.N * p.M * p.OH * p.OW > 0) Convolution<T>(p, form).run();
}

}  // namespace

template <typename T>
void conv(const ConvShape& s, const T* input, const T* weight, const ConvExtras<T>& extras,
          T* output) {
    const index_t M = s.OC / s.G, C = s.C / s.G;
    const Form& form = choose_form(s, Direction::Forward, extras.cache != nullptr);
    run(Problem<T>{.G = s.G,
                   .N = s.N,
                   .M = M,
                   .C = C,
                   .H = s.H,
                   .W = s.W,
                   .OH = s.OH,
                   .OW = s.OW,
                   .pad_top = s.pad_top,
                   .pad_left = s.pad_left,
                   .weight = weight,
                   .weight_group = M * C * form.weights(),
                   .weight_m = C * form.weights(),
                   .weight_c = form.weights(),
                   .turned = {false, false},
                   .mirrored = {false, false},
                   .extras = extras,
                   .source = input,
                   .output = output},
        form);
}

template <typename T>
void conv_backward_input(const ConvShape& s, const T* grad_output, const T* weight, const T* bias,
                         Activation activation, T* grad_input) {
    const index_t M = s.C / s.G, C = s.OC / s.G;
    const Form& form = choose_form(s, Direction::BackwardInput, false);
    // With stride 2 a tile begins with a pixel that meets two taps if the padding is even, and ends with one if it is
    // odd: seen in a mirror that is the same.
    const bool strided = s.stride_h == 2;
    const Mirror mirrored{strided && s.pad_top % 2 == 1, strided && s.pad_left % 2 == 1};
    const auto pad = [&](index_t forward) {
        return strided ? 1 - (forward + 1) / 2 : form.taps - 1 - forward;
    };
    run(Problem<T>{.G = s.G,
                   .N = s.N,
                   .M = M,
                   .C = C,
                   .H = s.OH,
                   .W = s.OW,
                   .OH = s.H,
                   .OW = s.W,
                   .pad_top = pad(s.pad_top),
                   .pad_left = pad(s.pad_left),
                   .weight = weight,
                   .weight_group = M * C * form.weights(),
                   .weight_m = form.weights(),
                   .weight_c = M * form.weights(),
                   .turned = {!mirrored.h, !mirrored.w},
                   .mirrored = mirrored,
                   .extras = {.bias = bias, .activation = activation},
                   .source = grad_output,
                   .output = grad_input},
        form);
}

template void conv(const ConvShape&, const float*, const float*, const ConvExtras<float>&, float*);
template void conv(const ConvShape&, const double*, const double*, const ConvExtras<double>&,
                   double*);
template void conv_backward_input(const ConvShape&, const float*, const float*, const float*,
                                  Activation, float*);
template void conv_backward_input(const ConvShape&, const double*, const double*, const double*,
                                  Activation, double*);

}  // namespace pyconv::winograd
