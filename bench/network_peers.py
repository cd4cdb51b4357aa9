# SPDX-License-Identifier: BSD-3-Clause
"""The same network, with the same weights, in other libraries: torch and ncnn from the layers, the rest from ONNX."""

from __future__ import annotations

import contextlib
import copy
import importlib
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bench.ncnn_network import ncnn_inference
from pyconv import layers as L
from pyconv.backends.onnx import convert
from pyconv.layers import Layer

Array: TypeAlias = NDArray[Any]
Infer: TypeAlias = Callable[[], Array]


def torch_module(torch: Any, layer: Layer) -> Any:
    """Return a torch module that computes what `layer` does, from copies of its weights."""
    nn = torch.nn
    kind = type(layer)
    if isinstance(layer, L.Sequential):
        return nn.Sequential(*(torch_module(torch, child) for child in layer))
    if isinstance(layer, L.Residual | L.Concat):
        return _joined(torch, layer)
    module: Any
    if isinstance(layer, L.Conv2d):
        module = nn.Conv2d(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,
            layer.stride,
            layer.padding,
            layer.dilation,
            layer.groups,
            layer.bias is not None,
        )
    elif isinstance(layer, L.BatchNorm2d):
        module = nn.BatchNorm2d(layer.num_features, layer.eps, layer.momentum)
    elif isinstance(layer, L.Linear):
        module = nn.Linear(layer.in_features, layer.out_features, layer.bias is not None)
    elif isinstance(layer, L.MaxPool2d):
        module = nn.MaxPool2d(
            layer.kernel_size, layer.stride, layer.padding, ceil_mode=layer.ceil_mode
        )
    elif isinstance(layer, L.AdaptiveAvgPool2d):
        module = nn.AdaptiveAvgPool2d(layer.output_size)
    elif isinstance(layer, L.GlobalAvgPool2d):
        module = nn.AdaptiveAvgPool2d(1)
    elif isinstance(layer, L.Dropout):
        module = nn.Dropout(layer.p)
    elif kind in (L.ReLU, L.ReLU6):
        module = getattr(nn, kind.__name__)(inplace=True)
    elif kind in (L.Flatten, L.Identity):
        module = getattr(nn, kind.__name__)()
    else:
        raise ValueError(f"torch_module: {kind.__name__} has no counterpart")
    state = {name: torch.from_numpy(array) for name, array in layer.state_dict().items()}
    if state:
        module.to(next(iter(state.values())).dtype).load_state_dict(state)
    return module


def _joined(torch: Any, layer: L.Residual | L.Concat) -> Any:
    """Return the paths of a Residual or a Concat and what joins them."""

    class Joined(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            paths = layer.children().values()
            self.paths = torch.nn.ModuleList([torch_module(torch, path) for path in paths])

        def forward(self, input: Any) -> Any:
            outputs = [path(input) for path in self.paths]
            if isinstance(layer, L.Concat):
                return torch.cat(outputs, 1)
            return outputs[0] + (input if layer.shortcut is None else outputs[1])

    return Joined()


def torch_formats(torch: Any, module: Any, input: Array) -> Iterator[tuple[str, Any, Any]]:
    """Yield name, module and input for both memory formats, each with weights of its own."""
    tensor = torch.from_numpy(input)
    yield "torch", module, tensor
    layout = torch.channels_last
    if input.ndim == 4:
        yield (
            "torch channels_last",
            copy.deepcopy(module).to(memory_format=layout),
            tensor.contiguous(memory_format=layout),
        )


def inference_peers(model: Layer, input: Array, threads: int) -> Iterator[tuple[str, Infer]]:
    """Yield the libraries for inference that are installed, at their highest optimisation."""
    if len(input) == 1:
        with contextlib.suppress(ImportError):
            yield "ncnn", ncnn_inference(model, input, threads)
    try:
        data = convert(model, input.shape, dynamic_batch=False).SerializeToString()
    except ImportError:
        return
    yield from onnxruntime_inference(data, input, threads)
    yield from _openvino(data, input, threads)


def onnxruntime_inference(data: bytes, input: Array, threads: int) -> Iterator[tuple[str, Infer]]:
    """Yield onnxruntime, if it is installed, with a model that is an ONNX file's content."""
    try:
        ort: Any = importlib.import_module("onnxruntime")
    except ImportError:
        return
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: input}
    yield "onnxruntime", lambda: np.asarray(session.run(None, feed)[0])


def _openvino(data: bytes, input: Array, threads: int) -> Iterator[tuple[str, Infer]]:
    try:
        openvino: Any = importlib.import_module("openvino")
    except ImportError:
        return
    core = openvino.Core()
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = core.compile_model(core.read_model(data), "CPU", settings)
    request = compiled.create_infer_request()

    def infer() -> Array:
        request.infer([input], share_inputs=True)
        return np.asarray(request.get_output_tensor(0).data)

    yield "openvino", infer
