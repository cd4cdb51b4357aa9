# SPDX-License-Identifier: BSD-3-Clause
"""Activations and softmax.

Backward functions are derivatives written out by hand; the tests compare them with central
differences of the forward functions too.
"""

import math

import numpy as np

from reference.window import Array, double


def relu(input: Array) -> Array:
    """Keep positive numbers and NaN; everything else, -0.0 included, becomes +0.0."""
    x = double(input)
    return np.where((x > 0) | np.isnan(x), x, 0.0)


def relu_backward(grad_output: Array, output: Array) -> Array:
    """Pass the gradient where the output is not <= 0."""
    return np.where(output <= 0, 0.0, double(grad_output))


def leaky_relu(input: Array, *, negative_slope: float = 0.01) -> Array:
    """Scale what is not positive by the slope."""
    x = double(input)
    return np.where(x > 0, x, negative_slope * x)


def leaky_relu_backward(grad_output: Array, input: Array, *, negative_slope: float = 0.01) -> Array:
    """Scale the gradient by the slope where the input is not positive."""
    g = double(grad_output)
    return np.where(input > 0, g, negative_slope * g)


def sigmoid(input: Array) -> Array:
    """Compute 1 / (1 + exp(-x)), written so that exp cannot overflow."""
    x = double(input)
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, e) / (1.0 + e)


def sigmoid_backward(grad_output: Array, output: Array) -> Array:
    """Compute grad * y * (1 - y)."""
    y = double(output)
    return grad_output * y * (1.0 - y)


def tanh(input: Array) -> Array:
    """Compute the hyperbolic tangent."""
    return np.tanh(double(input))


def tanh_backward(grad_output: Array, output: Array) -> Array:
    """Compute grad * (1 - y**2)."""
    y = double(output)
    return grad_output * (1.0 - y * y)


def relu6(input: Array) -> Array:
    """Keep what lies between 0 and 6, and NaN."""
    return np.clip(relu(input), None, 6.0)


def relu6_backward(grad_output: Array, output: Array) -> Array:
    """Pass the gradient where the output is not at an end."""
    return np.where((output <= 0) | (output >= 6), 0.0, double(grad_output))


def hardsigmoid(input: Array) -> Array:
    """Compute clip(x + 3, 0, 6) / 6."""
    return np.clip(double(input) + 3.0, 0.0, 6.0) / 6.0


def hardsigmoid_backward(grad_output: Array, input: Array) -> Array:
    """Compute grad / 6 where x is not outside of -3 to 3."""
    return np.where((input <= -3) | (input >= 3), 0.0, double(grad_output) / 6.0)


def hardswish(input: Array) -> Array:
    """Compute x * hardsigmoid(x)."""
    return double(input) * hardsigmoid(input)


def hardswish_backward(grad_output: Array, input: Array) -> Array:
    """Differentiate the three pieces 0, x * (x + 3) / 6 and x."""
    x, g = double(input), double(grad_output)
    return np.where(x <= -3, 0.0, g * np.where(x >= 3, 1.0, x / 3.0 + 0.5))


def silu(input: Array) -> Array:
    """Compute x * sigmoid(x)."""
    return double(input) * sigmoid(input)


def silu_backward(grad_output: Array, input: Array) -> Array:
    """Compute grad * (s + x * s * (1 - s))."""
    x, s = double(input), sigmoid(input)
    return grad_output * (s + x * s * (1.0 - s))


def elu(input: Array, *, alpha: float = 1.0) -> Array:
    """Bend negative numbers towards -alpha."""
    x = double(input)
    return np.where(x > 0, x, alpha * np.expm1(np.where(x > 0, 0.0, x)))


def elu_backward(grad_output: Array, input: Array, *, alpha: float = 1.0) -> Array:
    """Compute grad * alpha * exp(x) where x is not positive."""
    x = double(input)
    return grad_output * np.where(x > 0, 1.0, alpha * np.exp(np.where(x > 0, 0.0, x)))


SELU_SCALE, SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


def selu(input: Array) -> Array:
    """Scale elu."""
    return SELU_SCALE * elu(input, alpha=SELU_ALPHA)


def selu_backward(grad_output: Array, input: Array) -> Array:
    """Scale the gradient of elu."""
    return SELU_SCALE * elu_backward(grad_output, input, alpha=SELU_ALPHA)


_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def normal_distribution(x: Array) -> Array:
    """Compute Phi(x), the probability of a standard normal variable below x."""
    return double(0.5 * _erfc(-double(x) / math.sqrt(2.0)))


def gelu(input: Array, *, approximate: str = "none") -> Array:
    """Compute x * Phi(x), or its approximation by tanh."""
    x = double(input)
    if approximate == "none":
        return x * normal_distribution(x)
    return x * sigmoid(2.0 * math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3))


def gelu_backward(grad_output: Array, input: Array, *, approximate: str = "none") -> Array:
    """Compute grad * (Phi(x) + x * phi(x)), or the derivative of the approximation."""
    x = double(input)
    if approximate == "none":
        density = np.exp(-x * x / 2.0) / math.sqrt(2.0 * math.pi)
        return grad_output * (normal_distribution(x) + x * density)
    factor = 2.0 * math.sqrt(2.0 / math.pi)
    s = sigmoid(factor * (x + 0.044715 * x**3))
    slope = factor * (1.0 + 3.0 * 0.044715 * x * x)
    return grad_output * (s + x * s * (1.0 - s) * slope)


def softplus(input: Array, *, beta: float = 1.0, threshold: float = 20.0) -> Array:
    """Compute log(1 + exp(beta x)) / beta, and x beyond the threshold."""
    x = double(input)
    z = beta * x
    smooth = (np.maximum(z, 0.0) + np.log1p(np.exp(-np.abs(z)))) / beta
    return np.where(z > threshold, x, smooth)


def softplus_backward(
    grad_output: Array, input: Array, *, beta: float = 1.0, threshold: float = 20.0
) -> Array:
    """Compute grad * sigmoid(beta x), and grad beyond the threshold."""
    z, g = beta * double(input), double(grad_output)
    return np.where(z > threshold, g, g * sigmoid(z))


def add(input: Array, other: Array, *, activation: str | None = None) -> Array:
    """Add, then take relu if asked."""
    total = double(input) + double(other)
    return total if activation is None else relu(total)


def softmax(input: Array, *, axis: int = -1) -> Array:
    """Compute exp(x) / sum(exp(x)), shifted by the maximum."""
    return np.exp(log_softmax(input, axis=axis))


def softmax_backward(grad_output: Array, output: Array, *, axis: int = -1) -> Array:
    """Compute y * (g - sum(g * y))."""
    g, y = double(grad_output), double(output)
    return double(y * (g - np.sum(g * y, axis=axis, keepdims=True)))


def log_softmax(input: Array, *, axis: int = -1) -> Array:
    """Compute x - log(sum(exp(x))), shifted by the maximum."""
    x = double(input)
    shifted = x - np.max(x, axis=axis, keepdims=True, initial=-np.inf)
    return double(shifted - np.log(double(np.sum(np.exp(shifted), axis=axis, keepdims=True))))


def log_softmax_backward(grad_output: Array, output: Array, *, axis: int = -1) -> Array:
    """Compute g - exp(y) * sum(g)."""
    g = double(grad_output)
    return double(g - np.exp(double(output)) * double(np.sum(g, axis=axis, keepdims=True)))
