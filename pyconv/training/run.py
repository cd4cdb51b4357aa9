# SPDX-License-Identifier: BSD-3-Clause
"""All that changes while a model trains, on its way into a checkpoint and out of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict

import numpy as np

from pyconv.checkpoint import (
    CheckpointError,
    Stateful,
    generators_of,
    load_checkpoint,
    save_checkpoint,
)
from pyconv.io import PathLike
from pyconv.layers.base import Layer
from pyconv.optim import Optimizer, Schedule
from pyconv.training.averaging import WeightAverage
from pyconv.training.history import Epoch, History
from pyconv.training.stopping import Best


class Run:
    """The state of `fit`: everything that the next epoch depends on."""

    def __init__(
        self,
        model: Layer,
        optimizer: Optimizer,
        schedule: Callable[[int], float] | None,
        rng: np.random.Generator,
        ema_decay: float | None,
        patience: int | None,
    ) -> None:
        self.history = History()
        self.best = Best(patience)
        self.average = None if ema_decay is None else WeightAverage(model, ema_decay)
        self._model = model
        self._schedule = schedule if isinstance(schedule, Schedule) else None
        self._generators = generators_of(model, rng)
        self._parts: dict[str, Stateful] = {
            "model": model,
            "optimizer": optimizer,
            "best": self.best,
        }
        if self.average is not None:
            self._parts["average"] = self.average
        if self._schedule is not None:
            self._parts["schedule"] = self._schedule

    def save(self, path: PathLike, identity: Mapping[str, str]) -> None:
        """Write a checkpoint."""
        save_checkpoint(path, self._parts, self._generators, identity, asdict(self.history))

    def load(self, path: PathLike, identity: Mapping[str, str]) -> None:
        """Go on from a checkpoint that was made under the same identity."""
        saved = load_checkpoint(path, self._parts, self._generators, identity)
        try:
            self.history.epochs = [Epoch(**row) for row in saved["epochs"]]
            self.history.stopped_early = bool(saved["stopped_early"])
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"{path}: has a damaged history ({error})") from None
        self.best.replay(self.history)

    def averaged(self) -> AbstractContextManager[None]:
        """Put the averaged weights, if there are any, into the model for a while."""
        return nullcontext() if self.average is None else self.average.applied()

    def end_epoch(self, row: Epoch) -> None:
        """Tell the schedule."""
        if self._schedule is not None:
            heard = row.train_loss if row.validation_loss is None else row.validation_loss
            self._schedule.epoch_end(heard)

    def finish(self) -> None:
        """Give the model the weights that it is to end with."""
        if not self.best.restore(self._model) and self.average is not None:
            self.average.apply()
        self._model.eval()


def schedule_name(schedule: Callable[[int], float] | None) -> str:
    """Return what tells a schedule from others and is the same in another process."""
    if schedule is None or isinstance(schedule, Schedule):
        return repr(schedule)
    return getattr(schedule, "__qualname__", type(schedule).__qualname__)
