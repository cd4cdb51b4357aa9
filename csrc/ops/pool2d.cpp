// SPDX-License-Identifier: BSD-3-Clause
// Which windows there are, and tasks of planes, or of rows of a large plane; the loops are in
// kernels/pool-inl.h.
#include "ops/pool2d.h"

#include <algorithm>
#include <limits>

#include "base/buffer.h"
#include "base/checked.h"
#include "base/parallel.h"
#include "kernels/registry.h"

namespace pyconv {
namespace {

void check_input(const char* function, const Shape4& input) {
    checked_elements(function, "input", input);
    check(input[2] >= 1 && input[3] >= 1, function, ": input has empty planes, got shape ",
          shape_text(input), "; expected H, W >= 1");
    check(input[2] * input[3] <= std::numeric_limits<int32_t>::max(), function,
          ": input is too large, got planes of ", input[2], " x ", input[3],
          "; expected at most 2^31 - 1 pixels");
}

struct Axis {
    std::vector<Window> windows;
    index_t pad_begin;
};

Axis slide(const char* function, const Shape4& input, size_t axis, const Pool2dShape::Options& o) {
    const index_t size = input[2 + axis], kernel = o.kernel_size[axis], stride = o.stride[axis];
    const index_t dilation = o.dilation[axis];
    const index_t begin_pad = axis == 0 ? o.padding.top : o.padding.left;
    const index_t end_pad = axis == 0 ? o.padding.bottom : o.padding.right;
    const char* name = axis == 0 ? "H" : "W";
    const index_t extent = effective_kernel(function, kernel, dilation);
    check(o.padding.same || (begin_pad < extent && end_pad < extent), function,
          ": padding is not smaller than the kernel along ", name, ", got ", begin_pad, " and ",
          end_pad, "; expected less than ", extent);
    const WindowAxis windows =
        window_axis(function, name, "kernel_size", size, kernel, stride, dilation, o.padding.same,
                    begin_pad, end_pad, o.ceil_mode);
    // "same" has no end pad of its own: it is what the last window needs.
    const index_t padded_end =
        o.padding.same ? std::numeric_limits<index_t>::max() : size + end_pad;
    std::vector<Window> result;
    result.reserve(static_cast<size_t>(windows.output));
    for (index_t i = 0; i < windows.output; ++i) {
        const index_t start = i * stride - windows.pad_begin;
        const index_t stop = std::min(start + extent, padded_end);
        // The first tap that is not in the leading pad.
        const index_t begin = start >= 0 ? start : start + ceil_div(-start, dilation) * dilation;
        const index_t end = std::max(begin, std::min(stop, size));
        result.push_back({std::min(begin, size), std::min(end, size),
                          o.count_include_pad ? stop - start : end - begin});
    }
    return {std::move(result), windows.pad_begin};
}

std::vector<Window> divide(index_t size, index_t output) {
    std::vector<Window> result;
    result.reserve(static_cast<size_t>(output));
    for (index_t i = 0; i < output; ++i) {
        // In 128 bits: i * size may not fit in 64.
        const auto begin = static_cast<index_t>(static_cast<__int128>(i) * size / output);
        const auto end =
            static_cast<index_t>((static_cast<__int128>(i + 1) * size + output - 1) / output);
        result.push_back({begin, end, end - begin});
    }
    return result;
}

// Lanes of the widest vector: rows of scratch have room for vectors that go beyond their end.
constexpr index_t kMaxLanes = 16;
// Values of input and output that a task should have, and bytes of scratch that stay in L1 beside them.
constexpr index_t kTaskValues = index_t{1} << 14, kScratchBytes = index_t{1} << 12;
// Nanoseconds a value.
constexpr double kPass = 0.25;

// How the kernels walk over one plane. `lines` and `pitch` are still to be set.
PoolWalk walk_of(const Pool2dShape& s) {
    PoolWalk p{.planes = 1,
               .H = s.H,
               .W = s.W,
               .OH = s.OH,
               .OW = s.OW,
               .rows = s.rows.data(),
               .cols = s.cols.data(),
               .dilation_h = s.dilation_h,
               .dilation_w = s.dilation_w,
               .stride = 0,
               .taps = 0,
               .left = 0,
               .whole_rows = false,
               .lines = 0,
               .pitch = 0};
    const Window& first = s.cols[0];
    p.whole_rows =
        s.OW == 1 && first.begin == 0 && first.end == s.W && s.dilation_h == 1 && s.dilation_w == 1;
    // Padding is written out in scratch, which must not be much larger than the image.
    const bool sparse = (s.taps_w - 1) * s.dilation_w > 4 * s.W + 64;
    if (p.whole_rows || sparse || s.stride_w > 2) return p;
    p.stride = s.stride_w;
    p.taps = s.taps_w;
    p.left = s.pad_left;
    return p;
}

// Rows of scratch of `pitch` values that fit in L1, at most `wanted`.
template <typename T>
index_t lines_in_cache(index_t pitch, index_t wanted) {
    return std::clamp(kScratchBytes / (pitch * index_t{sizeof(T)}), index_t{1},
                      std::max(wanted, index_t{1}));
}

// What forward kernels need.
template <typename T>
PoolWalk forward_walk(const Pool2dShape& s) {
    PoolWalk p = walk_of(s);
    const index_t reach = (p.taps - 1) * p.dilation_w;
    const index_t read = p.stride * round_up(p.OW, kMaxLanes) + std::max(reach, index_t{0});
    const index_t written = p.left + std::max(p.W, (p.OW - 1) * p.stride + reach + 1);
    p.pitch = round_up(std::max(read, written) + 2 * kMaxLanes, kMaxLanes);
    p.lines = lines_in_cache<T>(p.pitch, p.OH);
    return p;
}

// The windows that hold each of `size` pixels. Both ends of windows grow along the axis.
std::vector<Cover> covers(const std::vector<Window>& windows, index_t size) {
    std::vector<Cover> result;
    result.reserve(static_cast<size_t>(size));
    const auto count = static_cast<index_t>(windows.size());
    index_t first = 0, last = 0;
    for (index_t i = 0; i < size; ++i) {
        while (last < count && windows[static_cast<size_t>(last)].begin <= i) ++last;
        while (first < last && windows[static_cast<size_t>(first)].end <= i) ++first;
        result.push_back({first, last});
    }
    return result;
}

// Calls body(first, count) for groups of planes, in parallel.
template <typename Body>
void for_each_planes(const Shape4& input, const Shape4& output, Body&& body) {
    const index_t planes = input[0] * input[1];
    const index_t values = input[2] * input[3] + output[2] * output[3];
    const index_t group = std::max(kTaskValues / values, index_t{1});
    parallel_for(ceil_div(planes, group), static_cast<double>(planes * values) * kPass,
                 [&](index_t task) { body(task * group, std::min(group, planes - task * group)); });
}

// Calls body(walk, plane, oh) for groups of planes, and for rows of large ones, in parallel.
template <typename Body>
void for_each_block(const Pool2dShape& s, const PoolWalk& walk, Body&& body) {
    const index_t planes = s.N * s.C, values = s.H * s.W + s.OH * s.OW;
    const index_t group = std::max(kTaskValues / values, index_t{1});
    const index_t rows = std::clamp(kTaskValues / (values / s.OH), index_t{1}, s.OH);
    const index_t blocks = group > 1 ? 1 : ceil_div(s.OH, rows);
    parallel_for(ceil_div(planes, group) * blocks, static_cast<double>(planes * values) * kPass,
                 [&](index_t task) {
                     const index_t plane = task / blocks * group, oh = task % blocks * rows;
                     PoolWalk part = walk;
                     part.planes = std::min(group, planes - plane);
                     if (blocks > 1) {
                         part.rows += oh;
                         part.OH = std::min(rows, s.OH - oh);
                     }
                     body(part, plane, oh);
                 });
}

}  // namespace

Pool2dShape Pool2dShape::make(const char* function, const Shape4& input, const Options& o) {
    check_input(function, input);
    check_each(function, "kernel_size", o.kernel_size, 1);
    check_each(function, "stride", o.stride, 1);
    check_each(function, "dilation", o.dilation, 1);
    check_padding(function, o.padding);
    Axis rows = slide(function, input, 0, o), cols = slide(function, input, 1, o);
    Pool2dShape s{.N = input[0],
                  .C = input[1],
                  .H = input[2],
                  .W = input[3],
                  .OH = 0,
                  .OW = 0,
                  .dilation_h = o.dilation[0],
                  .dilation_w = o.dilation[1],
                  .rows = std::move(rows.windows),
                  .cols = std::move(cols.windows),
                  .stride_w = o.stride[1],
                  .taps_w = o.kernel_size[1],
                  .pad_left = cols.pad_begin};
    s.OH = static_cast<index_t>(s.rows.size());
    s.OW = static_cast<index_t>(s.cols.size());
    checked_elements(function, "output", {s.N, s.C, s.OH, s.OW});
    return s;
}

Pool2dShape Pool2dShape::make_adaptive(const char* function, const Shape4& input,
                                       Pair output_size) {
    check_input(function, input);
    check_each(function, "output_size", output_size, 1);
    checked_elements(function, "output", {input[0], input[1], output_size[0], output_size[1]});
    checked_elements(function, "output", {output_size[0], output_size[1]});
    const index_t step = input[3] % output_size[1] == 0 ? input[3] / output_size[1] : 0;
    return {.N = input[0],
            .C = input[1],
            .H = input[2],
            .W = input[3],
            .OH = output_size[0],
            .OW = output_size[1],
            .dilation_h = 1,
            .dilation_w = 1,
            .rows = divide(input[2], output_size[0]),
            .cols = divide(input[3], output_size[1]),
            .stride_w = step,
            .taps_w = step,
            .pad_left = 0};
}

template <typename T>
void max_pool2d(const Pool2dShape& s, const T* input, T* output, int32_t* indices) {
    const Kernels<T>& kernel = kernels<T>();
    const PoolWalk walk = forward_walk<T>(s);
    const auto is_empty = [](const Window& w) { return w.begin == w.end; };
    const bool some_empty =
        std::ranges::any_of(s.rows, is_empty) || std::ranges::any_of(s.cols, is_empty);
    for_each_block(s, walk, [&](const PoolWalk& part, index_t plane, index_t oh) {
        const AlignedBuffer<T> scratch(2 * part.lines * part.pitch);
        const T* in = input + plane * s.H * s.W;
        const index_t first = (plane * s.OH + oh) * s.OW;
        if (indices == nullptr) {
            kernel.max_pool(part, in, output + first, scratch.data());
            return;
        }
        kernel.max_pool_indices(part, in, output + first, indices + first, scratch.data());
        if (!some_empty) return;
        // Indices are below 2^31 - 1: this is where there is no pixel.
        std::replace(indices + first, indices + first + part.planes * part.OH * s.OW,
                     std::numeric_limits<int32_t>::max(), int32_t{-1});
    });
}

template <typename T>
void max_pool2d_backward(const char* function, const Shape4& input_shape,
                         const Shape4& output_shape, const T* grad_output, const int32_t* indices,
                         T* grad_input) {
    check_input(function, input_shape);
    const Kernels<T>& kernel = kernels<T>();
    const index_t pixels = input_shape[2] * input_shape[3];
    const index_t outputs = output_shape[2] * output_shape[3];
    for_each_planes(input_shape, output_shape, [&](index_t plane, index_t count) {
        const index_t first = plane * outputs;
        const index_t bad = kernel.max_pool_backward(
            {count, input_shape[2], input_shape[3], output_shape[2], output_shape[3]},
            grad_output + first, indices + first, grad_input + plane * pixels);
        check(bad < 0, function, ": indices holds a value out of range, got ",
              bad < 0 ? 0 : indices[first + bad], "; expected -1 to ", pixels - 1);
    });
}

template <typename T>
void avg_pool2d(const Pool2dShape& s, index_t divisor, const T* input, T* output) {
    const Kernels<T>& kernel = kernels<T>();
    const PoolWalk walk = forward_walk<T>(s);
    for_each_block(s, walk, [&](const PoolWalk& part, index_t plane, index_t oh) {
        const AlignedBuffer<T> scratch(part.lines * part.pitch + s.OH + s.OW + kMaxLanes);
        kernel.avg_pool(part, static_cast<T>(divisor), input + plane * s.H * s.W,
                        output + (plane * s.OH + oh) * s.OW, scratch.data());
    });
}

template <typename T>
void avg_pool2d_backward(const Pool2dShape& s, index_t divisor, const T* grad_output,
                         T* grad_input) {
    const Kernels<T>& kernel = kernels<T>();
    const std::vector<Cover> row_covers = covers(s.rows, s.H), col_covers = covers(s.cols, s.W);
    PoolWalk walk = walk_of(s);
    walk.row_covers = row_covers.data();
    walk.col_covers = col_covers.data();
    walk.pitch =
        round_up(2 * walk.taps + walk.left + std::max(s.W, s.OW) + 3 * kMaxLanes, kMaxLanes);
    walk.block = lines_in_cache<T>(walk.pitch, s.H);
    for (index_t h = 0; h < s.H; h += walk.block) {
        const index_t last = std::min(h + walk.block, s.H) - 1;
        walk.lines = std::max(walk.lines, row_covers[static_cast<size_t>(last)].last -
                                              row_covers[static_cast<size_t>(h)].first);
    }
    const index_t scratch_size =
        (walk.lines + walk.block + 1) * walk.pitch + s.OH + s.OW + kMaxLanes;
    for_each_planes(s.input_shape(), s.output_shape(), [&](index_t plane, index_t count) {
        const AlignedBuffer<T> scratch(scratch_size);
        PoolWalk part = walk;
        part.planes = count;
        kernel.avg_pool_backward(part, static_cast<T>(divisor), grad_output + plane * s.OH * s.OW,
                                 grad_input + plane * s.H * s.W, scratch.data());
    });
}

#define PYCONV_INSTANTIATE(T)                                                              \
    template void max_pool2d(const Pool2dShape&, const T*, T*, int32_t*);                  \
    template void max_pool2d_backward(const char*, const Shape4&, const Shape4&, const T*, \
                                      const int32_t*, T*);                                 \
    template void avg_pool2d(const Pool2dShape&, index_t, const T*, T*);                   \
    template void avg_pool2d_backward(const Pool2dShape&, index_t, const T*, T*);
PYCONV_INSTANTIATE(float)
PYCONV_INSTANTIATE(double)
#undef PYCONV_INSTANTIATE

}  // namespace pyconv
