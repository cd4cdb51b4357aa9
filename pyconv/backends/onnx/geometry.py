# SPDX-License-Identifier: BSD-3-Clause
"""Sizes of windows: what ONNX's ``pads`` and ``auto_pad`` come to."""

from __future__ import annotations

from collections.abc import Sequence

Sides = tuple[tuple[int, int], ...]  # (begin, end) of each spatial axis


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
