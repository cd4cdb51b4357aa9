# SPDX-License-Identifier: BSD-3-Clause
"""Matrix products, convolution, its gradients, and the transposed convolution.

The ``*_by_definition`` functions visit every product of the definition. Their plain namesakes
visit kernel taps and leave the other axes to einsum, so that large cases are affordable;
test_checks.py compares the two.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from reference.activation import hardswish, relu, relu6
from reference.window import Array, Padding, Pair, Shape, Window, double


def gemm(
    a: Array,
    b: Array,
    *,
    trans_a: bool = False,
    trans_b: bool = False,
    alpha: float = 1.0,
    beta: float = 0.0,
    out: Array | None = None,
) -> Array:
    """Compute alpha * op(a) @ op(b) + beta * out."""
    a, b = double(a.T if trans_a else a), double(b.T if trans_b else b)
    product = np.zeros((a.shape[0], b.shape[1]))
    for k in range(a.shape[1]):
        product += np.outer(a[:, k], b[k])
    if out is None or beta == 0:
        return alpha * product
    return alpha * product + beta * double(out)


def linear(
    input: Array, weight: Array, bias: Array | None = None, *, activation: str | None = None
) -> Array:
    """Compute input @ weight.T + bias."""
    return _finish(gemm(input, weight, trans_b=True), bias, activation)


def linear_backward_input(grad_output: Array, weight: Array) -> Array:
    """Compute grad_output @ weight."""
    return gemm(grad_output, weight)


def linear_backward_weight(grad_output: Array, input: Array) -> Array:
    """Compute grad_output.T @ input."""
    return gemm(grad_output, input, trans_a=True)


def linear_backward_bias(grad_output: Array) -> Array:
    """Sum over the batch."""
    return double(np.sum(double(grad_output), axis=0))


def im2col(input: Array, kernel_size: Pair, **options: Any) -> Array:
    """columns[n, (c, kh, kw), (oh, ow)] = padded[n, c, oh*stride + kh*dilation, ...]."""
    N, C = input.shape[:2]
    window = Window(input.shape[2:], kernel_size, **options)
    padded = window.pad(double(input))
    columns = np.zeros((N, C, window.KH, window.KW, window.OH, window.OW))
    for kh, kw in np.ndindex(window.KH, window.KW):
        columns[:, :, kh, kw] = window.tap(padded, kh, kw)
    return columns.reshape(N, C * window.KH * window.KW, window.OH * window.OW)


def col2im(columns: Array, input_shape: Shape, kernel_size: Pair, **options: Any) -> Array:
    """Add every entry of columns to the pixel that im2col reads it from."""
    N, C = input_shape[:2]
    window = Window(input_shape[2:], kernel_size, **options)
    padded = window.pad(np.zeros(input_shape))
    taps = double(columns).reshape(N, C, window.KH, window.KW, window.OH, window.OW)
    for kh, kw in np.ndindex(window.KH, window.KW):
        window.tap(padded, kh, kw)[...] += taps[:, :, kh, kw]
    return window.crop(padded)


def _products(
    N: int, weight_shape: Shape, window: Window, groups: int
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]:
    """Yield the (output, padded input, weight) indices of every product of a convolution."""
    (sh, sw), (dh, dw) = window.stride, window.dilation
    OC, CG, KH, KW = weight_shape
    for n, oc, oh, ow in np.ndindex(N, OC, window.OH, window.OW):
        first = oc // (OC // groups) * CG
        for c, kh, kw in np.ndindex(CG, KH, KW):
            pixel = (n, first + c, oh * sh + kh * dh, ow * sw + kw * dw)
            yield (n, oc, oh, ow), pixel, (oc, c, kh, kw)


def conv2d_by_definition(input: Array, weight: Array, groups: int = 1, **options: Any) -> Array:
    """output[n,oc,oh,ow] = sum(c,kh,kw) padded[n, c, oh*s + kh*d, ow*s + kw*d] * weight[...]."""
    window = Window(input.shape[2:], weight.shape[2:], **options)
    padded = window.pad(double(input))
    output = np.zeros((len(input), len(weight), window.OH, window.OW))
    for o, i, w in _products(len(input), weight.shape, window, groups):
        output[o] += padded[i] * double(weight)[w]
    return output


def conv2d_backward_input_by_definition(
    grad_output: Array, weight: Array, input_shape: Shape, groups: int = 1, **options: Any
) -> Array:
    """Send, for every product of the definition, grad_output * weight to its pixel."""
    window = Window(input_shape[2:], weight.shape[2:], **options)
    padded = window.pad(np.zeros(input_shape))
    for o, i, w in _products(len(padded), weight.shape, window, groups):
        padded[i] += double(grad_output)[o] * weight[w]
    return window.crop(padded)


def conv2d_backward_weight_by_definition(
    grad_output: Array, input: Array, weight_shape: Shape, groups: int = 1, **options: Any
) -> Array:
    """Send, for every product of the definition, grad_output * padded to its weight."""
    window = Window(input.shape[2:], weight_shape[2:], **options)
    padded = window.pad(double(input))
    grad_weight = np.zeros(weight_shape)
    for o, i, w in _products(len(input), weight_shape, window, groups):
        grad_weight[w] += grad_output[o] * padded[i]
    return grad_weight


def _grouped(array: Array, groups: int, axis: int) -> Array:
    """Split an axis into (groups, the rest), in float64."""
    before, after = array.shape[:axis], array.shape[axis + 1 :]
    return double(array).reshape(*before, groups, array.shape[axis] // groups, *after)


def _gather(window: Window, input: Array, weight: Array, groups: int) -> Array:
    """conv2d_by_definition, one kernel tap at a time."""
    padded, weight = window.pad(_grouped(input, groups, 1)), _grouped(weight, groups, 0)
    output = np.zeros((len(input), *weight.shape[:2], window.OH, window.OW))
    for kh, kw in np.ndindex(window.KH, window.KW):
        tap = window.tap(padded, kh, kw)
        output += np.einsum("ngchw,goc->ngohw", tap, weight[..., kh, kw], optimize=True)
    return output.reshape(len(input), weight.shape[0] * weight.shape[1], window.OH, window.OW)


def _scatter(window: Window, grad_output: Array, weight: Array, groups: int) -> Array:
    """conv2d_backward_input_by_definition, one kernel tap at a time."""
    grad_output, weight = _grouped(grad_output, groups, 1), _grouped(weight, groups, 0)
    CG = weight.shape[2]
    padded = window.pad(np.zeros((len(grad_output), groups, CG, window.H, window.W)))
    for kh, kw in np.ndindex(window.KH, window.KW):
        tap = window.tap(padded, kh, kw)
        tap += np.einsum("ngohw,goc->ngchw", grad_output, weight[..., kh, kw], optimize=True)
    return window.crop(padded).reshape(len(grad_output), groups * CG, window.H, window.W)


def _correlate(
    window: Window, grad_output: Array, input: Array, weight_shape: Shape, groups: int
) -> Array:
    """conv2d_backward_weight_by_definition, one kernel tap at a time."""
    padded, grad_output = window.pad(_grouped(input, groups, 1)), _grouped(grad_output, groups, 1)
    grad_weight = _grouped(np.zeros(weight_shape), groups, 0)
    for kh, kw in np.ndindex(window.KH, window.KW):
        tap = window.tap(padded, kh, kw)
        grad_weight[..., kh, kw] = np.einsum("ngohw,ngchw->goc", grad_output, tap, optimize=True)
    return grad_weight.reshape(weight_shape)


def _finish(output: Array, bias: Array | None, activation: str | None) -> Array:
    """Add the bias of each channel (axis 1), then apply the activation."""
    if bias is not None:
        output = output + bias.reshape(-1, *[1] * (output.ndim - 2))
    functions = {"relu": relu, "relu6": relu6, "hardswish": hardswish}
    return output if activation is None else functions[activation](output)


def conv2d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    groups: int = 1,
    activation: str | None = None,
    **options: Any,
) -> Array:
    """Compute the cross-correlation, then bias and activation."""
    window = Window(input.shape[2:], weight.shape[2:], **options)
    return _finish(_gather(window, input, weight, groups), bias, activation)


def conv2d_backward_input(
    grad_output: Array, weight: Array, input_shape: Shape, *, groups: int = 1, **options: Any
) -> Array:
    """Compute the adjoint of conv2d as a map of input."""
    window = Window(input_shape[2:], weight.shape[2:], **options)
    return _scatter(window, grad_output, weight, groups)


def conv2d_backward_weight(
    grad_output: Array, input: Array, weight_shape: Shape, *, groups: int = 1, **options: Any
) -> Array:
    """Compute the adjoint of conv2d as a map of weight."""
    window = Window(input.shape[2:], weight_shape[2:], **options)
    return _correlate(window, grad_output, input, weight_shape, groups)


def conv2d_backward_bias(grad_output: Array) -> Array:
    """Sum over images and pixels."""
    return double(np.sum(double(grad_output), axis=(0, 2, 3)))


def _transposed(
    size: Shape,
    kernel: Shape,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    output_padding: Pair = 0,
) -> Window:
    return Window.transposed(size, kernel, stride, padding, dilation, output_padding)


def conv_transpose2d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    groups: int = 1,
    activation: str | None = None,
    **options: Any,
) -> Array:
    """Compute the input gradient of the conv2d whose output has the shape of input."""
    window = _transposed(input.shape[2:], weight.shape[2:], **options)
    return _finish(_scatter(window, input, weight, groups), bias, activation)


def conv_transpose2d_backward_input(
    grad_output: Array,
    weight: Array,
    *,
    groups: int = 1,
    output_padding: Pair = 0,
    **options: Any,
) -> Array:
    """Compute that conv2d itself; rows that only output_padding added start no window."""
    shorter_size = np.subtract(grad_output.shape[2:], output_padding).tolist()
    shorter = Window(shorter_size, weight.shape[2:], **options)
    size = (shorter.OH, shorter.OW)
    window = _transposed(size, weight.shape[2:], output_padding=output_padding, **options)
    return _gather(window, grad_output, weight, groups)


def conv_transpose2d_backward_weight(
    grad_output: Array, input: Array, weight_shape: Shape, *, groups: int = 1, **options: Any
) -> Array:
    """Compute the weight gradient of that conv2d: input is its grad_output."""
    window = _transposed(input.shape[2:], weight_shape[2:], **options)
    return _correlate(window, input, grad_output, weight_shape, groups)
