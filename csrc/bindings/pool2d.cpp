// SPDX-License-Identifier: BSD-3-Clause
#include "bindings/pool2d.h"

#include "bindings/module.h"

namespace pyconv::bindings {
namespace {

// No output size: global pooling, one window.
MakeShape adaptive(const char* function, std::optional<Pair> output_size) {
    return [=](const Shape4& input) {
        return Pool2dShape::make_adaptive(function, input, output_size.value_or(Pair{1, 1}));
    };
}

py::object max_pool(const char* function, const py::object& input, const MakeShape& make,
                    bool return_indices, const py::object& out) {
    const py::array first = as_array(function, "input", input);
    return dispatch_float(function, "input", first, [&](auto zero) -> py::object {
        using T = decltype(zero);
        const Pool2dShape s = make(shape4(function, "input", first, kPlaneAxes));
        const auto x = input_array<T>(function, "input", input, as_shape(s.input_shape()));
        py::array output = output_array<T>(function, out, as_shape(s.output_shape()), {&x.given()});
        std::optional<py::array> indices;
        if (return_indices)
            indices = new_array(py::dtype::of<int32_t>(), as_shape(s.output_shape()));
        T* y = data_of<T>(output);
        int32_t* index = indices ? data_of<int32_t>(*indices) : nullptr;
        {
            const WithoutGil nogil;
            pyconv::max_pool2d<T>(s, x.data(), y, index);
        }
        if (!indices) return output;
        return py::make_tuple(output, *indices);
    });
}

py::array max_pool_backward(const py::object& grad_output, const py::object& indices,
                            const Shape4& input_shape, const py::object& out) {
    const char* function = "max_pool2d_backward";
    const py::array first = as_array(function, "grad_output", grad_output);
    return dispatch_float(function, "grad_output", first, [&](auto zero) {
        using T = decltype(zero);
        const Shape4 shape = shape4(function, "grad_output", first, kPlaneAxes);
        check(shape[0] == input_shape[0] && shape[1] == input_shape[1], function,
              ": input_shape is ", shape_text(input_shape), " but grad_output is ",
              shape_text(shape), "; expected the same N and C");
        checked_elements(function, "input_shape", input_shape);
        const auto g = input_array<T>(function, "grad_output", grad_output, as_shape(shape));
        const auto i = input_array<int32_t>(function, "indices", indices, as_shape(shape));
        py::array result =
            output_array<T>(function, out, as_shape(input_shape), {&g.given(), &i.given()});
        T* grad_input = data_of<T>(result);
        const WithoutGil nogil;
        pyconv::max_pool2d_backward<T>(function, input_shape, shape, g.data(), i.data(),
                                       grad_input);
        return result;
    });
}

void check_divisor(const char* function, std::optional<index_t> divisor) {
    check(!divisor || *divisor != 0, function,
          ": divisor_override is out of range, got 0; expected another number");
}

py::array avg_pool(const char* function, const py::object& input, const MakeShape& make,
                   std::optional<index_t> divisor, const py::object& out) {
    check_divisor(function, divisor);
    const py::array first = as_array(function, "input", input);
    return dispatch_float(function, "input", first, [&](auto zero) {
        using T = decltype(zero);
        const Pool2dShape s = make(shape4(function, "input", first, kPlaneAxes));
        const auto x = input_array<T>(function, "input", input, as_shape(s.input_shape()));
        py::array output = output_array<T>(function, out, as_shape(s.output_shape()), {&x.given()});
        T* y = data_of<T>(output);
        const WithoutGil nogil;
        pyconv::avg_pool2d<T>(s, divisor.value_or(0), x.data(), y);
        return output;
    });
}

py::array avg_pool_backward(const char* function, const py::object& grad_output,
                            const Shape4& input_shape, const MakeShape& make,
                            std::optional<index_t> divisor, const py::object& out) {
    check_divisor(function, divisor);
    const py::array first = as_array(function, "grad_output", grad_output);
    return dispatch_float(function, "grad_output", first, [&](auto zero) {
        using T = decltype(zero);
        const Pool2dShape s = make(input_shape);
        const auto g =
            input_array<T>(function, "grad_output", grad_output, as_shape(s.output_shape()));
        py::array result = output_array<T>(function, out, as_shape(s.input_shape()), {&g.given()});
        T* grad_input = data_of<T>(result);
        const WithoutGil nogil;
        pyconv::avg_pool2d_backward<T>(s, divisor.value_or(0), g.data(), grad_input);
        return result;
    });
}

}  // namespace

void def_pool2d(py::module_& m) {
    m.def("max_pool2d", [](const py::object& input, Pair kernel_size, Pair stride,
                           const PaddingOption& padding, Pair dilation, bool ceil_mode,
                           bool return_indices, const py::object& out) {
        const char* function = "max_pool2d";
        return max_pool(function, input,
                        sliding(function, kernel_size, stride, padding, dilation, ceil_mode, true),
                        return_indices, out);
    });
    m.def("max_pool2d_backward", max_pool_backward);
    m.def("avg_pool2d", [](const py::object& input, Pair kernel_size, Pair stride,
                           const PaddingOption& padding, bool ceil_mode, bool count_include_pad,
                           std::optional<index_t> divisor_override, const py::object& out) {
        const char* function = "avg_pool2d";
        return avg_pool(
            function, input,
            sliding(function, kernel_size, stride, padding, {1, 1}, ceil_mode, count_include_pad),
            divisor_override, out);
    });
    m.def("avg_pool2d_backward",
          [](const py::object& grad_output, const Shape4& input_shape, Pair kernel_size,
             Pair stride, const PaddingOption& padding, bool ceil_mode, bool count_include_pad,
             std::optional<index_t> divisor_override, const py::object& out) {
              const char* function = "avg_pool2d_backward";
              return avg_pool_backward(function, grad_output, input_shape,
                                       sliding(function, kernel_size, stride, padding, {1, 1},
                                               ceil_mode, count_include_pad),
                                       divisor_override, out);
          });
    m.def("adaptive_max_pool2d", [](const py::object& input, Pair output_size, bool return_indices,
                                    const py::object& out) {
        const char* function = "adaptive_max_pool2d";
        return max_pool(function, input, adaptive(function, output_size), return_indices, out);
    });
    m.def("adaptive_avg_pool2d",
          [](const py::object& input, Pair output_size, const py::object& out) {
              const char* function = "adaptive_avg_pool2d";
              return avg_pool(function, input, adaptive(function, output_size), {}, out);
          });
    // The output size is that of grad_output.
    m.def("adaptive_avg_pool2d_backward", [](const py::object& grad_output,
                                             const Shape4& input_shape, const py::object& out) {
        const char* function = "adaptive_avg_pool2d_backward";
        const Shape4 output = shape4(function, "grad_output",
                                     as_array(function, "grad_output", grad_output), kPlaneAxes);
        return avg_pool_backward(function, grad_output, input_shape,
                                 adaptive(function, Pair{output[2], output[3]}), {}, out);
    });
    m.def("global_max_pool2d",
          [](const py::object& input, bool return_indices, const py::object& out) {
              const char* function = "global_max_pool2d";
              return max_pool(function, input, adaptive(function, {}), return_indices, out);
          });
    m.def("global_avg_pool2d", [](const py::object& input, const py::object& out) {
        const char* function = "global_avg_pool2d";
        return avg_pool(function, input, adaptive(function, {}), {}, out);
    });
    m.def("global_avg_pool2d_backward",
          [](const py::object& grad_output, const Shape4& input_shape, const py::object& out) {
              const char* function = "global_avg_pool2d_backward";
              return avg_pool_backward(function, grad_output, input_shape, adaptive(function, {}),
                                       {}, out);
          });
}

}  // namespace pyconv::bindings
