# SPDX-License-Identifier: BSD-3-Clause
"""What a node is to the executor, and the table of operators.

An operator is a function that looks at a node once, when a model is prepared: attributes, version of
the operator set, inputs that are constant. It returns the kernel, a function of the inputs that runs
each time and returns an array, or a tuple if the node has several outputs. Where pyconv has no
kernel for these attributes it returns None, and where a kernel does not take these arrays (float16,
say) it returns NotImplemented; ONNX's reference implementation then does the work.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeAlias

from pyconv.layers.base import Array

Kernel: TypeAlias = Callable[..., Any]
Builder: TypeAlias = Callable[["Node"], Kernel | None]

OPERATORS: dict[str, Builder] = {}


@dataclasses.dataclass(eq=False)
class Node:
    """A node of a graph.

    Attributes
    ----------
    op_type, domain : str
    inputs, outputs : list of str
        Names of values; an empty one is an optional input that is not there, or an output that
        nobody reads.
    attributes : dict
        Numbers, lists, strings and, for tensors, arrays.
    version : int
        Of the operator set that the node's domain is in.
    constants : dict of int to ndarray
        The inputs that are known before the run, by position.
    activation : str or None
        Applied to the output: a node that followed and was merged into this one.
    proto : onnx.NodeProto
    """

    op_type: str
    domain: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]
    version: int
    proto: Any
    constants: dict[int, Array] = dataclasses.field(default_factory=dict)
    activation: str | None = None

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute."""
        return self.attributes.get(name, default)

    def wants(self, output: int) -> bool:
        """Return whether someone reads an output."""
        return len(self.outputs) > output and self.outputs[output] != ""


def operator(*op_types: str) -> Callable[[Builder], Builder]:
    """Enter a builder into the table."""

    def enter(builder: Builder) -> Builder:
        for op_type in op_types:
            OPERATORS[op_type] = builder
        return builder

    return enter


def kernel_of(node: Node) -> Kernel | None:
    """Return the kernel of a node, None if pyconv has none."""
    builder = OPERATORS.get(node.op_type) if node.domain in {"", "ai.onnx"} else None
    return None if builder is None else builder(node)


def is_float(*arrays: Array | None) -> bool:
    """Return whether pyconv.functional takes arrays of these types; absent ones do not count."""
    return all(array is None or array.dtype.char in "fd" for array in arrays)


def is_number(array: Array) -> bool:
    """Return whether an array holds what NumPy itself calculates with."""
    return array.dtype.kind in "biuf" and array.dtype.isbuiltin == 1
