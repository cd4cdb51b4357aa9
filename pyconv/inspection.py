# SPDX-License-Identifier: BSD-3-Clause
"""Looking at what was learned: confusion matrix, per-class scores, pictures, a gradient check.

Pictures are drawn by matplotlib's Agg renderer, without its global state, and returned as the bytes
of a PNG file, which `pyconv.io.atomic_write` puts in place whole.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyconv.layers.base import Layer
from pyconv.losses import Loss
from pyconv.optional import need
from pyconv.training import History

__all__ = [
    "class_scores",
    "confusion_matrix",
    "draw_confusion_matrix",
    "draw_learning_curve",
    "gradient_errors",
]

_TRAIN, _VALIDATION, _TEST, _INK = "#3b6fb6", "#d9722e", "#2f8f5b", "#333333"


def confusion_matrix(
    labels: NDArray[Any], predictions: NDArray[Any], num_classes: int
) -> NDArray[np.int64]:
    """Count images by true class (row) and predicted class (column)."""
    counts = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(counts, (labels, predictions), 1)
    return counts


def class_scores(confusion: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Return precision, recall and F1 of every class; 0 where a class never occurs.

    Notes
    -----
    ``precision = diagonal / column sum``, ``recall = diagonal / row sum``, and F1 is their harmonic
    mean, ``2 * diagonal / (row sum + column sum)``.
    """
    correct = np.diag(confusion).astype(np.float64)
    rows, columns = confusion.sum(axis=1), confusion.sum(axis=0)
    return {
        "precision": correct / np.maximum(columns, 1),
        "recall": correct / np.maximum(rows, 1),
        "f1": 2 * correct / np.maximum(rows + columns, 1),
    }


def draw_learning_curve(history: History, *, title: str, test_accuracy: float) -> bytes:
    """Return a PNG of loss and accuracy by epoch, with the final test accuracy as a line."""
    epochs = [row.epoch for row in history.epochs]
    figure = need("matplotlib.figure", "drawing a picture").Figure(
        figsize=(10, 4.2), layout="constrained"
    )
    loss_axes, accuracy_axes = figure.subplots(1, 2)
    figure.suptitle(title, fontsize=13, fontweight="bold", color=_INK)
    for axes, quantity in ((loss_axes, "loss"), (accuracy_axes, "accuracy")):
        for part, color in (("train", _TRAIN), ("validation", _VALIDATION)):
            values = [getattr(row, f"{part}_{quantity}") for row in history.epochs]
            if None not in values:
                # Augmentation and dropout make training harder than what follows it.
                label = "training, as augmented" if part == "train" else part
                marker = "o" if len(epochs) <= 12 else None
                axes.plot(epochs, values, color=color, lw=2, marker=marker, ms=4, label=label)
        axes.set_xlabel("epoch")
        axes.set_ylabel(quantity)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    loss_axes.set_ylim(bottom=0)
    accuracy_axes.axhline(
        test_accuracy,
        color=_TEST,
        lw=1.5,
        ls="--",
        label=f"test, after training: {test_accuracy:.2%}",
    )
    percent = need("matplotlib.ticker", "drawing a picture").PercentFormatter(1.0)
    accuracy_axes.yaxis.set_major_formatter(percent)
    # The first epoch of a run lies far below the rest, and would squeeze it into a line.
    rows = history.epochs[1:]
    shown = [row.train_accuracy for row in rows] + [row.validation_accuracy for row in rows]
    known = [value for value in shown if value is not None] + [test_accuracy]
    accuracy_axes.set_ylim(max(0.0, min(known) - 0.02), min(1.002, max(known) + 0.02))
    loss_axes.legend(frameon=False, loc="upper right")
    accuracy_axes.legend(frameon=False, loc="lower right")
    return _png(figure)


def draw_confusion_matrix(
    confusion: NDArray[np.int64], class_names: Sequence[str], *, title: str
) -> bytes:
    """Return a PNG of the matrix: right answers in blue, mistakes in orange, counts as numbers.

    The depth of the colour is the share of the true class; for mistakes its square root, so that
    a single one can be seen.
    """
    colormaps = need("matplotlib", "drawing a picture").colormaps
    count = len(class_names)
    side = max(5.0, 1.8 + 0.56 * count)
    figure = need("matplotlib.figure", "drawing a picture").Figure(
        figsize=(side, side), layout="constrained"
    )
    axes = figure.subplots()
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    right = np.eye(count, dtype=bool)[:, :, np.newaxis]
    colors = np.where(right, colormaps["Blues"](0.9 * share), colormaps["Oranges"](share**0.5))
    colors[confusion == 0] = 0.97  # empty: light grey
    axes.imshow(colors)
    long_names = max(map(len, class_names)) > 3
    axes.set_xticks(
        range(count),
        class_names,
        rotation=45 if long_names else 0,
        ha="right" if long_names else "center",
        rotation_mode="anchor" if long_names else "default",
    )
    axes.set_yticks(range(count), class_names)
    axes.set_xlabel("predicted class", labelpad=8)
    axes.set_ylabel("true class", labelpad=8)
    axes.set_title(title, fontsize=13, fontweight="bold", color=_INK, pad=12)
    for row, column in np.ndindex(confusion.shape):
        if confusion[row, column]:
            color = "white" if share[row, column] > 0.35 else _INK
            axes.text(column, row, confusion[row, column], ha="center", va="center", color=color)
    axes.set_xticks(np.arange(count + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(count + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", lw=1.5)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    return _png(figure)


def gradient_errors(
    model: Layer,
    loss: Loss,
    images: NDArray[Any],
    target: NDArray[Any],
    *,
    rng: np.random.Generator,
    step: float = 1e-5,
) -> dict[str, float]:
    """Compare every parameter's gradient with a central difference along a random direction.

    Parameters
    ----------
    model : Layer
        With float64 parameters, and nothing random in its present mode: no Dropout in training.
        Its gradients are overwritten, its parameters restored.
    loss : Loss
    images, target : ndarray
        One batch.
    rng : numpy.random.Generator
        Draws the directions.
    step : float
        Length of the step in each element.

    Returns
    -------
    dict of str to float
        Relative error by parameter; for a right gradient about 1e-8, or larger where a kink
        (ReLU, max pooling) lies within the step.

    Notes
    -----
    ``(loss(w + step * d) - loss(w - step * d)) / (2 * step)`` is compared with ``sum(grad * d)``.
    """
    model.zero_grad()
    loss(model(images), target)
    model.backward(loss.backward())
    errors = {}
    for name, parameter in model.named_parameters():
        direction = rng.choice([-1.0, 1.0], parameter.value.shape)
        original = parameter.value.copy()
        values = []
        for sign in (1, -1):
            parameter.value[...] = original + sign * step * direction
            parameter.bump()
            values.append(loss.value(model(images), target))
        parameter.value[...] = original
        parameter.bump()
        slope = (values[0] - values[1]) / (2 * step)
        scale = float(np.abs(parameter.grad).sum()) + abs(values[0])
        errors[name] = abs(slope - float(np.vdot(parameter.grad, direction))) / max(scale, 1e-300)
    return errors


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, facecolor="white")
    return buffer.getvalue()
