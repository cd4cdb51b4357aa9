# SPDX-License-Identifier: BSD-3-Clause
"""What is shown while a model trains: a bar, a line of text for every epoch, or nothing."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyconv.optional import need

__all__ = ["Progress", "open_progress"]


class Progress:
    """Hears about every batch and every epoch; this one says nothing."""

    def batch(self, epoch: int, loss: float, accuracy: float | None) -> None:
        """Show the running averages after a batch."""

    def epoch(self, row: dict[str, Any]) -> None:
        """Show the numbers of a finished epoch (the fields of `pyconv.training.Epoch`)."""


class _Lines(Progress):
    """One line of text for every epoch."""

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs

    def epoch(self, row: dict[str, Any]) -> None:
        line = f"epoch {row['epoch']}/{self._epochs}  {row['seconds']:.1f} s"
        for name in ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy"):
            if row[name] is not None:
                line += f"  {name.replace('_', ' ')} {row[name]:.4f}"
        print(line, file=sys.stderr, flush=True)


class _Bar(Progress):
    """A tqdm bar over all batches of all epochs, so that its estimate is for the whole run."""

    def __init__(self, bar: Any, epochs: int) -> None:
        self._bar, self._epochs = bar, epochs
        self._validation = ""

    def batch(self, epoch: int, loss: float, accuracy: float | None) -> None:
        self._bar.set_description_str(f"epoch {epoch}/{self._epochs}", refresh=False)
        text = f"loss {loss:.3f}" + ("" if accuracy is None else f", accuracy {accuracy:.3f}")
        self._bar.set_postfix_str(text + self._validation, refresh=False)
        self._bar.update()

    def epoch(self, row: dict[str, Any]) -> None:
        if row["validation_accuracy"] is not None:
            self._validation = f", validation {row['validation_accuracy']:.3f}"
        elif row["validation_loss"] is not None:
            self._validation = f", validation loss {row['validation_loss']:.3f}"


@contextmanager
def open_progress(
    wanted: bool | None, epochs: int, batches: int, done: int = 0
) -> Iterator[Progress]:
    """Open the display of a run of `epochs` times `batches`, of which `done` epochs are over.

    Parameters
    ----------
    wanted : bool or None
        True: a bar. False: nothing. None: a bar if tqdm is installed and stderr is a terminal,
        else lines of text.
    epochs, batches, done : int

    Raises
    ------
    ImportError
        A bar was asked for and tqdm is missing.
    """
    if wanted is False:
        yield Progress()
        return
    try:
        # Where a bar was not asked for, a file or pipe is better served by lines.
        tqdm = need("tqdm", "a progress bar") if wanted or sys.stderr.isatty() else None
    except ImportError:
        if wanted:
            raise
        tqdm = None
    if tqdm is None:
        yield _Lines(epochs)
        return
    # A file or pipe keeps every redraw, so it gets few.
    interval = 0.1 if sys.stderr.isatty() else 2.0
    total = epochs * batches
    bar = tqdm.tqdm(total=total, initial=done * batches, unit="batch", mininterval=interval)
    with contextlib.closing(bar):
        yield _Bar(bar, epochs)
