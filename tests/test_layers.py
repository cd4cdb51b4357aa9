# SPDX-License-Identifier: BSD-3-Clause
"""Layers: the protocol, gradients through whole networks, state, and agreement with torch."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from checks import assert_gradient, assert_same_bits
from pyconv import layers as L
from pyconv.layers.base import Array, Layer, Parameter

MakeLayer = Callable[[np.random.Generator], Layer]

F64: Any = np.float64
IMAGE = (2, 4, 6, 6)

# name: how to make the layer in float64, and the input shape.
LAYERS: dict[str, tuple[MakeLayer, tuple[int, ...]]] = {
    "conv1d": (
        lambda rng: L.Conv1d(4, 6, 3, 2, ((2, 1),), groups=2, rng=rng, dtype=F64),
        (2, 4, 11),
    ),
    "conv3d": (
        lambda rng: L.Conv3d(4, 6, (1, 3, 2), (1, 2, 1), "same", 2, rng=rng, dtype=F64),
        (2, 4, 3, 5, 6),
    ),
    "conv2d": (lambda rng: L.Conv2d(4, 6, 3, padding=1, rng=rng, dtype=F64), IMAGE),
    "conv2d_options": (
        lambda rng: L.Conv2d(4, 6, (3, 2), 2, "same", (1, 2), 2, bias=False, rng=rng, dtype=F64),
        IMAGE,
    ),
    "conv_transpose2d": (
        lambda rng: L.ConvTranspose2d(4, 6, 3, 2, 1, 1, 2, rng=rng, dtype=F64),
        IMAGE,
    ),
    "linear": (lambda rng: L.Linear(7, 5, rng=rng, dtype=F64), (3, 7)),
    "linear_no_bias": (lambda rng: L.Linear(7, 5, bias=False, rng=rng, dtype=F64), (3, 7)),
    "max_pool2d": (lambda _: L.MaxPool2d(3, 2, 1), IMAGE),
    "avg_pool2d": (lambda _: L.AvgPool2d(3, 2, 1, count_include_pad=False), IMAGE),
    "lp_pool2d": (lambda _: L.LPPool2d(2.0, 3, 2), IMAGE),
    "adaptive_avg_pool2d": (lambda _: L.AdaptiveAvgPool2d((4, 3)), IMAGE),
    "adaptive_max_pool2d": (lambda _: L.AdaptiveMaxPool2d((4, 3)), IMAGE),
    "global_avg_pool2d": (lambda _: L.GlobalAvgPool2d(), IMAGE),
    "global_max_pool2d": (lambda _: L.GlobalMaxPool2d(), IMAGE),
    "relu": (lambda _: L.ReLU(), IMAGE),
    "leaky_relu": (lambda _: L.LeakyReLU(0.2), IMAGE),
    "sigmoid": (lambda _: L.Sigmoid(), IMAGE),
    "tanh": (lambda _: L.Tanh(), IMAGE),
    "relu6": (lambda _: L.ReLU6(), IMAGE),
    "hardsigmoid": (lambda _: L.Hardsigmoid(), IMAGE),
    "hardswish": (lambda _: L.Hardswish(), IMAGE),
    "silu": (lambda _: L.SiLU(), IMAGE),
    "elu": (lambda _: L.ELU(0.6), IMAGE),
    "selu": (lambda _: L.SELU(), IMAGE),
    "gelu": (lambda _: L.GELU(), IMAGE),
    "gelu_tanh": (lambda _: L.GELU("tanh"), IMAGE),
    "softplus": (lambda _: L.Softplus(2.0, 1.5), IMAGE),
    "softmax": (lambda _: L.Softmax(), (3, 7)),
    "softmax_channels": (lambda _: L.Softmax(axis=1), IMAGE),
    "log_softmax": (lambda _: L.LogSoftmax(), (3, 7)),
    "batch_norm2d": (lambda _: L.BatchNorm2d(4, dtype=F64), IMAGE),
    "batch_norm2d_relu": (lambda _: L.Sequential(L.BatchNorm2d(4, dtype=F64), L.ReLU()), IMAGE),
    "layer_norm": (lambda _: L.LayerNorm(IMAGE[2:], dtype=F64), IMAGE),
    "layer_norm_no_bias": (lambda _: L.LayerNorm(7, bias=False, dtype=F64), (3, 7)),
    "layer_norm_plain": (lambda _: L.LayerNorm(7, elementwise_affine=False), (3, 7)),
    "group_norm": (lambda _: L.GroupNorm(2, 4, dtype=F64), IMAGE),
    "group_norm_plain": (lambda _: L.GroupNorm(2, 4, affine=False), IMAGE),
    "instance_norm2d": (lambda _: L.InstanceNorm2d(4, dtype=F64), IMAGE),
    "instance_norm2d_affine": (lambda _: L.InstanceNorm2d(4, affine=True, dtype=F64), IMAGE),
    "local_response_norm": (lambda _: L.LocalResponseNorm(3, 0.5), IMAGE),
    "flatten": (lambda _: L.Flatten(), IMAGE),
    "identity": (lambda _: L.Identity(), IMAGE),
    "sequential_empty": (lambda _: L.Sequential(), IMAGE),
    "residual": (
        lambda rng: L.Residual(L.Conv2d(4, 4, 3, padding=1, rng=rng, dtype=F64)),
        IMAGE,
    ),
    "residual_shortcut": (
        lambda rng: L.Residual(
            L.Sequential(L.Conv2d(4, 6, 3, 2, 1, rng=rng, dtype=F64), L.Tanh()),
            L.Conv2d(4, 6, 1, 2, rng=rng, dtype=F64),
        ),
        IMAGE,
    ),
    "concat": (
        lambda rng: L.Concat(
            L.Conv2d(4, 2, 1, rng=rng, dtype=F64),
            L.Sequential(L.Conv2d(4, 3, 3, padding=1, rng=rng, dtype=F64), L.Sigmoid()),
            L.Tanh(),
        ),
        IMAGE,
    ),
    "resnet": (
        lambda rng: L.Sequential(
            L.Conv2d(4, 6, 3, padding=1, bias=False, rng=rng, dtype=F64),
            L.BatchNorm2d(6, dtype=F64),
            L.LeakyReLU(0.1),
            L.Residual(
                L.Sequential(
                    L.Conv2d(6, 6, 3, padding=1, rng=rng, dtype=F64),
                    L.BatchNorm2d(6, dtype=F64),
                    L.ReLU(),
                )
            ),
            L.MaxPool2d(2),
            L.Flatten(),
            L.Linear(54, 5, rng=rng, dtype=F64),
        ),
        IMAGE,
    ),
}


@pytest.fixture(params=LAYERS)
def case(request: pytest.FixtureRequest, rng: np.random.Generator) -> tuple[Layer, Array]:
    """Return a float64 layer and an input whose values are distinct and away from 0."""
    make, shape = LAYERS[request.param]
    size = int(np.prod(shape))
    values = np.linspace(-1.5, 1.5, size + 1)[:size] + 0.5 / size
    return make(rng), rng.permutation(values).reshape(shape)


def test_layer_gradients_match_central_differences(
    case: tuple[Layer, Array], rng: np.random.Generator
) -> None:
    layer, x = case
    weights = rng.uniform(0.5, 1.5, layer(x).shape)
    layer.zero_grad()
    grad_input = layer.backward(weights)

    def loss(moved: Array) -> float:
        return float(np.vdot(layer(moved), weights))

    assert_gradient(loss, grad_input, x, rng)
    for _, parameter in layer.named_parameters():

        def loss_of_value(value: Array, parameter: Parameter = parameter) -> float:
            kept = parameter.value.copy()
            parameter.value[...] = value
            result = loss(x)
            parameter.value[...] = kept
            return result

        assert_gradient(loss_of_value, parameter.grad, parameter.value.copy(), rng)


def test_backward_adds_into_grad(case: tuple[Layer, Array]) -> None:
    layer, x = case
    layer.zero_grad()
    grad_output = np.ones_like(layer(x))
    layer.backward(grad_output)
    once = [p.grad.copy() for p in layer.parameters()]
    layer(x)
    layer.backward(grad_output)
    for parameter, grad in zip(layer.parameters(), once, strict=True):
        np.testing.assert_array_equal(parameter.grad, 2 * grad)


def test_zero_grad_fills_in_place(case: tuple[Layer, Array]) -> None:
    layer, x = case
    layer.backward(np.ones_like(layer(x)))
    arrays = [p.grad for p in layer.parameters()]
    layer.zero_grad()
    for parameter, array in zip(layer.parameters(), arrays, strict=True):
        assert parameter.grad is array
        assert not array.any()


def test_layer_leaves_input_and_gradient_unchanged(case: tuple[Layer, Array]) -> None:
    layer, x = case
    original = x.copy()
    grad_output = np.ones_like(layer(x))
    grad_original = grad_output.copy()
    layer.backward(grad_output)
    np.testing.assert_array_equal(x, original)
    np.testing.assert_array_equal(grad_output, grad_original)


@pytest.mark.parametrize("name", [n for n in LAYERS if n != "sequential_empty"])
def test_backward_needs_a_forward_each_time(name: str, rng: np.random.Generator) -> None:
    make, shape = LAYERS[name]
    layer, x = make(rng), rng.standard_normal(shape)
    with pytest.raises(RuntimeError, match="backward called without a preceding forward"):
        layer.backward(np.ones(shape))
    grad_output = np.ones_like(layer(x))
    layer.backward(grad_output)
    with pytest.raises(RuntimeError, match="backward called without a preceding forward"):
        layer.backward(grad_output)


def test_backward_error_names_the_layer() -> None:
    message = "Conv2d.backward called without a preceding forward"
    with pytest.raises(RuntimeError, match=f"^{re.escape(message)}$"):
        L.Conv2d(1, 1, 1).backward(np.zeros((1, 1, 1, 1), np.float32))


def test_eval_keeps_nothing_for_backward(case: tuple[Layer, Array]) -> None:
    layer, x = case
    layer(x)
    layer.eval()(x)
    assert all(below._saved is None for _, below in layer.named_layers())
    assert not any(below.training for _, below in layer.named_layers())
    assert all(below.training for _, below in layer.train().named_layers())


def test_empty_batch_passes_through(case: tuple[Layer, Array]) -> None:
    layer, x = case
    layer.eval(differentiable=True)
    output = layer(x[:0])
    assert output.shape == (0, *layer(x).shape[1:])
    layer(x[:0])
    assert layer.backward(output).shape == x[:0].shape


def test_state_dict_round_trip(case: tuple[Layer, Array], rng: np.random.Generator) -> None:
    layer, x = case
    state = {
        key: rng.uniform(1, 2, a.shape).astype(a.dtype) for key, a in layer.state_dict().items()
    }
    versions = [p.version for p in layer.parameters()]
    arrays = [p.value for p in layer.parameters()]
    layer.load_state_dict(state)
    for key, array in layer.state_dict().items():
        assert_same_bits(array, state[key])
    assert [p.version for p in layer.parameters()] == [v + 1 for v in versions]
    assert all(p.value is a for p, a in zip(layer.parameters(), arrays, strict=True))
    layer(x)


def test_state_dict_is_a_copy() -> None:
    layer = L.Linear(2, 2)
    layer.state_dict()["weight"].fill(9)
    assert not (layer.weight.value == 9).any()


def test_load_state_dict_is_all_or_nothing() -> None:
    layer = L.Sequential(L.Linear(2, 3), L.Linear(3, 2))
    before = layer.state_dict()
    good = {key: array + 1 for key, array in before.items()}
    wrong = [
        (good | {"1.bias": np.zeros(3, np.float32)}, ValueError, "1.bias has the wrong shape"),
        (good | {"1.bias": np.zeros(2)}, TypeError, "1.bias has the wrong dtype, got float64"),
        (good | {"2.bias": np.zeros(2)}, ValueError, "state has unknown keys 2.bias"),
        ({"0.weight": good["0.weight"]}, ValueError, "state lacks 0.bias, 1.bias, 1.weight"),
    ]
    for state, error, message in wrong:
        with pytest.raises(error, match=re.escape(message)):
            layer.load_state_dict(state)
        for key, array in layer.state_dict().items():
            assert_same_bits(array, before[key])
    assert [p.version for p in layer.parameters()] == [0] * 4


def test_repr_reads_like_the_constructor() -> None:
    model = L.Sequential(
        L.Conv2d(1, 8, 3, padding=1, bias=False),
        L.BatchNorm2d(8),
        L.Residual(L.Dropout(0.2)),
        L.MaxPool2d(2),
        L.Linear(8, 2),
    )
    assert repr(model) == (
        "Sequential(\n"
        "  (0): Conv2d(1, 8, kernel_size=(3, 3), padding=1, bias=False)\n"
        "  (1): BatchNorm2d(8)\n"
        "  (2): Residual(\n"
        "    (body): Dropout(0.2)\n"
        "  )\n"
        "  (3): MaxPool2d(kernel_size=2)\n"
        "  (4): Linear(8, 2)\n"
        ")"
    )
    for make, _ in LAYERS.values():
        layer = make(np.random.default_rng(0))
        assert repr(layer).startswith(type(layer).__name__ + "(")


def test_normalization_layers_of_torch_load_and_agree(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    theirs = torch.nn.Sequential(
        torch.nn.LocalResponseNorm(5, 0.5, 0.75, 2.0),
        torch.nn.GroupNorm(2, 6),
        torch.nn.InstanceNorm2d(6, 1e-3, 0.1, True),
        torch.nn.LayerNorm((5, 4), 1e-3),
        torch.nn.BatchNorm2d(6),
        torch.nn.ReLU(),
        torch.nn.LayerNorm(4, bias=False),
    ).double()
    for parameter in theirs.parameters():
        parameter.data.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(0))
    ours = L.Sequential(
        L.LocalResponseNorm(5, 0.5, 0.75, 2.0),
        L.GroupNorm(2, 6, dtype=F64),
        L.InstanceNorm2d(6, 1e-3, 0.1, True, dtype=F64),
        L.LayerNorm((5, 4), 1e-3, dtype=F64),
        L.BatchNorm2d(6, dtype=F64),
        L.ReLU(),
        L.LayerNorm(4, bias=False, dtype=F64),
    )
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
    x, g = rng.standard_normal((2, 3, 6, 5, 4))
    tensor = torch.tensor(x, requires_grad=True)
    expected = theirs(tensor)
    np.testing.assert_allclose(ours(x), expected.detach().numpy(), rtol=1e-9, atol=1e-10)
    expected.backward(torch.tensor(g))
    np.testing.assert_allclose(ours.backward(g), tensor.grad.numpy(), rtol=1e-7, atol=1e-9)
    for parameter, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(parameter.grad, other.grad.numpy(), rtol=1e-7, atol=1e-9)


def test_state_dict_of_torch_loads_and_agrees(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1),
        torch.nn.BatchNorm2d(8),
        torch.nn.ReLU(),
        torch.nn.ConvTranspose2d(8, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(6 * 8 * 8, 10),
    ).double()
    ours = L.Sequential(
        L.Conv2d(3, 8, 3, padding=1, dtype=F64),
        L.BatchNorm2d(8, dtype=F64),
        L.ReLU(),
        L.ConvTranspose2d(8, 6, 3, stride=2, padding=1, output_padding=1, groups=2, dtype=F64),
        L.MaxPool2d(2),
        L.Flatten(),
        L.Linear(6 * 8 * 8, 10, dtype=F64),
    )
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
    x = rng.standard_normal((4, 3, 8, 8))
    expected = theirs(torch.from_numpy(x))
    np.testing.assert_allclose(ours(x), expected.detach().numpy(), rtol=1e-10, atol=1e-12)
    expected.sum().backward()
    ours.backward(np.ones((4, 10)))
    for parameter, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(parameter.grad, other.grad.numpy(), rtol=1e-9, atol=1e-11)
