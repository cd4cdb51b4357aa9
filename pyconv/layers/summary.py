# SPDX-License-Identifier: BSD-3-Clause
"""A table of a network: shapes, parameters, multiply-adds, memory, receptive fields.

Shapes come from running the network on an empty batch, which costs no arithmetic. The receptive
field is the window of the input that one output depends on, however large the padding. A layer
whose windows have `extent` pixels, `stride` apart, turns the field and the distance (`jump`) between
neighbouring fields into::

    field + (extent - 1) * jump        jump * stride

and where paths meet, the largest field counts. Behind a transposed convolution, whose neighbouring
outputs share inputs, that is an upper bound (Araujo, Norris, Sim: Computing Receptive Fields of
Convolutional Neural Networks. Distill, 2019).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np

from pyconv.layers.base import Array, Layer, dotted
from pyconv.layers.containers import Concat, Residual, Sequential
from pyconv.layers.convolution import Conv1d, Conv2d, Conv3d, ConvTranspose2d
from pyconv.layers.linear import Linear
from pyconv.layers.normalization import GroupNorm, InstanceNorm2d, LayerNorm
from pyconv.layers.pooling import (
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    AvgPool2d,
    GlobalAvgPool2d,
    GlobalMaxPool2d,
    LPPool2d,
    MaxPool2d,
)
from pyconv.layers.recompute import Checkpoint
from pyconv.layers.regularization import BatchNorm2d
from pyconv.layers.shape import Flatten, Identity

# (field, jump) along each spatial axis of the network's input.
_Fields: TypeAlias = tuple[tuple[Fraction, Fraction], ...]

_ITS_INPUT = (Flatten, Identity)  # layers that give no new array


@dataclass(frozen=True)
class SummaryRow:
    """One layer of a summary.

    Attributes
    ----------
    name : str
        As in the keys of a state dict.
    kind : str
        The class.
    output_shape : tuple of int
    parameters : int
    multiply_adds : int or None
        Of the whole batch, in convolutions and dense layers, without biases; 0 for other layers
        and None for a layer that has parameters and is none of pyconv's.
    memory : int
        Bytes of the output; 0 if it is the memory of the input.
    receptive_field : tuple of int
        Along each spatial axis of the network's input. Normalisations count as pointwise, and so
        do layers that are not pyconv's.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    multiply_adds: int | None
    memory: int
    receptive_field: tuple[int, ...]


@dataclass(frozen=True)
class Summary:
    """The layers of a network in the order of the forward pass; a table when printed.

    The row of a Residual or Concat is the sum or the join of its paths, whose rows come before.

    Attributes
    ----------
    rows : tuple of SummaryRow
    parameters : int
        Of the network.
    """

    rows: tuple[SummaryRow, ...]
    parameters: int

    @property
    def multiply_adds(self) -> int | None:
        """Those of all rows; None if one is unknown."""
        counts = [row.multiply_adds for row in self.rows if row.multiply_adds is not None]
        return sum(counts) if len(counts) == len(self.rows) else None

    @property
    def memory(self) -> int:
        """Bytes of all outputs together, about what training keeps for the backward pass."""
        return sum(row.memory for row in self.rows)

    def __str__(self) -> str:
        """Return the table."""
        lines = [
            (
                "layer",
                "kind",
                "output",
                "parameters",
                "multiply-adds",
                "memory KiB",
                "receptive field",
            )
        ]
        for row in self.rows:
            lines.append(
                (
                    row.name,
                    row.kind,
                    _times(row.output_shape),
                    f"{row.parameters:,}",
                    _count(row.multiply_adds),
                    f"{row.memory / 1024:,.1f}",
                    _times(row.receptive_field),
                )
            )
        lines.append(
            (
                "total",
                "",
                "",
                f"{self.parameters:,}",
                _count(self.multiply_adds),
                f"{self.memory / 1024:,.1f}",
                "",
            )
        )
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        aligned = ["<", "<", "<", ">", ">", ">", "<"]
        return "\n".join(
            "  ".join(
                f"{cell:{align}{width}}"
                for cell, align, width in zip(line, aligned, widths, strict=True)
            ).rstrip()
            for line in lines
        )


def summarize(model: Layer, input_shape: tuple[int, ...]) -> Summary:
    """Return the summary of `model` on an input of this shape; the model is left as it was."""
    if len(input_shape) < 2 or min(input_shape) < 1:
        raise ValueError(
            f"summary: input_shape is wrong, got {input_shape!r}; expected (N, C, ...), all positive"
        )
    dtype = next((parameter.value.dtype for parameter in model.parameters()), np.float32)
    kept = [
        (layer, layer.training, layer._saving, layer._saved) for _, layer in model.named_layers()
    ]
    walk = _Walk(input_shape[0])
    fields: _Fields = ((Fraction(1), Fraction(1)),) * (len(input_shape) - 2)
    model.eval()  # batch norm would follow the empty batch
    try:
        walk.through(model, "", np.zeros((0, *input_shape[1:]), dtype), fields)
    finally:
        for layer, training, saving, saved in kept:
            layer.training, layer._saving, layer._saved = training, saving, saved
    return Summary(tuple(walk.rows), sum(parameter.value.size for parameter in model.parameters()))


class _Walk:
    """Runs a network layer by layer and notes a row for each."""

    def __init__(self, N: int) -> None:
        self.N = N
        self.rows: list[SummaryRow] = []

    def through(
        self, layer: Layer, name: str, input: Array, fields: _Fields
    ) -> tuple[Array, _Fields]:
        """Return the output, whose batch is empty, and the fields of its pixels."""
        paths = [
            (child, dotted(name, child_name)) for child_name, child in layer.children().items()
        ]
        if isinstance(layer, Sequential | Checkpoint):
            for child, child_name in paths:
                input, fields = self.through(child, child_name, input, fields)
            return input, fields
        if isinstance(layer, Residual | Concat):
            ends = [self.through(child, child_name, input, fields) for child, child_name in paths]
            if isinstance(layer, Residual):
                if layer.shortcut is None:
                    ends.append((input, fields))
                output = layer.join(ends[0][0], ends[1][0])
            else:
                output = layer.join([end for end, _ in ends])
            # max of pairs: the field first; jumps of paths that end in the same shape agree.
            fields = tuple(map(max, zip(*(path_fields for _, path_fields in ends), strict=True)))
            self._note(name, layer, input.shape, output, fields, parameters=0)
            return output, fields
        output = layer(input)
        fields = _moved(layer, fields, input.shape[2:], output.shape[2:])
        parameters = sum(parameter.value.size for parameter in layer.parameters())
        self._note(name, layer, input.shape, output, fields, parameters=parameters)
        return output, fields

    def _note(
        self,
        name: str,
        layer: Layer,
        input_shape: tuple[int, ...],
        output: Array,
        fields: _Fields,
        *,
        parameters: int,
    ) -> None:
        count = _multiply_adds(layer, input_shape[1:], output.shape[1:]) if parameters else 0
        size = 0 if isinstance(layer, _ITS_INPUT) else math.prod(output.shape[1:])
        self.rows.append(
            SummaryRow(
                name,
                type(layer).__name__,
                (self.N, *output.shape[1:]),
                parameters,
                None if count is None else self.N * count,
                self.N * size * output.itemsize,
                tuple(math.ceil(field) for field, _ in fields),
            )
        )


def _multiply_adds(
    layer: Layer, input_shape: tuple[int, ...], output_shape: tuple[int, ...]
) -> int | None:
    """Return those of one image in a layer with parameters."""
    if isinstance(layer, Conv1d | Conv2d | Conv3d | Linear):
        return math.prod(output_shape) * math.prod(layer.weight.value.shape[1:])
    if isinstance(layer, ConvTranspose2d):  # weight (C, OC // G, KH, KW), each used by every input
        return math.prod(input_shape) * math.prod(layer.weight.value.shape[1:])
    if isinstance(layer, BatchNorm2d | GroupNorm | InstanceNorm2d | LayerNorm):
        return 0
    return None


def _moved(
    layer: Layer, fields: _Fields, input_sizes: tuple[int, ...], output_sizes: tuple[int, ...]
) -> _Fields:
    """Return the fields after a layer, given those of its input."""
    windows = _windows(layer, input_sizes, output_sizes)
    if len(windows) != len(fields):  # pointwise, or after a layer that has changed the axes
        return fields
    return tuple(
        (field + (extent - 1) * jump, jump * stride)
        for (field, jump), (extent, stride) in zip(fields, windows, strict=True)
    )


def _windows(
    layer: Layer, input_sizes: tuple[int, ...], output_sizes: tuple[int, ...]
) -> list[tuple[int, Fraction]]:
    """Return (extent, stride) of a layer's windows on each axis; empty for pointwise layers."""
    axes = len(input_sizes)
    if isinstance(layer, Flatten | GlobalAvgPool2d | GlobalMaxPool2d):
        return [(size, Fraction(size)) for size in input_sizes]
    if isinstance(layer, AdaptiveAvgPool2d | AdaptiveMaxPool2d):
        return [
            (max(-(-(i + 1) * H // OH) - i * H // OH for i in range(OH)), Fraction(H, OH))
            for H, OH in zip(input_sizes, output_sizes, strict=True)
        ]
    if isinstance(
        layer, Conv1d | Conv2d | Conv3d | ConvTranspose2d | MaxPool2d | AvgPool2d | LPPool2d
    ):
        kernels = _sizes(layer.kernel_size, axes)
        strides = kernels if layer.stride is None else _sizes(layer.stride, axes)
        dilations = _sizes(getattr(layer, "dilation", 1), axes)
        extents = [(size - 1) * step + 1 for size, step in zip(kernels, dilations, strict=True)]
        if isinstance(layer, ConvTranspose2d):  # it strides over its output
            return [
                (-(-extent // stride), Fraction(1, stride))
                for extent, stride in zip(extents, strides, strict=True)
            ]
        return list(zip(extents, map(Fraction, strides), strict=True))
    return []


def _sizes(value: int | tuple[int, ...], axes: int) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, Sequence) else (int(value),) * axes


def _times(sizes: tuple[int, ...]) -> str:
    return " x ".join(map(str, sizes))


def _count(number: int | None) -> str:
    return "unknown" if number is None else f"{number:,}"
