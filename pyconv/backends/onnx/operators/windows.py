# SPDX-License-Identifier: BSD-3-Clause
"""Sizes of windows: what ONNX's ``pads`` and ``auto_pad`` come to."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from pyconv.backends.onnx.operators.node import Node

Sizes: TypeAlias = tuple[int, ...]
Sides: TypeAlias = tuple[tuple[int, int], ...]  # (begin, end) of each spatial axis


class Window(NamedTuple):
    """How a kernel moves over an image."""

    stride: Sizes
    padding: Sides
    dilation: Sizes


class Windows:
    """The windows of a convolution or a pool, on images of any size."""

    def __init__(self, node: Node) -> None:
        self._strides, self._dilations = node.get("strides"), node.get("dilations")
        self._pads, self._auto_pad = node.get("pads"), node.get("auto_pad", "NOTSET")
        # What a model gets to see are images of one size, or a few.
        self.on = functools.lru_cache(maxsize=64)(self._on)

    def _on(self, sizes: Sizes, kernel: Sizes) -> Window:
        """Return the windows on an image of these sizes."""
        axes = len(sizes)
        stride = tuple(self._strides or (1,) * axes)
        dilation = tuple(self._dilations or (1,) * axes)
        if self._auto_pad in {"SAME_UPPER", "SAME_LOWER"}:
            lower = self._auto_pad == "SAME_LOWER"
            return Window(
                stride, same_padding(sizes, kernel, stride, dilation, odd_at_begin=lower), dilation
            )
        pads = self._pads if self._pads and self._auto_pad != "VALID" else (0,) * (2 * axes)
        return Window(stride, tuple(zip(pads[:axes], pads[axes:], strict=True)), dilation)


def same_padding(
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    *,
    odd_at_begin: bool = False,
) -> Sides:
    """Return the padding that makes ``ceil(size / stride)`` outputs along each axis.

    The odd one goes to the end (SAME_UPPER), or to the beginning (SAME_LOWER).
    """
    result = []
    for size, k, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        covered = (-(-size // stride) - 1) * stride + dilation * (k - 1) + 1
        total = max(covered - size, 0)
        half = total // 2
        result.append((total - half, half) if odd_at_begin else (half, total - half))
    return tuple(result)
