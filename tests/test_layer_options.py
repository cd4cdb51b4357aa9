# SPDX-License-Identifier: BSD-3-Clause
"""What single layers do with their options: sizes, initial weights, batch norm, dropout."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from checks import assert_gradient, assert_same_bits
from pyconv import layers as L
from pyconv.layers.base import Layer

F64: Any = np.float64
TRIPLE: Any = (1, 2, 3)
IMAGE = (2, 4, 6, 6)


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


def test_eval_differentiable_batch_norm_uses_running_statistics(rng: np.random.Generator) -> None:
    layer = L.BatchNorm2d(4, dtype=F64)
    x = rng.standard_normal(IMAGE)
    for _ in range(3):
        layer(3 * x + 1)
    layer.eval(differentiable=True)
    weights = rng.uniform(0.5, 1.5, IMAGE)
    layer(x)
    assert_gradient(lambda v: float(np.vdot(layer(v), weights)), layer.backward(weights), x, rng)


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
