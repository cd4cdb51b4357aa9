# SPDX-License-Identifier: BSD-3-Clause
"""Pooling and its gradients: every window visited, every pixel compared or added in turn."""

from typing import Any

import numpy as np

from reference.window import Array, Pair, Shape, Window, double, pair


def max_pool2d(
    input: Array, kernel_size: Pair, *, return_indices: bool = False, **options: Any
) -> Any:
    """Take the first largest pixel of each window; the last NaN wins over everything."""
    window = Window(input.shape[2:], kernel_size, **{"stride": None, **options})
    output = np.full((*input.shape[:2], window.OH, window.OW), -np.inf)
    indices = np.full(output.shape, -1, np.int32)
    for n, c, oh, ow in np.ndindex(output.shape):
        for h, w in window.pixels(oh, ow):
            value = float(input[n, c, h, w])
            first = indices[n, c, oh, ow] == -1
            if first or value > output[n, c, oh, ow] or np.isnan(value):
                output[n, c, oh, ow], indices[n, c, oh, ow] = value, h * window.W + w
    return (output, indices) if return_indices else output


def max_pool2d_backward(grad_output: Array, indices: Array, input_shape: Shape) -> Array:
    """Add every gradient to the pixel that index names within its H*W plane."""
    N, C, H, W = input_shape
    grad_input = np.zeros((N, C, H * W))
    for n, c, oh, ow in np.ndindex(grad_output.shape):
        index = indices[n, c, oh, ow]
        if index >= 0:
            grad_input[n, c, index] += grad_output[n, c, oh, ow]
    return grad_input.reshape(input_shape)


def _divisor(
    window: Window, oh: int, ow: int, count_include_pad: bool, divisor_override: int | None
) -> int:
    """Count the taps inside the padded input, or only those on real pixels."""
    if divisor_override is not None:
        return divisor_override
    if not count_include_pad:
        return len(list(window.pixels(oh, ow)))
    (sh, sw), ((_, bottom), (_, right)) = window.stride, window.pads
    rows = min(window.KH, window.H + bottom - oh * sh + window.pads[0][0])
    columns = min(window.KW, window.W + right - ow * sw + window.pads[1][0])
    return int(rows * columns)


def avg_pool2d(
    input: Array,
    kernel_size: Pair,
    *,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    **options: Any,
) -> Array:
    """Divide the sum of the real pixels of each window by its divisor."""
    window = Window(input.shape[2:], kernel_size, **{"stride": None, **options})
    output = np.zeros((*input.shape[:2], window.OH, window.OW))
    for oh, ow in np.ndindex(window.OH, window.OW):
        for h, w in window.pixels(oh, ow):
            output[:, :, oh, ow] += double(input[:, :, h, w])
        output[:, :, oh, ow] /= _divisor(window, oh, ow, count_include_pad, divisor_override)
    return output


def avg_pool2d_backward(
    grad_output: Array,
    input_shape: Shape,
    kernel_size: Pair,
    *,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    **options: Any,
) -> Array:
    """Share every gradient equally among the real pixels of its window."""
    window = Window(input_shape[2:], kernel_size, **{"stride": None, **options})
    grad_input = np.zeros(input_shape)
    for oh, ow in np.ndindex(window.OH, window.OW):
        divisor = _divisor(window, oh, ow, count_include_pad, divisor_override)
        for h, w in window.pixels(oh, ow):
            grad_input[:, :, h, w] += double(grad_output[:, :, oh, ow]) / divisor
    return grad_input


def lp_pool2d(input: Array, kernel_size: Pair, *, norm_type: float = 2.0, **options: Any) -> Array:
    """Take the root of the sum of the powers of the real pixels of each window."""
    total = avg_pool2d(double(input) ** norm_type, kernel_size, divisor_override=1, **options)
    return np.asarray(total ** (1 / norm_type))


def lp_pool2d_backward(
    grad_output: Array,
    input: Array,
    output: Array,
    kernel_size: Pair,
    *,
    norm_type: float = 2.0,
    **options: Any,
) -> Array:
    """Apply the chain rule to every window and pixel; an output of 0 has no gradient."""
    window = Window(input.shape[2:], kernel_size, **{"stride": None, **options})
    grad_input = np.zeros(input.shape)
    for n, c, oh, ow in np.ndindex(output.shape):
        y, g = double(output[n, c, oh, ow]), double(grad_output[n, c, oh, ow])
        for h, w in window.pixels(oh, ow) if y != 0 else ():
            x = double(input[n, c, h, w])
            grad_input[n, c, h, w] += g * (x / y) ** (norm_type - 1)
    return grad_input


def max_unpool2d(input: Array, indices: Array, output_shape: Shape) -> Array:
    """Write every value to the pixel that its index names, in turn."""
    N, C, H, W = output_shape
    output = np.zeros((N, C, H * W))
    for n, c, oh, ow in np.ndindex(input.shape):
        if indices[n, c, oh, ow] >= 0:
            output[n, c, indices[n, c, oh, ow]] = input[n, c, oh, ow]
    return output.reshape(output_shape)


def max_unpool2d_backward(grad_output: Array, indices: Array) -> Array:
    """Read every gradient from the pixel that its index names."""
    grad_input = np.zeros(indices.shape)
    W = grad_output.shape[3]
    for n, c, oh, ow in np.ndindex(indices.shape):
        if indices[n, c, oh, ow] >= 0:
            h, w = divmod(indices[n, c, oh, ow], W)
            grad_input[n, c, oh, ow] = grad_output[n, c, h, w]
    return grad_input


def adaptive_bounds(o: int, size: int, count: int) -> slice:
    """Return window o of count: floor(o * size / count) to ceil((o + 1) * size / count)."""
    return slice(o * size // count, -(-(o + 1) * size // count))


def adaptive_avg_pool2d(input: Array, output_size: Pair) -> Array:
    """Average over OH x OW windows that together cover the plane."""
    OH, OW = pair(output_size)
    H, W = input.shape[2:]
    output = np.zeros((*input.shape[:2], OH, OW))
    for oh, ow in np.ndindex(OH, OW):
        rows, columns = adaptive_bounds(oh, H, OH), adaptive_bounds(ow, W, OW)
        output[:, :, oh, ow] = np.mean(input[:, :, rows, columns], axis=(2, 3), dtype=np.float64)
    return output


def adaptive_avg_pool2d_backward(grad_output: Array, input_shape: Shape) -> Array:
    """Share every gradient equally among the pixels of its window."""
    OH, OW = grad_output.shape[2:]
    H, W = input_shape[2:]
    grad_input = np.zeros(input_shape)
    for oh, ow in np.ndindex(OH, OW):
        part = grad_input[:, :, adaptive_bounds(oh, H, OH), adaptive_bounds(ow, W, OW)]
        count = part.shape[2] * part.shape[3]
        part += double(grad_output[:, :, oh, ow, None, None]) / count
    return grad_input


def adaptive_max_pool2d(input: Array, output_size: Pair, *, return_indices: bool = False) -> Any:
    """Take max_pool2d's choice in each window of adaptive_avg_pool2d."""
    OH, OW = pair(output_size)
    H, W = input.shape[2:]
    output = np.zeros((*input.shape[:2], OH, OW))
    indices = np.zeros(output.shape, np.int32)
    for n, c, oh, ow in np.ndindex(output.shape):
        rows, columns = adaptive_bounds(oh, H, OH), adaptive_bounds(ow, W, OW)
        part = input[n : n + 1, c : c + 1, rows, columns]
        value, index = max_pool2d(part, part.shape[2:], return_indices=True)
        h, w = divmod(int(index.item()), part.shape[3])
        output[n, c, oh, ow] = value.item()
        indices[n, c, oh, ow] = (rows.start + h) * W + columns.start + w
    return (output, indices) if return_indices else output


def global_avg_pool2d(input: Array) -> Array:
    """Average each plane."""
    return double(np.mean(double(input), axis=(2, 3), keepdims=True))


def global_avg_pool2d_backward(grad_output: Array, input_shape: Shape) -> Array:
    """Share the gradient of each plane equally among its pixels."""
    return np.zeros(input_shape) + double(grad_output) / (input_shape[2] * input_shape[3])


def global_max_pool2d(input: Array, *, return_indices: bool = False) -> Any:
    """Take max_pool2d's choice in each plane."""
    return adaptive_max_pool2d(input, 1, return_indices=return_indices)
