# SPDX-License-Identifier: BSD-3-Clause
"""The training loop: `fit`, and what goes with it, `evaluate` and `predict`.

Everything random comes from explicit Generators, and a checkpoint holds all that the next epoch
depends on; so a run that was interrupted and resumed ends with the same bits as one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pyconv.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from pyconv.data import Augmentation, DataLoader, Dataset, Mix, as_input
from pyconv.io import PathLike
from pyconv.layers.base import Layer
from pyconv.losses import Loss
from pyconv.optim import Optimizer, clip_grad_norm
from pyconv.progress import open_progress

__all__ = ["Epoch", "History", "TrainingInterrupted", "evaluate", "fit", "predict"]

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training data came to.

    ``train_*`` are averages over the epoch while the weights were changing, in training mode.
    Accuracies are None when targets are not class labels.
    """

    epoch: int
    train_loss: float
    train_accuracy: float | None
    validation_loss: float | None
    validation_accuracy: float | None
    lr: float
    seconds: float


@dataclass
class History:
    """The epochs of a run so far, and how it ended."""

    epochs: list[Epoch] = field(default_factory=list)
    stopped_early: bool = False

    @property
    def seconds(self) -> float:
        """Time spent in all epochs, validation included."""
        return math.fsum(epoch.seconds for epoch in self.epochs)

    def as_rows(self) -> list[dict[str, Any]]:
        """Return the epochs as plain JSON values."""
        return [asdict(epoch) for epoch in self.epochs]


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C during `fit`; `history` has the epochs that were finished.

    It is a KeyboardInterrupt, so a program that does not care needs to know nothing about it.
    """

    def __init__(self, history: History) -> None:
        super().__init__("training interrupted")
        self.history = history


def fit(
    model: Layer,
    loss: Loss,
    optimizer: Optimizer,
    train_data: Dataset,
    *,
    epochs: int,
    batch_size: int = 64,
    rng: np.random.Generator,
    validation_data: Dataset | None = None,
    augment: Augmentation | None = None,
    mix: Mix | None = None,
    schedule: Callable[[int], float] | None = None,
    max_grad_norm: float | None = None,
    patience: int | None = None,
    checkpoint: PathLike | None = None,
    resume: bool = False,
    run: Mapping[str, str] | None = None,
    progress: bool | None = None,
) -> History:
    """Train a model in place.

    Parameters
    ----------
    model, loss, optimizer
        The optimizer must hold the model's parameters.
    train_data : Dataset
        uint8 images are divided by 255 on their way into the model.
    epochs : int
        Passes over the data, those of an earlier part of a resumed run included.
    batch_size : int
        The last batch of an epoch may be smaller.
    rng : numpy.random.Generator
        Shuffles the data and drives `augment` and `mix`.
    validation_data : Dataset, optional
        Evaluated after every epoch.
    augment : callable, optional
        ``augment(images, rng)`` returns a changed copy of a batch. It runs in the background, a
        few batches ahead (`pyconv.data.DataLoader`).
    mix : callable, optional
        ``mix(images, labels, rng)`` changes labels too, as `pyconv.data.mixup` does.
    schedule : callable, optional
        ``schedule(step)`` returns the learning rate of each step, counted from 0.
    max_grad_norm : float, optional
        Gradients are scaled down to this common norm (`pyconv.optim.clip_grad_norm`) before each step.
    patience : int, optional
        Stop when the validation loss has not fallen for this many epochs. The model then has, and
        with a patience always ends with, the weights of the epoch with the lowest one.
    checkpoint : path-like, optional
        File that is replaced at the start and after every epoch.
    resume : bool
        Continue from `checkpoint`, which must exist.
    run : mapping of str to str, optional
        Anything that identifies the run. It is kept in the checkpoint, and resuming another is
        refused.
    progress : bool, optional
        True asks for a progress bar and False for silence. By default there is a bar if ``tqdm``
        is installed and stderr is a terminal, and else a line of text after every epoch.

    Returns
    -------
    History

    Raises
    ------
    TrainingInterrupted
        Ctrl-C. The checkpoint of the last whole epoch is intact.
    ValueError
        Arguments do not fit together.
    CheckpointError
        The checkpoint to resume from is missing, damaged or of another run.
    FloatingPointError
        The loss became infinite or NaN.
    """
    _check_arguments(epochs, batch_size, train_data, validation_data, patience, checkpoint, resume)
    if max_grad_norm is not None and not max_grad_norm > 0:
        raise ValueError(
            f"fit: max_grad_norm is not positive, got {max_grad_norm}; expected a number above 0"
        )
    history = History()
    best = _Best(patience)
    run = dict(run or {})
    if resume and checkpoint is not None:
        rows, best.state = load_checkpoint(checkpoint, model, optimizer, rng, run)
        try:
            history.epochs = [Epoch(**row) for row in rows]
        except TypeError as error:
            raise CheckpointError(f"{checkpoint}: has a damaged history ({error})") from None
        best.replay(history)
    elif checkpoint is not None:
        save_checkpoint(checkpoint, model, optimizer, rng, run, [], {})

    batches = DataLoader(train_data, batch_size, rng=rng, augment=augment, mix=mix)
    done = len(history.epochs)
    try:
        with open_progress(progress, epochs, len(batches), done) as bar:
            for epoch in range(done + 1, epochs + 1):
                if best.patience_is_over:
                    break
                started = time.perf_counter()
                totals = _Totals()
                model.train()
                for images, labels in batches:
                    if schedule is not None:
                        optimizer.lr = schedule(optimizer.steps)
                    _train_step(model, loss, optimizer, images, labels, totals, max_grad_norm)
                    bar.batch(epoch, totals.loss, totals.accuracy)
                row = _close_epoch(
                    epoch, model, loss, totals, validation_data, batch_size, optimizer.lr, started
                )
                history.epochs.append(row)
                bar.epoch(asdict(row))
                best.see(row, model)
                if checkpoint is not None:
                    rows = history.as_rows()
                    save_checkpoint(checkpoint, model, optimizer, rng, run, rows, best.state)
    except KeyboardInterrupt:
        raise TrainingInterrupted(history) from None
    history.stopped_early = len(history.epochs) < epochs
    best.restore(model)
    model.eval()
    return history


def evaluate(
    model: Layer, loss: Loss, data: Dataset, *, batch_size: int = 256
) -> tuple[float, float | None]:
    """Return (loss, accuracy) over a dataset in eval mode; the model's mode is left at eval."""
    model.eval()
    totals = _Totals()
    for start in range(0, len(data), batch_size):
        labels = data.labels[start : start + batch_size]
        output = model(as_input(data.images[start : start + batch_size], _dtype(model)))
        totals.add(loss.value(output, labels), output, labels)
    return totals.loss, totals.accuracy


def predict(model: Layer, images: Array, *, batch_size: int = 256) -> Array:
    """Return the model's outputs for images (N, C, H, W), in eval mode.

    Parameters
    ----------
    model : Layer
    images : ndarray, shape (N, C, H, W)
        uint8, or of the model's dtype.
    batch_size : int

    Returns
    -------
    ndarray, shape (N, K)
        For a classifier the logits; ``.argmax(axis=1)`` is the class.
    """
    model.eval()
    dtype = _dtype(model)
    starts = range(0, max(len(images), 1), batch_size)
    return np.concatenate(
        [model(as_input(images[start : start + batch_size], dtype)) for start in starts]
    )


def _train_step(
    model: Layer,
    loss: Loss,
    optimizer: Optimizer,
    images: Array,
    labels: Array,
    totals: _Totals,
    max_grad_norm: float | None,
) -> None:
    """Forward, backward, and one step of the optimizer."""
    output = model(as_input(images, _dtype(model)))
    value = loss(output, labels)
    if not math.isfinite(value):
        raise FloatingPointError(
            f"fit: the loss became {value} at step {optimizer.steps}; a lower lr may help"
        )
    optimizer.zero_grad()
    model.backward(loss.backward())
    if max_grad_norm is not None:
        clip_grad_norm(optimizer.parameters, max_grad_norm)
    optimizer.step()
    totals.add(value, output, labels)


def _close_epoch(
    epoch: int,
    model: Layer,
    loss: Loss,
    totals: _Totals,
    validation_data: Dataset | None,
    batch_size: int,
    lr: float,
    started: float,
) -> Epoch:
    """Validate, and put the epoch's numbers together."""
    validation_loss, validation_accuracy = None, None
    if validation_data is not None:
        validation_loss, validation_accuracy = evaluate(
            model, loss, validation_data, batch_size=max(batch_size, 256)
        )
    return Epoch(
        epoch=epoch,
        train_loss=totals.loss,
        train_accuracy=totals.accuracy,
        validation_loss=validation_loss,
        validation_accuracy=validation_accuracy,
        lr=lr,
        seconds=time.perf_counter() - started,
    )


class _Totals:
    """Running mean of the loss and, for class labels, of the accuracy."""

    def __init__(self) -> None:
        self._count = 0
        self._loss = 0.0
        self._correct = 0
        self._classes = True

    def add(self, value: float, output: Array, labels: Array) -> None:
        self._count += len(labels)
        self._loss += value * len(labels)
        self._classes = output.ndim == 2 and labels.ndim == 1 and labels.dtype.kind in "iu"
        if self._classes:
            self._correct += int(np.count_nonzero(output.argmax(axis=1) == labels))

    @property
    def loss(self) -> float:
        return self._loss / max(self._count, 1)

    @property
    def accuracy(self) -> float | None:
        return self._correct / max(self._count, 1) if self._classes else None


class _Best:
    """Early stopping: the weights of the best epoch and how long ago that was."""

    def __init__(self, patience: int | None) -> None:
        self._patience = patience
        self._loss = math.inf
        self._waited = 0
        self.state: dict[str, Array] = {}

    def see(self, epoch: Epoch, model: Layer) -> None:
        if self._improves(epoch):
            self.state = model.state_dict()

    def replay(self, history: History) -> None:
        """Bring the counters to where they were; the state comes from the checkpoint."""
        for epoch in history.epochs:
            self._improves(epoch)

    @property
    def patience_is_over(self) -> bool:
        return self._patience is not None and self._waited >= self._patience

    def restore(self, model: Layer) -> None:
        if self.state:
            model.load_state_dict(self.state)

    def _improves(self, epoch: Epoch) -> bool:
        if self._patience is None or epoch.validation_loss is None:
            return False
        if epoch.validation_loss < self._loss:
            self._loss, self._waited = epoch.validation_loss, 0
            return True
        self._waited += 1
        return False


def _dtype(model: Layer) -> np.dtype[Any]:
    """Return the dtype of the model's first parameter, which the input must have too."""
    for parameter in model.parameters():
        return parameter.value.dtype
    return np.dtype(np.float32)


def _check_arguments(
    epochs: int,
    batch_size: int,
    train_data: Dataset,
    validation_data: Dataset | None,
    patience: int | None,
    checkpoint: PathLike | None,
    resume: bool,
) -> None:
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"fit: {name} is not positive, got {value}; expected at least 1")
    for name, data in (("train_data", train_data), ("validation_data", validation_data)):
        if data is not None and len(data) == 0:
            raise ValueError(f"fit: {name} is empty, got 0 images; expected at least 1")
    if patience is not None and (patience < 1 or validation_data is None):
        raise ValueError(
            f"fit: patience needs validation_data, got patience={patience}; "
            "expected at least 1 and a dataset"
        )
    if resume and checkpoint is None:
        raise ValueError("fit: resume needs a checkpoint, got None; expected a path")
