// SPDX-License-Identifier: BSD-3-Clause
// Layer, group and instance norm and local response normalisation: one input decides by what it is
// normalised.
#include "ops/normalization.h"

#include "bindings/module.h"
#include "ops/layer_norm.h"
#include "ops/response_norm.h"

namespace pyconv::bindings {
namespace {

void check_eps(const char* function, double eps) {
    check(eps >= 0, function, ": eps is out of range, got ", eps, "; expected >= 0");
}

// An array seen as (N, C, inner).
struct View {
    index_t N, C, inner;
};
View channels_of(const char* function, const char* name, const py::array& array) {
    check(array.ndim() >= 2, function, ": ", name, " has ", array.ndim(), " axes, got shape ",
          shape_text(array), "; expected at least two: (N, C, ...)");
    View v{array.shape(0), array.shape(1), 1};
    for (index_t d = 2; d < array.ndim(); ++d) v.inner *= array.shape(d);
    if (array.size() == 0) v.N = 0;  // there may be any number of empty images
    return v;
}

// Sets of `groups` groups of channels, or of every channel for itself if `groups` is 0.
NormalizationShape groups_of(const char* function, const char* name, const py::array& array,
                             index_t groups) {
    const View v = channels_of(function, name, array);
    return NormalizationShape::group(v.N, v.C, v.inner,
                                     groups == 0 ? std::max(v.C, index_t{1}) : groups);
}
void check_groups(const char* function, const char* name, const py::array& array, index_t groups) {
    check(groups >= 1, function, ": num_groups is not positive, got ", groups,
          "; expected at least 1");
    const View v = channels_of(function, name, array);
    check(v.C % groups == 0, function, ": num_groups does not divide the channels of ", name,
          ", got ", groups, " and shape ", shape_text(array), "; expected a divisor of ", v.C);
}

py::array group_norm(const char* function, const py::object& input, index_t groups,
                     const py::object& weight, const py::object& bias, double eps,
                     const py::object& out) {
    check_eps(function, eps);
    const py::array first = as_array(function, "input", input);
    return dispatch_float(function, "input", first, [&](auto zero) {
        using T = decltype(zero);
        const NormalizationShape s = groups_of(function, "input", first, groups);
        const auto x = input_array<T>(function, "input", input, shape_of(first));
        const OptionalInput<T> w(function, "weight", weight, {s.channels}, "input");
        const OptionalInput<T> b(function, "bias", bias, {s.channels}, "input");
        py::array output =
            output_array<T>(function, out, shape_of(first), {&x.given(), w.given(), b.given()});
        T* y = data_of<T>(output);
        const WithoutGil nogil;
        std::vector<T> statistics(static_cast<size_t>(2 * s.sets));
        normalization_training<T>(s, x.data(), w.data(), b.data(), eps, Activation::None,
                                  statistics.data(), statistics.data() + s.sets, y);
        return output;
    });
}

py::tuple group_norm_backward(const char* function, const py::object& grad_output,
                              const py::object& input, index_t groups, const py::object& weight,
                              double eps) {
    check_eps(function, eps);
    const py::array first = as_array(function, "grad_output", grad_output);
    return dispatch_float(function, "grad_output", first, [&](auto zero) {
        using T = decltype(zero);
        const NormalizationShape s = groups_of(function, "grad_output", first, groups);
        const Shape shape = shape_of(first);
        const auto g = input_array<T>(function, "grad_output", grad_output, shape);
        const auto x = input_array<T>(function, "input", input, shape, "grad_output");
        const OptionalInput<T> w(function, "weight", weight, {s.channels}, "grad_output");
        const py::dtype dtype = py::dtype::of<T>();
        py::array grad_input = new_array(dtype, shape);
        py::array grad_weight = new_array(dtype, {s.channels});
        py::array grad_bias = new_array(dtype, {s.channels});
        T *gi = data_of<T>(grad_input), *gw = data_of<T>(grad_weight), *gb = data_of<T>(grad_bias);
        {
            const WithoutGil nogil;
            normalization_backward<T>(s, g.data(), x.data(), true, nullptr, nullptr, w.data(),
                                      nullptr, eps, Activation::None, gi, gw, gb);
        }
        return py::make_tuple(grad_input, grad_weight, grad_bias);
    });
}

// (rows, size) of an array whose last axes are normalized_shape.
struct Rows {
    index_t rows, size;
};
Rows rows_of(const char* function, const char* name, const py::array& array,
             const Shape& normalized_shape) {
    const auto axes = static_cast<index_t>(normalized_shape.size());
    const bool fits = axes >= 1 && axes <= array.ndim() &&
                      std::equal(normalized_shape.begin(), normalized_shape.end(),
                                 array.shape() + (array.ndim() - axes));
    check(fits, function, ": normalized_shape does not end the shape of ", name, ", got ",
          shape_text(normalized_shape), " and shape ", shape_text(array),
          "; expected its last axes");
    Rows r{1, 1};
    for (index_t d = 0; d < array.ndim(); ++d)
        (d < array.ndim() - axes ? r.rows : r.size) *= array.shape(d);
    if (array.size() == 0) r.rows = 0;  // there may be any number of empty rows
    return r;
}

py::array layer_norm(const py::object& input, const Shape& normalized_shape,
                     const py::object& weight, const py::object& bias, double eps,
                     const py::object& out) {
    const char* function = "layer_norm";
    check_eps(function, eps);
    const py::array first = as_array(function, "input", input);
    return dispatch_float(function, "input", first, [&](auto zero) {
        using T = decltype(zero);
        const Rows r = rows_of(function, "input", first, normalized_shape);
        const auto x = input_array<T>(function, "input", input, shape_of(first));
        const OptionalInput<T> w(function, "weight", weight, normalized_shape, "input");
        const OptionalInput<T> b(function, "bias", bias, normalized_shape, "input");
        py::array output =
            output_array<T>(function, out, shape_of(first), {&x.given(), w.given(), b.given()});
        T* y = data_of<T>(output);
        const WithoutGil nogil;
        pyconv::layer_norm<T>(r.rows, r.size, x.data(), w.data(), b.data(), eps, y);
        return output;
    });
}

py::tuple layer_norm_backward(const py::object& grad_output, const py::object& input,
                              const Shape& normalized_shape, const py::object& weight, double eps) {
    const char* function = "layer_norm_backward";
    check_eps(function, eps);
    const py::array first = as_array(function, "grad_output", grad_output);
    return dispatch_float(function, "grad_output", first, [&](auto zero) {
        using T = decltype(zero);
        const Rows r = rows_of(function, "grad_output", first, normalized_shape);
        const Shape shape = shape_of(first);
        const auto g = input_array<T>(function, "grad_output", grad_output, shape);
        const auto x = input_array<T>(function, "input", input, shape, "grad_output");
        const OptionalInput<T> w(function, "weight", weight, normalized_shape, "grad_output");
        const py::dtype dtype = py::dtype::of<T>();
        py::array grad_input = new_array(dtype, shape);
        py::array grad_weight = new_array(dtype, normalized_shape);
        py::array grad_bias = new_array(dtype, normalized_shape);
        T *gi = data_of<T>(grad_input), *gw = data_of<T>(grad_weight), *gb = data_of<T>(grad_bias);
        {
            const WithoutGil nogil;
            pyconv::layer_norm_backward<T>(r.rows, r.size, g.data(), x.data(), w.data(), eps, gi,
                                           gw, gb);
        }
        return py::make_tuple(grad_input, grad_weight, grad_bias);
    });
}

ResponseNormShape response_shape(const char* function, const char* name, const py::array& array,
                                 index_t size, double alpha, double beta, double k) {
    check(size >= 1, function, ": size is not positive, got ", size, "; expected at least 1");
    const View v = channels_of(function, name, array);
    return {v.N, v.C, v.inner, size, alpha, beta, k};
}

py::array local_response_norm(const py::object& input, index_t size, double alpha, double beta,
                              double k, const py::object& out) {
    const char* function = "local_response_norm";
    const py::array first = as_array(function, "input", input);
    return dispatch_float(function, "input", first, [&](auto zero) {
        using T = decltype(zero);
        const auto s = response_shape(function, "input", first, size, alpha, beta, k);
        const auto x = input_array<T>(function, "input", input, shape_of(first));
        py::array output = output_array<T>(function, out, shape_of(first), {&x.given()});
        T* y = data_of<T>(output);
        const WithoutGil nogil;
        pyconv::local_response_norm<T>(s, x.data(), y);
        return output;
    });
}

py::array local_response_norm_backward(const py::object& grad_output, const py::object& input,
                                       index_t size, double alpha, double beta, double k,
                                       const py::object& out) {
    const char* function = "local_response_norm_backward";
    const py::array first = as_array(function, "grad_output", grad_output);
    return dispatch_float(function, "grad_output", first, [&](auto zero) {
        using T = decltype(zero);
        const auto s = response_shape(function, "grad_output", first, size, alpha, beta, k);
        const Shape shape = shape_of(first);
        const auto g = input_array<T>(function, "grad_output", grad_output, shape);
        const auto x = input_array<T>(function, "input", input, shape, "grad_output");
        py::array result = output_array<T>(function, out, shape, {&g.given(), &x.given()});
        T* grad_input = data_of<T>(result);
        const WithoutGil nogil;
        pyconv::local_response_norm_backward<T>(s, g.data(), x.data(), grad_input);
        return result;
    });
}

}  // namespace

void def_normalization(py::module_& m) {
    m.def("group_norm", [](const py::object& input, index_t num_groups, const py::object& weight,
                           const py::object& bias, double eps, const py::object& out) {
        check_groups("group_norm", "input", as_array("group_norm", "input", input), num_groups);
        return group_norm("group_norm", input, num_groups, weight, bias, eps, out);
    });
    m.def("group_norm_backward", [](const py::object& grad_output, const py::object& input,
                                    index_t num_groups, const py::object& weight, double eps) {
        const char* function = "group_norm_backward";
        check_groups(function, "grad_output", as_array(function, "grad_output", grad_output),
                     num_groups);
        return group_norm_backward(function, grad_output, input, num_groups, weight, eps);
    });
    m.def("instance_norm", [](const py::object& input, const py::object& weight,
                              const py::object& bias, double eps, const py::object& out) {
        return group_norm("instance_norm", input, 0, weight, bias, eps, out);
    });
    m.def("instance_norm_backward", [](const py::object& grad_output, const py::object& input,
                                       const py::object& weight, double eps) {
        return group_norm_backward("instance_norm_backward", grad_output, input, 0, weight, eps);
    });
    m.def("layer_norm", layer_norm);
    m.def("layer_norm_backward", layer_norm_backward);
    m.def("local_response_norm", local_response_norm);
    m.def("local_response_norm_backward", local_response_norm_backward);
}

}  // namespace pyconv::bindings
