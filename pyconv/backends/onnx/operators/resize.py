# SPDX-License-Identifier: BSD-3-Clause
"""Resize and Upsample by the nearest value or linearly, one axis after the other."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from pyconv.backends.onnx.operators.node import Kernel, Node, is_float, operator
from pyconv.layers.base import Array

# Where output i lies in the input, given the scale and the size of the input.
_COORDINATES: dict[str, Callable[[Array, float, int], Array]] = {
    "half_pixel": lambda i, scale, size: (i + 0.5) / scale - 0.5,
    "pytorch_half_pixel": lambda i, scale, size: (i + 0.5) / scale - 0.5 if len(i) > 1 else 0 * i,
    "align_corners": lambda i, scale, size: (
        i * (size - 1) / (size * scale - 1) if len(i) > 1 else 0 * i
    ),
    "asymmetric": lambda i, scale, size: i / scale,
}
_ROUND: dict[str, Callable[[Array], Array]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


@operator("Resize", "Upsample")
def resize(node: Node) -> Kernel | None:
    """Scales come as an attribute, then as the second input, and from version 11 on as the third."""
    late = node.op_type == "Resize" and node.version >= 11
    mode = node.get("mode", "nearest")
    place = _COORDINATES.get(
        node.get("coordinate_transformation_mode", "half_pixel" if late else "asymmetric")
    )
    rounded = _ROUND[node.get("nearest_mode", "round_prefer_floor" if late else "floor")]
    if place is None or mode not in {"nearest", "linear"} or node.get("antialias", 0):
        return None
    if node.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        return None

    def run(x: Array, *inputs: Array | None) -> Any:
        if mode == "linear" and not is_float(x):
            return NotImplemented
        values = [None if array is None else array.tolist() for array in inputs]
        _, scales, sizes = [*(values if late else [None, *values]), None, None, None][:3]
        scales = scales or node.get("scales")
        axes = node.get("axes") or range(x.ndim)
        for position, axis in enumerate(axes):
            size = x.shape[axis]
            n = sizes[position] if sizes else math.floor(size * scales[position])
            scale = n / size if sizes else scales[position]
            if n == size and scale == 1:
                continue
            at = place(np.arange(n, dtype=np.float64), scale, size)
            if mode == "nearest":
                x = np.take(x, np.clip(rounded(at), 0, size - 1).astype(np.intp), axis)
            else:
                x = _interpolated(x, at, axis)
        return x

    return run


def _interpolated(x: Array, at: Array, axis: int) -> Array:
    """Return the values at fractional places of an axis; beyond its ends those of the ends."""
    before = np.floor(at)
    last = x.shape[axis] - 1
    low = np.take(x, np.clip(before, 0, last).astype(np.intp), axis)
    high = np.take(x, np.clip(before + 1, 0, last).astype(np.intp), axis)
    part = (at - before).astype(x.dtype).reshape(-1, *[1] * (x.ndim - axis % x.ndim - 1))
    result: Array = low * (1 - part) + high * part
    return result
