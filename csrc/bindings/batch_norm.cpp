// SPDX-License-Identifier: BSD-3-Clause
// Batch normalisation; the functions that compute the statistics for themselves: normalization.cpp.
#include "bindings/module.h"
#include "bindings/options.h"
#include "ops/normalization.h"

namespace pyconv::bindings {
namespace {

NormalizationShape shape_from(const char* function, const char* name, const py::array& array) {
    check(array.ndim() >= 2, function, ": ", name, " has ", array.ndim(), " axes, got shape ",
          shape_text(array), "; expected at least two: (N, C, ...)");
    index_t inner = 1;
    for (index_t d = 2; d < array.ndim(); ++d) inner *= array.shape(d);
    return NormalizationShape::batch(array.shape(0), array.shape(1), inner);
}

void check_eps(const char* function, double eps) {
    check(eps >= 0, function, ": eps is out of range, got ", eps, "; expected >= 0");
}

// Statistics of nothing are refused.
void check_values(const char* function, const NormalizationShape& s, const py::array& input) {
    check(s.channels == 0 || s.count() > 0, function, ": input has no values, got shape ",
          shape_text(input), "; expected at least one a channel");
}

py::tuple batch_norm_statistics(const py::object& input) {
    const char* function = "batch_norm_statistics";
    const py::array first = as_array(function, "input", input);
    return dispatch_float(function, "input", first, [&](auto zero) {
        using T = decltype(zero);
        const NormalizationShape s = shape_from(function, "input", first);
        check_values(function, s, first);
        const auto x = input_array<T>(function, "input", input, shape_of(first));
        py::array mean = new_array(py::dtype::of<T>(), {s.channels});
        py::array var = new_array(py::dtype::of<T>(), {s.channels});
        T *m = data_of<T>(mean), *v = data_of<T>(var);
        {
            const WithoutGil nogil;
            normalization_statistics<T>(s, x.data(), m, v);
        }
        return py::make_tuple(mean, var);
    });
}

py::array batch_norm(const py::object& input, const py::object& mean, const py::object& var,
                     const py::object& weight, const py::object& bias, double eps,
                     const std::optional<std::string>& activation, const py::object& out) {
    const char* function = "batch_norm";
    const Activation act = to_activation(function, activation);
    check_eps(function, eps);
    const py::array first = as_array(function, "input", input);
    return dispatch_float(function, "input", first, [&](auto zero) {
        using T = decltype(zero);
        const NormalizationShape s = shape_from(function, "input", first);
        const auto x = input_array<T>(function, "input", input, shape_of(first));
        const auto m = input_array<T>(function, "mean", mean, {s.channels}, "input");
        const auto v = input_array<T>(function, "var", var, {s.channels}, "input");
        const OptionalInput<T> w(function, "weight", weight, {s.channels}, "input");
        const OptionalInput<T> b(function, "bias", bias, {s.channels}, "input");
        py::array output =
            output_array<T>(function, out, shape_of(first),
                            {&x.given(), &m.given(), &v.given(), w.given(), b.given()});
        T* y = data_of<T>(output);
        const WithoutGil nogil;
        normalization<T>(s, x.data(), m.data(), v.data(), w.data(), b.data(), eps, act, y);
        return output;
    });
}

py::tuple batch_norm_training(const py::object& input, const py::object& weight,
                              const py::object& bias, double eps,
                              const std::optional<std::string>& activation, const py::object& out) {
    const char* function = "batch_norm_training";
    const Activation act = to_activation(function, activation);
    check_eps(function, eps);
    const py::array first = as_array(function, "input", input);
    return dispatch_float(function, "input", first, [&](auto zero) {
        using T = decltype(zero);
        const NormalizationShape s = shape_from(function, "input", first);
        check_values(function, s, first);
        const auto x = input_array<T>(function, "input", input, shape_of(first));
        const OptionalInput<T> w(function, "weight", weight, {s.channels}, "input");
        const OptionalInput<T> b(function, "bias", bias, {s.channels}, "input");
        py::array output =
            output_array<T>(function, out, shape_of(first), {&x.given(), w.given(), b.given()});
        py::array mean = new_array(py::dtype::of<T>(), {s.channels});
        py::array var = new_array(py::dtype::of<T>(), {s.channels});
        T *y = data_of<T>(output), *m = data_of<T>(mean), *v = data_of<T>(var);
        {
            const WithoutGil nogil;
            normalization_training<T>(s, x.data(), w.data(), b.data(), eps, act, m, v, y);
        }
        return py::make_tuple(output, mean, var);
    });
}

py::tuple batch_norm_backward(const py::object& grad_output, const py::object& input,
                              const py::object& mean, const py::object& var,
                              const py::object& weight, const py::object& bias, bool training,
                              double eps, const std::optional<std::string>& activation) {
    const char* function = "batch_norm_backward";
    const Activation act = to_activation(function, activation);
    check_eps(function, eps);
    const py::array first = as_array(function, "grad_output", grad_output);
    return dispatch_float(function, "grad_output", first, [&](auto zero) {
        using T = decltype(zero);
        const NormalizationShape s = shape_from(function, "grad_output", first);
        const Shape shape = shape_of(first);
        const auto g = input_array<T>(function, "grad_output", grad_output, shape);
        const auto x = input_array<T>(function, "input", input, shape, "grad_output");
        const auto m = input_array<T>(function, "mean", mean, {s.channels}, "grad_output");
        const auto v = input_array<T>(function, "var", var, {s.channels}, "grad_output");
        const OptionalInput<T> w(function, "weight", weight, {s.channels}, "grad_output");
        const OptionalInput<T> b(function, "bias", bias, {s.channels}, "grad_output");
        const py::dtype dtype = py::dtype::of<T>();
        py::array grad_input = new_array(dtype, shape);
        py::array grad_weight = new_array(dtype, {s.channels});
        py::array grad_bias = new_array(dtype, {s.channels});
        T *gi = data_of<T>(grad_input), *gw = data_of<T>(grad_weight), *gb = data_of<T>(grad_bias);
        {
            const WithoutGil nogil;
            normalization_backward<T>(s, g.data(), x.data(), training, m.data(), v.data(), w.data(),
                                      b.data(), eps, act, gi, gw, gb);
        }
        return py::make_tuple(grad_input, grad_weight, grad_bias);
    });
}

}  // namespace

void def_batch_norm(py::module_& m) {
    m.def("batch_norm_statistics", batch_norm_statistics);
    m.def("batch_norm", batch_norm);
    m.def("batch_norm_training", batch_norm_training);
    m.def("batch_norm_backward", batch_norm_backward);
}

}  // namespace pyconv::bindings
