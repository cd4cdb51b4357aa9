# SPDX-License-Identifier: BSD-3-Clause
"""Early stopping: the weights of the best epoch, and how long ago that was."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

from numpy.typing import NDArray

from pyconv.layers.base import Layer
from pyconv.training.history import Epoch, History

Array: TypeAlias = NDArray[Any]


class Best:
    """The epoch with the lowest validation loss; without a patience there is none."""

    def __init__(self, patience: int | None) -> None:
        self._patience = patience
        self._loss = math.inf
        self._waited = 0
        self._state: dict[str, Array] = {}

    def see(self, epoch: Epoch, model: Layer) -> None:
        """Keep the model's state if this is the best epoch so far."""
        if self._improves(epoch):
            self._state = model.state_dict()

    def replay(self, history: History) -> None:
        """Bring the counters to where they were; the state comes from the checkpoint."""
        for epoch in history.epochs:
            self._improves(epoch)

    @property
    def patience_is_over(self) -> bool:
        """Tell whether it is time to stop."""
        return self._patience is not None and self._waited >= self._patience

    def restore(self, model: Layer) -> bool:
        """Give the model the state of the best epoch, if there is one."""
        if self._state:
            model.load_state_dict(self._state)
        return bool(self._state)

    def state_dict(self) -> dict[str, Array]:
        """Return the state of the best epoch; empty if there is none."""
        return self._state

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Take over the state of the best epoch."""
        self._state = dict(state)

    def _improves(self, epoch: Epoch) -> bool:
        if self._patience is None or epoch.validation_loss is None:
            return False
        if epoch.validation_loss < self._loss:
            self._loss, self._waited = epoch.validation_loss, 0
            return True
        self._waited += 1
        return False
