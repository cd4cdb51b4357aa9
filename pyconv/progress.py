# SPDX-License-Identifier: BSD-3-Clause
"""What is shown while a model trains: a bar, a line of text for every epoch, or nothing.

Bar and lines both have the loss and accuracy, the metrics, images a second, and the time left.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyconv.optional import need

__all__ = ["Progress", "open_progress"]


class Progress:
    """Hears about every batch and every epoch; this one says nothing.

    Notes
    -----
    A display overrides `batch`, `epoch`, or both.

    Examples
    --------
    >>> Progress().batch(1, 32, 2.3, None)
    """

    def batch(self, epoch: int, images: int, loss: float, accuracy: float | None) -> None:
        """Show the running averages after a batch of so many images."""

    def epoch(self, row: dict[str, Any]) -> None:
        """Show the numbers of a finished epoch (the fields of `pyconv.training.Epoch`)."""


class _Lines(Progress):
    """One line of text for every epoch."""

    def __init__(self, epochs: int, images: int) -> None:
        self._epochs, self._images = epochs, images
        self._seconds: list[float] = []

    def epoch(self, row: dict[str, Any]) -> None:
        seconds = row["seconds"]
        self._seconds.append(seconds)
        # As long an epoch as the mean of those of this process, validation included.
        left = (self._epochs - row["epoch"]) * sum(self._seconds) / len(self._seconds)
        line = f"epoch {row['epoch']}/{self._epochs}  {seconds:.1f} s"
        line += f"  {self._images / max(seconds, 1e-9):,.0f} images/s  {_clock(left)} left"
        for name in ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy"):
            if row[name] is not None:
                line += f"  {name.replace('_', ' ')} {row[name]:.4f}"
        for name, value in row["metrics"].items():
            line += f"  {name} {value:.4f}"
        print(line, file=sys.stderr, flush=True)


class _Bar(Progress):
    """A tqdm bar over all images of all epochs, so that its estimate is for the whole run."""

    def __init__(self, bar: Any, epochs: int) -> None:
        self._bar, self._epochs = bar, epochs
        self._validation = ""

    def batch(self, epoch: int, images: int, loss: float, accuracy: float | None) -> None:
        self._bar.set_description_str(f"epoch {epoch}/{self._epochs}", refresh=False)
        text = f"loss {loss:.3f}" + ("" if accuracy is None else f", accuracy {accuracy:.3f}")
        self._bar.set_postfix_str(text + self._validation, refresh=False)
        self._bar.update(images)

    def epoch(self, row: dict[str, Any]) -> None:
        shown = {"validation": row["validation_accuracy"]}
        if row["validation_accuracy"] is None:
            shown = {"validation loss": row["validation_loss"]}
        self._validation = "".join(
            f", {name} {value:.3f}"
            for name, value in (shown | row["metrics"]).items()
            if value is not None
        )


def _clock(seconds: float) -> str:
    """Return a duration as m:ss or h:mm:ss."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


@contextmanager
def open_progress(
    wanted: bool | None, epochs: int, images: int, done: int = 0
) -> Iterator[Progress]:
    """Open the display of a run of `epochs` over so many images, of which `done` epochs are over.

    Parameters
    ----------
    wanted : bool or None
        True: a bar. False: nothing. None: a bar if tqdm is installed and stderr is a terminal,
        else lines of text.
    epochs, images, done : int

    Raises
    ------
    ImportError
        A bar was asked for and tqdm is missing.

    Examples
    --------
    >>> with open_progress(False, epochs=3, images=1000) as progress:
    ...     progress.batch(1, 32, 2.3, 0.1)
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
        yield _Lines(epochs, images)
        return
    # A file or pipe keeps every redraw, so it gets few.
    interval = 0.1 if sys.stderr.isatty() else 2.0
    bar = tqdm.tqdm(
        total=epochs * images, initial=done * images, unit=" images", mininterval=interval
    )
    with contextlib.closing(bar):
        yield _Bar(bar, epochs)
