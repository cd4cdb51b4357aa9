// SPDX-License-Identifier: BSD-3-Clause
// Each output row is made in two steps: the rows of its window are reduced to one row, vectorised
// along W, and then the windows along that row. A window of KH x KW taps so costs KH + KW steps
// instead of KH * KW.
#include "ops/pool2d.h"

#include <algorithm>
#include <cmath>
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

std::vector<Window> slide(const char* function, const Shape4& input, size_t axis,
                          const Pool2dShape::Options& o) {
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
    return result;
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

// Calls body(plane) for the N * C planes, in parallel.
template <typename Body>
void for_each_plane(const Shape4& input, const Shape4& output, Body&& body) {
    const index_t planes = input[0] * input[1];
    const index_t values = planes * (input[2] * input[3] + output[2] * output[3]);
    parallel_for(planes, static_cast<double>(values), body);
}

// True if a candidate at row `r` (and a later column) replaces the best at row `best_r`: the
// larger, of equals the earlier row, of NaNs the later row.
template <typename T>
bool replaces(T x, int32_t r, T best, int32_t best_r) {
    if (std::isnan(x)) return !std::isnan(best) || r >= best_r;
    return x > best || (x == best && r < best_r);
}

}  // namespace

Pool2dShape Pool2dShape::make(const char* function, const Shape4& input, const Options& o) {
    check_input(function, input);
    check_each(function, "kernel_size", o.kernel_size, 1);
    check_each(function, "stride", o.stride, 1);
    check_each(function, "dilation", o.dilation, 1);
    check_padding(function, o.padding);
    Pool2dShape s{.N = input[0],
                  .C = input[1],
                  .H = input[2],
                  .W = input[3],
                  .OH = 0,
                  .OW = 0,
                  .dilation_h = o.dilation[0],
                  .dilation_w = o.dilation[1],
                  .rows = slide(function, input, 0, o),
                  .cols = slide(function, input, 1, o)};
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
    return {.N = input[0],
            .C = input[1],
            .H = input[2],
            .W = input[3],
            .OH = output_size[0],
            .OW = output_size[1],
            .dilation_h = 1,
            .dilation_w = 1,
            .rows = divide(input[2], output_size[0]),
            .cols = divide(input[3], output_size[1])};
}

template <typename T>
void max_pool2d(const Pool2dShape& s, const T* input, T* output, int32_t* indices) {
    const Kernels<T>& kernel = kernels<T>();
    constexpr T kEmpty = -std::numeric_limits<T>::infinity();
    for_each_plane(s.input_shape(), s.output_shape(), [&](index_t plane) {
        const T* in = input + plane * s.H * s.W;
        T* out = output + plane * s.OH * s.OW;
        int32_t* index = indices != nullptr ? indices + plane * s.OH * s.OW : nullptr;
        const AlignedBuffer<T> maximum(s.W);
        const AlignedBuffer<int32_t> row(s.W);
        for (const Window& vertical : s.rows) {
            const index_t taps = ceil_div(vertical.end - vertical.begin, s.dilation_h);
            if (taps > 0) {
                kernel.max_rows(taps, s.W, in + vertical.begin * s.W, s.dilation_h * s.W,
                                maximum.data(), index != nullptr ? row.data() : nullptr);
            }
            for (const Window& horizontal : s.cols) {
                T best = kEmpty;
                index_t best_w = -1;
                int32_t best_r = 0;
                if (taps > 0 && horizontal.begin < horizontal.end) {
                    best_w = horizontal.begin;
                    best = maximum.data()[best_w];
                    if (index != nullptr) best_r = row.data()[best_w];
                    for (index_t w = best_w + s.dilation_w; w < horizontal.end; w += s.dilation_w) {
                        const T x = maximum.data()[w];
                        const int32_t r = index != nullptr ? row.data()[w] : 0;
                        if (!replaces(x, r, best, best_r)) continue;
                        best = x;
                        best_r = r;
                        best_w = w;
                    }
                }
                *out++ = best;
                if (index == nullptr) continue;
                const index_t h = vertical.begin + best_r * s.dilation_h;
                *index++ = best_w < 0 ? -1 : static_cast<int32_t>(h * s.W + best_w);
            }
        }
    });
}

template <typename T>
void max_pool2d_backward(const char* function, const Shape4& input_shape,
                         const Shape4& output_shape, const T* grad_output, const int32_t* indices,
                         T* grad_input) {
    check_input(function, input_shape);
    const index_t pixels = input_shape[2] * input_shape[3];
    const index_t outputs = output_shape[2] * output_shape[3];
    for_each_plane(input_shape, output_shape, [&](index_t plane) {
        T* to = grad_input + plane * pixels;
        std::fill_n(to, pixels, T(0));
        for (index_t i = plane * outputs; i < (plane + 1) * outputs; ++i) {
            const index_t at = indices[i];
            if (at == -1) continue;
            check(at >= 0 && at < pixels, function, ": indices holds a value out of range, got ",
                  at, "; expected -1 to ", pixels - 1);
            to[at] += grad_output[i];
        }
    });
}

template <typename T>
void avg_pool2d(const Pool2dShape& s, index_t divisor, const T* input, T* output) {
    const Kernels<T>& kernel = kernels<T>();
    for_each_plane(s.input_shape(), s.output_shape(), [&](index_t plane) {
        const T* in = input + plane * s.H * s.W;
        T* out = output + plane * s.OH * s.OW;
        const AlignedBuffer<T> sum(s.W);
        for (const Window& vertical : s.rows) {
            kernel.add_rows(vertical.end - vertical.begin, s.W, in + vertical.begin * s.W, s.W,
                            sum.data());
            for (const Window& horizontal : s.cols) {
                T total = 0;
                for (index_t w = horizontal.begin; w < horizontal.end; ++w) total += sum.data()[w];
                const index_t count = divisor != 0 ? divisor : vertical.extent * horizontal.extent;
                *out++ = total / static_cast<T>(count);
            }
        }
    });
}

template <typename T>
void avg_pool2d_backward(const Pool2dShape& s, index_t divisor, const T* grad_output,
                         T* grad_input) {
    const Kernels<T>& kernel = kernels<T>();
    for_each_plane(s.input_shape(), s.output_shape(), [&](index_t plane) {
        const T* from = grad_output + plane * s.OH * s.OW;
        T* to = grad_input + plane * s.H * s.W;
        std::fill_n(to, s.H * s.W, T(0));
        const AlignedBuffer<T> shares(s.W);
        for (const Window& vertical : s.rows) {
            std::fill_n(shares.data(), s.W, T(0));
            for (const Window& horizontal : s.cols) {
                const index_t count = divisor != 0 ? divisor : vertical.extent * horizontal.extent;
                const T share = *from++ / static_cast<T>(count);
                for (index_t w = horizontal.begin; w < horizontal.end; ++w)
                    shares.data()[w] += share;
            }
            for (index_t h = vertical.begin; h < vertical.end; ++h)
                kernel.add_to(s.W, shares.data(), to + h * s.W);
        }
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
