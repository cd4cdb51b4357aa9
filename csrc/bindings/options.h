// SPDX-License-Identifier: BSD-3-Clause
// The forms in which options cross from Python, once pyconv/functional has checked their types.
#pragma once

#include <optional>

#include "bindings/arrays.h"
#include "kernels/table.h"
#include "ops/conv.h"

namespace pyconv::bindings {

// (begin, end) of each spatial axis, or None for "same".
template <size_t Axes>
using Sides = std::optional<std::array<Pair, Axes>>;
using PaddingOption = Sides<2>;

inline Padding to_padding(const PaddingOption& option) {
    if (!option) return {.same = true};
    const auto& [vertical, horizontal] = *option;
    return {false, vertical[0], vertical[1], horizontal[0], horizontal[1]};
}

inline Activation to_activation(const char* function, const std::optional<std::string>& name) {
    if (!name) return Activation::None;
    check(*name == "relu", function, ": activation is unknown, got '", *name,
          "'; expected None or 'relu'");
    return Activation::Relu;
}

// Of convolutions.
inline Activation to_conv_activation(const char* function, const std::optional<std::string>& name) {
    if (!name) return Activation::None;
    if (*name == "relu6") return Activation::Relu6;
    if (*name == "hardswish") return Activation::Hardswish;
    check(*name == "relu", function, ": activation is unknown, got '", *name,
          "'; expected None, 'relu', 'relu6' or 'hardswish'");
    return Activation::Relu;
}

inline ConvAlgorithm named_algorithm(const char* function, const std::string& name) {
    if (name == "auto") return ConvAlgorithm::Auto;
    if (name == "im2col") return ConvAlgorithm::Im2col;
    if (name == "direct") return ConvAlgorithm::Direct;
    if (name == "depthwise") return ConvAlgorithm::Depthwise;
    if (name == "winograd") return ConvAlgorithm::Winograd;
    check(name == "implicit_gemm", function, ": algorithm is unknown, got '", name,
          "'; expected 'auto', 'im2col', 'implicit_gemm', 'direct', 'depthwise' or 'winograd'");
    return ConvAlgorithm::ImplicitGemm;
}

// Only if it can compute the convolution `s`.
inline ConvAlgorithm to_algorithm(const char* function, const ConvShape& s,
                                  const std::string& name) {
    const ConvAlgorithm algorithm = named_algorithm(function, name);
    check_algorithm(function, s, algorithm);
    return algorithm;
}

inline Shape as_shape(Sizes shape) { return {shape.begin(), shape.end()}; }

}  // namespace pyconv::bindings
