# SPDX-License-Identifier: BSD-3-Clause
"""Layers made of layers: what they take, and the order of what is in them."""

import re
from typing import Any

import numpy as np
import pytest

from pyconv import layers as L

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
