// SPDX-License-Identifier: BSD-3-Clause
// tap_planes: every plane has a window of its own, which slides over the plane as it lies.
#include <algorithm>
#include <cstdlib>
#include <optional>

#include "base/parallel.h"
#include "ops/gemm_panel.h"
#include "ops/tap_gemm.h"

namespace pyconv {
namespace {

constexpr index_t kTasks = 16;
// Of a task: planes whose inputs and outputs fill half of L2.
constexpr index_t kTaskBytes = index_t{256} << 10;
// The kernel reads planes once a strip. Small ones it takes together; of the others bands of rows that stay in L1.
constexpr index_t kPlaneBytes = index_t{8} << 10, kBandBytes = index_t{16} << 10;
// The kernel's smallest tile, and its largest.
constexpr index_t kMinRows = 4, kBandRows = 8;

// How the kernel `depthwise` walks over the planes of an image, and the weight that it meets first.
struct PlaneWalk {
    DepthwiseWalk walk;
    index_t corner;
};

template <typename T>
std::optional<PlaneWalk> walk_of(const Kernels<T>& kernel, const TapGemm<T>& g) {
    const TapSum<T>& sum = g.sums.front();
    const TapAxis &h = sum.taps.h, &w = sum.taps.w;
    const index_t K = h.count, S = g.stride_h, dilation = std::abs(h.step);
    const bool one_to_one = g.ways() == 1 && g.C == 1 && g.M == 1 && g.D * g.PD == 1 &&
                            sum.taps.d.first == 0 && sum.taps.d.count == 1;
    const bool has_kernel = (S == 1 || S == 2) && (K == 3 || K == 5);
    // With a dilation vectors may not go on into the next row, and hardswish takes rows that lie together. (4 images of
    // 256 x 28 x 28, dilation 2: 171 us, and 282 from a padded copy; with vectors of 32 bytes 250 and 319. 64 x 56 x 56,
    // dilation 4: 265 and 283, and 320 and 268.)
    const bool may_dilate = S == 1 && g.PW >= kernel.lanes && dilation > 0 &&
                            4 * dilation <= kernel.lanes &&
                            g.extras.activation != Activation::Hardswish;
    if (!one_to_one || !has_kernel || w.count != K || g.stride_w != S ||
        g.PH / std::max<index_t>(dilation, 1) < kMinRows || std::abs(w.step) != dilation ||
        (dilation != 1 && !may_dilate) || g.extras.residual != nullptr)
        return std::nullopt;
    const bool dense = g.output_h == g.PW && g.output_width == g.PW &&
                       g.output_group == g.PH * g.PW && g.source_group == g.plane();
    // Backwards, the last tap is the one at the top, or on the left.
    const index_t i = h.step > 0 ? 0 : K - 1, j = w.step > 0 ? 0 : K - 1;
    const index_t top = h.first + i * h.step, left = w.first + j * w.step;
    if (g.plane() == 0 || !dense || top < -(K - 1) * dilation || top + (g.PH - 1) * S >= g.H ||
        2 * g.PW < kernel.lanes)
        return std::nullopt;
    const auto element = [&](index_t row, index_t column) {
        return sum.weights.element[static_cast<size_t>(row * K + column)];
    };
    return PlaneWalk{.walk = {.planes = 0,
                              .H = g.H,
                              .W = g.W,
                              .OH = g.PH,
                              .OW = g.PW,
                              .in_plane = g.plane(),
                              .in_row = dilation * g.W,
                              .out_plane = g.PH * g.PW,
                              .out_row = dilation * g.PW,
                              .first = 0,
                              .last = g.PH,
                              .top = top,
                              .left = left,
                              .kernel = K,
                              .stride = S,
                              .dilation = dilation,
                              .weights_plane = sum.weights.group_step,
                              .weights_h = (element(1, 0) - element(0, 0)) * h.step / dilation,
                              .weights_w = (element(0, 1) - element(0, 0)) * w.step / dilation},
                     .corner = element(i, j)};
}

// kernel.depthwise() on all planes at once or, where they are too large for L1, band by band, of whole tiles.
template <typename T>
void slide(const Kernels<T>& kernel, const DepthwiseWalk& walk, const T* in, const T* weights,
           T* out, const Epilogue<T>& epilogue) {
    if (walk.in_plane * index_t{sizeof(T)} <= kPlaneBytes)
        return kernel.depthwise(walk, in, weights, out, epilogue);
    const index_t rows = walk.last - walk.first;
    const index_t tile = round_up(rows, 7) < round_up(rows, 8) ? 7 : 8;
    const index_t tile_bytes = tile * walk.W * walk.stride * index_t{sizeof(T)};
    const index_t band_rows = std::max(kBandBytes / tile_bytes, index_t{2}) * tile;
    DepthwiseWalk band = walk;
    band.planes = 1;
    for (index_t p = 0; p < walk.planes; ++p) {
        const Epilogue<T> e{
            .row_bias = epilogue.row_bias != nullptr ? epilogue.row_bias + p : nullptr,
            .activation = epilogue.activation};
        for (band.first = walk.first; band.first < walk.last; band.first = band.last) {
            const index_t rest = walk.last - band.first;
            band.last = band.first + (rest < band_rows + kMinRows ? rest : band_rows);
            kernel.depthwise(band, in, weights, out, e);
        }
        in += walk.in_plane;
        weights += walk.weights_plane;
        out += walk.out_plane;
    }
}

// The same with a dilation d: every d-th row of the output reads every d-th row of the plane.
template <typename T>
void slide_dilated(const Kernels<T>& kernel, const DepthwiseWalk& walk, const T* in,
                   const T* weights, T* out, const Epilogue<T>& epilogue) {
    const index_t d = walk.dilation;
    DepthwiseWalk part = walk;
    for (index_t first = 0; first < d; ++first) {
        const index_t row = ((walk.top + first) % d + d) % d;
        part.H = ceil_div(walk.H - row, d);
        part.OH = part.last = ceil_div(walk.OH - first, d);
        part.top = (walk.top + first - row) / d;
        slide(kernel, part, in + row * walk.W, weights, out + first * walk.OW, epilogue);
    }
}

}  // namespace

template <typename T>
bool tap_planes(const Kernels<T>& kernel, const TapGemm<T>& g) {
    const std::optional<PlaneWalk> found = walk_of(kernel, g);
    if (!found) return false;
    const index_t outputs = g.PH * g.PW;
    const index_t bytes = (g.plane() + outputs) * index_t{sizeof(T)};
    // Planes of a task; a few large ones are cut into bands of rows, if rows that lie together belong together.
    const index_t planes =
        even_block(g.G, std::clamp<index_t>(kTaskBytes / bytes, 1, ceil_div(g.G * g.N, kTasks)), 1);
    const index_t plane_tasks = ceil_div(g.G, planes);
    const bool dilated = found->walk.dilation > 1;
    const index_t most_bands = dilated ? 1 : std::max<index_t>(g.PH / kBandRows, 1);
    const index_t bands = std::clamp<index_t>(kTasks / (plane_tasks * g.N), 1, most_bands);
    const double nanoseconds =
        arithmetic_nanoseconds(g.work()) + 0.1 * static_cast<double>(g.G * g.N * g.plane());
    parallel_for(g.N * plane_tasks * bands, nanoseconds, [&](index_t task) {
        const index_t band = task % bands, group = task / bands % plane_tasks * planes;
        const index_t n = task / (bands * plane_tasks);
        DepthwiseWalk walk = found->walk;
        walk.planes = std::min(planes, g.G - group);
        walk.first = band * g.PH / bands;
        walk.last = (band + 1) * g.PH / bands;
        const Epilogue<T> e{.row_bias = g.extras.bias != nullptr ? g.extras.bias + group : nullptr,
                            .activation = g.extras.activation};
        const T* in = g.source + n * g.source_image + group * g.plane();
        const T* weights = g.sums.front().weights.data + group * walk.weights_plane + found->corner;
        T* out = g.output + n * g.output_image + group * outputs;
        dilated ? slide_dilated(kernel, walk, in, weights, out, e)
                : slide(kernel, walk, in, weights, out, e);
    });
    return true;
}

template bool tap_planes(const Kernels<float>&, const TapGemm<float>&);
template bool tap_planes(const Kernels<double>&, const TapGemm<double>&);

}  // namespace pyconv
