// SPDX-License-Identifier: BSD-3-Clause
#include "ops/activation.h"

#include "bindings/module.h"
#include "bindings/options.h"

namespace pyconv::bindings {
namespace {

// unary() with up to two parameters. `out` may be the input.
py::array map_one(const char* function, Unary f, double a, double b, const py::object& input,
                  const py::object& out) {
    const py::array first = as_array(function, "input", input);
    return dispatch_float(function, "input", first, [&](auto zero) {
        using T = decltype(zero);
        const auto x = input_array<T>(function, "input", input, shape_of(first));
        py::array output = output_array<T>(function, out, shape_of(first), {&x.given()}, kInPlace);
        T* y = data_of<T>(output);
        const index_t n = first.size();
        const WithoutGil nogil;
        unary<T>(f, n, static_cast<T>(a), static_cast<T>(b), x.data(), y);
        return output;
    });
}

// binary() of two arrays of one shape, called `name` and `other_name`.
py::array map_two(const char* function, Binary f, double a, double b, const char* name,
                  const py::object& array, const char* other_name, const py::object& other,
                  const py::object& out) {
    const py::array first = as_array(function, name, array);
    return dispatch_float(function, name, first, [&](auto zero) {
        using T = decltype(zero);
        const Shape shape = shape_of(first);
        const auto x = input_array<T>(function, name, array, shape);
        const auto y = input_array<T>(function, other_name, other, shape, name);
        py::array result =
            output_array<T>(function, out, shape, {&x.given(), &y.given()}, kInPlace);
        T* z = data_of<T>(result);
        const index_t n = first.size();
        const WithoutGil nogil;
        binary<T>(f, n, static_cast<T>(a), static_cast<T>(b), x.data(), y.data(), z);
        return result;
    });
}

// A function's parameters as a and b of the kernel.
struct Parameters {
    double a = 0, b = 1;
};

// Adds `name` (input, parameters, out) and `backward_name` (grad_output, saved, parameters, out). Errors
// call them `function` and `backward`.
template <typename... P>
void def_pair(py::module_& m, const char* name, const char* function, Unary f,
              const char* backward_name, const char* backward, Binary b, const char* saved) {
    m.def(name, [=](const py::object& input, P... p, const py::object& out) {
        const Parameters q{p...};
        return map_one(function, f, q.a, q.b, input, out);
    });
    m.def(backward_name, [=](const py::object& grad_output, const py::object& other, P... p,
                             const py::object& out) {
        const Parameters q{p...};
        return map_two(backward, b, q.a, q.b, "grad_output", grad_output, saved, other, out);
    });
}
#define PYCONV_PAIR(name, Function) \
    #name, #name, Unary::Function, #name "_backward", #name "_backward", Binary::Function##Backward

// A function that the tests measure: only the forward direction, under a private name.
void def_elementary(py::module_& m, const char* name, Unary f) {
    m.def(name, [=](const py::object& input, const py::object& out) {
        return map_one(name, f, 0, 1, input, out);
    });
}

py::array add(const py::object& input, const py::object& other,
              const std::optional<std::string>& activation, const py::object& out) {
    const bool with_relu = to_activation("add", activation) == Activation::Relu;
    return map_two("add", with_relu ? Binary::AddRelu : Binary::Add, 0, 1, "input", input, "other",
                   other, out);
}

// Writes the mask over the draws, which are the caller's own.
py::tuple dropout(const py::object& input, double p, const py::object& draws) {
    const char* function = "dropout";
    const py::array first = as_array(function, "input", input);
    return dispatch_float(function, "input", first, [&](auto zero) {
        using T = decltype(zero);
        const Shape shape = shape_of(first);
        const auto x = input_array<T>(function, "input", input, shape);
        const auto r = input_array<T>(function, "draws", draws, shape, "input");
        py::array mask = output_array<T>(function, draws, shape, {&x.given()});
        py::array output = new_array(py::dtype::of<T>(), shape);
        T *m = data_of<T>(mask), *y = data_of<T>(output);
        const index_t n = first.size();
        {
            const WithoutGil nogil;
            pyconv::dropout<T>(n, static_cast<T>(p), static_cast<T>(1 / (1 - p)), r.data(),
                               x.data(), m, y);
        }
        return py::make_tuple(output, mask);
    });
}

}  // namespace

void def_activation(py::module_& m) {
    def_pair<>(m, PYCONV_PAIR(relu, Relu), "output");
    def_pair<double>(m, PYCONV_PAIR(leaky_relu, LeakyRelu), "input");
    def_pair<>(m, PYCONV_PAIR(relu6, Relu6), "output");
    def_pair<>(m, PYCONV_PAIR(hardsigmoid, Hardsigmoid), "input");
    def_pair<>(m, PYCONV_PAIR(hardswish, Hardswish), "input");
    def_pair<double>(m, PYCONV_PAIR(elu, Elu), "input");
    def_pair<double, double>(m, "selu", "selu", Unary::Elu, "selu_backward", "selu_backward",
                             Binary::EluBackward, "input");
    def_pair<>(m, PYCONV_PAIR(sigmoid, Sigmoid), "output");
    def_pair<>(m, PYCONV_PAIR(silu, Silu), "input");
    def_pair<>(m, PYCONV_PAIR(tanh, Tanh), "output");
    def_pair<>(m, PYCONV_PAIR(gelu, Gelu), "input");
    def_pair<>(m, "gelu_tanh", "gelu", Unary::GeluTanh, "gelu_tanh_backward", "gelu_backward",
               Binary::GeluTanhBackward, "input");
    def_pair<double, double>(m, PYCONV_PAIR(softplus, Softplus), "input");
    def_elementary(m, "_exp", Unary::Exp);
    def_elementary(m, "_expm1_of_negative", Unary::Expm1OfNegative);
    def_elementary(m, "_log", Unary::Log);
    def_elementary(m, "_log1p_of_fraction", Unary::Log1pOfFraction);
    def_elementary(m, "_normal_distribution", Unary::NormalDistribution);
    m.def("add", add);
    m.def("dropout", dropout);
    m.def("dropout_backward",
          [](const py::object& grad_output, const py::object& mask, const py::object& out) {
              return map_two("dropout_backward", Binary::Multiply, 0, 1, "grad_output", grad_output,
                             "mask", mask, out);
          });
}

}  // namespace pyconv::bindings
