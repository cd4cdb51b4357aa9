# SPDX-License-Identifier: BSD-3-Clause
"""Pictures of a training run: learning curve and confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pyconv.inspection.canvas import BLUE, GREEN, INK, ORANGE, new_figure, png
from pyconv.optional import need
from pyconv.training import History

__all__ = ["draw_confusion_matrix", "draw_learning_curve"]


def draw_learning_curve(history: History, *, title: str, test_accuracy: float) -> bytes:
    """Return a PNG of loss and accuracy by epoch, with the final test accuracy as a line.

    Parameters
    ----------
    history : History
    title : str
    test_accuracy : float

    Returns
    -------
    bytes

    Examples
    --------
    >>> from pyconv.training import Epoch
    >>> rows = [Epoch(n, 2.0 / n, 0.9, 2.5 / n, 0.8, 0.1, 1.0) for n in (1, 2, 3)]
    >>> draw_learning_curve(History(rows), title="Digits", test_accuracy=0.85)[1:4]
    b'PNG'
    """
    epochs = [row.epoch for row in history.epochs]
    figure = new_figure(10, 4.2, title)
    loss_axes, accuracy_axes = figure.subplots(1, 2)
    for axes, quantity in ((loss_axes, "loss"), (accuracy_axes, "accuracy")):
        for part, color in (("train", BLUE), ("validation", ORANGE)):
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
        color=GREEN,
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
    return png(figure)


def draw_confusion_matrix(
    confusion: NDArray[np.int64], class_names: Sequence[str], *, title: str
) -> bytes:
    """Return a PNG of the matrix: right answers in blue, mistakes in orange, counts as numbers.

    The depth of the colour is the share of the true class; for mistakes its square root, so that
    a single one can be seen.

    Parameters
    ----------
    confusion : ndarray of int, shape (K, K)
        As `confusion_matrix` returns it.
    class_names : sequence of str
    title : str

    Returns
    -------
    bytes

    Examples
    --------
    >>> matrix = np.array([[9, 1], [0, 10]])
    >>> draw_confusion_matrix(matrix, ("cat", "dog"), title="Pets")[1:4]
    b'PNG'
    """
    colormaps = need("matplotlib", "drawing a picture").colormaps
    count = len(class_names)
    side = max(5.0, 1.8 + 0.56 * count)
    figure = new_figure(side, side)
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
    axes.set_title(title, fontsize=13, fontweight="bold", color=INK, pad=12)
    for row, column in np.ndindex(confusion.shape):
        if confusion[row, column]:
            color = "white" if share[row, column] > 0.35 else INK
            axes.text(column, row, confusion[row, column], ha="center", va="center", color=color)
    axes.set_xticks(np.arange(count + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(count + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", lw=1.5)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    return png(figure)
