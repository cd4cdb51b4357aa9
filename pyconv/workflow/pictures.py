# SPDX-License-Identifier: BSD-3-Clause
"""The pictures of a report, as the bytes of PNG files, drawn without matplotlib's global state."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyconv.optional import need

_TRAIN, _VALIDATION, _BASELINE, _INK = "#3b6fb6", "#d9722e", "#8a8a8a", "#333333"


def draw_curve(curve: Sequence[Mapping[str, Any]], *, title: str) -> bytes:
    """Draw the loss, and for classes the accuracy, of training and validation by epoch."""
    quantities = ["loss"]
    if curve[0]["train_accuracy"] is not None:
        quantities.append("accuracy")
    figure = _figure(4.6 * len(quantities), 3.4)
    for index, quantity in enumerate(quantities):
        axes = figure.add_subplot(1, len(quantities), index + 1)
        for part, color in (("train", _TRAIN), ("validation", _VALIDATION)):
            values = [row[f"{part}_{quantity}"] for row in curve]
            if None not in values:
                label = "training" if part == "train" else part
                axes.plot([row["epoch"] for row in curve], values, color=color, lw=2, label=label)
        axes.set_xlabel("epoch")
        axes.set_ylabel(quantity)
        axes.legend(frameon=False)
        _plain(axes)
    figure.suptitle(title, fontsize=12, fontweight="bold", color=_INK)
    return _png(figure)


def draw_fold_scores(scores: Mapping[str, Sequence[float]], measure: str, *, network: str) -> bytes:
    """Draw a row of points for every model, one point for every fold, and a bar at the mean."""
    figure = _figure(7.5, 1.2 + 0.55 * len(scores))
    axes = figure.add_subplot()
    for row, (name, values) in enumerate(scores.items()):
        color = _TRAIN if name == network else _BASELINE
        axes.plot(values, [row] * len(values), "o", color=color, alpha=0.6, ms=8)
        mean = sum(values) / len(values)
        axes.plot([mean, mean], [row - 0.3, row + 0.3], color=color, lw=3)
    axes.set_yticks(range(len(scores)), list(scores))
    axes.set_ylim(len(scores) - 0.4, -0.6)
    axes.set_xlabel(f"{measure} on the validation part of each fold")
    _plain(axes)
    return _png(figure)


def draw_gradients(norms: Mapping[str, float]) -> bytes:
    """Draw the size of the gradient at each layer, the first at the top."""
    figure = _figure(7.5, 1.0 + 0.3 * len(norms))
    axes = figure.add_subplot()
    axes.barh(range(len(norms)), list(norms.values()), color=_TRAIN, height=0.6)
    axes.set_yticks(range(len(norms)), list(norms), fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("root mean square of the gradient at the output")
    if min(norms.values()) > 0:
        axes.set_xscale("log")
    _plain(axes)
    return _png(figure)


def draw_examples(images: NDArray[Any], titles: Sequence[str]) -> bytes:
    """Draw images (N, C, H, W), gray or in colour, each under its title."""
    columns = min(8, len(images))
    rows = -(-len(images) // columns)
    figure = _figure(1.5 * columns, 1.8 * rows)
    for axes, *pair in zip_longest(
        figure.subplots(rows, columns, squeeze=False).flat, images, titles
    ):
        axes.set_axis_off()
        image, title = pair
        if image is None:
            continue
        shown = image.transpose(1, 2, 0) if len(image) == 3 else image.mean(axis=0)
        if shown.ndim == 3 and shown.dtype != np.uint8:
            shown = np.clip(shown, 0, 1)
        axes.imshow(shown, cmap="gray", interpolation="nearest")
        axes.set_title(title, fontsize=7, color=_INK)
    return _png(figure)


def _figure(width: float, height: float) -> Any:
    module = need("matplotlib.figure", "drawing a picture")
    return module.Figure(figsize=(width, height), layout="constrained")


def _plain(axes: Any) -> None:
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130, facecolor="white")
    return buffer.getvalue()
