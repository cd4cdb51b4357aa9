# SPDX-License-Identifier: BSD-3-Clause
"""What `fit` calls while it runs."""

from __future__ import annotations

from dataclasses import dataclass

from pyconv.layers.base import Layer
from pyconv.optim import Optimizer
from pyconv.training.history import History


@dataclass
class Context:
    """Where a run is. One object for the whole run, which `fit` brings up to date; to be read only.

    Attributes
    ----------
    model, optimizer
        Those of the run; ``optimizer.steps`` counts the steps so far.
    history : History
        The finished epochs; when an epoch ends, its own row is the last.
    epochs : int
        How many there will be.
    epoch : int
        The present one, counted from 1.
    loss : float
        That of the last batch.

    Examples
    --------
    >>> class Print(Callback):
    ...     def on_epoch_end(self, context):
    ...         print(f"epoch {context.epoch} of {context.epochs}, {context.optimizer.steps} steps")
    """

    model: Layer
    optimizer: Optimizer
    history: History
    epochs: int
    epoch: int = 0
    loss: float = 0.0


class Callback:
    """Base of what is handed to ``fit(callbacks=)``: override any of the three methods.

    Callbacks are called in their order, and what they raise ends the run and reaches the caller.

    Notes
    -----
    `on_epoch_start` and `on_batch_end` return nothing; `on_epoch_end` returns True to end the training.

    Examples
    --------
    >>> from pyconv.training import Callback
    >>> class StopWhenGood(Callback):
    ...     def on_epoch_end(self, context):
    ...         return context.history.epochs[-1].train_loss < 0.01
    """

    def on_epoch_start(self, context: Context) -> None:
        """Hear that an epoch begins."""

    def on_batch_end(self, context: Context) -> None:
        """Hear that a step was taken."""

    def on_epoch_end(self, context: Context) -> bool | None:
        """Hear that an epoch was validated; True ends the training.

        The model has the weights that were validated, in eval mode: with ``ema_decay`` the averaged
        ones. The checkpoint of the epoch is written afterwards.
        """
        return None
