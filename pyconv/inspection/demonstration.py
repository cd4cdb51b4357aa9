# SPDX-License-Identifier: BSD-3-Clause
"""A convolution of a few pixels drawn number by number, and the im2col matrix of one.

References
----------
Karpathy: CS231n, Convolutional Networks, "Convolution Demo".
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyconv import functional as F
from pyconv.inspection.canvas import BLUE, GREEN, INK, ORANGE, PALE, new_figure, png
from pyconv.inspection.sizes import output_size
from pyconv.optional import need

__all__ = ["draw_convolution", "draw_im2col"]

_MOST_NUMBERS = 600  # more are too small to read
_LEAST_WIDTH = 7.5  # inches, or the title would not fit


def draw_convolution(
    input: NDArray[Any],
    weight: NDArray[Any],
    bias: NDArray[Any] | None = None,
    *,
    stride: int = 1,
    padding: int = 0,
    position: tuple[int, int, int] = (0, 0, 0),
) -> bytes:
    """Return a PNG of a small convolution, with the sum that makes one of its outputs.

    Parameters
    ----------
    input : ndarray, shape (C, H, W)
    weight : ndarray, shape (OC, C, KH, KW)
    bias : ndarray, shape (OC,), optional
    stride, padding : int
    position : (oc, oh, ow)
        The output that is explained.

    Returns
    -------
    bytes

    Examples
    --------
    >>> image, weight = np.ones((1, 4, 4)), np.ones((1, 1, 3, 3))
    >>> draw_convolution(image, weight, position=(0, 1, 1))[1:4]
    b'PNG'
    """
    output = F.conv2d(input[np.newaxis], weight, bias, stride=stride, padding=padding)[0]
    _check_position("draw_convolution", position, output.shape)
    padded = np.pad(input, ((0, 0), (padding, padding), (padding, padding)))
    _check_count("draw_convolution", padded.size + weight.size + output.size)
    oc, oh, ow = position
    (C, H, W), (OC, _, KH, KW) = padded.shape, weight.shape
    OH, OW = output.shape[1:]
    top, left = oh * stride, ow * stride

    # Columns: input channels below each other, each filter's channels, outputs.
    cell = 0.33
    widths = [W, *[KW] * OC, OW]
    rows = max(C, OC)
    figure = new_figure(
        max(cell * (sum(widths) + 2.2 * len(widths)), _LEAST_WIDTH),
        cell * (rows * max(H, OH) + 2.2 * rows) + 1.3,
        f"Convolution: {C} channel{'s' * (C > 1)}, {OC} filter{'s' * (OC > 1)} of {KH} x {KW}, "
        f"stride {stride}, padding {padding}",
    )
    grid = figure.subplots(rows, len(widths), squeeze=False, width_ratios=widths)
    for axes in grid.flat:
        axes.set_axis_off()
    for c in range(C):
        _numbers(grid[c, 0], padded[c], f"input, channel {c}", border=padding, extent=(H, W))
        _frame(grid[c, 0], top, left, KH, KW, BLUE)
    for o in range(OC):
        for c in range(C):
            below = f"bias {_short(bias[o])}" if bias is not None and c == C - 1 else ""
            axes = grid[c, 1 + o]
            _numbers(axes, weight[o, c], f"filter {o}, channel {c}", extent=(H, KW), below=below)
            if o == oc:
                _frame(axes, 0, 0, KH, KW, ORANGE)
        _numbers(grid[o, -1], output[o], f"output, channel {o}", extent=(H, OW))
    _frame(grid[oc, -1], oh, ow, 1, 1, GREEN)
    figure.supxlabel(
        f"output {_short(output[position])}, marked green, is the sum of the marked products:\n"
        + _sum_in_words(
            padded[:, top : top + KH, left : left + KW], weight[oc], bias, oc, output[position]
        ),
        x=0.01,
        ha="left",
        linespacing=1.5,
        fontsize=9.5,
        color=INK,
    )
    return png(figure)


def draw_im2col(
    input: NDArray[Any],
    kernel_size: int,
    *,
    stride: int = 1,
    padding: int = 0,
    column: int = 0,
) -> bytes:
    """Return a PNG of a small image beside its im2col matrix, one window marked in both.

    Parameters
    ----------
    input : ndarray, shape (C, H, W)
    kernel_size, stride, padding : int
    column : int
        The output pixel, counted row by row, whose window is marked.

    Returns
    -------
    bytes

    Examples
    --------
    >>> draw_im2col(np.ones((1, 4, 4)), 3, column=1)[1:4]
    b'PNG'
    """
    matrix = F.im2col(input[np.newaxis], kernel_size, stride=stride, padding=padding)[0]
    OH, OW = (
        output_size(size, kernel_size, stride=stride, padding=padding, floor=True)
        for size in input.shape[1:]
    )
    _check_position("draw_im2col", (column,), (OH * OW,))
    padded = np.pad(input, ((0, 0), (padding, padding), (padding, padding)))
    _check_count("draw_im2col", padded.size + matrix.size)
    C, H, W = padded.shape
    taps, pixels = matrix.shape
    cell = 0.33
    figure = new_figure(
        max(cell * (W + pixels + 9), _LEAST_WIDTH),
        cell * (max(taps, C * (H + 2.4)) + 3.5) + 0.6,
        f"im2col: windows of {kernel_size} x {kernel_size}, stride {stride}, padding {padding}, become columns",
    )
    left_part, right_part = figure.subfigures(1, 2, width_ratios=[W + 2, pixels + 6])
    images = left_part.subplots(C, 1, squeeze=False)[:, 0]
    top, left = divmod(column, OW)
    colors = (BLUE, ORANGE, GREEN)
    for c, axes in enumerate(images):
        _numbers(axes, padded[c], f"channel {c}", border=padding)
        _frame(axes, top * stride, left * stride, kernel_size, kernel_size, colors[c % 3])
        axes.set_axis_off()
    axes = right_part.subplots()
    _numbers(axes, matrix, f"matrix, {taps} x {pixels}")
    area = kernel_size**2
    for c in range(C):
        _frame(axes, c * area, column, area, 1, colors[c % 3])
    axes.set_axis_on()
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=8, colors=INK)
    axes.set_yticks(
        range(taps),
        [f"{c}, {kh}, {kw}" for c, kh, kw in np.ndindex(C, kernel_size, kernel_size)],
    )
    axes.set_xticks(range(pixels), [f"{oh},{ow}" for oh, ow in np.ndindex(OH, OW)])
    axes.set_ylabel("weight: channel, row, column", fontsize=9, color=INK)
    axes.set_xlabel("output: row, column", fontsize=9, color=INK)
    return png(figure)


def _numbers(
    axes: Any,
    values: NDArray[Any],
    title: str,
    *,
    border: int = 0,
    extent: tuple[int, int] | None = None,
    below: str = "",
) -> None:
    """Draw a table of numbers in cells of one size; a border of padding is grey."""
    rows, columns = values.shape
    high, wide = extent or (rows, columns)
    rectangle = need("matplotlib.patches", "drawing a picture").Rectangle
    for row, column in np.ndindex(rows, columns):
        inside = border <= row < rows - border and border <= column < columns - border
        face = "white" if inside else PALE
        axes.add_patch(rectangle((column - 0.5, row - 0.5), 1, 1, fc=face, ec="#b5b5b5", lw=0.6))
        axes.text(
            column, row, _short(values[row, column]), ha="center", va="center", fontsize=8.5,
            color=INK if inside else "#9a9a9a",
        )  # fmt: skip
    axes.set_xlim(-0.6, wide - 0.4)
    axes.set_ylim(high - 0.4, -0.6)
    axes.set_aspect("equal", anchor="NW")
    axes.set_title(title, fontsize=9, color=INK, loc="left")
    if below:
        axes.text(-0.5, rows - 0.2, below, va="top", fontsize=8.5, color=INK)


def _frame(axes: Any, top: int, left: int, rows: int, columns: int, color: str) -> None:
    rectangle = need("matplotlib.patches", "drawing a picture").Rectangle
    place = (left - 0.5, top - 0.5)
    axes.add_patch(rectangle(place, columns, rows, fc=color, alpha=0.16, lw=0))
    axes.add_patch(rectangle(place, columns, rows, fc="none", ec=color, lw=2, clip_on=False))


def _sum_in_words(
    window: NDArray[Any], weight: NDArray[Any], bias: NDArray[Any] | None, oc: int, result: Any
) -> str:
    """Return the sum, a line for each channel, terms with a 0 left out."""
    lines = []
    for c, (pixels, taps) in enumerate(zip(window, weight, strict=True)):
        terms = [
            f"{_short(p)}·{_short(t) if t >= 0 else f'({_short(t)})'}"
            for p, t in zip(pixels.flat, taps.flat, strict=True)
            if p != 0 and t != 0
        ]
        lines.append(
            f"channel {c}:  " + (" + ".join(terms) or "0") + f"  =  {_short((pixels * taps).sum())}"
        )
    added = "" if bias is None else f" with the bias {_short(bias[oc])}"
    lines.append(f"together{added}:  {_short(result)}")
    return "\n".join(lines)


def _short(value: Any) -> str:
    return f"{value:.3g}".replace("-", "\N{MINUS SIGN}")


def _check_position(function: str, position: tuple[int, ...], shape: tuple[int, ...]) -> None:
    inside = len(position) == len(shape) and all(
        0 <= at < size for at, size in zip(position, shape, strict=True)
    )
    if not inside:
        raise ValueError(
            f"{function}: position is outside of the output, got {position}; "
            f"expected less than {shape}"
        )


def _check_count(function: str, count: int) -> None:
    if count > _MOST_NUMBERS:
        raise ValueError(
            f"{function}: input is too large to be read, got {count} numbers in all; "
            f"expected at most {_MOST_NUMBERS}"
        )
