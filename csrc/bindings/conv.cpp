// SPDX-License-Identifier: BSD-3-Clause
#include "ops/conv.h"

#include "bindings/module.h"
#include "bindings/options.h"
#include "ops/im2col.h"

namespace pyconv::bindings {
namespace {

// Text for one, two and three spatial axes.
using Words = std::array<const char*, 3>;
constexpr Words kInputAxes = {"three: (N, C, L)", "four: (N, C, H, W)", "five: (N, C, D, H, W)"};
constexpr Words kWeightAxes = {"three: (OC, C // groups, KL)", "four: (OC, C // groups, KH, KW)",
                               "five: (OC, C // groups, KD, KH, KW)"};
constexpr Words kOutputAxes = {"three: (N, OC, OL)", "four: (N, OC, OH, OW)",
                               "five: (N, OC, OD, OH, OW)"};
constexpr const char* kTransposedWeightAxes = "four: (C, OC // groups, KH, KW)";

constexpr Words kConv = {"conv1d", "conv2d", "conv3d"};
constexpr Words kBackwardInput = {"conv1d_backward_input", "conv2d_backward_input",
                                  "conv3d_backward_input"};
constexpr Words kBackwardWeight = {"conv1d_backward_weight", "conv2d_backward_weight",
                                   "conv3d_backward_weight"};
constexpr Words kBackwardBias = {"conv1d_backward_bias", "conv2d_backward_bias",
                                 "conv3d_backward_bias"};

// What all convolutions take behind their tensors: stride, padding, dilation, groups.
template <size_t Axes>
using OptionsOf =
    std::tuple<std::array<index_t, Axes>, Sides<Axes>, std::array<index_t, Axes>, index_t>;
using Options = OptionsOf<2>;
template <size_t Axes>
using ShapeOf = std::array<index_t, Axes + 2>;

template <size_t Axes>
ConvShape make_shape(const char* function, const ShapeOf<Axes>& input, const ShapeOf<Axes>& weight,
                     const OptionsOf<Axes>& options) {
    const auto& [stride, padding, dilation, groups] = options;
    const auto sides = padding ? std::span<const Pair>(*padding) : std::span<const Pair>();
    return ConvShape::make(function, input, weight, stride, sides, dilation, groups);
}

template <size_t Axes>
ShapeOf<Axes> array_shape(const char* function, const char* name, const py::object& object,
                          const Words& axes) {
    return sizes_of<Axes + 2>(function, name, as_array(function, name, object), axes[Axes - 1]);
}

ConvShape make_transposed_shape(const char* function, const Shape4& input, const Shape4& weight,
                                const Options& options, Pair output_padding) {
    const auto& [stride, padding, dilation, groups] = options;
    return ConvShape::make_transposed(function, input, weight, stride, to_padding(padding),
                                      output_padding, dilation, groups);
}

template <size_t Axes>
py::array conv(const py::object& input, const py::object& weight, const py::object& bias,
               const py::object& residual, const OptionsOf<Axes>& o,
               const std::optional<std::string>& activation, const std::string& algorithm,
               WeightCache* cache, const py::object& out) {
    const char* function = kConv[Axes - 1];
    const py::array first = as_array(function, "input", input);
    return dispatch_float(function, "input", first, [&](auto zero) {
        using T = decltype(zero);
        const ConvShape s = make_shape<Axes>(
            function, sizes_of<Axes + 2>(function, "input", first, kInputAxes[Axes - 1]),
            array_shape<Axes>(function, "weight", weight, kWeightAxes), o);
        const auto x = input_array<T>(function, "input", input, as_shape(s.input_shape<Axes>()));
        const auto w =
            input_array<T>(function, "weight", weight, as_shape(s.weight_shape<Axes>()), "input");
        const OptionalInput<T> b(function, "bias", bias, {s.OC}, "input");
        const OptionalInput<T> r(function, "residual", residual, as_shape(s.output_shape<Axes>()),
                                 "input");
        const Activation act = to_conv_activation(function, activation);
        const ConvAlgorithm alg = to_algorithm(function, s, algorithm);
        py::array result = output_array<T>(function, out, as_shape(s.output_shape<Axes>()),
                                           {&x.given(), &w.given(), b.given(), r.given()});
        T* y = data_of<T>(result);
        const WithoutGil nogil;
        const ConvExtras<T> extras{
            .bias = b.data(), .residual = r.data(), .activation = act, .cache = cache};
        pyconv::conv<T>(s, x.data(), w.data(), extras, alg, y);
        return result;
    });
}

// The convolution whose input gradient is wanted, with its arrays, once its shape is known.
template <size_t Axes, typename T>
py::array input_gradient(const char* function, const ConvShape& s, const char* first_name,
                         const py::object& first, const py::object& weight, const py::object& bias,
                         const std::optional<std::string>& activation, const std::string& algorithm,
                         const py::object& out) {
    const auto g = input_array<T>(function, first_name, first, as_shape(s.output_shape<Axes>()));
    const auto w =
        input_array<T>(function, "weight", weight, as_shape(s.weight_shape<Axes>()), first_name);
    const OptionalInput<T> b(function, "bias", bias, {s.C}, first_name);
    const Activation act = to_conv_activation(function, activation);
    const ConvAlgorithm alg = to_algorithm(function, s, algorithm);
    py::array result = output_array<T>(function, out, as_shape(s.input_shape<Axes>()),
                                       {&g.given(), &w.given(), b.given()});
    T* grad_input = data_of<T>(result);
    const WithoutGil nogil;
    pyconv::conv_backward_input<T>(s, g.data(), w.data(), b.data(), act, alg, grad_input);
    return result;
}

template <size_t Axes>
py::array conv_backward_input(const py::object& grad_output, const py::object& weight,
                              const ShapeOf<Axes>& input_shape, const OptionsOf<Axes>& o,
                              const std::string& algorithm, const py::object& out) {
    const char* function = kBackwardInput[Axes - 1];
    const py::array first = as_array(function, "grad_output", grad_output);
    return dispatch_float(function, "grad_output", first, [&](auto zero) {
        const ConvShape s = make_shape<Axes>(
            function, input_shape, array_shape<Axes>(function, "weight", weight, kWeightAxes), o);
        return input_gradient<Axes, decltype(zero)>(function, s, "grad_output", grad_output, weight,
                                                    py::none(), std::nullopt, algorithm, out);
    });
}

py::array conv_transpose2d(const py::object& input, const py::object& weight,
                           const py::object& bias, const Options& o, Pair output_padding,
                           const std::optional<std::string>& activation,
                           const std::string& algorithm, const py::object& out) {
    const char* function = "conv_transpose2d";
    const py::array first = as_array(function, "input", input);
    return dispatch_float(function, "input", first, [&](auto zero) {
        const auto s = make_transposed_shape(
            function, shape4(function, "input", first, kInputAxes[1]),
            shape4(function, "weight", as_array(function, "weight", weight), kTransposedWeightAxes),
            o, output_padding);
        return input_gradient<2, decltype(zero)>(function, s, "input", input, weight, bias,
                                                 activation, algorithm, out);
    });
}

template <size_t Axes, typename T>
py::array weight_gradient(const char* function, const ConvShape& s, const char* output_name,
                          const py::object& grad_output, const char* input_name,
                          const py::object& input, const std::string& algorithm,
                          const py::object& out) {
    const auto g =
        input_array<T>(function, output_name, grad_output, as_shape(s.output_shape<Axes>()));
    const auto x =
        input_array<T>(function, input_name, input, as_shape(s.input_shape<Axes>()), output_name);
    const ConvAlgorithm alg = to_algorithm(function, s, algorithm);
    py::array result =
        output_array<T>(function, out, as_shape(s.weight_shape<Axes>()), {&g.given(), &x.given()});
    T* grad_weight = data_of<T>(result);
    const WithoutGil nogil;
    pyconv::conv_backward_weight<T>(s, g.data(), x.data(), alg, grad_weight);
    return result;
}

template <size_t Axes>
py::array conv_backward_weight(const py::object& grad_output, const py::object& input,
                               const ShapeOf<Axes>& weight_shape, const OptionsOf<Axes>& o,
                               const std::string& algorithm, const py::object& out) {
    const char* function = kBackwardWeight[Axes - 1];
    const py::array first = as_array(function, "grad_output", grad_output);
    return dispatch_float(function, "grad_output", first, [&](auto zero) {
        const ConvShape s = make_shape<Axes>(
            function, array_shape<Axes>(function, "input", input, kInputAxes), weight_shape, o);
        return weight_gradient<Axes, decltype(zero)>(function, s, "grad_output", grad_output,
                                                     "input", input, algorithm, out);
    });
}

// The transposed convolution is an input gradient: its own gradients are that convolution's forward
// (with grad_output as the image) and weight gradient (with the two tensors exchanged).
py::array conv_transpose2d_backward_weight(const py::object& grad_output, const py::object& input,
                                           const Shape4& weight_shape, const Options& o,
                                           Pair output_padding, const std::string& algorithm,
                                           const py::object& out) {
    const char* function = "conv_transpose2d_backward_weight";
    const py::array first = as_array(function, "grad_output", grad_output);
    return dispatch_float(function, "grad_output", first, [&](auto zero) {
        const auto s = make_transposed_shape(
            function, shape4(function, "input", as_array(function, "input", input), kInputAxes[1]),
            weight_shape, o, output_padding);
        check(shape_of(first) == as_shape(s.input_shape()), function, ": grad_output has shape ",
              shape_text(first), "; expected ", shape_text(s.input_shape()));
        return weight_gradient<2, decltype(zero)>(function, s, "input", input, "grad_output",
                                                  grad_output, algorithm, out);
    });
}

// The input whose transposed convolution has the sizes of `grad_output`.
Shape4 transposed_input_shape(const char* function, const Shape4& grad_output, const Shape4& weight,
                              const Options& o, Pair output_padding) {
    const auto& [stride, option, dilation, groups] = o;
    const Padding padding = to_padding(option);
    check_each(function, "stride", stride, 1);
    check_each(function, "dilation", dilation, 1);
    check_each(function, "output_padding", output_padding, 0);
    check_padding(function, padding);
    const Pair pads = {padding.top + padding.bottom, padding.left + padding.right};
    Shape4 input = {grad_output[0], weight[0], 0, 0};
    for (size_t d = 0; d < 2; ++d) {
        const index_t extent = effective_kernel(function, weight[2 + d], dilation[d]);
        const index_t full = grad_output[2 + d] + pads[d] - output_padding[d];
        check(padding.same || full >= extent, function, ": grad_output is too small, got ",
              shape_text(grad_output), "; expected the output of a transposed convolution");
        input[2 + d] = padding.same ? full / stride[d] : (full - extent) / stride[d] + 1;
    }
    return input;
}

py::array conv_transpose2d_backward_input(const py::object& grad_output, const py::object& weight,
                                          const Options& o, Pair output_padding,
                                          const std::string& algorithm, const py::object& out) {
    const char* function = "conv_transpose2d_backward_input";
    const py::array first = as_array(function, "grad_output", grad_output);
    return dispatch_float(function, "grad_output", first, [&](auto zero) {
        using T = decltype(zero);
        const Shape4 w_shape =
            shape4(function, "weight", as_array(function, "weight", weight), kTransposedWeightAxes);
        const Shape4 input_shape =
            transposed_input_shape(function, shape4(function, "grad_output", first, kOutputAxes[1]),
                                   w_shape, o, output_padding);
        const auto s = make_transposed_shape(function, input_shape, w_shape, o, output_padding);
        const auto g =
            input_array<T>(function, "grad_output", grad_output, as_shape(s.input_shape()));
        const auto w =
            input_array<T>(function, "weight", weight, as_shape(s.weight_shape()), "grad_output");
        const ConvAlgorithm alg = to_algorithm(function, s, algorithm);
        py::array result =
            output_array<T>(function, out, as_shape(s.output_shape()), {&g.given(), &w.given()});
        T* grad_input = data_of<T>(result);
        const WithoutGil nogil;
        pyconv::conv<T>(s, g.data(), w.data(), {}, alg, grad_input);
        return result;
    });
}

template <size_t Axes>
py::array conv_backward_bias(const py::object& grad_output, const py::object& out) {
    const char* function = kBackwardBias[Axes - 1];
    const py::array first = as_array(function, "grad_output", grad_output);
    return dispatch_float(function, "grad_output", first, [&](auto zero) {
        using T = decltype(zero);
        const auto shape =
            sizes_of<Axes + 2>(function, "grad_output", first, kOutputAxes[Axes - 1]);
        index_t pixels = 1;
        for (const index_t size : Sizes(shape).subspan(2)) pixels *= size;
        const auto g = input_array<T>(function, "grad_output", grad_output, as_shape(shape));
        py::array result = output_array<T>(function, out, {shape[1]}, {&g.given()});
        T* grad_bias = data_of<T>(result);
        const WithoutGil nogil;
        pyconv::conv_backward_bias<T>(shape[0], shape[1], pixels, g.data(), grad_bias);
        return result;
    });
}

// im2col has no filters: a shape with one group and one output channel stands for it.
ConvShape columns_shape(const char* function, const Shape4& input, Pair kernel_size,
                        const Options& o) {
    check_each(function, "kernel_size", kernel_size, 1);
    return make_shape<2>(function, input, {1, input[1], kernel_size[0], kernel_size[1]}, o);
}

Shape columns_of(const char* function, const ConvShape& s) {
    const index_t rows =
        checked_mul(function, "kernel_size", checked_mul(function, "kernel_size", s.C, s.KH), s.KW);
    checked_elements(function, "columns", {s.N, rows, s.OH, s.OW});
    return {s.N, rows, s.OH * s.OW};
}

py::array im2col(const py::object& input, Pair kernel_size, const Options& o,
                 const py::object& out) {
    const char* function = "im2col";
    const py::array first = as_array(function, "input", input);
    return dispatch_float(function, "input", first, [&](auto zero) {
        using T = decltype(zero);
        const auto s = columns_shape(function, shape4(function, "input", first, kInputAxes[1]),
                                     kernel_size, o);
        const auto x = input_array<T>(function, "input", input, as_shape(s.input_shape()));
        py::array result = output_array<T>(function, out, columns_of(function, s), {&x.given()});
        T* columns = data_of<T>(result);
        const WithoutGil nogil;
        pyconv::im2col<T>(s, x.data(), columns);
        return result;
    });
}

py::array col2im(const py::object& columns, const Shape4& input_shape, Pair kernel_size,
                 const Options& o, const py::object& out) {
    const char* function = "col2im";
    const py::array first = as_array(function, "columns", columns);
    return dispatch_float(function, "columns", first, [&](auto zero) {
        using T = decltype(zero);
        const auto s = columns_shape(function, input_shape, kernel_size, o);
        const auto x = input_array<T>(function, "columns", columns, columns_of(function, s));
        py::array result = output_array<T>(function, out, as_shape(s.input_shape()), {&x.given()});
        T* image = data_of<T>(result);
        const WithoutGil nogil;
        pyconv::col2im<T>(s, x.data(), image);
        return result;
    });
}

template <size_t Axes>
void def_conv_of(py::module_& m) {
    m.def(kConv[Axes - 1], conv<Axes>);
    m.def(kBackwardInput[Axes - 1], conv_backward_input<Axes>);
    m.def(kBackwardWeight[Axes - 1], conv_backward_weight<Axes>);
    m.def(kBackwardBias[Axes - 1], conv_backward_bias<Axes>);
}

}  // namespace

void def_conv(py::module_& m) {
    py::class_<WeightCache>(
        m, "WeightCache",
        "What convolutions derive from one weight, packed or transformed, kept from "
        "one call to the next.\n\nWhoever changes the weight calls clear(). Copied or "
        "unpickled, it is empty.")
        .def(py::init<>())
        .def("clear", &WeightCache::clear)
        .def(py::pickle([](const WeightCache&) { return py::tuple(); },
                        [](const py::tuple&) { return std::make_unique<WeightCache>(); }));
    m.def("set_precise", set_precise);
    def_conv_of<1>(m);
    def_conv_of<2>(m);
    def_conv_of<3>(m);
    m.def("conv_transpose2d", conv_transpose2d);
    m.def("conv_transpose2d_backward_input", conv_transpose2d_backward_input);
    m.def("conv_transpose2d_backward_weight", conv_transpose2d_backward_weight);
    m.def("im2col", im2col);
    m.def("col2im", col2im);
}

}  // namespace pyconv::bindings
