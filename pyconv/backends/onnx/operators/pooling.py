# SPDX-License-Identifier: BSD-3-Clause
"""Pools over one, two or three axes, by the kernels for two.

A window is a product of intervals, so that a pool over (D, H, W) is one over (H, W) and then one
over D; that holds for maxima, means and sums of powers alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from pyconv import functional as F
from pyconv.backends.onnx.operators.node import Kernel, Node, is_float, operator
from pyconv.backends.onnx.operators.windows import Sizes, Window, Windows
from pyconv.layers.base import Array

# A pool over (H, W): the image, the size of the kernel, and how it moves.
_Pool2d: TypeAlias = Callable[[Array, Sizes, Window], Array]


def _pool(x: Array, kernel: Sizes, window: Window, pool2d: _Pool2d) -> Array:
    """Apply a pool over two axes to one, two or three."""
    stride, padding, dilation = window
    N, C, *sizes = x.shape
    if len(sizes) == 2:
        return pool2d(x, kernel, window)
    if len(sizes) == 1:
        flat = Window((1, *stride), ((0, 0), *padding), (1, *dilation))
        return pool2d(x[:, :, None], (1, *kernel), flat)[:, :, 0]
    D, H, W = sizes
    of_planes = Window(stride[1:], padding[1:], dilation[1:])
    planes = pool2d(x.reshape(N, C * D, H, W), kernel[1:], of_planes)
    OH, OW = planes.shape[2:]
    of_lines = Window((stride[0], 1), (padding[0], (0, 0)), (dilation[0], 1))
    lines = pool2d(planes.reshape(N, C, D, OH * OW), (kernel[0], 1), of_lines)
    return lines.reshape(N, C, -1, OH, OW)


def _takes(x: Array, kernel: Sizes, window: Window, *, dilated: bool = False) -> bool:
    """Return whether pyconv has such a pool."""
    if not is_float(x) or x.ndim not in {3, 4, 5} or (max(window.dilation) > 1 and not dilated):
        return False
    return all(
        max(pads) <= step * (k - 1)
        for k, pads, step in zip(kernel, window.padding, window.dilation, strict=True)
    )


@operator("MaxPool")
def max_pool(node: Node) -> Kernel:
    """Maxima; with indices, which count through the whole array, over one or two axes only."""
    windows, kernel = Windows(node), tuple(node.get("kernel_shape"))
    ceil_mode, columns_first = bool(node.get("ceil_mode", 0)), bool(node.get("storage_order", 0))
    indexed = node.wants(1)

    def run(x: Array) -> Any:
        window = windows.on(x.shape[2:], kernel)
        if not _takes(x, kernel, window, dilated=True) or (indexed and x.ndim == 5):
            return NotImplemented
        found: list[Array] = []

        def pool2d(x: Array, size: Sizes, window: Window) -> Array:
            options: dict[str, Any] = window._asdict() | {"ceil_mode": ceil_mode}
            output: Array
            if indexed:
                output, indices = F.max_pool2d(x, size, return_indices=True, **options)
                found.append(indices)
            else:
                output = F.max_pool2d(x, size, **options)
            return output

        output = _pool(x, kernel, window, pool2d)
        if not indexed:
            return output
        return output, _whole_indices(found[0], x.shape, columns_first).reshape(output.shape)

    return run


def _whole_indices(indices: Array, shape: Sizes, columns_first: bool) -> Array:
    """Return indices within planes as indices in the whole array, as ONNX has them."""
    size = math.prod(shape[2:])
    whole: Array = indices.astype(np.int64)
    if columns_first and len(shape) == 4:
        whole = whole // shape[3] + whole % shape[3] * shape[2]
    planes = np.arange(shape[0] * shape[1]).reshape(*shape[:2], 1, 1)
    whole += planes * size
    return whole


@operator("AveragePool")
def average_pool(node: Node) -> Kernel:
    """Means; padding counts only if the node says so."""
    windows, kernel = Windows(node), tuple(node.get("kernel_shape"))
    options: dict[str, Any] = {
        "ceil_mode": bool(node.get("ceil_mode", 0)),
        "count_include_pad": bool(node.get("count_include_pad", 0)),
    }

    def pool2d(x: Array, size: Sizes, window: Window) -> Array:
        return F.avg_pool2d(x, size, stride=window.stride, padding=window.padding, **options)

    def run(x: Array) -> Any:
        window = windows.on(x.shape[2:], kernel)
        return _pool(x, kernel, window, pool2d) if _takes(x, kernel, window) else NotImplemented

    return run


@operator("LpPool")
def lp_pool(node: Node) -> Kernel:
    """Roots of sums of powers of absolute values."""
    windows, kernel, p = Windows(node), tuple(node.get("kernel_shape")), node.get("p", 2)
    options: dict[str, Any] = {"norm_type": p, "ceil_mode": bool(node.get("ceil_mode", 0))}

    def pool2d(x: Array, size: Sizes, window: Window) -> Array:
        return F.lp_pool2d(x, size, stride=window.stride, padding=window.padding, **options)

    def run(x: Array) -> Any:
        window = windows.on(x.shape[2:], kernel)
        if not _takes(x, kernel, window):
            return NotImplemented
        return _pool(x if p % 2 == 0 else np.abs(x), kernel, window, pool2d)

    return run


def _global(pool2d: Callable[[Array], Array]) -> Callable[[Node], Kernel]:
    def build(node: Node) -> Kernel:
        del node

        def run(x: Array) -> Any:
            if not is_float(x) or x.ndim < 3 or x.size == 0:
                return NotImplemented
            planes = x if x.ndim == 4 else x.reshape(*x.shape[:2], 1, -1)
            return pool2d(planes).reshape(*x.shape[:2], *[1] * (x.ndim - 2))

        return run

    return build


operator("GlobalAveragePool")(_global(F.global_avg_pool2d))
operator("GlobalMaxPool")(_global(F.global_max_pool2d))


@operator("GlobalLpPool")
def global_lp_pool(node: Node) -> Kernel:
    """Take the p-norm of each channel."""
    p = node.get("p", 2)
    return _global(lambda x: F.lp_pool2d(np.abs(x), x.shape[2:], norm_type=p))(node)


@operator("MaxUnpool")
def max_unpool(node: Node) -> Kernel | None:
    """Values back to where their indices, which count through the whole array, say."""
    kernel = tuple(node.get("kernel_shape"))
    strides = node.get("strides") or (1,) * len(kernel)
    pads = node.get("pads") or (0,) * (2 * len(kernel))
    if len(kernel) != 2:
        return None

    def run(x: Array, indices: Array, output_shape: Array | None = None) -> Any:
        if not is_float(x):
            return NotImplemented
        N, C = x.shape[:2]
        H, W = (
            (x.shape[2 + d] - 1) * strides[d] + kernel[d] - pads[d] - pads[2 + d] for d in range(2)
        )
        planes = np.arange(N * C).reshape(N, C, 1, 1) * (H * W)
        within = indices - planes
        if within.min(initial=0) < 0 or within.max(initial=0) >= H * W:
            return NotImplemented  # values that go to another plane
        output = F.max_unpool2d(x, within.astype(np.int32), (N, C, H, W))
        if output_shape is None or tuple(output_shape) == output.shape:
            return output
        larger = np.zeros(tuple(output_shape), x.dtype)
        larger[:, :, :H, :W] = output
        return larger

    return run
