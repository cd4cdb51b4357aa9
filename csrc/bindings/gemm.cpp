// SPDX-License-Identifier: BSD-3-Clause
#include "ops/gemm.h"

#include "bindings/module.h"
#include "bindings/options.h"

namespace pyconv::bindings {
namespace {

py::array gemm(const py::object& a, const py::object& b, bool trans_a, bool trans_b, double alpha,
               double beta, const py::object& out) {
    const char* function = "gemm";
    const py::array first = as_array(function, "a", a);
    return dispatch_float(function, "a", first, [&](auto zero) {
        using T = decltype(zero);
        const auto a_shape = shape2(function, "a", first, "two: (M, K), or (K, M) transposed");
        const auto b_shape =
            shape2(function, "b", as_array(function, "b", b), "two: (K, N), or (N, K) transposed");
        const index_t M = a_shape[trans_a ? 1 : 0], K = a_shape[trans_a ? 0 : 1];
        const index_t N = b_shape[trans_b ? 0 : 1];
        check(b_shape[trans_b ? 1 : 0] == K, function, ": b has ", b_shape[trans_b ? 1 : 0],
              " rows to sum over but a has ", K, "; a ", shape_text(first),
              trans_a ? " transposed" : "", ", b ", shape_text({b_shape[0], b_shape[1]}),
              trans_b ? " transposed" : "");
        checked_elements(function, "out", {M, N});
        const auto a_in = input_array<T>(function, "a", a, {a_shape[0], a_shape[1]});
        const auto b_in = input_array<T>(function, "b", b, {b_shape[0], b_shape[1]}, "a");
        check(beta == 0 || !out.is_none(), function, ": out is missing, got beta=", beta,
              "; expected the array that beta multiplies");
        py::array result = output_array<T>(function, out, {M, N}, {&a_in.given(), &b_in.given()});
        T* c = data_of<T>(result);
        const WithoutGil nogil;
        pyconv::gemm<T>({.M = M,
                         .N = N,
                         .K = K,
                         .a = a_in.data(),
                         .a_row = trans_a ? 1 : K,
                         .a_col = trans_a ? M : 1,
                         .b = b_in.data(),
                         .b_row = trans_b ? 1 : N,
                         .b_col = trans_b ? K : 1,
                         .c = c,
                         .c_row = N,
                         .alpha = static_cast<T>(alpha),
                         .beta = static_cast<T>(beta)});
        return result;
    });
}

py::array linear(const py::object& input, const py::object& weight, const py::object& bias,
                 const std::optional<std::string>& activation, const py::object& out) {
    const char* function = "linear";
    const py::array first = as_array(function, "input", input);
    return dispatch_float(function, "input", first, [&](auto zero) {
        using T = decltype(zero);
        const auto [N, in_features] = shape2(function, "input", first, "two: (N, in_features)");
        const auto [out_features, expected] =
            shape2(function, "weight", as_array(function, "weight", weight),
                   "two: (out_features, in_features)");
        check(expected == in_features, function, ": weight expects ", expected,
              " input features, got ", in_features, "; input ", shape_text(first), ", weight ",
              shape_text({out_features, expected}));
        checked_elements(function, "output", {N, out_features});
        const auto x = input_array<T>(function, "input", input, {N, in_features});
        const auto w =
            input_array<T>(function, "weight", weight, {out_features, in_features}, "input");
        const OptionalInput<T> b(function, "bias", bias, {out_features}, "input");
        const Activation act = to_activation(function, activation);
        py::array result =
            output_array<T>(function, out, {N, out_features}, {&x.given(), &w.given(), b.given()});
        T* c = data_of<T>(result);
        const pyconv::Gemm<T> g{.M = N,
                                .N = out_features,
                                .K = in_features,
                                .a = x.data(),
                                .a_row = in_features,
                                .a_col = 1,
                                .b = w.data(),
                                .b_row = 1,
                                .b_col = in_features,
                                .c = c,
                                .c_row = out_features,
                                .col_bias = b.data(),
                                .activation = act};
        const WithoutGil nogil;
        pyconv::gemm<T>(g);
        return result;
    });
}

// The gradients of linear are two products and a sum: the names in their errors are the difference.
py::array linear_backward_input(const py::object& grad_output, const py::object& weight,
                                const py::object& out) {
    const char* function = "linear_backward_input";
    const py::array first = as_array(function, "grad_output", grad_output);
    return dispatch_float(function, "grad_output", first, [&](auto zero) {
        using T = decltype(zero);
        const auto [N, outputs] = shape2(function, "grad_output", first, "two: (N, out_features)");
        const index_t inputs = shape2(function, "weight", as_array(function, "weight", weight),
                                      "two: (out_features, in_features)")[1];
        checked_elements(function, "grad_input", {N, inputs});
        const auto g = input_array<T>(function, "grad_output", grad_output, {N, outputs});
        const auto w = input_array<T>(function, "weight", weight, {outputs, inputs}, "grad_output");
        py::array result = output_array<T>(function, out, {N, inputs}, {&g.given(), &w.given()});
        const pyconv::Gemm<T> product{.M = N,
                                      .N = inputs,
                                      .K = outputs,
                                      .a = g.data(),
                                      .a_row = outputs,
                                      .a_col = 1,
                                      .b = w.data(),
                                      .b_row = inputs,
                                      .b_col = 1,
                                      .c = data_of<T>(result),
                                      .c_row = inputs};
        const WithoutGil nogil;
        pyconv::gemm<T>(product);
        return result;
    });
}

py::array linear_backward_weight(const py::object& grad_output, const py::object& input,
                                 const py::object& out) {
    const char* function = "linear_backward_weight";
    const py::array first = as_array(function, "grad_output", grad_output);
    return dispatch_float(function, "grad_output", first, [&](auto zero) {
        using T = decltype(zero);
        const auto [N, outputs] = shape2(function, "grad_output", first, "two: (N, out_features)");
        const index_t inputs = shape2(function, "input", as_array(function, "input", input),
                                      "two: (N, in_features)")[1];
        checked_elements(function, "grad_weight", {outputs, inputs});
        const auto g = input_array<T>(function, "grad_output", grad_output, {N, outputs});
        const auto x = input_array<T>(function, "input", input, {N, inputs}, "grad_output");
        py::array result =
            output_array<T>(function, out, {outputs, inputs}, {&g.given(), &x.given()});
        const pyconv::Gemm<T> product{.M = outputs,
                                      .N = inputs,
                                      .K = N,
                                      .a = g.data(),
                                      .a_row = 1,
                                      .a_col = outputs,
                                      .b = x.data(),
                                      .b_row = inputs,
                                      .b_col = 1,
                                      .c = data_of<T>(result),
                                      .c_row = inputs};
        const WithoutGil nogil;
        pyconv::gemm<T>(product);
        return result;
    });
}

py::array linear_backward_bias(const py::object& grad_output, const py::object& out) {
    const char* function = "linear_backward_bias";
    const py::array first = as_array(function, "grad_output", grad_output);
    return dispatch_float(function, "grad_output", first, [&](auto zero) {
        using T = decltype(zero);
        const auto [N, outputs] = shape2(function, "grad_output", first, "two: (N, out_features)");
        const auto g = input_array<T>(function, "grad_output", grad_output, {N, outputs});
        py::array result = output_array<T>(function, out, {outputs}, {&g.given()});
        T* grad_bias = data_of<T>(result);
        const WithoutGil nogil;
        pyconv::sum_rows<T>(N, outputs, g.data(), grad_bias);
        return result;
    });
}

}  // namespace

void def_gemm(py::module_& m) {
    m.def("gemm", gemm);
    m.def("linear", linear);
    m.def("linear_backward_input", linear_backward_input);
    m.def("linear_backward_weight", linear_backward_weight);
    m.def("linear_backward_bias", linear_backward_bias);
}

}  // namespace pyconv::bindings
