# SPDX-License-Identifier: BSD-3-Clause
"""From an ONNX model to the nodes that will run: constants computed, neighbours merged.

`load` makes nodes of the protobuf; `fold` computes what does not depend on the input; `fuse` merges a
convolution with the batch norm, the addition and the activation that follow it, and some others with
a ReLU. A merged node stands where its last part stood, so that all its inputs are there by then.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pyconv.backends.onnx.operators import Kernel, Node, is_float
from pyconv.layers.base import Array
from pyconv.optional import need

onnx = need("onnx", "pyconv.backends.onnx", extra="onnx")

_RANDOM = {
    "Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
    "RandomUniformLike",
}  # fmt: skip
_TAKE_RELU = {"Add", "BatchNormalization", "ConvTranspose", "Gemm"}


@dataclasses.dataclass
class Graph:
    """What a model computes.

    Attributes
    ----------
    nodes : list of Node
        Each after those that it needs.
    constants : dict of str to ndarray
    inputs : list of onnx.ValueInfoProto
        Those that have to be given.
    outputs : list of str
    """

    nodes: list[Node]
    constants: dict[str, Array]
    inputs: list[Any]
    outputs: list[str]


def load(model: Any) -> Graph:
    """Read a model."""
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    versions = {opset.domain: opset.version for opset in model.opset_import}
    graph = model.graph
    constants = {tensor.name: _array(tensor) for tensor in graph.initializer}
    if graph.sparse_initializer:
        raise ValueError(
            "prepare: model has sparse initializers, which are not supported, got "
            f"{len(graph.sparse_initializer)}; expected none"
        )
    outputs = [info.name for info in graph.output]
    nodes = _live([node_of(proto, versions) for proto in graph.node], outputs)
    return Graph(
        nodes, constants, [info for info in graph.input if info.name not in constants], outputs
    )


def _live(nodes: list[Node], outputs: list[str]) -> list[Node]:
    """Return the nodes that the outputs depend on, and take the names off outputs nobody reads."""
    read, live = {*outputs}, []
    for node in reversed(nodes):
        node.outputs = [name if name in read else "" for name in node.outputs]
        if any(node.outputs):
            read |= {*node.inputs, *subgraph_inputs(node)} - {""}
            live.append(node)
    return live[::-1]


def _array(tensor: Any) -> Array:
    array = onnx.numpy_helper.to_array(tensor)
    # Contiguous and aligned, so that no call has to copy it. A scalar stays one.
    return np.require(array, requirements=["C", "A"]) if array.ndim else array


def node_of(proto: Any, versions: Mapping[str, int]) -> Node:
    """Read a node."""
    attributes = {
        attribute.name: _attribute(attribute)
        for attribute in proto.attribute
        if attribute.type not in {onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS}
    }
    domain = "" if proto.domain == "ai.onnx" else proto.domain
    version = versions.get(domain, versions.get("ai.onnx", 1) if domain == "" else 1)
    copy = onnx.NodeProto()  # or the node would keep the memory of the whole model
    copy.CopyFrom(proto)
    return Node(
        proto.op_type, domain, list(proto.input), list(proto.output), attributes, version, copy
    )


def _attribute(attribute: Any) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    if attribute.type == onnx.AttributeProto.TENSOR:
        return _array(value)
    if attribute.type == onnx.AttributeProto.STRING:
        return value.decode()
    if attribute.type in {onnx.AttributeProto.INTS, onnx.AttributeProto.FLOATS}:
        return list(value)
    return value


def subgraph_inputs(node: Node) -> list[str]:
    """Return the values from outside that the graphs in a node's attributes use."""
    names: dict[str, None] = {}  # a set that keeps the order
    for attribute in node.proto.attribute:
        for graph in (attribute.g, *attribute.graphs):
            names |= dict.fromkeys(_free_names(graph))
    return [name for name in names if name not in node.inputs]


def _free_names(graph: Any) -> list[str]:
    known = {info.name for info in graph.input} | {tensor.name for tensor in graph.initializer}
    free: list[str] = []
    for proto in graph.node:
        used = list(proto.input)
        for attribute in proto.attribute:
            for inner in (attribute.g, *attribute.graphs):
                used += _free_names(inner)
        free += [name for name in used if name and name not in known]
        known |= set(proto.output)
    return free + [info.name for info in graph.output if info.name not in known]


def fold(graph: Graph, kernel_for: Callable[[Node], Kernel]) -> None:
    """Compute the nodes whose inputs are all constant, and tell the others which ones are."""
    remaining = []
    for node in graph.nodes:
        names = node.inputs + subgraph_inputs(node)
        node.constants = {
            i: graph.constants[name] for i, name in enumerate(names) if name in graph.constants
        }
        if node.op_type in _RANDOM or any(name not in graph.constants for name in names if name):
            remaining.append(node)
            continue
        with np.errstate(all="ignore"):
            results = kernel_for(node)(*[graph.constants.get(name) for name in names])
        results = results if isinstance(results, tuple) else (results,)
        named = zip(node.outputs, results, strict=False)
        graph.constants |= {name: result for name, result in named if name}
    graph.nodes = remaining


def fuse(graph: Graph) -> None:
    """Merge nodes with those that follow them, where one kernel does the work of both."""
    uses = Counter(graph.outputs)
    readers: dict[str, int] = {}
    for i, node in enumerate(graph.nodes):
        uses.update(name for name in node.inputs + subgraph_inputs(node) if name)
        readers |= dict.fromkeys(node.inputs, i)
    nodes: list[Node | None] = list(graph.nodes)
    for start in range(len(nodes)):
        at = start
        while (current := nodes[at]) is not None and len(current.outputs) == 1:
            reader = readers.get(current.outputs[0])
            following = None if reader is None else nodes[reader]
            if reader is None or following is None or uses[current.outputs[0]] != 1:
                break
            merged = _merged(current, following, graph.constants)
            if merged is None:
                break
            nodes[at], nodes[reader], at = None, merged, reader
    graph.nodes = [node for node in nodes if node is not None]


def _merged(node: Node, following: Node, constants: dict[str, Array]) -> Node | None:
    """Return one node for two, if there is one. Constants that it needs are added."""
    activation = _activation_of(following)
    if node.activation is not None or following.activation is not None:
        return None
    if node.op_type in _TAKE_RELU:
        return (
            dataclasses.replace(node, outputs=following.outputs, activation="relu")
            if activation == "relu"
            else None
        )
    weight = node.constants.get(1)
    if node.op_type != "Conv" or node.domain or weight is None or not is_float(weight):
        return None
    if weight.ndim not in {3, 4, 5}:
        return None
    residual = len(node.inputs) > 3
    if activation is not None:
        return dataclasses.replace(node, outputs=following.outputs, activation=activation)
    if following.op_type == "BatchNormalization" and not residual:
        return _with_norm(node, following, constants)
    if following.op_type in {"Add", "Sum"} and len(following.inputs) == 2 and not residual:
        return _with_residual(node, following)
    return None


def _activation_of(node: Node) -> str | None:
    """Return the name of an activation that a convolution can apply in passing."""
    if node.domain:
        return None
    if node.op_type == "Clip":
        if node.version >= 11:
            bounds = [node.constants.get(i) for i in (1, 2)]
        else:
            bounds = [node.get("min"), node.get("max")]
        return "relu6" if bounds == [0, 6] else None
    return {"Relu": "relu", "HardSwish": "hardswish"}.get(node.op_type)


def _with_norm(node: Node, norm: Node, constants: dict[str, Array]) -> Node | None:
    """Return a convolution with the weights that do what it and a batch norm do."""
    weight, bias = node.constants[1], node.constants.get(2)
    if norm.domain or len(norm.constants) != 4 or norm.get("training_mode", 0):
        return None
    if len(norm.outputs) != 1 or norm.get("spatial", 1) == 0:
        return None
    if bias is None and any(node.inputs[2:]):  # it is computed
        return None
    scale, shift, mean, var = (norm.constants[i].astype(np.float64) for i in (1, 2, 3, 4))
    scale /= np.sqrt(var + norm.get("epsilon", 1e-5))
    folded = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
    shift += ((0 if bias is None else bias) - mean) * scale
    new = [folded.astype(weight.dtype), shift.astype(weight.dtype)]
    names = [f"{norm.outputs[0]}/{name}" for name in ("weight", "bias")]
    constants |= dict(zip(names, new, strict=True))
    return dataclasses.replace(
        node,
        inputs=[node.inputs[0], *names],
        outputs=norm.outputs,
        constants={1: new[0], 2: new[1]},
    )


def _with_residual(node: Node, add: Node) -> Node | None:
    """Return a convolution that adds another value to its output."""
    if add.constants or add.domain or add.get("broadcast", 0) or add.inputs[0] == add.inputs[1]:
        return None
    (other,) = (name for name in add.inputs if name != node.outputs[0])
    inputs = [*node.inputs, ""][:3]
    return dataclasses.replace(node, inputs=[*inputs, other], outputs=add.outputs)
