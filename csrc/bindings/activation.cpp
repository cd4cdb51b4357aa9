// SPDX-License-Identifier: BSD-3-Clause
#include "ops/activation.h"

#include "bindings/module.h"

namespace pyconv::bindings {
namespace {

// An op of one array: body(n or view, input, output).
template <typename Body>
py::array map_one(const char* function, const py::object& input, const py::object& out,
                  Body&& body) {
    const py::array first = as_array(function, "input", input);
    return dispatch_float(function, "input", first, [&](auto zero) {
        using T = decltype(zero);
        const auto x = input_array<T>(function, "input", input, shape_of(first));
        py::array output = output_array<T>(function, out, shape_of(first), {&x.given()});
        T* y = data_of<T>(output);
        const index_t n = first.size();
        const WithoutGil nogil;
        body(n, x.data(), y);
        return output;
    });
}

// The gradient of one, from grad_output and a second array of the same shape called `name`.
template <typename Body>
py::array map_two(const char* function, const py::object& grad_output, const char* name,
                  const py::object& other, const py::object& out, Body&& body) {
    const py::array first = as_array(function, "grad_output", grad_output);
    return dispatch_float(function, "grad_output", first, [&](auto zero) {
        using T = decltype(zero);
        const Shape shape = shape_of(first);
        const auto g = input_array<T>(function, "grad_output", grad_output, shape);
        const auto x = input_array<T>(function, name, other, shape, "grad_output");
        py::array result = output_array<T>(function, out, shape, {&g.given(), &x.given()});
        T* grad_input = data_of<T>(result);
        const index_t n = first.size();
        const WithoutGil nogil;
        body(n, g.data(), x.data(), grad_input);
        return result;
    });
}

// `array` around `axis`, which counts from the end when negative.
AxisView view_of(const char* function, const char* name, const py::object& object, index_t axis) {
    const py::array array = as_array(function, name, object);
    const index_t ndim = array.ndim();
    check(axis >= -ndim && axis < ndim, function, ": axis is out of range, got ", axis,
          "; expected ", -ndim, " to ", ndim - 1, " for shape ", shape_text(array));
    const index_t at = axis < 0 ? axis + ndim : axis;
    AxisView view{1, array.shape(at), 1};
    for (index_t d = 0; d < at; ++d) view.outer *= array.shape(d);
    for (index_t d = at + 1; d < ndim; ++d) view.inner *= array.shape(d);
    return view;
}

// Adds the pair of bindings `name` (input, out) and `name`_backward (grad_output, output, out).
#define PYCONV_DEF_MAP(name, second)                                                           \
    m.def(#name, [](const py::object& input, const py::object& out) {                          \
        return map_one(#name, input, out,                                                      \
                       [](index_t n, auto* x, auto* y) { pyconv::name(n, x, y); });            \
    });                                                                                        \
    m.def(#name "_backward",                                                                   \
          [](const py::object& grad_output, const py::object& second, const py::object& out) { \
              return map_two(#name "_backward", grad_output, #second, second, out,             \
                             [](index_t n, auto* g, auto* y, auto* grad_input) {               \
                                 pyconv::name##_backward(n, g, y, grad_input);                 \
                             });                                                               \
          });

// The same for ops along an axis; an empty array has no lines to run over.
#define PYCONV_DEF_AXIS(name)                                                               \
    m.def(#name, [](const py::object& input, index_t axis, const py::object& out) {         \
        const AxisView view = view_of(#name, "input", input, axis);                         \
        return map_one(#name, input, out, [&](index_t n, auto* x, auto* y) {                \
            if (n > 0) pyconv::name(view, x, y);                                            \
        });                                                                                 \
    });                                                                                     \
    m.def(#name "_backward", [](const py::object& grad_output, const py::object& output,    \
                                index_t axis, const py::object& out) {                      \
        const AxisView view = view_of(#name "_backward", "grad_output", grad_output, axis); \
        return map_two(#name "_backward", grad_output, "output", output, out,               \
                       [&](index_t n, auto* g, auto* y, auto* grad_input) {                 \
                           if (n > 0) pyconv::name##_backward(view, g, y, grad_input);      \
                       });                                                                  \
    });

}  // namespace

void def_activation(py::module_& m) {
    PYCONV_DEF_MAP(relu, output)
    PYCONV_DEF_MAP(sigmoid, output)
    PYCONV_DEF_MAP(tanh, output)
    PYCONV_DEF_AXIS(softmax)
    PYCONV_DEF_AXIS(log_softmax)
    m.def("leaky_relu", [](const py::object& input, double slope, const py::object& out) {
        return map_one("leaky_relu", input, out, [slope](index_t n, auto* x, auto* y) {
            using T = std::remove_pointer_t<decltype(y)>;
            pyconv::leaky_relu(n, static_cast<T>(slope), x, y);
        });
    });
    m.def("leaky_relu_backward", [](const py::object& grad_output, const py::object& input,
                                    double slope, const py::object& out) {
        return map_two("leaky_relu_backward", grad_output, "input", input, out,
                       [slope](index_t n, auto* g, auto* x, auto* grad_input) {
                           using T = std::remove_pointer_t<decltype(grad_input)>;
                           pyconv::leaky_relu_backward(n, static_cast<T>(slope), g, x, grad_input);
                       });
    });
}

}  // namespace pyconv::bindings
