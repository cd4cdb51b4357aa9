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
TRIPLE: Any = (1, 2, 3)
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


def test_eval_differentiable_batch_norm_uses_running_statistics(rng: np.random.Generator) -> None:
    layer = L.BatchNorm2d(4, dtype=F64)
    x = rng.standard_normal(IMAGE)
    for _ in range(3):
        layer(3 * x + 1)
    layer.eval(differentiable=True)
    weights = rng.uniform(0.5, 1.5, IMAGE)
    layer(x)
    assert_gradient(lambda v: float(np.vdot(layer(v), weights)), layer.backward(weights), x, rng)


def test_empty_batch_passes_through(case: tuple[Layer, Array]) -> None:
    layer, x = case
    layer.eval(differentiable=True)
    output = layer(x[:0])
    assert output.shape == (0, *layer(x).shape[1:])
    layer(x[:0])
    assert layer.backward(output).shape == x[:0].shape


def test_layer_follows_dtype(rng: np.random.Generator) -> None:
    x = rng.standard_normal(IMAGE)
    for dtype in (np.float32, np.float64):
        model = L.Sequential(
            L.Conv2d(4, 2, 3, rng=rng, dtype=dtype), L.BatchNorm2d(2, dtype=dtype), L.ReLU()
        )
        output = model(x.astype(dtype))
        assert output.dtype == dtype
        assert model.backward(output).dtype == dtype
        assert {array.dtype for array in model.state_dict().values()} == {
            np.dtype(dtype),
            np.dtype(np.int64),
        }
    with pytest.raises(TypeError, match=r"float(32|64)"):
        L.Conv2d(4, 2, 3)(x)


# Batch norm and dropout.


def test_batch_norm_follows_the_batches(rng: np.random.Generator) -> None:
    layer = L.BatchNorm2d(3, momentum=0.2, dtype=F64)
    mean, var = np.zeros(3), np.ones(3)
    for _ in range(4):
        x = rng.normal(2.0, 3.0, (5, 3, 4, 4))
        layer(x)
        mean = 0.8 * mean + 0.2 * x.mean(axis=(0, 2, 3))
        var = 0.8 * var + 0.2 * x.var(axis=(0, 2, 3), ddof=1)
    np.testing.assert_allclose(layer.running_mean, mean, rtol=1e-13)
    np.testing.assert_allclose(layer.running_var, var, rtol=1e-13)
    assert layer.num_batches_tracked == 4
    before = layer.state_dict()
    layer.eval()(x)
    for name, array in layer.state_dict().items():
        assert_same_bits(array, before[name])


def test_batch_norm_refuses_to_train_on_one_value() -> None:
    layer = L.BatchNorm2d(3)
    message = (
        "BatchNorm2d: input has too few values per channel to train on, got 1; expected at least 2"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        layer(np.ones((1, 3, 1, 1), np.float32))
    assert layer.num_batches_tracked == 0
    assert np.isfinite(layer.running_var).all()


def test_dropout_drops_and_scales(rng: np.random.Generator) -> None:
    layer = L.Dropout(0.25, rng=rng)
    x = np.ones((100, 100))
    output = layer(x)
    assert set(np.unique(output)) == {0.0, 1 / 0.75}
    dropped = np.mean(output == 0)
    assert abs(dropped - 0.25) < 5 * np.sqrt(0.25 * 0.75 / x.size)
    np.testing.assert_array_equal(layer.backward(x), output)


def test_dropout_is_the_identity_in_eval_mode(rng: np.random.Generator) -> None:
    layer = L.Dropout(0.9, rng=rng).eval(differentiable=True)
    x = rng.standard_normal((3, 4))
    np.testing.assert_array_equal(layer(x), x)
    np.testing.assert_array_equal(layer.backward(x), x)


@pytest.mark.parametrize("p", [-0.1, 1.0, 2.0, float("nan")])
def test_dropout_checks_p(p: float) -> None:
    with pytest.raises(ValueError, match="Dropout: p is out of range"):
        L.Dropout(p)


# Containers.


def test_sequential_is_a_sequence_of_layers() -> None:
    first, second, third = L.ReLU(), L.Tanh(), L.Sigmoid()
    model = L.Sequential(first, second, third)
    assert len(model) == 3
    assert list(model) == [first, second, third]
    assert model[-1] is third
    part = model[1:]
    assert isinstance(part, L.Sequential)
    assert list(part) == [second, third]
    with pytest.raises(IndexError):
        model[3]


def test_residual_refuses_to_broadcast() -> None:
    layer = L.Residual(L.GlobalAvgPool2d())
    message = "Residual: body and shortcut differ in shape, got (2, 4, 1, 1) and (2, 4, 6, 6)"
    with pytest.raises(ValueError, match=re.escape(message)):
        layer(np.zeros(IMAGE))


def test_concat_refuses_different_images() -> None:
    layer = L.Concat(L.MaxPool2d(2), L.ReLU())
    with pytest.raises(ValueError, match=r"Concat: branches differ .* \(2, 4, 3, 3\)"):
        layer(np.zeros(IMAGE))


@pytest.mark.parametrize("make", [L.Sequential, L.Residual, L.Concat])
def test_container_takes_layers_only(make: Any) -> None:
    with pytest.raises(TypeError, match="is not a Layer, got 3"):
        make(3)


def test_concat_needs_a_branch() -> None:
    with pytest.raises(ValueError, match="Concat: branches is empty"):
        L.Concat()


# Names of children.


def test_names_given_to_containers_make_the_keys() -> None:
    model = L.Sequential(
        {
            "stem": L.Sequential(L.Linear(2, 2, bias=False)),
            "": L.Sequential(
                {
                    "block": L.Residual(
                        L.Sequential({"conv1": L.Linear(2, 2, bias=False)}),
                        L.Sequential(L.Linear(2, 2, bias=False)),
                        names=("", "downsample"),
                    ),
                    "join": L.Concat({"identity": L.Identity(), "": L.Linear(2, 2)}),
                }
            ),
        }
    )
    assert list(model.state_dict()) == [
        "stem.0.weight",
        "block.conv1.weight",
        "block.downsample.0.weight",
        "join.weight",
        "join.bias",
    ]
    assert list(model[1:].state_dict()) == list(model.state_dict())[1:]
    state = {key: array + 1 for key, array in model.state_dict().items()}
    model.load_state_dict(state)
    for key, array in model.state_dict().items():
        assert_same_bits(array, state[key])


@pytest.mark.parametrize("make", [L.Sequential, L.Concat])
def test_names_change_keys_only(make: Any, rng: np.random.Generator) -> None:
    layers = [L.Conv2d(4, 4, 1, rng=rng), L.Tanh()]
    plain, named = make(*layers), make({"conv": layers[0], "": layers[1]})
    x = rng.standard_normal(IMAGE).astype(np.float32)
    assert_same_bits(plain(x), named(x))
    assert [key.replace("0", "conv") for key in plain.state_dict()] == list(named.state_dict())


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: L.Sequential({"a.b": L.ReLU()}), ValueError, "a name is wrong, got 'a.b'"),
        (lambda: L.Sequential({1: L.ReLU()}), ValueError, "a name is wrong, got 1"),  # type: ignore[dict-item]
        (lambda: L.Concat({"a": 3}), TypeError, "Concat: an argument is not a Layer, got 3"),  # type: ignore[dict-item]
        (lambda: L.Sequential({}, L.ReLU()), TypeError, "Sequential: an argument is not a Layer"),
        (lambda: L.Residual(L.ReLU(), names=("", "")), ValueError, "Residual: names are the same"),
        (
            lambda: L.Sequential({"": L.Sequential({"fc": L.Linear(1, 1)}), "fc": L.Linear(1, 1)}),
            ValueError,
            "Sequential: names make two parameters the same, got 'fc.weight' twice",
        ),
    ],
)
def test_containers_check_names(
    make: Callable[[], Layer], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        make()


# Construction and state.


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: L.Conv2d(0, 1, 1), "Conv2d: in_channels is not positive, got 0"),
        (lambda: L.Conv2d(1, 1, 0), "Conv2d: kernel_size is not positive, got 0"),
        (lambda: L.Conv2d(1, 1, TRIPLE), "Conv2d: kernel_size has 3 entries"),
        (lambda: L.Conv2d(4, 6, 3, groups=3), "Conv2d: groups does not divide the channels, got 3"),
        (lambda: L.ConvTranspose2d(4, 5, 3, groups=2), "ConvTranspose2d: groups does not divide"),
        (lambda: L.Linear(3, -1), "Linear: out_features is not positive, got -1"),
    ],
)
def test_layer_checks_its_sizes(make: Callable[[], Layer], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


def test_default_initialization_is_uniform_within_one_over_root_fan_in() -> None:
    rng = np.random.default_rng(0)
    for layer, fan_in in (
        (L.Conv2d(16, 64, 3, groups=2, rng=rng), 8 * 9),
        (L.ConvTranspose2d(16, 64, 3, rng=rng), 64 * 9),
        (L.Linear(100, 200, rng=rng), 100),
    ):
        bound = 1 / np.sqrt(fan_in)
        assert layer.bias is not None
        for parameter in (layer.weight, layer.bias):
            assert np.abs(parameter.value).max() <= bound
            assert np.abs(parameter.value).max() > 0.9 * bound


def test_same_seed_makes_same_weights() -> None:
    first, second = (L.Conv2d(2, 3, 3, rng=np.random.default_rng(7)) for _ in range(2))
    double = L.Conv2d(2, 3, 3, rng=np.random.default_rng(7), dtype=F64)
    assert_same_bits(first.weight.value, second.weight.value)
    assert_same_bits(first.weight.value, double.weight.value.astype(np.float32))


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


def test_parameters_come_in_definition_order() -> None:
    model = L.Sequential(
        L.Conv2d(1, 2, 3), L.Residual(L.BatchNorm2d(2), L.Conv2d(2, 2, 1)), L.Concat(L.Linear(4, 5))
    )
    assert [name for name, _ in model.named_parameters()] == [
        "0.weight",
        "0.bias",
        "1.body.weight",
        "1.body.bias",
        "1.shortcut.weight",
        "1.shortcut.bias",
        "2.0.weight",
        "2.0.bias",
    ]


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


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: L.GroupNorm(3, 4),
            "GroupNorm: num_groups does not divide num_channels, got 3 and 4",
        ),
        (lambda: L.InstanceNorm2d(4, track_running_stats=True), "track_running_stats is not supp"),
    ],
)
def test_normalization_layers_check_arguments(make: Callable[[], Layer], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


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
