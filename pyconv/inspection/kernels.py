# SPDX-License-Identifier: BSD-3-Clause
"""The classic 3 x 3 and 5 x 5 kernels of image processing, on a photograph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyconv import functional as F
from pyconv.inspection.canvas import INK, new_figure, png

__all__ = ["KERNELS", "apply_kernel", "draw_kernels"]

_BINOMIAL = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256

KERNELS: dict[str, NDArray[np.float64]] = {
    "identity": np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]], np.float64),
    "box blur": np.full((5, 5), 1 / 25),
    "Gaussian blur": _BINOMIAL,
    "sharpen": np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]], np.float64),
    "emboss": np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], np.float64),
    "edges (Laplacian)": np.array([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]], np.float64),
    "vertical edges (Sobel)": np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float64),
    "horizontal edges (Sobel)": np.array([[-1, -2, -1], [0, 0, 0], [1, 2, 1]], np.float64),
}


def apply_kernel(image: NDArray[Any], kernel: NDArray[Any]) -> NDArray[np.float64]:
    """Return the cross-correlation of a picture with a kernel, each colour for itself.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, colours)
        uint8, or floating point from 0 to 1. Beyond its border the last pixel goes on.
    kernel : ndarray, shape (KH, KW)
        Odd sizes.

    Returns
    -------
    ndarray, shape of `image`
        Not clipped: a kernel with a sum of 0 gives negative values too.

    Examples
    --------
    >>> apply_kernel(np.array([[0.0, 0.5, 0.5]]), KERNELS["sharpen"])
    array([[-0.5,  1. ,  0.5]])
    """
    if image.ndim not in {2, 3}:
        raise ValueError(
            f"apply_kernel: image has the wrong shape, got {image.shape}; "
            "expected (H, W) or (H, W, colours)"
        )
    if kernel.ndim != 2 or not all(size % 2 for size in kernel.shape):
        raise ValueError(
            f"apply_kernel: kernel has the wrong shape, got {kernel.shape}; "
            "expected (KH, KW), both odd"
        )
    planes = np.atleast_3d(image).transpose(2, 0, 1)[:, np.newaxis]
    values = planes / 255 if image.dtype == np.uint8 else planes.astype(np.float64)
    KH, KW = kernel.shape
    around = ((0, 0), (0, 0), (KH // 2, KH // 2), (KW // 2, KW // 2))
    padded = np.pad(values, around, mode="edge")
    output = F.conv2d(padded, kernel[np.newaxis, np.newaxis].astype(np.float64))
    return output[:, 0].transpose(1, 2, 0).reshape(image.shape)


def draw_kernels(
    image: NDArray[Any],
    kernels: Mapping[str, NDArray[Any]] = KERNELS,
    *,
    title: str = "A picture and what kernels make of it",
) -> bytes:
    """Return a PNG of a picture under each kernel, the kernel's numbers beside its name.

    Where the numbers of a kernel add up to 0 it answers to differences only, and what is shown is the
    size of the answer, averaged over the colours: black where nothing changes.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, colours)
        As for `apply_kernel`.
    kernels : mapping of str to ndarray, shape (KH, KW)
    title : str

    Returns
    -------
    bytes

    Examples
    --------
    >>> draw_kernels(np.eye(16), {"blur": np.full((3, 3), 1 / 9)})[1:4]
    b'PNG'
    """
    columns = min(4, len(kernels))
    rows = -(-len(kernels) // columns)
    height, width = image.shape[:2]
    figure = new_figure(3.1 * columns, rows * (3.1 * height / width + 1.15), title)
    for axes in (grid := figure.subplots(rows, columns, squeeze=False)).flat:
        axes.set_axis_off()
    for axes, (name, kernel) in zip(grid.flat, kernels.items(), strict=False):
        output = apply_kernel(image, kernel)
        if abs(kernel.sum()) < 1e-9:
            strength = np.abs(output).mean(axis=2) if output.ndim == 3 else np.abs(output)
            axes.imshow(strength / max(np.percentile(strength, 99.5), 1e-12), cmap="gray", vmax=1)
        else:
            axes.imshow(np.clip(output, 0, 1), cmap="gray", vmin=0, vmax=1)
        axes.set_title(name, fontsize=11, color=INK, loc="left", fontweight="bold")
        axes.text(
            0, -0.03, _as_text(kernel), transform=axes.transAxes, va="top", fontsize=7.5,
            family="monospace", color=INK, linespacing=1.15,
        )  # fmt: skip
    return png(figure)


def _as_text(kernel: NDArray[Any]) -> str:
    """Return the numbers row by row, over a common divisor if that makes them whole."""
    for divisor in (1, 9, 16, 25, 256):
        whole = np.rint(kernel * divisor)
        if np.allclose(kernel * divisor, whole, atol=1e-9):
            numbers = [[f"{int(value)}" for value in row] for row in whole]
            break
    else:
        divisor, numbers = 1, [[f"{value:.2g}" for value in row] for row in kernel]
    wide = max(len(text) for row in numbers for text in row)
    lines = ["  ".join(text.rjust(wide) for text in row) for row in numbers]
    if divisor != 1:
        lines[len(lines) // 2] += f"   / {divisor}"
    return "\n".join(lines)
