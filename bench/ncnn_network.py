# SPDX-License-Identifier: BSD-3-Clause
"""A network of pyconv's layers as ncnn's text of layers and file of weights, for inference of one image.

Batch norm is folded into the convolution before it and activations are part of the layer before them, as
ncnn's own optimiser leaves a network.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pyconv import layers as L
from pyconv.layers import Layer

Array: TypeAlias = NDArray[Any]


class NcnnNetwork:
    """Writes a network layer by layer.

    Attributes
    ----------
    output : str
        Name of the last layer's output.
    """

    def __init__(self, model: Layer) -> None:
        self._lines = ["Input input 0 1 input"]
        self._blobs = 1
        self._weights: list[bytes] = []
        self.output = self._chain([model], "input")

    def load(self, threads: int) -> Any:
        """Return an ``ncnn.Net`` that computes in float32 throughout."""
        ncnn: Any = importlib.import_module("ncnn")
        net = ncnn.Net()
        net.opt.num_threads = threads
        for option in dir(net.opt):
            if option.startswith(("use_fp16", "use_bf16", "use_int8", "use_vulkan")):
                setattr(net.opt, option, False)
        net.load_param_mem(
            f"7767517\n{len(self._lines)} {self._blobs}\n" + "\n".join(self._lines) + "\n"
        )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.bin"
            path.write_bytes(b"".join(self._weights))
            net.load_model(str(path))
        return net

    def _layer(
        self,
        kind: str,
        inputs: Sequence[str],
        options: Mapping[int, object] | None = None,
        outputs: int = 1,
    ) -> list[str]:
        """Write one layer, whose options have numbers for names; return its outputs."""
        name = f"layer{len(self._lines)}"
        made = [f"{name}_{i}" for i in range(outputs)]
        values = " ".join(f"{key}={value}" for key, value in (options or {}).items())
        self._lines.append(
            f"{kind} {name} {len(inputs)} {outputs} {' '.join(inputs)} {' '.join(made)} {values}"
        )
        self._blobs += outputs
        return made

    def _chain(self, layers: Sequence[Layer], blob: str) -> str:
        pending = list(layers)
        while pending:
            layer = pending.pop(0)
            if isinstance(layer, L.Sequential):
                pending[:0] = layer
            elif isinstance(layer, L.Conv2d | L.Linear):
                blob = self._weighted(layer, pending, blob)
            elif isinstance(layer, L.Residual | L.Concat):
                blob = self._joined(layer, blob)
            elif not isinstance(layer, L.Dropout | L.Identity):
                blob = self._plain(layer, blob)
        return blob

    def _weighted(self, layer: L.Conv2d | L.Linear, following: list[Layer], blob: str) -> str:
        """Write a convolution or a dense layer, and what can be part of it."""
        weight = layer.weight.value
        bias = None if layer.bias is None else layer.bias.value
        if following and isinstance(norm := following[0], L.BatchNorm2d):
            weight, bias = norm.fold(weight, bias)
            del following[0]
        options: dict[int, object] = {0: len(weight)}
        if isinstance(layer, L.Linear):
            kind = "InnerProduct"
            options |= {1: int(bias is not None), 2: weight.size}
        else:
            kind = "Convolution" if layer.groups == 1 else "ConvolutionDepthWise"
            (kernel_h, kernel_w), (stride_h, stride_w) = layer.kernel_size, _pair(layer.stride)
            pad_h, pad_w = _pair(layer.padding)
            options |= {1: kernel_w, 11: kernel_h, 3: stride_w, 13: stride_h}
            options |= {4: pad_w, 14: pad_h}
            options |= {5: int(bias is not None), 6: weight.size}
            if layer.groups > 1:
                options[7] = layer.groups
        if following and type(following[0]) in (L.ReLU, L.ReLU6):
            six = isinstance(following.pop(0), L.ReLU6)
            options |= {9: 3, -23310: "2,0.0,6.0"} if six else {9: 1}
        # A zero word before the weights: plain float32.
        self._weights += [bytes(4), weight.tobytes(), b"" if bias is None else bias.tobytes()]
        return self._layer(kind, [blob], options)[0]

    def _joined(self, layer: L.Residual | L.Concat, blob: str) -> str:
        paths = list(layer.children().values())
        identity = isinstance(layer, L.Residual) and layer.shortcut is None
        copies = self._layer("Split", [blob], outputs=len(paths) + identity)
        ends = [self._chain([path], copy) for path, copy in zip(paths, copies, strict=False)]
        ends += copies[len(paths) :]
        return self._layer("Concat" if isinstance(layer, L.Concat) else "BinaryOp", ends, {0: 0})[0]

    def _plain(self, layer: Layer, blob: str) -> str:
        if isinstance(layer, L.MaxPool2d):
            (kernel_h, kernel_w), (pad_h, pad_w) = _pair(layer.kernel_size), _pair(layer.padding)
            stride_h, stride_w = _pair(layer.kernel_size if layer.stride is None else layer.stride)
            options = {0: 0, 1: kernel_w, 11: kernel_h, 2: stride_w, 12: stride_h}
            options |= {3: pad_w, 13: pad_h, 5: 0 if layer.ceil_mode else 1}
            return self._layer("Pooling", [blob], options)[0]
        if isinstance(layer, L.AdaptiveAvgPool2d):
            height, width = _pair(layer.output_size)
            return self._layer("Pooling", [blob], {0: 1, 7: 1, 8: width, 18: height})[0]
        if isinstance(layer, L.GlobalAvgPool2d):
            return self._layer("Pooling", [blob], {0: 1, 4: 1})[0]
        simple: dict[type[Layer], tuple[str, dict[int, object]]] = {
            L.ReLU: ("ReLU", {}),
            L.ReLU6: ("Clip", {0: 0.0, 1: 6.0}),
            L.Flatten: ("Flatten", {}),
        }
        if type(layer) not in simple:
            raise ValueError(f"NcnnNetwork: {type(layer).__name__} has no counterpart")
        kind, extra = simple[type(layer)]
        return self._layer(kind, [blob], extra)[0]


def ncnn_inference(model: Layer, input: Array, threads: int) -> Callable[[], Array]:
    """Return the inference of one image, shape (1, C, H, W); ImportError without ncnn."""
    ncnn: Any = importlib.import_module("ncnn")
    network = NcnnNetwork(model)
    net, image = network.load(threads), ncnn.Mat(input[0])

    def infer() -> Array:
        extractor = net.create_extractor()
        extractor.input("input", image)
        return np.array(extractor.extract(network.output)[1])[None]

    return infer


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)
