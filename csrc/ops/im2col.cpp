// SPDX-License-Identifier: BSD-3-Clause
// The textbook path: the matrix in memory, and gemm. Here for those who ask for it by name, and as
// a second opinion on the other algorithms: it shares no loop with them but gemm's.
#include "ops/im2col.h"

#include <algorithm>

#include "base/buffer.h"
#include "base/parallel.h"
#include "kernels/registry.h"
#include "ops/gemm.h"

namespace pyconv {
namespace {

// Calls visit(row of the columns, where the tap reads relative to the window) for each kernel tap.
template <typename Visit>
void for_each_tap(const ConvShape& s, Visit&& visit) {
    index_t tap = 0;
    for (index_t kd = 0; kd < s.KD; ++kd)
        for (index_t kh = 0; kh < s.KH; ++kh)
            for (index_t kw = 0; kw < s.KW; ++kw)
                visit(tap++, kd * s.dilation_d - s.pad_front, kh * s.dilation_h - s.pad_top,
                      kw * s.dilation_w - s.pad_left);
}

// What moving `values` takes on one core.
double copy_nanoseconds(index_t values) { return static_cast<double>(values) * 0.5; }

bool contains(Range range, index_t i) { return range.begin <= i && i < range.end; }

// One channel: (D, H, W) to columns (KD * KH * KW, OD * OH * OW).
template <typename T>
void channel_to_columns(const ConvShape& s, const T* channel, T* columns) {
    for_each_tap(s, [&](index_t tap, index_t d0, index_t h0, index_t w0) {
        T* to = columns + tap * s.output_plane();
        const Range planes = taps_inside(s.OD, s.stride_d, d0, s.D);
        const Range rows = taps_inside(s.OH, s.stride_h, h0, s.H);
        const Range cols = taps_inside(s.OW, s.stride_w, w0, s.W);
        for (index_t od = 0; od < s.OD; ++od) {
            for (index_t oh = 0; oh < s.OH; ++oh, to += s.OW) {
                if (!contains(planes, od) || !contains(rows, oh)) {
                    std::fill_n(to, s.OW, T(0));
                    continue;
                }
                const T* from =
                    channel + ((od * s.stride_d + d0) * s.H + oh * s.stride_h + h0) * s.W + w0;
                std::fill_n(to, cols.begin, T(0));
                for (index_t ow = cols.begin; ow < cols.end; ++ow) to[ow] = from[ow * s.stride_w];
                std::fill_n(to + cols.end, s.OW - cols.end, T(0));
            }
        }
    });
}

template <typename T>
void columns_to_channel(const ConvShape& s, const T* columns, T* channel) {
    std::fill_n(channel, s.input_plane(), T(0));
    for_each_tap(s, [&](index_t tap, index_t d0, index_t h0, index_t w0) {
        const T* from = columns + tap * s.output_plane();
        const Range planes = taps_inside(s.OD, s.stride_d, d0, s.D);
        const Range rows = taps_inside(s.OH, s.stride_h, h0, s.H);
        const Range cols = taps_inside(s.OW, s.stride_w, w0, s.W);
        for (index_t od = planes.begin; od < planes.end; ++od) {
            for (index_t oh = rows.begin; oh < rows.end; ++oh) {
                T* to = channel + ((od * s.stride_d + d0) * s.H + oh * s.stride_h + h0) * s.W + w0;
                for (index_t ow = cols.begin; ow < cols.end; ++ow)
                    to[ow * s.stride_w] += from[(od * s.OH + oh) * s.OW + ow];
            }
        }
    });
}

template <typename T>
void image_to_columns(const ConvShape& s, index_t channels, const T* image, T* columns) {
    const index_t rows = s.taps() * s.output_plane();
    parallel_for(channels, copy_nanoseconds(channels * rows), [&](index_t c) {
        channel_to_columns(s, image + c * s.input_plane(), columns + c * rows);
    });
}

template <typename T>
void columns_to_image(const ConvShape& s, index_t channels, const T* columns, T* image) {
    const index_t rows = s.taps() * s.output_plane();
    parallel_for(channels, copy_nanoseconds(channels * rows), [&](index_t c) {
        columns_to_channel(s, columns + c * rows, image + c * s.input_plane());
    });
}

}  // namespace

template <typename T>
void im2col(const ConvShape& s, const T* input, T* columns) {
    image_to_columns(s, s.N * s.C, input, columns);
}

template <typename T>
void col2im(const ConvShape& s, const T* columns, T* input) {
    columns_to_image(s, s.N * s.C, columns, input);
}

template void im2col(const ConvShape&, const float*, float*);
template void im2col(const ConvShape&, const double*, double*);
template void col2im(const ConvShape&, const float*, float*);
template void col2im(const ConvShape&, const double*, double*);

namespace explicit_gemm {
namespace {

// The GEMM sizes of one image and group (M = OC, K = C * taps, N = pixels), and where its
// arrays begin.
template <typename T, typename Visit>
void for_each_image(const ConvShape& s, Visit&& visit) {
    const index_t M = s.OC / s.G, C = s.C / s.G, K = C * s.taps(), pixels = s.output_plane();
    const AlignedBuffer<T> columns(K * pixels);
    for (index_t n = 0; n < s.N; ++n) {
        for (index_t g = 0; g < s.G; ++g) {
            visit(n, g, columns.data(), (n * s.C + g * C) * s.input_plane(), g * M * K,
                  (n * s.OC + g * M) * pixels);
        }
    }
}

}  // namespace

template <typename T>
void conv(const ConvShape& s, const T* input, const T* weight, const ConvExtras<T>& extras,
          T* output) {
    const T *bias = extras.bias, *residual = extras.residual;
    const bool relu = extras.activation == Activation::Relu;
    const index_t M = s.OC / s.G, C = s.C / s.G, K = C * s.taps(), pixels = s.output_plane();
    for_each_image<T>(s, [&](index_t, index_t g, T* columns, index_t in, index_t w, index_t out) {
        image_to_columns(s, C, input + in, columns);
        gemm<T>({.M = M,
                 .N = pixels,
                 .K = K,
                 .a = weight + w,
                 .a_row = K,
                 .a_col = 1,
                 .b = columns,
                 .b_row = pixels,
                 .b_col = 1,
                 .c = output + out,
                 .c_row = pixels,
                 .row_bias = bias != nullptr ? bias + g * M : nullptr,
                 .activation = residual == nullptr ? extras.activation : Activation::None});
        if (residual == nullptr) return;
        kernels<T>().add_to(M * pixels, residual + out, output + out);
        if (relu) kernels<T>().unary(Unary::Relu, M * pixels, 0, 1, output + out, output + out);
    });
}

template <typename T>
void conv_backward_input(const ConvShape& s, const T* grad_output, const T* weight, const T* bias,
                         Activation activation, T* grad_input) {
    const index_t M = s.OC / s.G, C = s.C / s.G, K = C * s.taps(), pixels = s.output_plane();
    const index_t plane = s.input_plane();
    for_each_image<T>(s, [&](index_t, index_t g, T* columns, index_t in, index_t w, index_t out) {
        gemm<T>({.M = K,
                 .N = pixels,
                 .K = M,
                 .a = weight + w,
                 .a_row = 1,
                 .a_col = K,
                 .b = grad_output + out,
                 .b_row = pixels,
                 .b_col = 1,
                 .c = columns,
                 .c_row = pixels});
        columns_to_image(s, C, columns, grad_input + in);
        for (index_t c = 0; c < C; ++c) {
            T* values = grad_input + in + c * plane;
            if (bias != nullptr)
                for (index_t i = 0; i < plane; ++i) values[i] += bias[g * C + c];
            if (activation == Activation::Relu)
                kernels<T>().unary(Unary::Relu, plane, 0, 1, values, values);
        }
    });
}

template <typename T>
void conv_backward_weight(const ConvShape& s, const T* grad_output, const T* input,
                          T* grad_weight) {
    const index_t M = s.OC / s.G, C = s.C / s.G, K = C * s.taps(), pixels = s.output_plane();
    std::fill_n(grad_weight, s.OC * K, T(0));
    for_each_image<T>(s, [&](index_t, index_t, T* columns, index_t in, index_t w, index_t out) {
        image_to_columns(s, C, input + in, columns);
        gemm<T>({.M = M,
                 .N = K,
                 .K = pixels,
                 .a = grad_output + out,
                 .a_row = pixels,
                 .a_col = 1,
                 .b = columns,
                 .b_row = 1,
                 .b_col = pixels,
                 .c = grad_weight + w,
                 .c_row = K,
                 .beta = T(1)});
    });
}

template void conv(const ConvShape&, const float*, const float*, const ConvExtras<float>&, float*);
template void conv(const ConvShape&, const double*, const double*, const ConvExtras<double>&,
                   double*);
template void conv_backward_input(const ConvShape&, const float*, const float*, const float*,
                                  Activation, float*);
template void conv_backward_input(const ConvShape&, const double*, const double*, const double*,
                                  Activation, double*);
template void conv_backward_weight(const ConvShape&, const float*, const float*, float*);
template void conv_backward_weight(const ConvShape&, const double*, const double*, double*);

}  // namespace explicit_gemm
}  // namespace pyconv
