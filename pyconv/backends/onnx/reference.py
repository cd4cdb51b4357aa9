# SPDX-License-Identifier: BSD-3-Clause
"""A node by ONNX's own reference implementation, for what pyconv has no kernel for."""

from __future__ import annotations

from typing import Any

from pyconv.backends.onnx.graph import subgraph_inputs
from pyconv.backends.onnx.operators import Node
from pyconv.layers.base import Array
from pyconv.optional import need

onnx = need("onnx", "pyconv.backends.onnx", extra="onnx")


class Reference:
    """The kernel of a node as a model of its own, made when it is needed for the first time.

    Behind the inputs of the node it takes the values that graphs in its attributes use.
    """

    def __init__(self, node: Node, opsets: Any) -> None:
        self._node, self._opsets = node, opsets
        self._evaluator: Any = None

    def __call__(self, *inputs: Array | None) -> tuple[Any, ...]:
        """Return all outputs, None for those that have no name."""
        self.make()
        names = self._node.inputs + subgraph_inputs(self._node)
        given = {name: x for name, x in zip(names, inputs, strict=True) if name}
        results = iter(self._evaluator.run(None, given))
        return tuple(next(results) if name else None for name in self._node.proto.output)

    def make(self) -> None:
        """Make the model, if that has not been done.

        Raises
        ------
        ValueError
            ONNX's reference implementation does not have the operator either.
        """
        if self._evaluator is not None:
            return
        evaluator = need("onnx.reference", "pyconv.backends.onnx", extra="onnx").ReferenceEvaluator
        names = dict.fromkeys(self._node.inputs + subgraph_inputs(self._node))
        graph = onnx.helper.make_graph(
            [self._node.proto],
            "node",
            [onnx.ValueInfoProto(name=name) for name in names if name],
            [onnx.ValueInfoProto(name=name) for name in self._node.proto.output if name],
        )
        try:
            self._evaluator = evaluator(onnx.helper.make_model(graph, opset_imports=self._opsets))
        except (NotImplementedError, RuntimeError) as error:
            node = self._node
            raise ValueError(
                f"prepare: operator is not supported, got {node.op_type} of domain "
                f"{node.domain!r}, version {node.version}"
            ) from error
