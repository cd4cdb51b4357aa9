# SPDX-License-Identifier: BSD-3-Clause
"""The network of a workflow, `models.LeNetBN` with every number free, and its training.

For a table there are no convolutions: without stages LeNetBN is a perceptron with one hidden layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pyconv import data
from pyconv.data import Augmentation, Dataset
from pyconv.models import LeNetBN
from pyconv.optim import AdamW, CosineSchedule
from pyconv.training import fit
from pyconv.workflow.problem import Problem

Array: TypeAlias = NDArray[Any]

_MAX_STAGES = 2


def shift(images: Array, rng: np.random.Generator) -> Array:
    """Move every image by up to a pixel."""
    return data.random_shift(images, 1, rng=rng)


def distort(images: Array, rng: np.random.Generator) -> Array:
    """Turn, scale, shear and move every image a little."""
    return data.random_affine(images, rng=rng, degrees=8, scale=0.08, shear=0.1, shift=0.5)


def shift_and_flip(images: Array, rng: np.random.Generator) -> Array:
    """Move every image by up to a pixel, and mirror half of them."""
    return data.random_flip(shift(images, rng), rng=rng)


AUGMENTATIONS: Mapping[str, Augmentation | None] = {
    "none": None,
    "shift": shift,
    "affine": distort,
    "shift and flip": shift_and_flip,
}


@dataclass(frozen=True)
class Settings:
    """What is tuned.

    Attributes
    ----------
    width : float
        1 is stages of 16 and 32 channels and a hidden layer of 64.
    depth : int
        Convolutions in a stage.
    dropout, weight_decay, l1, lr : float
        `lr` is the peak of a cosine schedule, `weight_decay` (L2) and `l1` are those of AdamW.
    augment : str
        A key of `AUGMENTATIONS`.
    length : float
        Share of the epochs of the run. A short training is early stopping that the final model, which has no
        validation data left, can do too.
    """

    width: float = 1.0
    depth: int = 1
    dropout: float = 0.0
    weight_decay: float = 0.0
    l1: float = 0.0
    lr: float = 3e-3
    augment: str = "none"
    length: float = 1.0


def search_space(width: float, *, images: bool) -> dict[str, list[Any]]:
    """Return what a random search draws from, around the width that was enough to overfit."""
    # Convolutions share their weights; those of a table need to be held down more.
    weight_decay = [1e-4, 1e-3, 1e-2, 1e-1] if images else [1e-3, 1e-2, 1e-1, 1.0]
    return {
        "width": [width / 4, width / 2, width, 2 * width],
        "depth": [1, 2] if images else [1],
        "dropout": [0.0, 0.1, 0.3, 0.5],
        "weight_decay": weight_decay,
        "l1": [0.0, 0.0, 1e-6, 1e-5],
        "lr": [1e-3, 3e-3, 1e-2],
        "augment": list(AUGMENTATIONS) if images else ["none"],
        "length": [0.25, 0.5, 1.0],
    }


def build_network(
    problem: Problem, shape: tuple[int, ...], settings: Settings, rng: np.random.Generator
) -> LeNetBN:
    """Return a fresh network for inputs of this shape (C, H, W)."""
    C, H, W = shape
    stages = min(_MAX_STAGES, min(H, W).bit_length() - 1)
    return LeNetBN(
        C,
        problem.outputs,
        (H, W),
        channels=[max(1, round(16 * settings.width)) << stage for stage in range(stages)],
        hidden=max(1, round(64 * settings.width)),
        depth=settings.depth,
        dropout=settings.dropout,
        rng=rng,
    )


def train_network(
    problem: Problem,
    train: Dataset,
    validation: Dataset | None,
    settings: Settings,
    *,
    epochs: int,
    batch_size: int,
    rng: np.random.Generator,
) -> tuple[LeNetBN, list[dict[str, Any]]]:
    """Return a trained network and its learning curve, a row for every epoch.

    Raises
    ------
    FloatingPointError
        The loss became infinite or NaN.
    """
    model = build_network(problem, train.images.shape[1:], settings, rng)
    steps = epochs * -(-len(train) // batch_size)
    history = fit(
        model,
        problem.loss(),
        AdamW(
            model.parameters(),
            settings.lr,
            weight_decay=settings.weight_decay,
            l1=settings.l1,
        ),
        train,
        epochs=epochs,
        batch_size=batch_size,
        rng=rng,
        validation_data=validation,
        augment=AUGMENTATIONS[settings.augment],
        schedule=CosineSchedule(settings.lr, steps, warmup=steps // 20),
        progress=False,
    )
    parts = ("epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
    return model, [{part: row[part] for part in parts} for row in history.as_rows()]
