# SPDX-License-Identifier: BSD-3-Clause
"""The checks of `fit`'s arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyconv.data import Dataset
from pyconv.io import PathLike
from pyconv.training.callbacks import Callback
from pyconv.training.evaluation import Metric


def check_numbers(
    epochs: int,
    batch_size: int,
    max_grad_norm: float | None,
    ema_decay: float | None,
    patience: int | None,
) -> None:
    """Check each number by itself."""
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"fit: {name} is not positive, got {value}; expected at least 1")
    if patience is not None and patience < 1:
        raise ValueError(f"fit: patience is not positive, got {patience}; expected at least 1")
    if max_grad_norm is not None and not max_grad_norm > 0:
        raise ValueError(
            f"fit: max_grad_norm is not positive, got {max_grad_norm}; expected a number above 0"
        )
    if ema_decay is not None and not 0 < ema_decay < 1:
        raise ValueError(
            f"fit: ema_decay is out of range, got {ema_decay}; expected between 0 and 1"
        )


def check_fitting(
    train_data: Dataset,
    validation_data: Dataset | None,
    metrics: Mapping[str, Metric] | None,
    patience: int | None,
    callbacks: Sequence[Callback],
    checkpoint: PathLike | None,
    resume: bool,
) -> None:
    """Check the data, the functions, and what one argument needs of another."""
    for name, data in (("train_data", train_data), ("validation_data", validation_data)):
        if data is not None and len(data) == 0:
            raise ValueError(f"fit: {name} is empty, got 0 images; expected at least 1")
    for name, value in (("patience", patience), ("metrics", metrics)):
        if value and validation_data is None:
            raise ValueError(
                f"fit: {name} needs validation_data, got validation_data=None; expected a Dataset"
            )
    for name, metric in (metrics or {}).items():
        if not callable(metric):
            raise TypeError(
                f"fit: metrics[{name!r}] is not callable, got {metric!r}; "
                "expected a function of outputs and targets"
            )
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise TypeError(
                f"fit: callbacks has something else, got {callback!r}; "
                "expected instances of pyconv.training.Callback"
            )
    if resume and checkpoint is None:
        raise ValueError("fit: resume needs a checkpoint, got None; expected a path")
