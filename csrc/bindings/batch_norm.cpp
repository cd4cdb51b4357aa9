// SPDX-License-Identifier: BSD-3-Clause
#include "ops/batch_norm.h"

#include "bindings/module.h"

namespace pyconv::bindings {
namespace {

BatchNormShape shape_from(const char* function, const char* name, const py::array& array) {
    check(array.ndim() >= 2, function, ": ", name, " has ", array.ndim(), " axes, got shape ",
          shape_text(array), "; expected at least two: (N, C, ...)");
    BatchNormShape s{array.shape(0), array.shape(1), 1};
    for (index_t d = 2; d < array.ndim(); ++d) s.inner *= array.shape(d);
    return s;
}

void check_eps(const char* function, double eps) {
    check(eps >= 0, function, ": eps is out of range, got ", eps, "; expected >= 0");
}

py::tuple batch_norm_statistics(const py::object& input) {
    const char* function = "batch_norm_statistics";
    const py::array first = as_array(function, "input", input);
    return dispatch_float(function, "input", first, [&](auto zero) {
        using T = decltype(zero);
        const BatchNormShape s = shape_from(function, "input", first);
        check(s.C == 0 || s.N * s.inner > 0, function, ": input has no values, got shape ",
              shape_text(first), "; expected at least one a channel");
        const auto x = input_array<T>(function, "input", input, shape_of(first));
        py::array mean = new_array(py::dtype::of<T>(), {s.C});
        py::array var = new_array(py::dtype::of<T>(), {s.C});
        T *m = data_of<T>(mean), *v = data_of<T>(var);
        {
            const WithoutGil nogil;
            pyconv::batch_norm_statistics<T>(s, x.data(), m, v);
        }
        return py::make_tuple(mean, var);
    });
}

py::array batch_norm(const py::object& input, const py::object& mean, const py::object& var,
                     const py::object& weight, const py::object& bias, double eps,
                     const py::object& out) {
    const char* function = "batch_norm";
    check_eps(function, eps);
    const py::array first = as_array(function, "input", input);
    return dispatch_float(function, "input", first, [&](auto zero) {
        using T = decltype(zero);
        const BatchNormShape s = shape_from(function, "input", first);
        const auto x = input_array<T>(function, "input", input, shape_of(first));
        const auto m = input_array<T>(function, "mean", mean, {s.C}, "input");
        const auto v = input_array<T>(function, "var", var, {s.C}, "input");
        const OptionalInput<T> w(function, "weight", weight, {s.C}, "input");
        const OptionalInput<T> b(function, "bias", bias, {s.C}, "input");
        py::array output =
            output_array<T>(function, out, shape_of(first),
                            {&x.given(), &m.given(), &v.given(), w.given(), b.given()});
        T* y = data_of<T>(output);
        const WithoutGil nogil;
        pyconv::batch_norm<T>(s, x.data(), m.data(), v.data(), w.data(), b.data(), eps, y);
        return output;
    });
}

py::tuple batch_norm_backward(const py::object& grad_output, const py::object& input,
                              const py::object& mean, const py::object& var,
                              const py::object& weight, bool training, double eps) {
    const char* function = "batch_norm_backward";
    check_eps(function, eps);
    const py::array first = as_array(function, "grad_output", grad_output);
    return dispatch_float(function, "grad_output", first, [&](auto zero) {
        using T = decltype(zero);
        const BatchNormShape s = shape_from(function, "grad_output", first);
        const Shape shape = shape_of(first);
        const auto g = input_array<T>(function, "grad_output", grad_output, shape);
        const auto x = input_array<T>(function, "input", input, shape, "grad_output");
        const auto m = input_array<T>(function, "mean", mean, {s.C}, "grad_output");
        const auto v = input_array<T>(function, "var", var, {s.C}, "grad_output");
        const OptionalInput<T> w(function, "weight", weight, {s.C}, "grad_output");
        const py::dtype dtype = py::dtype::of<T>();
        py::array grad_input = new_array(dtype, shape);
        py::array grad_weight = new_array(dtype, {s.C});
        py::array grad_bias = new_array(dtype, {s.C});
        T *gi = data_of<T>(grad_input), *gw = data_of<T>(grad_weight), *gb = data_of<T>(grad_bias);
        {
            const WithoutGil nogil;
            pyconv::batch_norm_backward<T>(s, g.data(), x.data(), m.data(), v.data(), w.data(),
                                           training, eps, gi, gw, gb);
        }
        return py::make_tuple(grad_input, grad_weight, grad_bias);
    });
}

}  // namespace

void def_batch_norm(py::module_& m) {
    m.def("batch_norm_statistics", batch_norm_statistics);
    m.def("batch_norm", batch_norm);
    m.def("batch_norm_backward", batch_norm_backward);
}

}  // namespace pyconv::bindings
