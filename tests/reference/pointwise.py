# SPDX-License-Identifier: BSD-3-Clause
"""Activations, dropout and losses.

Backward functions are derivatives written out by hand; the tests compare them with central
differences of the forward functions too.
"""

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


def dropout_backward(grad_output: Array, mask: Array) -> Array:
    """Multiply by the mask."""
    return double(grad_output) * mask


def _class_weights(
    logits: Array, target: Array, weight: Array | None, ignore_index: int, smoothing: float
) -> tuple[Array, float]:
    """Weight of every log-probability (N, K, ...), and the divisor of a weighted mean."""
    K = logits.shape[1]
    w = np.ones(K) if weight is None else double(weight)
    factors = np.zeros(logits.shape)
    total = 0.0
    for index in np.ndindex(target.shape):
        label = target[index]
        if label != ignore_index:
            factors[index[0], :, *index[1:]] = smoothing / K * w
            factors[index[0], label, *index[1:]] += (1.0 - smoothing) * w[label]
            total += float(w[label])
    return factors, total


def cross_entropy(
    logits: Array,
    target: Array,
    *,
    weight: Array | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> float:
    """Weighted mean of -log_softmax(logits)[target]."""
    factors, total = _class_weights(logits, target, weight, ignore_index, label_smoothing)
    terms = np.where(factors == 0, 0.0, -factors * log_softmax(logits, axis=1))
    return float(np.sum(terms) / total)


def cross_entropy_backward(
    logits: Array,
    target: Array,
    *,
    weight: Array | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Array:
    """(softmax * sum(factors) - factors) / total."""
    factors, total = _class_weights(logits, target, weight, ignore_index, label_smoothing)
    share = double(np.sum(factors, axis=1, keepdims=True))
    return (softmax(logits, axis=1) * share - factors) / total


def _margins(logits: Array, target: Array, margin: float) -> Array:
    """s_j - s_y + margin, and 0 at the right class."""
    rows, scores = np.arange(len(target)), double(logits)
    margins = scores - scores[rows, target][:, None] + margin
    margins[rows, target] = 0.0
    return margins


def multiclass_hinge(logits: Array, target: Array, *, margin: float = 1.0) -> float:
    """Mean over n of sum over j != y of max(0, s_j - s_y + margin)."""
    return float(np.sum(np.maximum(_margins(logits, target, margin), 0.0)) / len(logits))


def multiclass_hinge_backward(logits: Array, target: Array, *, margin: float = 1.0) -> Array:
    """1 for every violated margin, minus their count at the right class, over N."""
    violated = np.where(_margins(logits, target, margin) > 0, 1.0, 0.0)
    violated[np.arange(len(target)), target] = -np.sum(violated, axis=1)
    return violated / len(logits)


def mse(input: Array, target: Array) -> float:
    """Mean of squares over all elements."""
    return float(np.mean((double(input) - target) ** 2))


def mse_backward(input: Array, target: Array) -> Array:
    """Compute 2 * (input - target) / number of elements."""
    return 2.0 * (double(input) - target) / input.size
