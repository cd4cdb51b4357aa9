# SPDX-License-Identifier: BSD-3-Clause
"""Models written as ONNX files, against onnxruntime on the same input."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyconv import layers as L
from pyconv import models
from pyconv.layers.base import Array, Layer

pytest.importorskip("onnx", reason="the package onnx is not installed")
from pyconv.backends.onnx import convert, export

Make = Callable[[np.random.Generator], Layer]

IMAGE = (2, 4, 9, 10)
SAME: Any = "same"

# name: how to make the layer, and the input shape.
LAYERS: dict[str, tuple[Make, tuple[int, ...]]] = {
    "conv1d": (lambda rng: L.Conv1d(4, 6, 3, 2, ((2, 1),), groups=2, rng=rng), (2, 4, 11)),
    "conv2d": (lambda rng: L.Conv2d(4, 6, 3, padding=1, rng=rng), IMAGE),
    "conv2d_same": (
        lambda rng: L.Conv2d(4, 6, (3, 4), 2, "same", (1, 2), 2, bias=False, rng=rng),
        IMAGE,
    ),
    "conv2d_asymmetric": (
        lambda rng: L.Conv2d(4, 4, 3, padding=((0, 2), (1, 0)), groups=4, rng=rng),
        IMAGE,
    ),
    "conv3d": (lambda rng: L.Conv3d(4, 6, (1, 3, 2), (1, 2, 1), rng=rng), (2, 4, 3, 5, 6)),
    "conv_transpose2d": (lambda rng: L.ConvTranspose2d(4, 6, 3, 2, 1, 1, 2, rng=rng), IMAGE),
    "conv_transpose2d_same": (lambda rng: L.ConvTranspose2d(4, 6, 4, 2, "same", rng=rng), IMAGE),
    "conv_transpose2d_same_wide_stride": (
        lambda rng: L.ConvTranspose2d(4, 6, (1, 2), 3, "same", rng=rng),
        IMAGE,
    ),
    "linear": (lambda rng: L.Linear(7, 5, rng=rng), (3, 7)),
    "linear_no_bias": (lambda rng: L.Linear(7, 5, bias=False, rng=rng), (3, 7)),
    "batch_norm": (lambda _: L.BatchNorm2d(4, eps=1e-3), IMAGE),
    "layer_norm": (lambda _: L.LayerNorm((9, 10), 1e-3), IMAGE),
    "layer_norm_plain": (lambda _: L.LayerNorm(10, elementwise_affine=False), IMAGE),
    "group_norm": (lambda _: L.GroupNorm(2, 4), IMAGE),
    "group_norm_plain": (lambda _: L.GroupNorm(2, 4, affine=False), IMAGE),
    "instance_norm": (lambda _: L.InstanceNorm2d(4, affine=True), IMAGE),
    "instance_norm_plain": (lambda _: L.InstanceNorm2d(4), IMAGE),
    "local_response_norm": (lambda _: L.LocalResponseNorm(3, 0.5, 0.7, 2.0), IMAGE),
    "max_pool2d": (lambda _: L.MaxPool2d(3, 2, 1), IMAGE),
    "max_pool2d_ceil": (lambda _: L.MaxPool2d(3, 2, ceil_mode=True), IMAGE),
    "max_pool2d_ceil_pad": (lambda _: L.MaxPool2d(2, 3, 1, ceil_mode=True), IMAGE),
    "max_pool2d_dilated": (lambda _: L.MaxPool2d((2, 3), 2, (1, 0), 2), IMAGE),
    "avg_pool2d": (lambda _: L.AvgPool2d(3, 2, 1), IMAGE),
    "avg_pool2d_exclude": (lambda _: L.AvgPool2d(3, 2, 1, count_include_pad=False), IMAGE),
    "avg_pool2d_ceil": (lambda _: L.AvgPool2d(3, 2, ceil_mode=True), IMAGE),
    "avg_pool2d_ceil_pad": (lambda _: L.AvgPool2d(2, 3, 1, ceil_mode=True), IMAGE),
    "avg_pool2d_same_ceil": (lambda _: L.AvgPool2d(3, 2, SAME, ceil_mode=True), IMAGE),
    "avg_pool2d_ceil_exclude": (
        lambda _: L.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
        IMAGE,
    ),
    "avg_pool2d_divisor": (
        lambda _: L.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False, divisor_override=5),
        IMAGE,
    ),
    "lp_pool2d": (lambda _: L.LPPool2d(2.0, 3, 2), IMAGE),
    "lp_pool2d_ceil": (lambda _: L.LPPool2d(4, 3, 2, ceil_mode=True), IMAGE),
    "adaptive_avg_pool2d": (lambda _: L.AdaptiveAvgPool2d((4, 3)), IMAGE),
    "adaptive_avg_pool2d_even": (lambda _: L.AdaptiveAvgPool2d((3, 5)), IMAGE),
    "adaptive_avg_pool2d_1": (lambda _: L.AdaptiveAvgPool2d(1), IMAGE),
    "adaptive_max_pool2d_even": (lambda _: L.AdaptiveMaxPool2d((3, 5)), IMAGE),
    "adaptive_max_pool2d_1": (lambda _: L.AdaptiveMaxPool2d(1), IMAGE),
    "global_avg_pool2d": (lambda _: L.GlobalAvgPool2d(), IMAGE),
    "global_max_pool2d": (lambda _: L.GlobalMaxPool2d(), IMAGE),
    "relu": (lambda _: L.ReLU(), IMAGE),
    "relu6": (lambda _: L.ReLU6(), IMAGE),
    "leaky_relu": (lambda _: L.LeakyReLU(0.2), IMAGE),
    "elu": (lambda _: L.ELU(0.6), IMAGE),
    "selu": (lambda _: L.SELU(), IMAGE),
    "gelu": (lambda _: L.GELU(), IMAGE),
    "gelu_tanh": (lambda _: L.GELU("tanh"), IMAGE),
    "silu": (lambda _: L.SiLU(), IMAGE),
    "sigmoid": (lambda _: L.Sigmoid(), IMAGE),
    "tanh": (lambda _: L.Tanh(), IMAGE),
    "hardsigmoid": (lambda _: L.Hardsigmoid(), IMAGE),
    "hardswish": (lambda _: L.Hardswish(), IMAGE),
    "softplus": (lambda _: L.Softplus(2.0, 1.0), IMAGE),
    "softmax": (lambda _: L.Softmax(1), IMAGE),
    "log_softmax": (lambda _: L.LogSoftmax(), IMAGE),
    "flatten": (lambda _: L.Flatten(), IMAGE),
    "identity": (lambda _: L.Identity(), IMAGE),
    "dropout": (lambda rng: L.Dropout(0.5, rng=rng), IMAGE),
    "nothing": (lambda _: L.Sequential(), IMAGE),
    "residual": (
        lambda rng: L.Sequential(
            L.Residual(
                L.Sequential(L.Conv2d(4, 6, 3, padding=1, rng=rng), L.BatchNorm2d(6)),
                L.Conv2d(4, 6, 1, rng=rng),
            ),
            L.ReLU(),
            L.Checkpoint(L.Residual(L.Sequential(L.ReLU6(), L.ReLU6(), L.Softplus()))),
        ),
        IMAGE,
    ),
    "concat": (
        lambda rng: L.Concat(
            L.Conv2d(4, 3, 1, rng=rng), L.Sequential(), L.MaxPool2d(3, 1, 1), L.Concat(L.ReLU())
        ),
        IMAGE,
    ),
    "lenet": (lambda rng: models.LeNetBN(1, 10, 14, rng=rng), (2, 1, 14, 14)),
}


def run_onnxruntime(proto: Any, x: Array) -> Array:
    reason = "onnxruntime, the other side of the comparison, is not installed"
    onnxruntime = pytest.importorskip("onnxruntime", reason=reason)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (output,) = session.run(["output"], {"input": x})
    assert isinstance(output, np.ndarray)
    return output


def make(name: str, rng: np.random.Generator) -> tuple[Layer, Array]:
    """Return a layer with distinct parameters and statistics, and an input."""
    build, shape = LAYERS[name]
    layer = build(rng)
    for _, parameter in layer.named_parameters():
        parameter.value[...] += rng.uniform(-0.2, 0.2, parameter.value.shape)
    for _, part in layer.named_layers():
        if isinstance(part, L.BatchNorm2d):
            part.running_mean[...] = rng.uniform(-0.5, 0.5, part.num_features)
            part.running_var[...] = rng.uniform(0.5, 2, part.num_features)
    return layer, rng.standard_normal(shape, dtype=np.float32)


@pytest.mark.parametrize("name", LAYERS)
def test_convert_agrees_with_onnxruntime(name: str, rng: np.random.Generator) -> None:
    layer, x = make(name, rng)
    layer.train()
    proto = convert(layer, x.shape)
    assert all(part.training and part._saving for _, part in layer.named_layers())
    layer.eval()
    for batch in (x, x[:1]):  # the batch is a symbol in the file
        expected = layer(batch)
        got = run_onnxruntime(proto, batch)
        assert got.dtype == expected.dtype
        # Sums of at most 250 terms around 1, in two orders; then up to ten layers.
        np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-5)


# Less than full images where the weights of the linear layers grow with them.
NETWORKS: dict[str, tuple[Callable[..., Layer], int]] = {
    "vgg16": (models.VGG16, 64),
    "resnet50": (models.ResNet50, 224),
    "mobilenet_v2": (models.MobileNetV2, 224),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_agree_with_onnxruntime(name: str, rng: np.random.Generator) -> None:
    """With random weights and statistics, on random images."""
    network, size = NETWORKS[name]
    model = network(image_size=size, rng=rng).eval()
    for _, part in model.named_layers():
        if isinstance(part, L.BatchNorm2d):
            part.running_mean[...] = rng.uniform(-0.1, 0.1, part.num_features)
            part.running_var[...] = rng.uniform(0.8, 1.25, part.num_features)
    x = rng.standard_normal((1, 3, size, size), dtype=np.float32)
    expected = run_onnxruntime(convert(model, x.shape), x)
    # Of the largest logit: single ones cancel.
    assert np.abs(model(x) - expected).max() <= 1e-4 * np.abs(expected).max()


def test_convert_keeps_names_and_the_state(rng: np.random.Generator) -> None:
    layer, x = make("lenet", rng)
    before = layer.state_dict()
    proto = convert(layer, x.shape, dynamic_batch=False)
    names = {tensor.name for tensor in proto.graph.initializer}
    assert names == {name for name in before if not name.endswith("num_batches_tracked")}
    after = layer.state_dict()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim] == [2, 1, 14, 14]
    assert [d.dim_value for d in proto.graph.output[0].type.tensor_type.shape.dim] == [2, 10]


def test_convert_float64(rng: np.random.Generator) -> None:
    layer = L.Sequential(L.Linear(5, 4, rng=rng, dtype=np.float64), L.ReLU6()).eval()
    x = rng.standard_normal((3, 5))
    got = run_onnxruntime(convert(layer, x.shape), x)
    np.testing.assert_allclose(got, layer(x), rtol=1e-13, atol=1e-13)


def test_export_writes_what_convert_returns(tmp_path: Path, rng: np.random.Generator) -> None:
    layer, x = make("lenet", rng)
    export(layer, tmp_path / "model.onnx", x.shape)
    content = (tmp_path / "model.onnx").read_bytes()
    assert content == convert(layer, x.shape).SerializeToString()
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


class Doubled(L.ReLU):
    def forward(self, input: Array) -> Array:
        return 2 * input


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            Doubled(),
            "export: layer is not supported, got Doubled at '0'; expected layers of pyconv",
        ),
        (
            L.LocalResponseNorm(4),
            "LocalResponseNorm(4) at '0' has no equal in ONNX: windows of even",
        ),
        (L.LPPool2d(3, 2), "LPPool2d(norm_type=3, kernel_size=2) at '0' has no equal in ONNX"),
        (L.AdaptiveMaxPool2d(4), "AdaptiveMaxPool2d(4) at '0' has no equal in ONNX: its windows"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_export_names_what_it_cannot_write(layer: Layer, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        export(L.Sequential(layer), tmp_path / "model.onnx", IMAGE)
    assert list(tmp_path.iterdir()) == []


def test_export_checks_the_input_shape() -> None:
    with pytest.raises(ValueError, match=r"export: input_shape is wrong, got \(3,\); expected \(N"):
        convert(L.ReLU(), (3,))
    with pytest.raises(ValueError, match=r"conv2d: .*input channels"):
        convert(L.Conv2d(3, 4, 3), (1, 4, 8, 8))
