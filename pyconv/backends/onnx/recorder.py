# SPDX-License-Identifier: BSD-3-Clause
"""An ONNX graph in the making, and a layer's place in it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from pyconv.layers.base import Array
from pyconv.optional import need

onnx = need("onnx", "pyconv.backends.onnx", extra="onnx")


@dataclasses.dataclass(frozen=True)
class Value:
    """A name in the graph, and what an empty batch has there."""

    name: str
    array: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape, with 0 images."""
        return self.array.shape


@dataclasses.dataclass(frozen=True)
class Call:
    """A layer at its place: what a writer of nodes gets to know."""

    recorder: Recorder
    layer: Any
    name: str
    input: Value
    output: Array

    def node(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """Add a node, by default on the layer's input, and return the name of its output."""
        output = self.recorder.unused(self.name or op_type.lower())
        node = onnx.helper.make_node(
            op_type, inputs or [self.input.name], [output], f"{output}/{op_type}", **attributes
        )
        self.recorder.nodes.append(node)
        return output

    def constant(self, name: str, value: Array | float) -> str:
        """Add an array, or a number in the dtype of the input, and return its full name."""
        full = self.recorder.unused(f"{self.name}.{name}" if self.name else name)
        if not isinstance(value, np.ndarray):
            value = np.array(value, self.input.array.dtype)
        self.recorder.initializers[full] = onnx.numpy_helper.from_array(value, full)
        return full

    def weights(self) -> list[str]:
        """Add what the layer has of weight and bias."""
        own = self.layer.own_parameters()
        return [self.constant(name, parameter.value) for name, parameter in own.items()]

    def affine(self, shape: tuple[int, ...]) -> list[str]:
        """Add weight and bias of a normalisation, 1 and 0 if it has none."""
        own = self.layer.own_parameters()
        made = {"weight": np.ones, "bias": np.zeros}
        return [
            self.constant(
                name, own[name].value if name in own else make(shape, self.input.array.dtype)
            )
            for name, make in made.items()
        ]

    def unsupported(self, why: str) -> ValueError:
        """Return the error for a layer that cannot be written."""
        place = f" at {self.name!r}" if self.name else ""
        return ValueError(f"export: {self.layer!r}{place} has no equal in ONNX: {why}")


class Recorder:
    """Nodes and initializers, as they come."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.initializers: dict[str, Any] = {}
        self._used = {"input", "output"}

    def unused(self, name: str) -> str:
        """Return `name`, with a number behind it if there is one of that name already."""
        result, count = name, 1
        while result in self._used:
            count += 1
            result = f"{name}_{count}"
        self._used.add(result)
        return result

    def end_with(self, name: str) -> None:
        """Make a value the output of the graph."""
        if name == "input":
            self.nodes.append(onnx.helper.make_node("Identity", ["input"], ["output"]))
            return
        for node in self.nodes:
            for names in (node.input, node.output):
                names[:] = ["output" if other == name else other for other in names]
