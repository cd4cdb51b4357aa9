# SPDX-License-Identifier: BSD-3-Clause
"""Convolutions and matrix products, and what fuses into them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pyconv import functional as F
from pyconv.backends.onnx.operators.node import Kernel, Node, is_float, operator
from pyconv.backends.onnx.operators.windows import Sides, Sizes, Window, Windows
from pyconv.layers.base import Array

_CONV: dict[int, Callable[..., Array]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSE: dict[int, Callable[..., Array]] = {
    1: F.conv1d_backward_input,
    2: F.conv2d_backward_input,
    3: F.conv3d_backward_input,
}
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "hardswish": F.hardswish,
}


@operator("Conv")
def conv(node: Node) -> Kernel:
    """Convolution; a constant weight is packed once, and a residual may come as a fourth input."""
    windows, groups, activation = Windows(node), node.get("group", 1), node.activation
    cache = F.WeightCache() if 1 in node.constants else None

    def run(
        x: Array, weight: Array, bias: Array | None = None, residual: Array | None = None
    ) -> Any:
        if x.ndim - 2 not in _CONV or not is_float(x, weight):
            return NotImplemented
        kernel = weight.shape[2:]
        window = windows.on(x.shape[2:], kernel)
        fits = residual is None or residual.shape == (
            x.shape[0],
            weight.shape[0],
            *_output_sizes(x.shape[2:], kernel, window),
        )
        output = _CONV[x.ndim - 2](
            x,
            weight,
            bias,
            stride=window.stride,
            padding=window.padding,
            dilation=window.dilation,
            groups=groups,
            activation=activation if fits else None,
            residual=residual if fits else None,
            weight_cache=cache,
        )
        if fits or residual is None:
            return output
        output = output + residual  # of another shape, which broadcasts
        return output if activation is None else ACTIVATIONS[activation](output)

    return run


def _output_sizes(sizes: Sizes, kernel: Sizes, window: Window) -> Sizes:
    """Return the sizes of a convolution's output."""
    return tuple(
        (size + begin + end - step * (k - 1) - 1) // stride + 1
        for size, k, stride, (begin, end), step in zip(sizes, kernel, *window, strict=True)
    )


@operator("ConvTranspose")
def conv_transpose(node: Node) -> Kernel:
    """Transposed convolution: the input gradient of the convolution with the same attributes."""
    groups, activation = node.get("group", 1), node.activation

    def run(x: Array, weight: Array, bias: Array | None = None) -> Any:
        if x.ndim - 2 not in _CONV_TRANSPOSE or not is_float(x, weight):
            return NotImplemented
        window, sizes = _transposed_window(node, x.shape[2:], weight.shape[2:])
        if min(sizes) < 1 or any(min(pads) < 0 for pads in window.padding):
            return NotImplemented
        if _output_sizes(sizes, weight.shape[2:], window) != x.shape[2:]:
            return NotImplemented  # an output padding beyond the stride
        shape = (x.shape[0], weight.shape[1] * groups, *sizes)
        output = _CONV_TRANSPOSE[x.ndim - 2](x, weight, shape, groups=groups, **window._asdict())
        if bias is not None:
            output += bias.reshape(-1, *[1] * len(sizes))
        return output if activation is None else ACTIVATIONS[activation](output)

    return run


def _transposed_window(node: Node, sizes: Sizes, kernel: Sizes) -> tuple[Window, Sizes]:
    """Return the window and the sizes of the output."""
    axes = len(sizes)
    stride = tuple(node.get("strides") or (1,) * axes)
    dilation = tuple(node.get("dilations") or (1,) * axes)
    extra = node.get("output_padding") or (0,) * axes
    full = [
        stride[d] * (sizes[d] - 1) + extra[d] + dilation[d] * (kernel[d] - 1) + 1
        for d in range(axes)
    ]
    auto_pad, wanted = node.get("auto_pad", "NOTSET"), node.get("output_shape")
    if wanted is None and auto_pad not in {"SAME_UPPER", "SAME_LOWER"}:
        pads = node.get("pads") or (0,) * (2 * axes)
        padding: Sides = tuple(zip(pads[:axes], pads[axes:], strict=True))
    else:
        # The two ends share what is too much; an odd one goes to the end with SAME_UPPER.
        if wanted is None:
            wanted = [size * step for size, step in zip(sizes, stride, strict=True)]
        wanted = tuple(wanted[-axes:])
        totals = [max(have - want, 0) for have, want in zip(full, wanted, strict=True)]
        halves = [(total // 2, total - total // 2) for total in totals]
        padding = tuple(pair if auto_pad == "SAME_UPPER" else pair[::-1] for pair in halves)
        return Window(stride, padding, dilation), wanted
    output = tuple(have - sum(pads) for have, pads in zip(full, padding, strict=True))
    return Window(stride, padding, dilation), output


@operator("Gemm")
def gemm(node: Node) -> Kernel:
    """``alpha * op(a) @ op(b) + beta * c``; as a dense layer if that is all it is."""
    trans_a, trans_b = bool(node.get("transA", 0)), bool(node.get("transB", 0))
    alpha, beta, activation = node.get("alpha", 1.0), node.get("beta", 1.0), node.activation
    weight = node.constants.get(1)
    if weight is not None and is_float(weight) and weight.ndim == 2 and not trans_a:
        weight = np.ascontiguousarray(weight if trans_b else weight.T)
    else:
        weight = None

    def run(a: Array, b: Array, c: Array | None = None) -> Any:
        if not is_float(a, b, c):
            return NotImplemented
        N = b.shape[0 if trans_b else 1]
        if weight is not None and alpha == 1:
            bias = None if c is None or beta == 0 else _bias_of(c, beta, N)
            if bias is not NotImplemented:
                return F.linear(a, weight, bias, activation=activation)
        M = a.shape[1 if trans_a else 0]
        options: dict[str, Any] = {"trans_a": trans_a, "trans_b": trans_b, "alpha": alpha}
        if c is None or beta == 0:
            output = F.gemm(a, b, **options)
        else:
            out = np.array(np.broadcast_to(c, (M, N)), order="C")
            output = F.gemm(a, b, beta=beta, out=out, **options)
        return output if activation is None else F.relu(output)

    return run


def _bias_of(c: Array, beta: float, N: int) -> Any:
    """Return C as the bias of a dense layer if it is one value a column."""
    if c.size != N or c.shape[-1:] != (N,):
        return NotImplemented
    return c.reshape(N) if beta == 1 else c.reshape(N) * c.dtype.type(beta)


@operator("MatMul")
def matmul(node: Node) -> Kernel:
    """Matrix product of stacks of matrices, one product if the second is a single matrix."""
    del node

    def run(a: Array, b: Array) -> Any:
        if not is_float(a, b):
            return NotImplemented
        if b.ndim != 2 or a.ndim < 2:
            return np.asarray(np.matmul(a, b))
        output = F.gemm(a.reshape(-1, a.shape[-1]), b)
        return output.reshape(*a.shape[:-1], b.shape[1])

    return run
