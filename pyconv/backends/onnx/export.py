# SPDX-License-Identifier: BSD-3-Clause
"""From layers to an ONNX graph, in inference mode.

The graph is recorded while an empty batch runs through the layers, which costs no arithmetic and
gives the shapes. A layer becomes one node or a few, called after its place in the model; parameters
keep their state-dict keys. What inference does not see, such as dropout, leaves no trace.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pyconv import functional as F
from pyconv import layers as L
from pyconv.backends.onnx.recorder import Call, Recorder, Value
from pyconv.backends.onnx.writers import WRITERS
from pyconv.io import PathLike, atomic_write
from pyconv.layers.base import Layer
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

    Returns
    -------
    onnx.ModelProto

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
    recorder = Recorder()
    kept = [
        (layer, layer.training, layer._saving, layer._saved) for _, layer in model.named_layers()
    ]
    model.eval()  # batch norm would follow the empty batch
    try:
        input = Value("input", np.zeros((0, *input_shape[1:]), dtype))
        output = _through(recorder, model, "", input)
    finally:
        for layer, training, saving, saved in kept:
            layer.training, layer._saving, layer._saved = training, saving, saved
    recorder.end_with(output.name)
    batch = "N" if dynamic_batch else input_shape[0]
    element = onnx.helper.np_dtype_to_tensor_dtype(dtype)
    proto = onnx.helper.make_model(
        onnx.helper.make_graph(
            recorder.nodes,
            type(model).__name__,
            *(
                [onnx.helper.make_tensor_value_info(name, element, [batch, *value.shape[1:]])]
                for name, value in (("input", input), ("output", output))
            ),
            list(recorder.initializers.values()),
        ),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="pyconv",
    )
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _through(recorder: Recorder, layer: Layer, name: str, input: Value) -> Value:
    """Add the nodes of a layer and return its output."""
    paths = [
        (child, f"{name}.{own}" if name and own else name or own)
        for own, child in layer.children().items()
    ]
    kind = _kind_of(layer)
    if kind is L.Sequential or kind is L.Checkpoint:
        for child, path in paths:
            input = _through(recorder, child, path, input)
        return input
    if kind is None:
        place = f" at {name!r}" if name else ""
        raise ValueError(
            f"export: layer is not supported, got {type(layer).__name__}{place}; "
            "expected layers of pyconv"
        )
    if kind is L.Residual or kind is L.Concat:
        ends = [_through(recorder, child, path, input) for child, path in paths]
        names, outputs = [end.name for end in ends], [end.array for end in ends]
        if kind is L.Concat:
            call = Call(recorder, layer, name, input, np.concatenate(outputs, axis=1))
            return Value(call.node("Concat", *names, axis=1), call.output)
        names, outputs = [*names, input.name][:2], [*outputs, input.array][:2]
        call = Call(recorder, layer, name, input, F.add(*outputs))
        return Value(call.node("Add", *names), call.output)
    call = Call(recorder, layer, name, input, layer(input.array))
    return Value(WRITERS[kind](call), call.output)


def _kind_of(layer: Layer) -> type[Layer] | None:
    """Return the class of pyconv whose `forward` the layer has, subclasses included."""
    kinds: tuple[type[Layer], ...] = (
        L.Sequential, L.Checkpoint, L.Residual, L.Concat, *WRITERS,
    )  # fmt: skip
    for kind in kinds:
        if isinstance(layer, kind) and type(layer).forward is kind.forward:
            return kind
    return None
