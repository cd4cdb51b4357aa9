# SPDX-License-Identifier: BSD-3-Clause
"""From layers to an ONNX graph, in inference mode.

The graph is recorded while an empty batch runs through the layers, which costs no arithmetic and
gives the shapes. A layer becomes one node or a few, called after its place in the model; parameters
keep their state-dict keys. What inference does not see, such as dropout, leaves no trace.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from pyconv import layers as L
from pyconv.backends.onnx.geometry import same_padding
from pyconv.functional._arguments import each, sides
from pyconv.io import PathLike, atomic_write
from pyconv.layers.base import Array, Layer
from pyconv.optional import need

__all__ = ["convert", "export"]

onnx = need("onnx", "pyconv.backends.onnx", extra="onnx")

OPSET, IR_VERSION = 21, 10  # the newest of onnx 1.16
_MOST_BYTES = 2**31 - 2**20  # of a protobuf message, and some room for the graph


def export(
    model: Layer, path: PathLike, input_shape: tuple[int, ...], *, dynamic_batch: bool = True
) -> None:
    """Write `model`, as it is in inference, to an ONNX file.

    Parameters
    ----------
    model : Layer
        Made of pyconv's layers. Its mode does not matter and is left as it is.
    path : path-like
        Written whole or, on any error, not touched.
    input_shape : (N, C, ...)
    dynamic_batch : bool
        Let the file take any number of images rather than N.

    Raises
    ------
    ValueError
        ONNX, or this function, has no word for a layer or one of its options; the input shape does
        not fit the model; the parameters take 2 GiB or more.

    Notes
    -----
    Opset 21. The input is called ``input`` and the output ``output``. Parameters of all layers have
    one dtype, which is that of the input.

    Examples
    --------
    >>> import tempfile
    >>> from pyconv.layers import Conv2d, ReLU, Sequential
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export(Sequential(Conv2d(3, 8, 3), ReLU()), f"{folder}/model.onnx", (1, 3, 32, 32))
    """
    proto = convert(model, input_shape, dynamic_batch=dynamic_batch)
    atomic_write(path, proto.SerializeToString())


def convert(model: Layer, input_shape: tuple[int, ...], *, dynamic_batch: bool = True) -> Any:
    """Return the ``onnx.ModelProto`` that `export` would write.

    Parameters and errors are those of `export`.

    Examples
    --------
    >>> from pyconv.layers import Conv2d, ReLU, Sequential
    >>> proto = convert(Sequential(Conv2d(3, 8, 3), ReLU()), (1, 3, 32, 32))
    >>> [node.op_type for node in proto.graph.node]
    ['Conv', 'Relu']
    """
    if len(input_shape) < 2 or min(input_shape) < 1:
        raise ValueError(
            f"export: input_shape is wrong, got {input_shape!r}; expected (N, C, ...), all positive"
        )
    size = sum(parameter.value.nbytes for parameter in model.parameters())
    if size > _MOST_BYTES:
        raise ValueError(f"export: model is too large, got {size} bytes; expected less than 2 GiB")
    dtype = next((parameter.value.dtype for parameter in model.parameters()), np.dtype("f4"))
    graph = _Graph()
    kept = [
        (layer, layer.training, layer._saving, layer._saved) for _, layer in model.named_layers()
    ]
    model.eval()  # batch norm would follow the empty batch
    try:
        input = _Value("input", np.zeros((0, *input_shape[1:]), dtype))
        output = graph.through(model, "", input)
    finally:
        for layer, training, saving, saved in kept:
            layer.training, layer._saving, layer._saved = training, saving, saved
    graph.end_with(output.name)
    batch = "N" if dynamic_batch else input_shape[0]
    element = onnx.helper.np_dtype_to_tensor_dtype(dtype)
    proto = onnx.helper.make_model(
        onnx.helper.make_graph(
            graph.nodes,
            type(model).__name__,
            *(
                [onnx.helper.make_tensor_value_info(name, element, [batch, *value.shape[1:]])]
                for name, value in (("input", input), ("output", output))
            ),
            list(graph.initializers.values()),
        ),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="pyconv",
    )
    onnx.checker.check_model(proto, full_check=True)
    return proto


@dataclasses.dataclass(frozen=True)
class _Value:
    """A name in the graph, and what an empty batch has there."""

    name: str
    array: Array

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape


@dataclasses.dataclass(frozen=True)
class _Call:
    """A layer at its place: what a writer of nodes gets to know."""

    graph: _Graph
    layer: Any
    name: str
    input: _Value
    output: Array

    def node(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """Add a node, by default on the layer's input, and return the name of its output."""
        output = self.graph.unused(self.name or op_type.lower())
        node = onnx.helper.make_node(
            op_type, inputs or [self.input.name], [output], f"{output}/{op_type}", **attributes
        )
        self.graph.nodes.append(node)
        return output

    def constant(self, name: str, value: Array | float) -> str:
        """Add an array, or a number in the dtype of the input, and return its full name."""
        full = self.graph.unused(f"{self.name}.{name}" if self.name else name)
        if not isinstance(value, np.ndarray):
            value = np.array(value, self.input.array.dtype)
        self.graph.initializers[full] = onnx.numpy_helper.from_array(value, full)
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


class _Graph:
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

    def through(self, layer: Layer, name: str, input: _Value) -> _Value:
        """Add the nodes of a layer and return its output."""
        paths = [
            (child, f"{name}.{own}" if name and own else name or own)
            for own, child in layer.children().items()
        ]
        kind = _kind_of(layer)
        if kind is L.Sequential or kind is L.Checkpoint:
            for child, path in paths:
                input = self.through(child, path, input)
            return input
        if kind is None:
            place = f" at {name!r}" if name else ""
            raise ValueError(
                f"export: layer is not supported, got {type(layer).__name__}{place}; "
                "expected layers of pyconv"
            )
        if kind is L.Residual or kind is L.Concat:
            ends = [self.through(child, path, input) for child, path in paths]
            names, outputs = [end.name for end in ends], [end.array for end in ends]
            if kind is L.Concat:
                call = _Call(self, layer, name, input, np.concatenate(outputs, axis=1))
                return _Value(call.node("Concat", *names, axis=1), call.output)
            call = _Call(self, layer, name, input, outputs[0])
            return _Value(call.node("Add", *[*names, input.name][:2]), call.output)
        call = _Call(self, layer, name, input, layer(input.array))
        return _Value(_WRITERS[kind](call), call.output)


def _kind_of(layer: Layer) -> type[Layer] | None:
    """Return the class of pyconv whose `forward` the layer has, subclasses included."""
    kinds: tuple[type[Layer], ...] = (
        L.Sequential, L.Checkpoint, L.Residual, L.Concat, *_WRITERS,
    )  # fmt: skip
    for kind in kinds:
        if isinstance(layer, kind) and type(layer).forward is kind.forward:
            return kind
    return None


# One function a kind of layer: each adds nodes and returns the name of the output.

_Writer: TypeAlias = Callable[[_Call], str]


def _conv(call: _Call) -> str:
    layer, sizes = call.layer, call.input.shape[2:]
    strides, dilations = _each(layer.stride, len(sizes)), _each(layer.dilation, len(sizes))
    pads = _pads(layer.padding, sizes, layer.kernel_size, strides, dilations)
    return call.node(
        "Conv",
        call.input.name,
        *call.weights(),
        kernel_shape=layer.kernel_size,
        strides=strides,
        pads=pads,
        dilations=dilations,
        group=layer.groups,
    )


def _conv_transpose(call: _Call) -> str:
    layer = call.layer
    strides, dilations = _each(layer.stride, 2), _each(layer.dilation, 2)
    extra = list(_each(layer.output_padding, 2))
    pads = sides("export", layer.padding, 2)
    if pads is None:  # "same": the output is `stride` times the input, and the output padding more
        both = []
        for d in range(2):
            surplus = dilations[d] * (layer.kernel_size[d] - 1) + 1 - strides[d]
            both.append((max(surplus, 0) // 2, max(surplus, 0) - max(surplus, 0) // 2))
            extra[d] += max(-surplus, 0)
        pads = tuple(both)
    return call.node(
        "ConvTranspose",
        call.input.name,
        *call.weights(),
        kernel_shape=layer.kernel_size,
        strides=strides,
        pads=_begins_then_ends(pads),
        output_padding=extra,
        dilations=dilations,
        group=layer.groups,
    )


def _linear(call: _Call) -> str:
    return call.node("Gemm", call.input.name, *call.weights(), transB=1)


def _batch_norm(call: _Call) -> str:
    layer = call.layer
    return call.node(
        "BatchNormalization",
        call.input.name,
        *call.weights(),
        call.constant("running_mean", layer.running_mean),
        call.constant("running_var", layer.running_var),
        epsilon=layer.eps,
    )


def _layer_norm(call: _Call) -> str:
    shape = call.layer.normalized_shape
    return call.node(
        "LayerNormalization",
        call.input.name,
        *call.affine(shape),
        axis=-len(shape),
        epsilon=call.layer.eps,
    )


def _group_norm(call: _Call) -> str:
    layer = call.layer
    weights = call.affine((layer.num_channels,))
    return call.node(
        "GroupNormalization",
        call.input.name,
        *weights,
        num_groups=layer.num_groups,
        epsilon=layer.eps,
    )


def _instance_norm(call: _Call) -> str:
    weights = call.affine((call.layer.num_features,))
    return call.node("InstanceNormalization", call.input.name, *weights, epsilon=call.layer.eps)


def _response_norm(call: _Call) -> str:
    layer = call.layer
    if layer.size % 2 == 0:
        raise call.unsupported("windows of even size reach further forward there")
    return call.node("LRN", size=layer.size, alpha=layer.alpha, beta=layer.beta, bias=layer.k)


def _window(call: _Call, padding: Any, dilation: Any = 1) -> dict[str, Any]:
    """Return the attributes that all pools have.

    A window that `ceil_mode` adds becomes padding: readers of ONNX do not agree on which ones
    there are. Padding is what the pixels that such a window lacks are anyway, except in an average.
    """
    layer, sizes = call.layer, call.input.shape[2:]
    kernel, dilations = _each(layer.kernel_size, 2), _each(dilation, 2)
    strides = kernel if layer.stride is None else _each(layer.stride, 2)
    pads = sides("export", padding, 2) or same_padding(sizes, kernel, strides, dilations)
    ends = [
        max(end, (outputs - 1) * stride + step * (k - 1) + 1 - size - begin)
        for outputs, stride, step, k, size, (begin, end) in zip(
            call.output.shape[2:], strides, dilations, kernel, sizes, pads, strict=True
        )
    ]
    begins = [begin for begin, _ in pads]
    return {"kernel_shape": kernel, "strides": strides, "pads": begins + ends}


def _max_pool(call: _Call) -> str:
    layer = call.layer
    window = _window(call, layer.padding, layer.dilation)
    return call.node("MaxPool", **window, dilations=_each(layer.dilation, 2))


def _avg_pool(call: _Call) -> str:
    """Write the mean over whole windows, and scale it where pyconv divides by something else."""
    layer, sizes = call.layer, call.input.shape[2:]
    window, divisor = _window(call, layer.padding), layer.divisor_override
    counted = layer.count_include_pad or divisor is not None
    mean = call.node("AveragePool", **window, count_include_pad=int(counted))
    kernel, strides, pads = window["kernel_shape"], window["strides"], window["pads"]
    if divisor is not None:
        return call.node("Mul", mean, call.constant("scale", math.prod(kernel) / divisor))
    declared = sides("export", layer.padding, 2)
    if not counted or declared is None or pads[2:] == [end for _, end in declared]:
        return mean
    # The part of a window beyond the declared padding does not count.
    rows, columns = (
        np.minimum(k, begin + size + end - stride * np.arange(outputs)) / k
        for k, size, (begin, end), stride, outputs in zip(
            kernel, sizes, declared, strides, call.output.shape[2:], strict=True
        )
    )
    scale = (1 / np.outer(rows, columns)).astype(call.input.array.dtype)
    return call.node("Mul", mean, call.constant("scale", scale))


def _lp_pool(call: _Call) -> str:
    p = call.layer.norm_type
    if p % 2 != 0:
        raise call.unsupported("without absolute values, only even powers are the same there")
    return call.node("LpPool", **_window(call, 0), p=int(p))


def _adaptive_avg_pool(call: _Call) -> str:
    """Write the mean over each axis as a product with a matrix, if the windows are not equal."""
    sizes, wanted = call.input.shape[2:], _each(call.layer.output_size, 2)
    if wanted == (1, 1):
        return call.node("GlobalAveragePool")
    if not any(size % output for size, output in zip(sizes, wanted, strict=True)):
        kernel = [size // output for size, output in zip(sizes, wanted, strict=True)]
        return call.node("AveragePool", kernel_shape=kernel, strides=kernel)
    rows, columns = (
        _mean_matrix(size, output).astype(call.input.array.dtype)
        for size, output in zip(sizes, wanted, strict=True)
    )
    means = call.node("MatMul", call.constant("rows", rows), call.input.name)
    return call.node("MatMul", means, call.constant("columns", np.ascontiguousarray(columns.T)))


def _mean_matrix(size: int, output: int) -> Array:
    """Return the matrix whose product with a line is its means over an adaptive pool's windows."""
    matrix = np.zeros((output, size))
    for i in range(output):
        begin, end = i * size // output, -(-(i + 1) * size // output)
        matrix[i, begin:end] = 1 / (end - begin)
    return matrix


def _adaptive_max_pool(call: _Call) -> str:
    sizes, wanted = call.input.shape[2:], _each(call.layer.output_size, 2)
    if wanted == (1, 1):
        return call.node("GlobalMaxPool")
    if any(size % output for size, output in zip(sizes, wanted, strict=True)):
        raise call.unsupported(f"its windows on {sizes[0]} x {sizes[1]} pixels differ in size")
    kernel = [size // output for size, output in zip(sizes, wanted, strict=True)]
    return call.node("MaxPool", kernel_shape=kernel, strides=kernel)


def _relu6(call: _Call) -> str:
    bounds = call.constant("min", 0.0), call.constant("max", 6.0)
    return call.node("Clip", call.input.name, *bounds)


def _silu(call: _Call) -> str:
    return call.node("Mul", call.input.name, call.node("Sigmoid"))


def _softplus(call: _Call) -> str:
    layer, x = call.layer, call.input.name
    beta = call.constant("beta", layer.beta)
    scaled = call.node("Mul", x, beta)
    above = call.node("Greater", scaled, call.constant("threshold", layer.threshold))
    return call.node("Where", above, x, call.node("Div", call.node("Softplus", scaled), beta))


def _plain(op_type: str, **attributes: Any) -> _Writer:
    """Return the writer of one node whose attributes are always the same."""
    return lambda call: call.node(op_type, **attributes)


def _nothing(call: _Call) -> str:
    return call.input.name


_WRITERS: Mapping[type[Layer], _Writer] = {
    L.Conv1d: _conv,
    L.Conv2d: _conv,
    L.Conv3d: _conv,
    L.ConvTranspose2d: _conv_transpose,
    L.Linear: _linear,
    L.BatchNorm2d: _batch_norm,
    L.LayerNorm: _layer_norm,
    L.GroupNorm: _group_norm,
    L.InstanceNorm2d: _instance_norm,
    L.LocalResponseNorm: _response_norm,
    L.MaxPool2d: _max_pool,
    L.AvgPool2d: _avg_pool,
    L.LPPool2d: _lp_pool,
    L.AdaptiveAvgPool2d: _adaptive_avg_pool,
    L.AdaptiveMaxPool2d: _adaptive_max_pool,
    L.GlobalAvgPool2d: _plain("GlobalAveragePool"),
    L.GlobalMaxPool2d: _plain("GlobalMaxPool"),
    L.ReLU: _plain("Relu"),
    L.ReLU6: _relu6,
    L.LeakyReLU: lambda call: call.node("LeakyRelu", alpha=call.layer.negative_slope),
    L.ELU: lambda call: call.node("Elu", alpha=call.layer.alpha),
    L.SELU: _plain("Selu"),
    L.GELU: lambda call: call.node("Gelu", approximate=call.layer.approximate),
    L.SiLU: _silu,
    L.Sigmoid: _plain("Sigmoid"),
    L.Tanh: _plain("Tanh"),
    L.Hardsigmoid: _plain("HardSigmoid", alpha=1 / 6, beta=0.5),
    L.Hardswish: _plain("HardSwish"),
    L.Softplus: _softplus,
    L.Softmax: lambda call: call.node("Softmax", axis=call.layer.axis),
    L.LogSoftmax: lambda call: call.node("LogSoftmax", axis=call.layer.axis),
    L.Flatten: _plain("Flatten", axis=1),
    L.Dropout: _nothing,
}


def _each(value: Any, axes: int) -> tuple[int, ...]:
    return each("export", "argument", value, axes)


def _pads(
    padding: Any,
    sizes: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
) -> list[int]:
    both = sides("export", padding, len(sizes))
    return _begins_then_ends(both or same_padding(sizes, kernel, strides, dilations))


def _begins_then_ends(pads: tuple[tuple[int, int], ...]) -> list[int]:
    return [begin for begin, _ in pads] + [end for _, end in pads]
