# SPDX-License-Identifier: BSD-3-Clause
"""Convolution over any number of spatial axes, one output pixel at a time."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from reference.activation import relu
from reference.window import Array, Shape, double

Stop = tuple[tuple[Any, ...], tuple[Any, ...]]


def _each(value: Any, axes: int) -> list[Any]:
    return [value] * axes if isinstance(value, int) else list(value)


class _Sliding:
    """A kernel that slides over the padded input and stops at every output pixel."""

    def __init__(
        self, size: Shape, kernel: Shape, stride: Any = 1, padding: Any = 0, dilation: Any = 1
    ) -> None:
        axes = len(size)
        self.size, self.kernel = tuple(size), tuple(kernel)
        self.stride, self.dilation = _each(stride, axes), _each(dilation, axes)
        self.span = [d * (k - 1) + 1 for d, k in zip(self.dilation, kernel, strict=True)]
        if padding == "same":
            totals = [
                max(0, (-(-length // s) - 1) * s + span - length)
                for length, s, span in zip(size, self.stride, self.span, strict=True)
            ]
            self.pads = [[total // 2, total - total // 2] for total in totals]
        else:
            self.pads = [_each(p, 2) for p in _each(0 if padding == "valid" else padding, axes)]
        self.counts = tuple(
            (length + sum(pads) - span) // s + 1
            for length, pads, span, s in zip(size, self.pads, self.span, self.stride, strict=True)
        )

    def pad(self, array: Array) -> Array:
        return np.pad(double(array), [(0, 0), (0, 0), *self.pads])

    def crop(self, padded: Array) -> Array:
        inside = zip(self.pads, self.size, strict=True)
        window: Any = [slice(begin, begin + length) for (begin, _), length in inside]
        cropped: Array = padded[(..., *window)]
        return cropped

    def stops(self) -> Iterator[Stop]:
        """Yield where an output pixel is, and the slices of the padded input that it sees."""
        for at in np.ndindex(*self.counts):
            window = zip(at, self.stride, self.span, self.dilation, strict=True)
            slices = [slice(i * s, i * s + span, d) for i, s, span, d in window]
            yield (..., *at), (..., *slices)


def conv_nd(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    groups: int = 1,
    activation: str | None = None,
    **options: Any,
) -> Array:
    """Sum, for every output pixel, the products of a filter with what it sees."""
    N, OC = len(input), len(weight)
    sliding = _Sliding(input.shape[2:], weight.shape[2:], **options)
    padded = sliding.pad(input)
    filters = double(weight).reshape(groups, OC // groups, int(np.prod(weight.shape[1:])))
    output = np.zeros((N, OC, *sliding.counts))
    for at, window in sliding.stops():
        seen = padded[window].reshape(N, groups, filters.shape[2])
        output[at] = np.einsum("ngk,gok->ngo", seen, filters).reshape(N, OC)
    if bias is not None:
        output += double(bias).reshape(-1, *[1] * len(sliding.size))
    return relu(output) if activation == "relu" else output


def conv_nd_backward_input(
    grad_output: Array, weight: Array, input_shape: Shape, *, groups: int = 1, **options: Any
) -> Array:
    """Send grad_output of every output pixel, times the filter, to what the filter saw."""
    N, OC = len(grad_output), len(weight)
    sliding = _Sliding(input_shape[2:], weight.shape[2:], **options)
    padded = sliding.pad(np.zeros(input_shape))
    filters = double(weight).reshape(groups, OC // groups, int(np.prod(weight.shape[1:])))
    for at, window in sliding.stops():
        g = double(grad_output)[at].reshape(N, groups, OC // groups)
        sent = np.einsum("ngo,gok->ngk", g, filters)
        padded[window] += sent.reshape(padded[window].shape)
    return sliding.crop(padded)


def conv_nd_backward_weight(
    grad_output: Array, input: Array, weight_shape: Shape, *, groups: int = 1, **options: Any
) -> Array:
    """Send grad_output of every output pixel, times what the filter saw, to the filter."""
    N, OC = len(input), weight_shape[0]
    sliding = _Sliding(input.shape[2:], weight_shape[2:], **options)
    padded, products = sliding.pad(input), int(np.prod(weight_shape[1:]))
    grad_weight = np.zeros((groups, OC // groups, products))
    for at, window in sliding.stops():
        g = double(grad_output)[at].reshape(N, groups, OC // groups)
        seen = padded[window].reshape(N, groups, products)
        grad_weight += np.einsum("ngo,ngk->gok", g, seen)
    return grad_weight.reshape(weight_shape)


def conv_nd_backward_bias(grad_output: Array) -> Array:
    """Sum over images and pixels."""
    return double(double(grad_output).sum(axis=(0, *range(2, grad_output.ndim))))


conv1d = conv3d = conv_nd
conv1d_backward_input = conv3d_backward_input = conv_nd_backward_input
conv1d_backward_weight = conv3d_backward_weight = conv_nd_backward_weight
conv1d_backward_bias = conv3d_backward_bias = conv_nd_backward_bias
