# SPDX-License-Identifier: BSD-3-Clause
"""Layers made of layers: what they take, and the order of what is in them."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from checks import assert_same_bits
from pyconv import layers as L
from pyconv.functional._channels import join_channels, split_channels
from pyconv.layers.base import Layer

IMAGE = (2, 4, 6, 6)


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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3, 4, 5, 7), (1, 4, 300, 200), (2, 40), (0, 4, 5), (2, 4, 0)])
def test_channels_are_joined_and_split_as_by_numpy(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: Any
) -> None:
    N, C, *sizes = shape
    channels = [C, 0, 1, C + 2]
    outputs = [rng.standard_normal((N, count, *sizes)).astype(dtype) for count in channels]
    joined = join_channels(outputs)
    assert_same_bits(joined, np.concatenate(outputs, axis=1))
    strided = [np.asfortranarray(output) for output in outputs]
    assert_same_bits(join_channels(strided), joined)
    for part, output in zip(
        split_channels(np.asfortranarray(joined), channels), outputs, strict=True
    ):
        assert_same_bits(part, output)
        assert part.base is None or not np.shares_memory(part, joined)


def test_channels_of_different_arrays_are_not_joined() -> None:
    with pytest.raises(
        ValueError, match=r"Concat: outputs has shape \(2, 3, 5\); expected \(2, 3, 4\)"
    ):
        join_channels([np.zeros((2, 1, 4)), np.zeros((2, 3, 5))])
    with pytest.raises(TypeError, match="Concat: outputs has dtype float32; expected float64"):
        join_channels([np.zeros((2, 1, 4)), np.zeros((2, 3, 4), np.float32)])
    with pytest.raises(ValueError, match=r"Concat: outputs have shape \(3,\)"):
        join_channels([np.zeros(3)])
    with pytest.raises(ValueError, match="Concat: outputs is empty"):
        join_channels([])
    for channels in ([2, 2], [4, -1], [2**62, 2**62, 3]):
        with pytest.raises(ValueError, match="Concat: channels"):
            split_channels(np.zeros((2, 3, 4)), channels)


@pytest.mark.parametrize("make", [L.Sequential, L.Residual, L.Concat])
def test_container_takes_layers_only(make: Any) -> None:
    with pytest.raises(TypeError, match="is not a Layer, got 3"):
        make(3)


def test_concat_needs_a_branch() -> None:
    with pytest.raises(ValueError, match="Concat: branches is empty"):
        L.Concat()


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


def test_concat_leaves_the_gradient_that_it_is_given(rng: np.random.Generator) -> None:
    model = L.Concat(L.Identity(), L.Tanh())
    # With one image the part of a branch is contiguous, and Identity hands it on as it is.
    model(rng.standard_normal((1, 3, 4, 4)))
    g = rng.standard_normal((1, 6, 4, 4))
    before = g.copy()
    model.backward(g)
    assert_same_bits(g, before)


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
