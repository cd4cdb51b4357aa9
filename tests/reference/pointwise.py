# SPDX-License-Identifier: BSD-3-Clause
"""Normalisation and dropout.

Backward functions are derivatives written out by hand; the tests compare them with central
differences of the forward functions too.
"""

import numpy as np

from reference.window import Array, double


def _channels(values: Array | None, ndim: int, default: float) -> Array:
    """Shape one number a channel to meet (N, C, ...)."""
    shape = (1, -1, *[1] * (ndim - 2))
    return double(np.array(default) if values is None else values).reshape(shape)


def batch_norm_statistics(input: Array) -> tuple[Array, Array]:
    """Mean and biased variance of each channel."""
    x, axes = double(input), (0, *range(2, input.ndim))
    return np.mean(x, axis=axes), np.var(x, axis=axes)


def batch_norm(
    input: Array,
    mean: Array,
    var: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    eps: float = 1e-5,
) -> Array:
    """(x - mean) / sqrt(var + eps) * weight + bias."""
    center, spread = (_channels(values, input.ndim, 0.0) for values in (mean, var))
    scale, shift = _channels(weight, input.ndim, 1.0), _channels(bias, input.ndim, 0.0)
    return (input - center) / np.sqrt(spread + eps) * scale + shift


def batch_norm_backward(
    grad_output: Array,
    input: Array,
    mean: Array,
    var: Array,
    weight: Array | None = None,
    *,
    training: bool = True,
    eps: float = 1e-5,
) -> tuple[Array, Array, Array]:
    """Differentiate batch_norm, through mean and var too when they are the batch's own."""
    g, axes = double(grad_output), (0, *range(2, input.ndim))
    normalized = batch_norm(input, mean, var, eps=eps)
    deviation = np.sqrt(_channels(var, input.ndim, 0.0) + eps)
    grad_weight, grad_bias = np.sum(g * normalized, axis=axes), np.sum(g, axis=axes)
    if training:
        along = normalized * np.mean(g * normalized, axis=axes, keepdims=True)
        g = g - np.mean(g, axis=axes, keepdims=True) - along
    return g * _channels(weight, input.ndim, 1.0) / deviation, grad_weight, grad_bias


def dropout_backward(grad_output: Array, mask: Array) -> Array:
    """Multiply by the mask."""
    return double(grad_output) * mask
