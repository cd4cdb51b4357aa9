# SPDX-License-Identifier: BSD-3-Clause
"""`fit`, the loop over epochs and batches."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pyconv.data import Augmentation, DataLoader, Dataset, Mix, as_input
from pyconv.io import PathLike
from pyconv.layers.base import Layer
from pyconv.losses import Loss
from pyconv.optim import Optimizer, clip_grad_norm
from pyconv.progress import open_progress
from pyconv.training.arguments import check_fitting, check_numbers
from pyconv.training.callbacks import Callback, Context
from pyconv.training.evaluation import Metric, Totals, input_dtype, validate
from pyconv.training.history import Epoch, History
from pyconv.training.run import Run, schedule_name

Array: TypeAlias = NDArray[Any]


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C during `fit`; `history` has the epochs that were finished.

    It is a KeyboardInterrupt, so a program that does not care needs to know nothing about it.

    Attributes
    ----------
    history : History

    Examples
    --------
    >>> interrupted = TrainingInterrupted(History())
    >>> isinstance(interrupted, KeyboardInterrupt), interrupted.history.epochs
    (True, [])
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
    metrics: Mapping[str, Metric] | None = None,
    augment: Augmentation | None = None,
    mix: Mix | None = None,
    schedule: Callable[[int], float] | None = None,
    max_grad_norm: float | None = None,
    ema_decay: float | None = None,
    patience: int | None = None,
    callbacks: Sequence[Callback] = (),
    checkpoint: PathLike | None = None,
    resume: bool = False,
    run: Mapping[str, str] | None = None,
    progress: bool | None = None,
) -> History:
    """Train a model in place.

    Parameters
    ----------
    model, loss, optimizer
        The optimizer must hold the model's parameters. Label smoothing and class weights are
        arguments of `pyconv.losses.CrossEntropyLoss`, weight decay one of every optimizer.
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
    metrics : mapping of str to callable, optional
        ``metric(outputs, targets)`` returns a number for the outputs (N, K) of the whole validation
        data; it goes to ``metrics`` of the `Epoch` under its name.
    augment : callable, optional
        ``augment(images, rng)`` returns a changed copy of a batch. It draws from `rng` alone, and runs
        in the background, a few batches ahead (`pyconv.data.DataLoader`).
    mix : callable, optional
        ``mix(images, labels, rng)`` changes labels too, as `pyconv.data.mixup` does.
    schedule : callable, optional
        ``schedule(step)`` returns the learning rate of each step, counted from 0; one of
        `pyconv.optim`, or a function. A `pyconv.optim.Schedule` hears the validation loss of every
        epoch, or the training loss where there is none.
    max_grad_norm : float, optional
        Gradients are scaled down to this common norm (`pyconv.optim.clip_grad_norm`) before each step.
    ema_decay : float, optional
        Keep an exponential moving average of weights and running statistics, of which each step
        leaves this share, 0 < ema_decay < 1. It is what is validated and what the model ends with.
    patience : int, optional
        Stop when the validation loss has not fallen for this many epochs. The model then has, and
        with a patience always ends with, the weights of the epoch with the lowest one.
    callbacks : sequence of Callback
        Called at the start and end of every epoch and after every batch.
    checkpoint : path-like, optional
        File that is replaced at the start and after every epoch.
    resume : bool
        Continue from `checkpoint`, which must exist and have been made with the same arguments; data
        and functions are taken on trust, and `epochs` may have grown.
    run : mapping of str to str, optional
        Anything else that identifies the run. It is kept in the checkpoint, and resuming another is
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
    ValueError, TypeError
        An argument is no good, or arguments do not fit together.
    CheckpointError
        The checkpoint to resume from is missing, damaged or of another run.
    FloatingPointError
        The loss became infinite or NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import Flatten, Linear, Sequential
    >>> from pyconv.data import Dataset
    >>> from pyconv.losses import CrossEntropyLoss
    >>> from pyconv.optim import SGD, OneCycleSchedule
    >>> from pyconv.training import fit
    >>> rng = np.random.default_rng(0)
    >>> labels = rng.integers(0, 2, 200)
    >>> images = rng.normal(labels[:, None, None, None], 1.0, (200, 1, 4, 4)).astype(np.float32)
    >>> model = Sequential(Flatten(), Linear(16, 2, rng=rng))
    >>> history = fit(
    ...     model,
    ...     CrossEntropyLoss(),
    ...     SGD(model.parameters(), lr=0.1, momentum=0.9),
    ...     Dataset(images[:150], labels[:150]),
    ...     epochs=5,
    ...     batch_size=15,
    ...     rng=rng,
    ...     validation_data=Dataset(images[150:], labels[150:]),
    ...     schedule=OneCycleSchedule(0.1, steps=50),
    ...     metrics={"ones": lambda outputs, targets: np.mean(outputs.argmax(axis=1))},
    ...     progress=False,
    ... )
    >>> history.epochs[-1].validation_accuracy > 0.9
    True
    >>> list(history.epochs[-1].metrics)
    ['ones']
    """
    options = (batch_size, max_grad_norm, ema_decay, patience)
    check_numbers(epochs, *options)
    check_fitting(train_data, validation_data, metrics, patience, callbacks, checkpoint, resume)
    state = Run(model, optimizer, schedule, rng, ema_decay, patience)
    names = ("batch_size", "max_grad_norm", "ema_decay", "patience")
    identity = dict(run or {}) | {
        "fit.optimizer": type(optimizer).__name__,
        "fit.schedule": schedule_name(schedule),
        **{f"fit.{name}": str(option) for name, option in zip(names, options, strict=True)},
    }
    if resume and checkpoint is not None:
        state.load(checkpoint, identity)
    elif checkpoint is not None:
        state.save(checkpoint, identity)

    history = state.history
    batches = DataLoader(train_data, batch_size, rng=rng, augment=augment, mix=mix)
    done = len(history.epochs)
    context = Context(model, optimizer, history, epochs)
    try:
        with open_progress(progress, epochs, len(train_data), done) as bar:
            for epoch in range(done + 1, epochs + 1):
                if history.stopped_early or state.best.patience_is_over:
                    break
                started = time.perf_counter()
                context.epoch = epoch
                for callback in callbacks:
                    callback.on_epoch_start(context)
                totals = Totals()
                model.train()
                dtype = input_dtype(model)
                for images, labels in batches:
                    if schedule is not None:
                        optimizer.lr = schedule(optimizer.steps)
                    context.loss = _train_step(
                        model,
                        loss,
                        optimizer,
                        as_input(images, dtype),
                        labels,
                        totals,
                        max_grad_norm,
                    )
                    if state.average is not None:
                        state.average.update()
                    for callback in callbacks:
                        callback.on_batch_end(context)
                    bar.batch(epoch, len(labels), totals.loss, totals.accuracy)
                # What is validated is what is kept as the best, and what callbacks see.
                with state.averaged():
                    row = _close_epoch(
                        context, loss, totals, validation_data, batch_size, metrics or {}, started
                    )
                    history.epochs.append(row)
                    bar.epoch(asdict(row))
                    state.best.see(row, model)
                    for callback in callbacks:
                        if callback.on_epoch_end(context) and epoch < epochs:
                            history.stopped_early = True
                state.end_epoch(row)
                if checkpoint is not None:
                    state.save(checkpoint, identity)
    except KeyboardInterrupt:
        raise TrainingInterrupted(history) from None
    history.stopped_early = len(history.epochs) < epochs
    state.finish()
    return history


def _train_step(
    model: Layer,
    loss: Loss,
    optimizer: Optimizer,
    input: Array,
    labels: Array,
    totals: Totals,
    max_grad_norm: float | None,
) -> float:
    """Forward, backward, and one step of the optimizer; return the loss."""
    output = model(input)
    value = loss(output, labels)
    if not math.isfinite(value):
        raise FloatingPointError(
            f"fit: the loss became {value} at step {optimizer.steps}; a lower lr may help"
        )
    optimizer.zero_grad()
    model.backward_parameters(loss.backward())
    if max_grad_norm is not None:
        clip_grad_norm(optimizer.parameters, max_grad_norm)
    optimizer.step()
    totals.add(value, output, labels)
    return value


def _close_epoch(
    context: Context,
    loss: Loss,
    totals: Totals,
    validation_data: Dataset | None,
    batch_size: int,
    metrics: Mapping[str, Metric],
    started: float,
) -> Epoch:
    """Validate, and put the epoch's numbers together."""
    context.model.eval()
    validation, values = None, dict[str, float]()
    if validation_data is not None:
        validation, values = validate(
            context.model, loss, validation_data, max(batch_size, 256), metrics
        )
    return Epoch(
        epoch=context.epoch,
        train_loss=totals.loss,
        train_accuracy=totals.accuracy,
        validation_loss=None if validation is None else validation.loss,
        validation_accuracy=None if validation is None else validation.accuracy,
        lr=context.optimizer.lr,
        seconds=time.perf_counter() - started,
        metrics=values,
    )
