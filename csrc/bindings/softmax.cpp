// SPDX-License-Identifier: BSD-3-Clause
#include "ops/softmax.h"

#include "bindings/module.h"

namespace pyconv::bindings {
namespace {

// `array` around `axis`, which counts from the end when negative.
AxisView view_of(const char* function, const py::array& array, index_t axis) {
    const index_t ndim = array.ndim();
    check(axis >= -ndim && axis < ndim, function, ": axis is out of range, got ", axis,
          "; expected ", -ndim, " to ", ndim - 1, " for shape ", shape_text(array));
    const index_t at = axis < 0 ? axis + ndim : axis;
    AxisView view{1, array.shape(at), 1};
    for (index_t d = 0; d < at; ++d) view.outer *= array.shape(d);
    for (index_t d = at + 1; d < ndim; ++d) view.inner *= array.shape(d);
    return view;
}

// body(view, input, output); `out` may be the input.
template <typename Body>
py::array along_axis(const char* function, const py::object& input, index_t axis,
                     const py::object& out, Body&& body) {
    const py::array first = as_array(function, "input", input);
    const AxisView view = view_of(function, first, axis);
    return dispatch_float(function, "input", first, [&](auto zero) {
        using T = decltype(zero);
        const auto x = input_array<T>(function, "input", input, shape_of(first));
        py::array output = output_array<T>(function, out, shape_of(first), {&x.given()}, kInPlace);
        T* y = data_of<T>(output);
        const WithoutGil nogil;
        body(view, x.data(), y);
        return output;
    });
}

// body(view, grad_output, output, grad_input)
template <typename Body>
py::array gradient_along_axis(const char* function, const py::object& grad_output,
                              const py::object& output, index_t axis, const py::object& out,
                              Body&& body) {
    const py::array first = as_array(function, "grad_output", grad_output);
    const AxisView view = view_of(function, first, axis);
    return dispatch_float(function, "grad_output", first, [&](auto zero) {
        using T = decltype(zero);
        const Shape shape = shape_of(first);
        const auto g = input_array<T>(function, "grad_output", grad_output, shape);
        const auto y = input_array<T>(function, "output", output, shape, "grad_output");
        py::array result =
            output_array<T>(function, out, shape, {&g.given(), &y.given()}, kInPlace);
        T* grad_input = data_of<T>(result);
        const WithoutGil nogil;
        body(view, g.data(), y.data(), grad_input);
        return result;
    });
}

// Adds the pair of bindings `name` (input, axis, out) and `name`_backward (grad_output, output, axis, out).
#define PYCONV_DEF_AXIS(name)                                                                     \
    m.def(#name, [](const py::object& input, index_t axis, const py::object& out) {               \
        return along_axis(#name, input, axis, out, [](const AxisView& view, auto* x, auto* y) {   \
            pyconv::name(view, x, y);                                                             \
        });                                                                                       \
    });                                                                                           \
    m.def(#name "_backward", [](const py::object& grad_output, const py::object& output,          \
                                index_t axis, const py::object& out) {                            \
        return gradient_along_axis(#name "_backward", grad_output, output, axis, out,             \
                                   [](const AxisView& view, auto* g, auto* y, auto* grad_input) { \
                                       pyconv::name##_backward(view, g, y, grad_input);           \
                                   });                                                            \
    });

// The loss, and the gradient or None. `function` is the name that errors give.
py::tuple cross_entropy(const char* function, const py::object& logits, const py::object& target,
                        const py::object& weight, int64_t ignored, double smoothing,
                        bool with_gradient) {
    const py::array first = as_array(function, "logits", logits);
    return dispatch_float(function, "logits", first, [&](auto zero) {
        using T = decltype(zero);
        check(first.ndim() >= 2, function, ": logits has shape ", shape_text(first),
              "; expected at least two axes, (N, K, ...)");
        const AxisView view = view_of(function, first, 1);
        check(view.size > 0, function, ": logits has no classes, got shape ", shape_text(first));
        const auto x = input_array<T>(function, "logits", logits, shape_of(first));
        Shape lines = shape_of(first);
        lines.erase(lines.begin() + 1);
        const auto classes = input_array<int64_t>(function, "target", target, lines);
        const OptionalInput<T> weights(function, "weight", weight, {view.size}, "logits");
        const index_t count = view.outer * view.inner;
        for (index_t l = 0; l < count; ++l) {
            const int64_t k = classes.data()[l];
            if ((k >= 0 && k < view.size) || k == ignored) continue;
            throw std::invalid_argument(join(function, ": target holds a class out of range, got ",
                                             k, "; expected 0 to ", view.size - 1));
        }
        const Targets<T> targets{view, classes.data(), weights.data(), ignored, smoothing};
        py::object grad = py::none();
        T* to = nullptr;
        if (with_gradient) {
            py::array result = new_array(py::dtype::of<T>(), shape_of(first));
            to = data_of<T>(result);
            grad = result;
        }
        double loss = 0;
        {
            const WithoutGil nogil;
            loss = pyconv::cross_entropy<T>(targets, x.data(), to);
        }
        return py::make_tuple(loss, grad);
    });
}

}  // namespace

void def_softmax(py::module_& m) {
    PYCONV_DEF_AXIS(softmax)
    PYCONV_DEF_AXIS(log_softmax)
    m.def("cross_entropy",
          [](const std::string& function, const py::object& logits, const py::object& target,
             const py::object& weight, int64_t ignored, double smoothing, bool with_gradient) {
              return cross_entropy(function.c_str(), logits, target, weight, ignored, smoothing,
                                   with_gradient);
          });
}

}  // namespace pyconv::bindings
