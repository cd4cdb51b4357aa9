// SPDX-License-Identifier: BSD-3-Clause
#include "ops/conv_shape.h"

#include <algorithm>
#include <ostream>

#include "base/checked.h"

namespace pyconv {
namespace {

// What messages call the spatial axes, and the sizes of the kernel along them.
struct AxisNames {
    std::array<const char*, 3> axes;
    const char* kernel;
};
constexpr std::array<AxisNames, 3> kAxisNames = {
    {{{"L", "", ""}, "KL"}, {{"H", "W", ""}, "KH, KW"}, {{"D", "H", "W"}, "KD, KH, KW"}}};

// What both kinds of convolution ask of weight and groups; `channels` names weight's first axis.
void check_weight(const char* function, Sizes weight, index_t groups, const char* channels) {
    checked_elements(function, "weight", weight);
    for (const index_t size : weight.subspan(2)) {
        check(size >= 1, function, ": weight has an empty kernel, got shape ", shape_text(weight),
              "; expected ", kAxisNames[weight.size() - 3].kernel, " >= 1");
    }
    check(groups >= 1, function, ": groups is out of range, got ", groups, "; expected >= 1");
    check(weight[0] % groups == 0, function, ": groups does not divide weight's ", channels,
          " channels, got groups=", groups, ", weight ", shape_text(weight));
}

// Prints as Python does: "((1, 0), (0, 2))", "((1, 0),)".
struct SidesText {
    std::span<const Pair> sides;

    friend std::ostream& operator<<(std::ostream& stream, const SidesText& text) {
        stream << '(';
        for (size_t i = 0; i < text.sides.size(); ++i)
            stream << (i ? ", " : "") << shape_text(text.sides[i]);
        return stream << (text.sides.size() == 1 ? ",)" : ")");
    }
};

}  // namespace

void check_each(const char* function, const char* argument, Sizes values, index_t least) {
    for (const index_t value : values) {
        check(value >= least && value <= kMaxBytes, function, ": ", argument,
              " is out of range, got ", shape_text(values), "; expected ", least, " to ",
              kMaxBytes);
    }
}

void check_sides(const char* function, std::span<const Pair> padding) {
    for (const auto& [begin, end] : padding) {
        check(begin >= 0 && begin <= kMaxBytes && end >= 0 && end <= kMaxBytes, function,
              ": padding is out of range, got ", SidesText{padding}, "; expected 0 to ", kMaxBytes);
    }
}

void check_padding(const char* function, const Padding& padding) {
    if (!padding.same) check_sides(function, padding.sides());
}

index_t effective_kernel(const char* function, index_t kernel, index_t dilation) {
    const char* argument = "kernel extent (from kernel_size and dilation)";
    return checked_add(function, argument, checked_mul(function, argument, dilation, kernel - 1),
                       1);
}

WindowAxis window_axis(const char* function, const char* axis, const char* kernel_name,
                       index_t size, index_t kernel, index_t stride, index_t dilation, bool same,
                       index_t pad_begin, index_t pad_end, bool ceil_mode) {
    const index_t extent = effective_kernel(function, kernel, dilation);
    if (same) {
        const index_t output = ceil_div(size, stride);
        if (output == 0) return {0, 0};
        const index_t covered = checked_add(
            function, "stride", checked_mul(function, "stride", output - 1, stride), extent);
        return {output, std::max<index_t>(covered - size, 0) / 2};
    }
    const index_t padded = checked_add(function, "padding",
                                       checked_add(function, "padding", size, pad_begin), pad_end);
    check(padded >= extent, function, ": ", kernel_name, " is larger than the padded input along ",
          axis, ", got kernel extent ", extent, " (size ", kernel, ", dilation ", dilation,
          ") and padded size ", padded, "; expected at most that");
    const index_t steps = padded - extent;
    index_t output = steps / stride + 1;
    if (ceil_mode && steps % stride != 0 &&
        checked_mul(function, "stride", output, stride) < size + pad_begin) {
        ++output;
    }
    return {output, pad_begin};
}

Range taps_inside(index_t count, index_t stride, index_t offset, index_t size) {
    const index_t begin = offset >= 0 ? 0 : std::min(count, ceil_div(-offset, stride));
    const index_t end = offset >= size ? 0 : std::min(count, ceil_div(size - offset, stride));
    return {begin, std::max(begin, end)};
}

ConvShape ConvShape::make(const char* function, Sizes input, Sizes weight, Sizes stride,
                          std::span<const Pair> padding, Sizes dilation, index_t groups) {
    const size_t axes = stride.size();
    checked_elements(function, "input", input);
    check_weight(function, weight, groups, "output");
    check_each(function, "stride", stride, 1);
    check_each(function, "dilation", dilation, 1);
    check_sides(function, padding);
    check(input[1] % groups == 0 && input[1] / groups == weight[1], function, ": weight expects ",
          weight[1], " input channels per group, got ", input[1], " channels in ", groups,
          " groups; input ", shape_text(input), ", weight ", shape_text(weight),
          ", groups=", groups);

    struct Axis {
        index_t size = 1, kernel = 1, output = 1, stride = 1, pad_begin = 0, dilation = 1;
    };
    std::array<Axis, 3> all{};  // D, H, W
    std::array<index_t, 5> output = {input[0], weight[0]};
    for (size_t i = 0; i < axes; ++i) {
        const bool same = padding.empty();
        const Pair pads = same ? Pair{0, 0} : padding[i];
        const WindowAxis window =
            window_axis(function, kAxisNames[axes - 1].axes[i], "weight", input[2 + i],
                        weight[2 + i], stride[i], dilation[i], same, pads[0], pads[1], false);
        all[3 - axes + i] = {input[2 + i], weight[2 + i],    window.output,
                             stride[i],    window.pad_begin, dilation[i]};
        output[2 + i] = window.output;
    }
    checked_elements(function, "output", Sizes(output).first(2 + axes));
    const auto& [d, h, w] = all;
    return {.N = input[0],
            .C = input[1],
            .D = d.size,
            .H = h.size,
            .W = w.size,
            .OC = weight[0],
            .KD = d.kernel,
            .KH = h.kernel,
            .KW = w.kernel,
            .OD = d.output,
            .OH = h.output,
            .OW = w.output,
            .stride_d = d.stride,
            .stride_h = h.stride,
            .stride_w = w.stride,
            .pad_front = d.pad_begin,
            .pad_top = h.pad_begin,
            .pad_left = w.pad_begin,
            .dilation_d = d.dilation,
            .dilation_h = h.dilation,
            .dilation_w = w.dilation,
            .G = groups};
}

ConvShape ConvShape::make_transposed(const char* function, const Shape4& input,
                                     const Shape4& weight, Pair stride, const Padding& padding,
                                     Pair output_padding, Pair dilation, index_t groups) {
    checked_elements(function, "input", input);
    check_weight(function, weight, groups, "input");
    check_each(function, "stride", stride, 1);
    check_each(function, "dilation", dilation, 1);
    check_each(function, "output_padding", output_padding, 0);
    check_padding(function, padding);
    check(input[1] == weight[0], function, ": weight expects ", weight[0],
          " input channels, got input ", shape_text(input), ", weight ", shape_text(weight));

    const std::array<index_t, 4> pads = {padding.top, padding.bottom, padding.left, padding.right};
    std::array<index_t, 2> size{}, pad_begin{};
    for (size_t d = 0; d < 2; ++d) {
        const char* axis = d == 0 ? "H" : "W";
        const index_t in = input[2 + d];
        check(output_padding[d] < std::max(stride[d], dilation[d]), function,
              ": output_padding is out of range, got (", output_padding[0], ", ", output_padding[1],
              "); expected less than stride or dilation along ", axis);
        const index_t extent = effective_kernel(function, weight[2 + d], dilation[d]);
        if (padding.same) {
            size[d] =
                checked_add(function, "stride", checked_mul(function, "stride", in, stride[d]),
                            output_padding[d]);
            pad_begin[d] = std::max<index_t>(extent - stride[d], 0) / 2;
        } else {
            check(in >= 1, function, ": input is empty along ", axis, ", got ", shape_text(input),
                  "; expected at least one pixel");
            const index_t full =
                checked_add(function, "stride",
                            checked_add(function, "stride",
                                        checked_mul(function, "stride", in - 1, stride[d]), extent),
                            output_padding[d]);
            size[d] = full - pads[2 * d] - pads[2 * d + 1];
            check(size[d] >= 1, function, ": padding leaves no output along ", axis, ", got ",
                  pads[2 * d], " + ", pads[2 * d + 1], "; expected less than ", full);
            pad_begin[d] = pads[2 * d];
        }
    }
    const ConvShape s{.N = input[0],
                      .C = checked_mul(function, "groups", weight[1], groups),
                      .H = size[0],
                      .W = size[1],
                      .OC = weight[0],
                      .KH = weight[2],
                      .KW = weight[3],
                      .OH = input[2],
                      .OW = input[3],
                      .stride_h = stride[0],
                      .stride_w = stride[1],
                      .pad_top = pad_begin[0],
                      .pad_left = pad_begin[1],
                      .dilation_h = dilation[0],
                      .dilation_w = dilation[1],
                      .G = groups};
    checked_elements(function, "output", {s.N, s.C, s.H, s.W});
    return s;
}

}  // namespace pyconv
