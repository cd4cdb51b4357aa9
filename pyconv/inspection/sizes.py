# SPDX-License-Identifier: BSD-3-Clause
"""A calculator for convolutions and pools: what comes out, what is seen, and what it costs.

Along one axis, with input size W, window F, padding P on each side, stride S and dilation D ::

    output    (W - (D * (F - 1) + 1) + 2 * P) / S + 1
    field     r + D * (F - 1) * j,  the step between neighbours becoming  j * S

where r and j are those of the layer before (1 and 1 for the image itself). All is arithmetic on Python
integers, so nothing overflows.

References
----------
Dumoulin, Visin: A guide to convolution arithmetic for deep learning. arXiv:1603.07285, 2016.
Araujo, Norris, Sim: Computing Receptive Fields of Convolutional Neural Networks. Distill, 2019.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["ConvolutionCost", "convolution_cost", "output_size", "receptive_field"]


def output_size(
    size: int,
    kernel_size: int,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    floor: bool = False,
) -> int:
    """Return the size of the output of a convolution or pool along one axis.

    Parameters
    ----------
    size, kernel_size, stride, padding, dilation : int
        `padding` is added on both sides.
    floor : bool
        Leave pixels at the end unread where the windows do not come out even, as the layers do;
        otherwise that is an error, for it is seldom what was meant.

    Raises
    ------
    ValueError
        No window fits, or windows do not come out even.

    Examples
    --------
    >>> output_size(227, 11, stride=4)  # the first layer of AlexNet
    55
    >>> output_size(10, 3, stride=2, floor=True)
    4
    """
    name = "output_size"
    size = _integer(name, "size", size, 1)
    kernel_size = _integer(name, "kernel_size", kernel_size, 1)
    stride = _integer(name, "stride", stride, 1)
    padding = _integer(name, "padding", padding, 0)
    dilation = _integer(name, "dilation", dilation, 1)
    extent = dilation * (kernel_size - 1) + 1
    padded = size + 2 * padding
    if extent > padded:
        raise ValueError(
            f"output_size: kernel_size is too large, got a window over {extent} pixels "
            f"(kernel_size {kernel_size}, dilation {dilation}); expected at most the {padded} of the "
            f"padded input (size {size}, padding {padding})"
        )
    steps, unread = divmod(padded - extent, stride)
    if unread and not floor:
        even = [s for s in range(1, padded - extent + 1) if (padded - extent) % s == 0]
        nearest = min(even, key=lambda s: abs(s - stride))
        raise ValueError(
            f"output_size: stride does not come out even, got {stride}, which leaves {unread} of "
            f"{padded} pixels unread: ({size} - {extent} + 2 * {padding}) / {stride} + 1 = "
            f"{(padded - extent) / stride + 1:.4g}; expected a divisor of {padded - extent} such as "
            f"{nearest}, another padding, or floor=True"
        )
    return steps + 1


def receptive_field(layers: Iterable[Sequence[int]]) -> tuple[int, int]:
    """Return how many pixels of the image one output sees along an axis, and how far apart two see.

    Parameters
    ----------
    layers : iterable of (kernel_size, stride) or (kernel_size, stride, dilation)
        Convolutions and pools in order. What works on single pixels need not be listed.

    Returns
    -------
    field, step : int

    Examples
    --------
    >>> receptive_field([(3, 1), (3, 1), (3, 1)])  # sees what one 7 x 7 convolution does
    (7, 1)
    >>> receptive_field([(3, 1), (2, 2), (3, 1), (2, 2)])
    (10, 4)
    """
    field, step = 1, 1
    for layer in layers:
        if len(layer) not in {2, 3}:
            raise ValueError(
                f"receptive_field: layers has an entry of {len(layer)} numbers, got {layer}; "
                "expected (kernel_size, stride) or (kernel_size, stride, dilation)"
            )
        kernel_size, stride, dilation = (*layer, 1)[:3]
        name = "receptive_field"
        kernel_size = _integer(name, "kernel_size", kernel_size, 1)
        dilation = _integer(name, "dilation", dilation, 1)
        field += dilation * (kernel_size - 1) * step
        step *= _integer(name, "stride", stride, 1)
    return field, step


@dataclass(frozen=True)
class ConvolutionCost:
    """What one image costs in a convolution.

    Attributes
    ----------
    output_shape : tuple of int
        (OC, OH, OW).
    weights, biases, parameters : int
        `parameters` is the sum of the other two.
    multiply_adds : int
    output_bytes, parameter_bytes : int
        In training each is needed twice: the values, and their gradients.
    im2col_bytes : int
        What the im2col matrix would take, if it were stored.

    Examples
    --------
    >>> cost = convolution_cost((64, 56, 56), 128, 3, padding=1)
    >>> cost.output_shape, cost.parameters
    ((128, 56, 56), 73856)
    """

    output_shape: tuple[int, int, int]
    weights: int
    biases: int
    multiply_adds: int
    output_bytes: int
    parameter_bytes: int
    im2col_bytes: int

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return self.weights + self.biases

    def __str__(self) -> str:
        """Return a table."""
        OC, OH, OW = self.output_shape
        rows = [
            ("output", f"{OC} x {OH} x {OW}"),
            (
                "parameters",
                f"{self.parameters:,} ({self.weights:,} weights, {self.biases:,} biases)",
            ),
            ("multiply-adds", f"{self.multiply_adds:,}"),
            ("memory, output", f"{self.output_bytes / 1024:,.1f} KiB"),
            ("memory, parameters", f"{self.parameter_bytes / 1024:,.1f} KiB"),
            ("im2col, if stored", f"{self.im2col_bytes / 1024:,.1f} KiB"),
        ]
        return "\n".join(f"{name:<20}{value}" for name, value in rows)


def convolution_cost(
    input_shape: Sequence[int],
    out_channels: int,
    kernel_size: int,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
    bias: bool = True,
    itemsize: int = 4,
    floor: bool = False,
) -> ConvolutionCost:
    """Return what a convolution with a square window makes of one image, and what that costs.

    Parameters
    ----------
    input_shape : (C, H, W)
    out_channels, kernel_size, stride, padding, dilation, groups : int
    bias : bool
    itemsize : int
        Bytes of a number: 4 for float32.
    floor : bool
        As for `output_size`.

    Notes
    -----
    ``OC * C / groups * F * F`` weights, each used once for every pixel of the output.

    Examples
    --------
    >>> print(convolution_cost((3, 227, 227), 96, 11, stride=4))
    output              96 x 55 x 55
    parameters          34,944 (34,848 weights, 96 biases)
    multiply-adds       105,415,200
    memory, output      1,134.4 KiB
    memory, parameters  136.5 KiB
    im2col, if stored   4,289.4 KiB
    """
    name = "convolution_cost"
    if len(input_shape) != 3:
        raise ValueError(
            f"{name}: input_shape has {len(input_shape)} numbers, got {tuple(input_shape)}; "
            "expected (C, H, W)"
        )
    C = _integer(name, "input_shape", input_shape[0], 1)
    OC = _integer(name, "out_channels", out_channels, 1)
    groups = _integer(name, "groups", groups, 1)
    itemsize = _integer(name, "itemsize", itemsize, 1)
    if C % groups or OC % groups:
        raise ValueError(
            f"{name}: groups does not divide the channels, got {groups}; "
            f"expected a divisor of {C} and {OC}"
        )
    OH, OW = (
        output_size(
            size, kernel_size, stride=stride, padding=padding, dilation=dilation, floor=floor
        )
        for size in input_shape[1:]
    )
    weights = OC * (C // groups) * kernel_size**2
    biases = OC if bias else 0
    return ConvolutionCost(
        output_shape=(OC, OH, OW),
        weights=weights,
        biases=biases,
        multiply_adds=weights * OH * OW,
        output_bytes=math.prod((OC, OH, OW, itemsize)),
        parameter_bytes=(weights + biases) * itemsize,
        im2col_bytes=C * kernel_size**2 * OH * OW * itemsize,
    )


def _integer(function: str, name: str, value: int, least: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(
            f"{function}: {name} is not an integer, got {value!r}; expected at least {least}"
        ) from None
    if number < least:
        raise ValueError(
            f"{function}: {name} is too small, got {number}; expected at least {least}"
        )
    return number
