// SPDX-License-Identifier: BSD-3-Clause
// Power-average pooling, and the inverse of max pooling.
#include <limits>

#include "bindings/module.h"
#include "bindings/pool2d.h"

namespace pyconv::bindings {
namespace {

void check_norm_type(const char* function, double norm_type) {
    check(norm_type > 0 && norm_type <= 1e6, function, ": norm_type is out of range, got ",
          norm_type, "; expected a positive number up to 1e6");
}

py::array lp_pool(const py::object& input, Pair kernel_size, double norm_type, Pair stride,
                  const PaddingOption& padding, bool ceil_mode, const py::object& out) {
    const char* function = "lp_pool2d";
    check_norm_type(function, norm_type);
    const py::array first = as_array(function, "input", input);
    return dispatch_float(function, "input", first, [&](auto zero) {
        using T = decltype(zero);
        const Pool2dShape s = sliding(function, kernel_size, stride, padding, {1, 1}, ceil_mode,
                                      true)(shape4(function, "input", first, kPlaneAxes));
        const auto x = input_array<T>(function, "input", input, as_shape(s.input_shape()));
        py::array output = output_array<T>(function, out, as_shape(s.output_shape()), {&x.given()});
        T* y = data_of<T>(output);
        const WithoutGil nogil;
        pyconv::lp_pool2d<T>(s, norm_type, x.data(), y);
        return output;
    });
}

py::array lp_pool_backward(const py::object& grad_output, const py::object& input,
                           const py::object& output, Pair kernel_size, double norm_type,
                           Pair stride, const PaddingOption& padding, bool ceil_mode,
                           const py::object& out) {
    const char* function = "lp_pool2d_backward";
    check_norm_type(function, norm_type);
    const py::array first = as_array(function, "grad_output", grad_output);
    return dispatch_float(function, "grad_output", first, [&](auto zero) {
        using T = decltype(zero);
        const Pool2dShape s =
            sliding(function, kernel_size, stride, padding, {1, 1}, ceil_mode, true)(
                shape4(function, "input", as_array(function, "input", input), kPlaneAxes));
        const Shape shape = as_shape(s.output_shape());
        const auto g = input_array<T>(function, "grad_output", grad_output, shape);
        const auto x =
            input_array<T>(function, "input", input, as_shape(s.input_shape()), "grad_output");
        const auto y = input_array<T>(function, "output", output, shape, "grad_output");
        py::array result = output_array<T>(function, out, as_shape(s.input_shape()),
                                           {&g.given(), &x.given(), &y.given()});
        T* grad_input = data_of<T>(result);
        const WithoutGil nogil;
        pyconv::lp_pool2d_backward<T>(s, norm_type, g.data(), x.data(), y.data(), grad_input);
        return result;
    });
}

// Of (N, C, H, W) planes that max pooling makes smaller.
void check_planes(const char* function, const char* name, const Shape4& shape,
                  const char* smaller_name, const Shape4& smaller) {
    checked_elements(function, name, shape);
    check(shape[0] == smaller[0] && shape[1] == smaller[1], function, ": ", name, " is ",
          shape_text(shape), " but ", smaller_name, " is ", shape_text(smaller),
          "; expected the same N and C");
    const index_t pixels = checked_elements(function, name, {shape[2], shape[3]});
    check(pixels <= std::numeric_limits<int32_t>::max(), function, ": ", name,
          " is too large, got planes of ", shape[2], " x ", shape[3],
          "; expected at most 2^31 - 1 pixels");
}

py::array max_unpool(const py::object& input, const py::object& indices, const Shape4& output_shape,
                     const py::object& out) {
    const char* function = "max_unpool2d";
    const py::array first = as_array(function, "input", input);
    return dispatch_float(function, "input", first, [&](auto zero) {
        using T = decltype(zero);
        const Shape4 shape = shape4(function, "input", first, kPlaneAxes);
        check_planes(function, "output_shape", output_shape, "input", shape);
        const auto x = input_array<T>(function, "input", input, as_shape(shape));
        const auto i = input_array<int32_t>(function, "indices", indices, as_shape(shape));
        py::array output =
            output_array<T>(function, out, as_shape(output_shape), {&x.given(), &i.given()});
        T* y = data_of<T>(output);
        const WithoutGil nogil;
        pyconv::max_unpool2d<T>(function, shape, output_shape, x.data(), i.data(), y);
        return output;
    });
}

py::array max_unpool_backward(const py::object& grad_output, const py::object& indices,
                              const py::object& out) {
    const char* function = "max_unpool2d_backward";
    const py::array first = as_array(function, "grad_output", grad_output);
    return dispatch_float(function, "grad_output", first, [&](auto zero) {
        using T = decltype(zero);
        const Shape4 planes = shape4(function, "grad_output", first, kPlaneAxes);
        const Shape4 shape =
            shape4(function, "indices", as_array(function, "indices", indices), kPlaneAxes);
        check_planes(function, "grad_output", planes, "indices", shape);
        const auto g = input_array<T>(function, "grad_output", grad_output, as_shape(planes));
        const auto i = input_array<int32_t>(function, "indices", indices, as_shape(shape));
        py::array result =
            output_array<T>(function, out, as_shape(shape), {&g.given(), &i.given()});
        T* grad_input = data_of<T>(result);
        const WithoutGil nogil;
        pyconv::max_unpool2d_backward<T>(function, shape, planes, g.data(), i.data(), grad_input);
        return result;
    });
}

}  // namespace

void def_pool2d_variants(py::module_& m) {
    m.def("lp_pool2d", lp_pool);
    m.def("lp_pool2d_backward", lp_pool_backward);
    m.def("max_unpool2d", max_unpool);
    m.def("max_unpool2d_backward", max_unpool_backward);
}

}  // namespace pyconv::bindings
