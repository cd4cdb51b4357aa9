# SPDX-License-Identifier: BSD-3-Clause
"""What a run has come to, epoch by epoch."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training data came to.

    ``train_*`` are averages over the epoch while the weights were changing, in training mode.
    Accuracies are None when targets are not class labels. ``metrics`` has the values of `fit`'s
    metrics on the validation data.

    Attributes
    ----------
    epoch : int
        From 1.
    train_loss, train_accuracy, validation_loss, validation_accuracy : float or None
    lr : float
        That of the last step.
    seconds : float
        With the validation.
    metrics : dict of str to float

    Examples
    --------
    >>> Epoch(1, 2.3, 0.11, 2.2, 0.14, lr=0.1, seconds=4.5).validation_accuracy
    0.14
    """

    epoch: int
    train_loss: float
    train_accuracy: float | None
    validation_loss: float | None
    validation_accuracy: float | None
    lr: float
    seconds: float
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass
class History:
    """The epochs of a run so far, and how it ended.

    Attributes
    ----------
    epochs : list of Epoch
    stopped_early : bool
    seconds : float
        Of all epochs together.

    Examples
    --------
    >>> history = History([Epoch(1, 2.3, 0.11, None, None, lr=0.1, seconds=4.5)])
    >>> history.seconds, history.as_rows()[0]["train_loss"]
    (4.5, 2.3)
    """

    epochs: list[Epoch] = field(default_factory=list)
    stopped_early: bool = False

    @property
    def seconds(self) -> float:
        """Time spent in all epochs, validation included."""
        return math.fsum(epoch.seconds for epoch in self.epochs)

    def as_rows(self) -> list[dict[str, Any]]:
        """Return the epochs as plain JSON values."""
        return [asdict(epoch) for epoch in self.epochs]
