# SPDX-License-Identifier: BSD-3-Clause
"""Layers, losses and optimizers survive copying and pickling, caches and saved tensors left behind."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pyconv
from checks import assert_same_bits
from pyconv import functional as F
from pyconv import losses, optim

COPIES: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "deepcopy": copy.deepcopy,
}


def network(rng: np.random.Generator) -> pyconv.Sequential:
    return pyconv.Sequential(
        pyconv.Conv2d(3, 16, 3, padding=1, rng=rng),
        pyconv.BatchNorm2d(16),
        pyconv.ReLU(),
        pyconv.Residual(pyconv.Sequential(pyconv.Conv2d(16, 16, 3, padding=1, rng=rng))),
        pyconv.Concat(pyconv.MaxPool2d(2), pyconv.AvgPool2d(2)),
        pyconv.Flatten(),
        pyconv.Dropout(0.5, rng=np.random.default_rng(3)),
        pyconv.Linear(32 * 64, 5, rng=rng),
    )


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_copy_of_a_model_computes_the_same(
    copied: Callable[[Any], Any], rng: np.random.Generator
) -> None:
    model = network(rng)
    x = rng.standard_normal((4, 3, 16, 16)).astype(np.float32)
    model(x)  # in training mode, and so in the middle of a step
    assert all(layer._saved is None for _, layer in copied(model).named_layers())
    expected = model.eval()(x)
    again = copied(model)  # with weights packed for inference
    assert_same_bits(again(x), expected)
    caches = [vars(layer).get("_weight_cache") for _, layer in again.named_layers()]
    assert sum(isinstance(cache, F.WeightCache) for cache in caches) == 2
    model.train()
    assert_same_bits(copied(model)(x), model(x))  # dropout draws the same numbers


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_copy_shares_nothing(copied: Callable[[Any], Any], rng: np.random.Generator) -> None:
    model = network(rng).eval()
    x = rng.standard_normal((1, 3, 16, 16)).astype(np.float32)
    expected = model(x)
    again = copied(model)
    for parameter in again.parameters():
        parameter.value += 1
        parameter.bump()
    assert not np.array_equal(again(x), expected)
    assert_same_bits(model(x), expected)


def test_optimizer_pickled_with_its_model_steps_that_model(rng: np.random.Generator) -> None:
    model, loss = network(rng), losses.CrossEntropyLoss()
    optimizer = optim.Adam(model.parameters())
    x = rng.standard_normal((4, 3, 16, 16)).astype(np.float32)

    def step(model: Any, loss: Any, optimizer: Any) -> None:
        loss(model(x), np.arange(4))
        optimizer.zero_grad()
        model.backward(loss.backward())
        optimizer.step()

    step(model, loss, optimizer)
    again = pickle.loads(pickle.dumps((model, loss, optimizer)))
    step(model, loss, optimizer)
    step(*again)
    for key, array in model.state_dict().items():
        assert_same_bits(again[0].state_dict()[key], array)
