# SPDX-License-Identifier: BSD-3-Clause
"""Normalisation. Backward functions are derivatives written out by hand."""

import math

import numpy as np

from reference.activation import relu, relu_backward
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
    activation: str | None = None,
) -> Array:
    """(x - mean) / sqrt(var + eps) * weight + bias, and ReLU."""
    center, spread = (_channels(values, input.ndim, 0.0) for values in (mean, var))
    scale, shift = _channels(weight, input.ndim, 1.0), _channels(bias, input.ndim, 0.0)
    y = (input - center) / np.sqrt(spread + eps) * scale + shift
    return relu(y) if activation == "relu" else y


def batch_norm_training(
    input: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    eps: float = 1e-5,
    activation: str | None = None,
) -> tuple[Array, Array, Array]:
    """batch_norm by the batch's own statistics, and those."""
    mean, var = batch_norm_statistics(input)
    return batch_norm(input, mean, var, weight, bias, eps=eps, activation=activation), mean, var


def batch_norm_backward(
    grad_output: Array,
    input: Array,
    mean: Array,
    var: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    training: bool = True,
    eps: float = 1e-5,
    activation: str | None = None,
) -> tuple[Array, Array, Array]:
    """Differentiate batch_norm, through mean and var too when they are the batch's own."""
    g, axes = double(grad_output), (0, *range(2, input.ndim))
    if activation == "relu":
        g = relu_backward(g, batch_norm(input, mean, var, weight, bias, eps=eps))
    normalized = batch_norm(input, mean, var, eps=eps)
    deviation = np.sqrt(_channels(var, input.ndim, 0.0) + eps)
    grad_weight, grad_bias = np.sum(g * normalized, axis=axes), np.sum(g, axis=axes)
    if training:
        along = normalized * np.mean(g * normalized, axis=axes, keepdims=True)
        g = g - np.mean(g, axis=axes, keepdims=True) - along
    return g * _channels(weight, input.ndim, 1.0) / deviation, grad_weight, grad_bias


def group_norm(
    input: Array,
    num_groups: int,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    eps: float = 1e-5,
) -> Array:
    """Normalise (N, G, everything else) along the last axis."""
    x = double(input).reshape(_groups(input.shape, num_groups))
    normalized = _normalized(x, eps)[0].reshape(input.shape)
    return normalized * _channels(weight, input.ndim, 1.0) + _channels(bias, input.ndim, 0.0)


def group_norm_backward(
    grad_output: Array,
    input: Array,
    num_groups: int,
    weight: Array | None = None,
    *,
    eps: float = 1e-5,
) -> tuple[Array, Array, Array]:
    """Differentiate group_norm."""
    rows = _groups(input.shape, num_groups)
    normalized, deviation = _normalized(double(input).reshape(rows), eps)
    g = (double(grad_output) * _channels(weight, input.ndim, 1.0)).reshape(rows)
    grad_input = _normalized_backward(g, normalized, deviation).reshape(input.shape)
    axes = (0, *range(2, input.ndim))
    product = double(grad_output) * normalized.reshape(input.shape)
    return grad_input, np.sum(product, axis=axes), np.sum(double(grad_output), axis=axes)


def instance_norm(
    input: Array, weight: Array | None = None, bias: Array | None = None, *, eps: float = 1e-5
) -> Array:
    """group_norm with a group for each channel."""
    return group_norm(input, max(1, input.shape[1]), weight, bias, eps=eps)


def instance_norm_backward(
    grad_output: Array, input: Array, weight: Array | None = None, *, eps: float = 1e-5
) -> tuple[Array, Array, Array]:
    """Differentiate instance_norm."""
    return group_norm_backward(grad_output, input, max(1, input.shape[1]), weight, eps=eps)


def layer_norm(
    input: Array,
    normalized_shape: tuple[int, ...],
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    eps: float = 1e-5,
) -> Array:
    """Normalise along the last axes, then scale and shift each value."""
    rows = (*input.shape[: input.ndim - len(normalized_shape)], math.prod(normalized_shape))
    normalized = _normalized(double(input).reshape(rows), eps)[0].reshape(input.shape)
    scale = 1.0 if weight is None else double(weight)
    return double(normalized * scale + (0.0 if bias is None else double(bias)))


def layer_norm_backward(
    grad_output: Array,
    input: Array,
    normalized_shape: tuple[int, ...],
    weight: Array | None = None,
    *,
    eps: float = 1e-5,
) -> tuple[Array, Array, Array]:
    """Differentiate layer_norm."""
    outer = input.ndim - len(normalized_shape)
    rows = (*input.shape[:outer], math.prod(normalized_shape))
    normalized, deviation = _normalized(double(input).reshape(rows), eps)
    g = double(grad_output) * (1.0 if weight is None else double(weight))
    grad_input = _normalized_backward(g.reshape(rows), normalized, deviation)
    axes = tuple(range(outer))
    product = double(grad_output) * normalized.reshape(input.shape)
    return (
        grad_input.reshape(input.shape),
        np.sum(product, axis=axes),
        np.sum(double(grad_output), axis=axes),
    )


def _groups(shape: tuple[int, ...], num_groups: int) -> tuple[int, int, int]:
    return shape[0], num_groups, math.prod(shape[1:]) // num_groups


def _normalized(x: Array, eps: float) -> tuple[Array, Array]:
    """Normalise along the last axis; the deviation too."""
    deviation = np.sqrt(np.var(x, axis=-1, keepdims=True) + eps)
    return (x - np.mean(x, axis=-1, keepdims=True)) / deviation, deviation


def _normalized_backward(g: Array, normalized: Array, deviation: Array) -> Array:
    """Differentiate (x - mean) / sqrt(var + eps) along the last axis."""
    along = normalized * np.mean(g * normalized, axis=-1, keepdims=True)
    return double((g - np.mean(g, axis=-1, keepdims=True) - along) / deviation)


def _response_scales(x: Array, size: int, alpha: float, k: float) -> Array:
    """Compute k + alpha / size * sum of squares of the window, for each channel."""
    scales = np.empty(x.shape)
    for c in range(x.shape[1]):
        window = x[:, max(0, c - size // 2) : c + (size - 1) // 2 + 1]
        scales[:, c] = k + alpha / size * np.sum(window**2, axis=1)
    return scales


def local_response_norm(
    input: Array, size: int, *, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Array:
    """Compute x / scale**beta."""
    x = double(input)
    return double(x / _response_scales(x, size, alpha, k) ** beta)


def local_response_norm_backward(
    grad_output: Array,
    input: Array,
    size: int,
    *,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
) -> Array:
    """Differentiate local_response_norm."""
    x, g = double(input), double(grad_output)
    scales = _response_scales(x, size, alpha, k)
    terms = g * x * scales ** (-beta - 1)
    result = g * scales**-beta
    for c in range(x.shape[1]):
        holding = terms[:, max(0, c - (size - 1) // 2) : c + size // 2 + 1]
        result[:, c] -= 2 * alpha * beta / size * x[:, c] * np.sum(holding, axis=1)
    return result
