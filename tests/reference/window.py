# SPDX-License-Identifier: BSD-3-Clause
"""Where the taps of a sliding window fall.

Output pixel (oh, ow) meets, through tap (kh, kw), the pixel
``(oh*stride_h - top + kh*dilation_h, ow*stride_w - left + kw*dilation_w)`` of the input.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Shape: TypeAlias = Sequence[int]
Pair: TypeAlias = int | tuple[int, int]
Pads: TypeAlias = tuple[tuple[int, int], tuple[int, int]]
Padding: TypeAlias = Pair | Pads | Literal["same", "valid"]


def double(array: Any) -> Array:
    """Convert to float64."""
    return np.asarray(array, np.float64)


def pair(value: Any) -> tuple[Any, Any]:
    """Repeat a scalar for both axes."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


class Window:
    """A window of `kernel` taps that slides over an (H, W) plane and stops OH x OW times."""

    def __init__(
        self,
        size: Shape,
        kernel: Any,
        stride: Pair | None = 1,
        padding: Padding = 0,
        dilation: Pair = 1,
        *,
        ceil_mode: bool = False,
    ) -> None:
        self.H, self.W = size
        self.KH, self.KW = pair(kernel)
        self.stride = pair(kernel if stride is None else stride)
        self.dilation = pair(dilation)
        self.span = tuple(d * (k - 1) + 1 for d, k in zip(self.dilation, pair(kernel), strict=True))
        self.pads = self._same() if padding == "same" else _sides(padding)
        self.OH, self.OW = (self._stops(axis, ceil_mode) for axis in (0, 1))

    @classmethod
    def transposed(
        cls,
        size: Shape,
        kernel: Any,
        stride: Pair,
        padding: Padding,
        dilation: Pair,
        output_padding: Pair,
    ) -> "Window":
        """Make the window whose stops are `size`: a transposed convolution's view of it."""
        grown = [length * s for length, s in zip(size, pair(stride), strict=True)]
        window = cls(grown, kernel, stride, padding, dilation)
        window.OH, window.OW = size
        if padding == "same":
            window.H, window.W = np.add(grown, output_padding).tolist()
            return window
        window.H, window.W = (
            (count - 1) * s - before - after + span + extra
            for count, s, (before, after), span, extra in zip(
                size, window.stride, window.pads, window.span, pair(output_padding), strict=True
            )
        )
        return window

    def _same(self) -> Pads:
        """Return ONNX SAME_UPPER: ceil(size / stride) stops, the odd zero at the end."""
        sides = []
        for length, s, span in zip((self.H, self.W), self.stride, self.span, strict=True):
            total = max(0, (-(-length // s) - 1) * s + span - length)
            sides.append((total // 2, total - total // 2))
        return sides[0], sides[1]

    def _stops(self, axis: int, ceil_mode: bool) -> int:
        length, stride = (self.H, self.W)[axis], self.stride[axis]
        before, after = self.pads[axis]
        room = length + before + after - self.span[axis]
        if not ceil_mode:
            return int(room // stride + 1)
        count = -(-room // stride) + 1
        # A last window that would start beyond the input and its leading padding is left out.
        return int(count - 1 if (count - 1) * stride >= length + before else count)

    def pad(self, plane: Array) -> Array:
        """Surround the last two axes with zeros."""
        return np.pad(plane, [(0, 0)] * (plane.ndim - 2) + list(self.pads))

    def crop(self, padded: Array) -> Array:
        """Undo `pad`."""
        (top, _), (left, _) = self.pads
        return padded[..., top : top + self.H, left : left + self.W]

    def tap(self, padded: Array, kh: int, kw: int) -> Array:
        """Return the view (..., OH, OW) of the pixels that tap (kh, kw) meets at every stop."""
        (sh, sw), (dh, dw) = self.stride, self.dilation
        return padded[..., kh * dh :: sh, kw * dw :: sw][..., : self.OH, : self.OW]

    def pixels(self, oh: int, ow: int) -> Iterator[tuple[int, int]]:
        """Yield what the window meets at stop (oh, ow), padding left out, in row-major order."""
        (top, _), (left, _) = self.pads
        for kh, kw in np.ndindex(self.KH, self.KW):
            h = oh * self.stride[0] - top + kh * self.dilation[0]
            w = ow * self.stride[1] - left + kw * self.dilation[1]
            if 0 <= h < self.H and 0 <= w < self.W:
                yield h, w


def _sides(padding: Any) -> Pads:
    vertical, horizontal = pair(0 if padding == "valid" else padding)
    return pair(vertical), pair(horizontal)
