# SPDX-License-Identifier: BSD-3-Clause
"""From an ONNX model to the nodes that will run: constants computed, neighbours merged.

`load` makes nodes of the protobuf; `fold` computes what does not depend on the input; `fuse` merges a
convolution with the batch norm, the scale and shift of channels, the addition and the activation that follow
it, a batch norm with a scale and shift, and some others with a ReLU. A merged node stands where its last part stood, so that all its inputs are there by then.
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
_KEEP_RANK = {
    "Add", "AveragePool", "BatchNormalization", "Clip", "Concat", "Conv", "Dropout", "Identity", "LRN", "MaxPool",
    "Mul", "Relu", "Tanh",
}  # fmt: skip


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
    ranks = _ranks(graph)
    for start in range(len(nodes)):
        at = start
        while (current := nodes[at]) is not None and len(current.outputs) == 1:
            reader = readers.get(current.outputs[0])
            following = None if reader is None else nodes[reader]
            if reader is None or following is None or uses[current.outputs[0]] != 1:
                break
            merged = _merged(current, following, graph.constants, ranks.get(current.outputs[0]))
            if merged is None:
                break
            nodes[at], nodes[reader], at = None, merged, reader
    graph.nodes = [node for node in nodes if node is not None]


def _ranks(graph: Graph) -> dict[str, int]:
    """Return how many axes some values have: those that come from an input through layers of a network."""
    # A constant may be a sequence of arrays, too.
    ranks = {name: getattr(value, "ndim", 0) for name, value in graph.constants.items()}
    for info in graph.inputs:
        if info.type.tensor_type.HasField("shape"):
            ranks[info.name] = len(info.type.tensor_type.shape.dim)
    for node in graph.nodes:
        if node.op_type in _KEEP_RANK and all(name in ranks for name in node.inputs if name):
            ranks[node.outputs[0]] = max(ranks[name] for name in node.inputs if name)
    return ranks


def _merged(
    node: Node, following: Node, constants: dict[str, Array], rank: int | None
) -> Node | None:
    """Return one node for two, if there is one. Constants that it needs are added.

    The value between the two has `rank` axes, if that is known.
    """
    activation = _activation_of(following)
    if node.activation is not None or following.activation is not None:
        return None
    affine = _with_affine(node, following, constants, rank)
    if affine is not None:
        return affine
    if node.op_type in _TAKE_RELU:
        return (
            dataclasses.replace(node, outputs=following.outputs, activation="relu")
            if activation == "relu"
            else None
        )
    if not _is_fixed_conv(node):
        return None
    if activation is not None:
        return dataclasses.replace(node, outputs=following.outputs, activation=activation)
    residual = len(node.inputs) > 3
    if following.op_type in {"Add", "Sum"} and len(following.inputs) == 2 and not residual:
        return _with_residual(node, following)
    return None


def _is_fixed_conv(node: Node) -> bool:
    """Return whether a node is a convolution of constant weight."""
    weight = node.constants.get(1)
    return (
        node.op_type == "Conv"
        and not node.domain
        and weight is not None
        and is_float(weight)
        and weight.ndim in {3, 4, 5}
    )


def _is_fixed_norm(node: Node) -> bool:
    """Return whether a node is a batch norm whose statistics and parameters are constants."""
    return (
        node.op_type == "BatchNormalization"
        and not node.domain
        and len(node.constants) == 4
        and len(node.outputs) == 1
        and not node.get("training_mode", 0)
        and node.get("spatial", 1) != 0
    )


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


def _with_affine(
    node: Node, following: Node, constants: dict[str, Array], rank: int | None
) -> Node | None:
    """Return a convolution or batch norm that also does what a scale and shift of channels do."""
    if _is_fixed_conv(node) and len(node.inputs) <= 3:
        weight, bias = node.constants[1], node.constants.get(2)
        if bias is None and any(node.inputs[2:]):  # it is computed
            return None
        rank, statistics = weight.ndim, []
    elif _is_fixed_norm(node) and is_float(*node.constants.values()):
        weight, bias = node.constants[1], node.constants[2]
        statistics = node.inputs[3:]
    else:
        return None
    affine = _affine_of(following, len(weight), rank, weight.dtype)
    if affine is None:
        return None
    factor, shift = affine
    scaled = weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
    shifted = shift if bias is None else bias * factor + shift
    new = [scaled.astype(weight.dtype), shifted.astype(weight.dtype)]
    names = [f"{following.outputs[0]}/{name}" for name in ("weight", "bias")]
    constants |= dict(zip(names, new, strict=True))
    return dataclasses.replace(
        node,
        inputs=[node.inputs[0], *names, *statistics],
        outputs=following.outputs,
        constants={**node.constants, 1: new[0], 2: new[1]},
    )


def _affine_of(
    node: Node, channels: int, rank: int | None, dtype: np.dtype[Any]
) -> tuple[Array, Array] | None:
    """Return factor and shift of each channel, in float64, for a node that does no more than that."""
    if _is_fixed_norm(node):
        scale, shift, mean, var = (node.constants[i].astype(np.float64) for i in (1, 2, 3, 4))
        scale /= np.sqrt(var + node.get("epsilon", 1e-5))
        return scale, shift - mean * scale
    if node.op_type not in {"Add", "Mul"} or node.domain or node.version < 7:
        return None
    if rank is None or len(node.constants) != 1:
        return None
    (constant,) = node.constants.values()
    sizes: tuple[int, ...] = (1,) * (rank - constant.ndim) + constant.shape
    if constant.ndim > rank or constant.dtype != dtype or constant.size != sizes[1]:
        return None
    if constant.size not in {1, channels}:
        return None
    values = np.broadcast_to(constant.astype(np.float64).reshape(-1), channels)
    if node.op_type == "Mul":
        return values, np.zeros(channels)
    return np.ones(channels), values


def _with_residual(node: Node, add: Node) -> Node | None:
    """Return a convolution that adds another value to its output."""
    if add.constants or add.domain or add.get("broadcast", 0) or add.inputs[0] == add.inputs[1]:
        return None
    (other,) = (name for name in add.inputs if name != node.outputs[0])
    inputs = [*node.inputs, ""][:3]
    return dataclasses.replace(node, inputs=[*inputs, other], outputs=add.outputs)
