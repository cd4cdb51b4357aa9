# SPDX-License-Identifier: BSD-3-Clause
"""Reductions over axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from pyconv import functional as F
from pyconv.backends.onnx.operators.node import (
    Kernel,
    Node,
    is_float,
    is_number,
    operator,
)
from pyconv.layers.base import Array

_Axes: TypeAlias = tuple[int, ...] | None
_Reduction: TypeAlias = Callable[[Array, _Axes, bool], Any]


def _sum(x: Array, axes: _Axes, keepdims: bool) -> Any:
    return x.sum(axes, keepdims=keepdims, dtype=x.dtype)


def _mean(x: Array, axes: _Axes, keepdims: bool) -> Any:
    if x.ndim == 4 and axes is not None and sorted(a % 4 for a in axes) == [2, 3] and is_float(x):
        means = F.global_avg_pool2d(x)
        return means if keepdims else means[:, :, 0, 0]
    return x.mean(axes, keepdims=keepdims)


def _log_sum_exp(x: Array, axes: _Axes, keepdims: bool) -> Any:
    highest = x.max(axes, keepdims=True)
    highest = np.where(np.isfinite(highest), highest, 0)
    logs = np.log(_sum(np.exp(x - highest), axes, True)) + highest
    return logs if keepdims else np.squeeze(logs, axes)


_REDUCTIONS: dict[str, _Reduction] = {
    "ReduceL1": lambda x, axes, keepdims: _sum(np.abs(x), axes, keepdims),
    "ReduceL2": lambda x, axes, keepdims: np.sqrt(_sum(x * x, axes, keepdims)),
    "ReduceLogSum": lambda x, axes, keepdims: np.log(_sum(x, axes, keepdims)),
    "ReduceLogSumExp": _log_sum_exp,
    "ReduceMax": lambda x, axes, keepdims: x.max(axes, keepdims=keepdims),
    "ReduceMean": _mean,
    "ReduceMin": lambda x, axes, keepdims: x.min(axes, keepdims=keepdims),
    "ReduceProd": lambda x, axes, keepdims: x.prod(axes, keepdims=keepdims, dtype=x.dtype),
    "ReduceSum": _sum,
    "ReduceSumSquare": lambda x, axes, keepdims: _sum(x * x, axes, keepdims),
}


def _reduction(node: Node) -> Kernel:
    """Axes are an attribute until version 13 (ReduceSum) or 18, then an input; all if absent."""
    function, keepdims = _REDUCTIONS[node.op_type], bool(node.get("keepdims", 1))
    fixed, idle = node.get("axes"), bool(node.get("noop_with_empty_axes", 0))

    def run(x: Array, axes: Array | None = None) -> Any:
        if not is_number(x) or x.size == 0:
            return NotImplemented
        chosen = fixed if axes is None else [int(axis) for axis in axes]
        if not chosen:
            if idle:
                return NotImplemented  # no sum, but a square or an absolute value all the same
            return np.asarray(function(x, None, keepdims), x.dtype)
        return np.asarray(function(x, tuple(chosen), keepdims), x.dtype)

    return run


operator(*_REDUCTIONS)(_reduction)


def _arg(node: Node) -> Kernel:
    axis, keepdims = node.get("axis", 0), bool(node.get("keepdims", 1))
    last, function = bool(node.get("select_last_index", 0)), _ARGS[node.op_type]

    def run(x: Array) -> Any:
        if not is_number(x) or x.size == 0:
            return NotImplemented
        if not last:
            return np.asarray(function(x, axis=axis, keepdims=keepdims), np.int64)
        found = function(np.flip(x, axis), axis=axis, keepdims=keepdims)
        return np.asarray(x.shape[axis] - 1 - found, np.int64)

    return run


_ARGS: dict[str, Callable[..., Any]] = {"ArgMax": np.argmax, "ArgMin": np.argmin}
operator(*_ARGS)(_arg)


@operator("CumSum")
def cum_sum(node: Node) -> Kernel:
    """Sum up to each value, which does not count if exclusive; from the end if reverse."""
    exclusive, reverse = bool(node.get("exclusive", 0)), bool(node.get("reverse", 0))

    def run(x: Array, axis: Array) -> Any:
        if not is_number(x) or x.ndim == 0:
            return NotImplemented
        at = int(axis)
        x = np.flip(x, at) if reverse else x
        sums = np.cumsum(x, at, dtype=x.dtype)
        sums = sums - x if exclusive and x.dtype.kind != "f" else sums
        if exclusive and x.dtype.kind == "f":  # not a difference, which would round
            sums = np.roll(sums, 1, at)
            np.moveaxis(sums, at, 0)[:1] = 0
        return np.flip(sums, at) if reverse else sums

    return run
