# SPDX-License-Identifier: BSD-3-Clause
"""Pooling over volumes (N, C, D, H, W), with the kernels for images.

A window is a product of three intervals: its maximum is that of the maxima of its planes, and its
average that of their averages. So the planes are pooled first, each as an image, and then the results
along D, as images whose rows are planes. The first of equal maxima, or of NaNs, is the first one in
the first plane that has it: that of a single pass, which visits D, H and W in this order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyconv import functional as F

__all__ = ["avg_pool3d", "avg_pool3d_backward", "max_pool3d", "max_pool3d_backward"]

Array = NDArray[Any]
Triple = tuple[int, ...]

# The option of an axis that is left as it is.
_ABSENT = {"kernel_size": 1, "stride": 1, "padding": 0, "dilation": 1}


def _passes(**options: Triple) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options of the pass over (H, W), and of that over D."""
    planes = {name: values[1:] for name, values in options.items()}
    depth = {name: (values[0], _ABSENT[name]) for name, values in options.items()}
    return planes, depth


def _planes(volume: Array) -> Array:
    N, C, D, H, W = volume.shape
    return volume.reshape(N, C * D, H, W)


def _columns(volume: Array) -> Array:
    N, C, D, H, W = volume.shape
    return volume.reshape(N, C, D, H * W)


def max_pool3d(
    input: Array,
    kernel_size: Triple,
    *,
    stride: Triple,
    padding: Triple,
    dilation: Triple,
    ceil_mode: bool,
    return_indices: bool = False,
) -> Any:
    """Return the maxima and, if asked for, their int32 indices ``(d * H + h) * W + w``.

    The index of a window without values is -1, as in `pyconv.functional.max_pool2d`.
    """
    N, C, D, H, W = input.shape
    of_planes, of_depth = _passes(
        kernel_size=kernel_size, stride=stride, padding=padding, dilation=dilation
    )
    maxima, places = F.max_pool2d(
        _planes(input), **of_planes, ceil_mode=ceil_mode, return_indices=True
    )
    OH, OW = maxima.shape[2:]
    output, columns = F.max_pool2d(
        maxima.reshape(N, C, D, OH * OW), **of_depth, ceil_mode=ceil_mode, return_indices=True
    )
    shape = (N, C, output.shape[2], OH, OW)
    if not return_indices:
        return output.reshape(shape)
    # A column is d * OH * OW and the place in the pooled plane; that in the plane itself was kept.
    count = shape[2] * OH * OW
    columns = columns.reshape(N, C, count)
    place = np.take_along_axis(places.reshape(N, C, D * OH * OW), columns, axis=2)
    indices = columns // (OH * OW) * np.int32(H * W) + place
    indices[(columns < 0) | (place < 0)] = -1
    return output.reshape(shape), indices.reshape(shape)


def max_pool3d_backward(grad_output: Array, indices: Array, input_shape: Triple) -> Array:
    """Add each gradient where its index says: in a volume as in an image of D * H rows."""
    N, C, D, H, W = input_shape
    OD, OH, OW = grad_output.shape[2:]
    grad = F.max_pool2d_backward(
        grad_output.reshape(N, C, OD * OH, OW),
        indices.reshape(N, C, OD * OH, OW),
        (N, C, D * H, W),
    )
    return grad.reshape(input_shape)


def _divisors(divisor_override: int | None) -> tuple[int | None, int | None]:
    """Return those of the two passes: with a divisor of its own, the planes are only summed."""
    return (None if divisor_override is None else 1), divisor_override


def avg_pool3d(
    input: Array,
    kernel_size: Triple,
    *,
    stride: Triple,
    padding: Triple,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Array:
    """Return the average of each window."""
    N, C, D, _, _ = input.shape
    of_planes, of_depth = _passes(kernel_size=kernel_size, stride=stride, padding=padding)
    words: dict[str, Any] = {"ceil_mode": ceil_mode, "count_include_pad": count_include_pad}
    inner, outer = _divisors(divisor_override)
    averages = F.avg_pool2d(_planes(input), **of_planes, **words, divisor_override=inner)
    OH, OW = averages.shape[2:]
    output = F.avg_pool2d(
        averages.reshape(N, C, D, OH * OW), **of_depth, **words, divisor_override=outer
    )
    return output.reshape(N, C, output.shape[2], OH, OW)


def avg_pool3d_backward(
    grad_output: Array,
    input_shape: Triple,
    kernel_size: Triple,
    *,
    stride: Triple,
    padding: Triple,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Array:
    """Return the gradient of the input: the adjoints of the two passes, the last one first."""
    N, C, D, H, W = input_shape
    OH, OW = grad_output.shape[3:]
    of_planes, of_depth = _passes(kernel_size=kernel_size, stride=stride, padding=padding)
    words: dict[str, Any] = {"ceil_mode": ceil_mode, "count_include_pad": count_include_pad}
    inner, outer = _divisors(divisor_override)
    grad_averages = F.avg_pool2d_backward(
        _columns(grad_output), (N, C, D, OH * OW), **of_depth, **words, divisor_override=outer
    )
    grad = F.avg_pool2d_backward(
        grad_averages.reshape(N, C * D, OH, OW),
        (N, C * D, H, W),
        **of_planes,
        **words,
        divisor_override=inner,
    )
    return grad.reshape(input_shape)
