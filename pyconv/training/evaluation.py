# SPDX-License-Identifier: BSD-3-Clause
"""A model in eval mode on a dataset: its loss, accuracy, metrics and outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pyconv.data import Dataset, as_input
from pyconv.layers.base import Layer
from pyconv.losses import Loss

Array: TypeAlias = NDArray[Any]
Metric: TypeAlias = Callable[[Array, Array], float]


class Totals:
    """Running mean of the loss and, for class labels, of the accuracy."""

    def __init__(self) -> None:
        self._count = 0
        self._loss = 0.0
        self._correct = 0
        self._classes = True

    def add(self, value: float, output: Array, labels: Array) -> None:
        """Take in the loss and the outputs of a batch."""
        self._count += len(labels)
        self._loss += value * len(labels)
        self._classes = output.ndim == 2 and labels.ndim == 1 and labels.dtype.kind in "iu"
        if self._classes:
            self._correct += int(np.count_nonzero(output.argmax(axis=1) == labels))

    @property
    def loss(self) -> float:
        """Return the mean loss of an image."""
        return self._loss / max(self._count, 1)

    @property
    def accuracy(self) -> float | None:
        """Return the share of right answers; None if targets are not class labels."""
        return self._correct / max(self._count, 1) if self._classes else None


def evaluate(
    model: Layer, loss: Loss, data: Dataset, *, batch_size: int = 256
) -> tuple[float, float | None]:
    """Return (loss, accuracy) over a dataset in eval mode; the model's mode is left at eval.

    Parameters
    ----------
    model : Layer
    loss : Loss
    data : Dataset
    batch_size : int

    Returns
    -------
    loss : float
        The mean over the images.
    accuracy : float or None
        None if the labels are not classes.

    Examples
    --------
    >>> from pyconv import Flatten, Linear, Sequential
    >>> from pyconv.losses import CrossEntropyLoss
    >>> model = Sequential(Flatten(), Linear(4, 2))
    >>> model.layers[1].weight.value[...] = 0
    >>> model.layers[1].bias.value[...] = [1, 0]
    >>> data = Dataset(np.zeros((4, 1, 2, 2), np.float32), np.array([0, 0, 0, 1]))
    >>> _, accuracy = evaluate(model, CrossEntropyLoss(), data)
    >>> accuracy
    0.75
    """
    totals, _ = validate(model, loss, data, batch_size, {})
    return totals.loss, totals.accuracy


def validate(
    model: Layer, loss: Loss, data: Dataset, batch_size: int, metrics: Mapping[str, Metric]
) -> tuple[Totals, dict[str, float]]:
    """Return loss and accuracy, and the metrics of the whole dataset, after one pass over it."""
    totals, kept = Totals(), []
    for start, output in _outputs(model, data.images, batch_size):
        labels = data.labels[start : start + batch_size]
        totals.add(loss.value(output, labels), output, labels)
        if metrics:
            kept.append(output)
    if not metrics:
        return totals, {}
    outputs = np.concatenate(kept)
    return totals, {name: float(metric(outputs, data.labels)) for name, metric in metrics.items()}


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

    Examples
    --------
    >>> from pyconv import Flatten, Linear, Sequential
    >>> predict(Sequential(Flatten(), Linear(4, 3)), np.zeros((5, 1, 2, 2), np.uint8)).shape
    (5, 3)
    """
    return np.concatenate([output for _, output in _outputs(model, images, batch_size)])


def input_dtype(model: Layer) -> np.dtype[Any]:
    """Return the dtype of the model's first parameter, which the input must have too."""
    for parameter in model.parameters():
        return parameter.value.dtype
    return np.dtype(np.float32)


def _outputs(model: Layer, images: Array, batch_size: int) -> Iterator[tuple[int, Array]]:
    """Yield the outputs of batches and where they start; one batch of none for no images."""
    model.eval()
    dtype = input_dtype(model)
    for start in range(0, max(len(images), 1), batch_size):
        yield start, model(as_input(images[start : start + batch_size], dtype))
