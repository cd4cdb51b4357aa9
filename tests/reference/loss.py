# SPDX-License-Identifier: BSD-3-Clause
"""Losses.

Backward functions are derivatives written out by hand; the tests compare them with central
differences of the forward functions too.
"""

import numpy as np

from reference.activation import log_softmax, sigmoid, softmax
from reference.window import Array, double


def _class_weights(
    logits: Array, target: Array, weight: Array | None, ignore_index: int, smoothing: float
) -> tuple[Array, float]:
    """Weight of every log-probability (N, K, ...), and the divisor of a weighted mean."""
    K = logits.shape[1]
    w = np.ones(K) if weight is None else double(weight)
    factors = np.zeros(logits.shape)
    total = 0.0
    if target.dtype.kind == "f":  # a probability of every class
        for k in range(K):
            factors[:, k] = ((1.0 - smoothing) * double(target[:, k]) + smoothing / K) * w[k]
        return factors, logits.size / K
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
    """Weighted mean of -log_softmax(logits)[target], or of its product with probabilities."""
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


def nll(
    log_probability: Array, target: Array, *, weight: Array | None = None, ignore_index: int = -100
) -> float:
    """Weighted mean of minus the log-probability of the target."""
    factors, total = _class_weights(log_probability, target, weight, ignore_index, 0.0)
    terms = np.where(factors == 0, 0.0, -factors * double(log_probability))
    return float(np.sum(terms) / total)


def nll_backward(
    log_probability: Array, target: Array, *, weight: Array | None = None, ignore_index: int = -100
) -> Array:
    """-factors / total."""
    factors, total = _class_weights(log_probability, target, weight, ignore_index, 0.0)
    return -factors / total


def l1(input: Array, target: Array) -> float:
    """Mean of absolute differences."""
    return float(np.mean(np.abs(double(input) - target)))


def l1_backward(input: Array, target: Array) -> Array:
    """sign(input - target) over the number of elements."""
    return double(np.sign(double(input) - target) / input.size)


def smooth_l1(input: Array, target: Array, *, beta: float = 1.0) -> float:
    """Mean of a parabola within beta, and of a straight line beyond."""
    distance = np.abs(double(input) - target)
    return float(
        np.mean(np.where(distance < beta, distance**2 / (2.0 * beta), distance - beta / 2.0))
    )


def smooth_l1_backward(input: Array, target: Array, *, beta: float = 1.0) -> Array:
    """(input - target) / beta within beta, its sign beyond, over the number of elements."""
    difference = double(input) - target
    inside = np.abs(difference) < beta
    return np.where(inside, difference / beta, np.sign(difference)) / input.size


def bce_with_logits(logits: Array, target: Array) -> float:
    """Mean of -t log(p) - (1 - t) log(1 - p), p = 1 / (1 + exp(-x))."""
    x, t = double(logits), double(target)
    return float(np.mean(t * np.logaddexp(0.0, -x) + (1.0 - t) * np.logaddexp(0.0, x)))


def bce_with_logits_backward(logits: Array, target: Array) -> Array:
    """(p - t) over the number of elements."""
    return (sigmoid(logits) - target) / logits.size
