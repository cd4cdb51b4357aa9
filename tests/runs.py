# SPDX-License-Identifier: BSD-3-Clause
"""Small training runs for the tests of `pyconv.training.fit`, and their comparison."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from checks import assert_same_bits
from pyconv import data, models
from pyconv.data import Dataset
from pyconv.layers import Layer
from pyconv.losses import CrossEntropyLoss
from pyconv.optim import Adam, CosineSchedule, Optimizer
from pyconv.training import History, fit


def stripes(count: int, seed: int = 0) -> Dataset:
    """Return noisy 8 x 8 images of horizontal (0) or vertical (1) stripes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    images = rng.integers(0, 120, (count, 1, 8, 8))
    images[labels == 0, :, ::2] += 100
    images[labels == 1, :, :, ::2] += 100
    return Dataset(images.astype(np.uint8), labels, ("horizontal", "vertical"))


TRAIN, VALIDATION = stripes(70), stripes(30, seed=1)


def small_network(seed: int = 0) -> Layer:
    """Return a network with batch norm and dropout for the stripes."""
    rng = np.random.default_rng(seed + 100)
    return models.LeNetBN(1, 2, 8, channels=(4,), hidden=8, rng=rng)


def train(
    *,
    epochs: int = 4,
    seed: int = 0,
    model: Layer | None = None,
    optimizer: Callable[[Layer], Optimizer] = lambda model: Adam(model.parameters(), 0.02),
    **options: Any,
) -> tuple[Layer, History]:
    """Train a small network with everything random there is: dropout, augmentation, order."""
    rng = np.random.default_rng(seed)
    model = small_network(seed) if model is None else model
    arguments: dict[str, Any] = {
        "validation_data": VALIDATION,
        "augment": lambda images, rng: data.random_shift(images, 1, rng=rng),
        "schedule": CosineSchedule(0.02, 20, warmup=3),
        "progress": False,
        "epochs": epochs,
        "batch_size": 16,
        "rng": rng,
    }
    arguments |= options
    history = fit(model, CrossEntropyLoss(), optimizer(model), TRAIN, **arguments)
    return model, history


def assert_same_run(one: tuple[Layer, History], two: tuple[Layer, History]) -> None:
    """Compare two runs bit by bit, their durations apart."""
    assert [replace(row, seconds=0) for row in one[1].epochs] == [
        replace(row, seconds=0) for row in two[1].epochs
    ]
    other = two[0].state_dict()
    for name, array in one[0].state_dict().items():
        assert_same_bits(array, other[name])
