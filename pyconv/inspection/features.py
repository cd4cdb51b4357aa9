# SPDX-License-Identifier: BSD-3-Clause
"""What a network looks for and what it sees: filters, activation maps, saliency.

References
----------
Simonyan, Vedaldi, Zisserman: Deep Inside Convolutional Networks. ICLR Workshop 2014, section 3 (saliency).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyconv.inspection.canvas import INK, new_figure, png
from pyconv.inspection.watching import frozen, watched
from pyconv.layers.base import Layer

__all__ = ["draw_activations", "draw_filters", "draw_saliency", "saliency"]


def draw_filters(weight: NDArray[Any], *, title: str = "Filters", most: int = 64) -> bytes:
    """Return a PNG of the filters of a convolution.

    Parameters
    ----------
    weight : ndarray, shape (OC, C, KH, KW)
        With 3 channels each filter is a small picture in colour, scaled by itself to the whole range. Otherwise
        the mean over the channels is shown, all on one scale: blue below 0, white at 0, red above.
    title : str
    most : int
        How many filters to show.

    Returns
    -------
    bytes

    Examples
    --------
    >>> picture = draw_filters(np.random.default_rng(0).standard_normal((4, 3, 5, 5)))
    >>> picture[1:4]
    b'PNG'
    """
    if weight.ndim != 4:
        raise ValueError(
            f"draw_filters: weight has the wrong shape, got {weight.shape}; expected (OC, C, KH, KW)"
        )
    shown = weight[:most]
    if shown.shape[1] == 3:
        low = shown.min(axis=(1, 2, 3), keepdims=True)
        high = shown.max(axis=(1, 2, 3), keepdims=True)
        pictures = ((shown - low) / np.maximum(high - low, 1e-12)).transpose(0, 2, 3, 1)
        return _tiles(list(pictures), title)
    planes = shown.mean(axis=1)
    limit = max(float(np.abs(planes).max()), 1e-12)
    return _tiles(list(planes), title, cmap="RdBu_r", vmin=-limit, vmax=limit, scale=True)


def draw_activations(
    model: Layer, image: NDArray[Any], layer: str, *, title: str | None = None, most: int = 64
) -> bytes:
    """Return a PNG of the maps that one layer makes of one image.

    Parameters
    ----------
    model : Layer
        Run in eval mode, and left in the mode that it was in.
    image : ndarray, shape (C, H, W)
        Of the model's dtype.
    layer : str
        Its name, as `Layer.named_layers` gives it: "0" is the first of a Sequential.
    title : str, optional
    most : int
        How many maps to show.

    Returns
    -------
    bytes

    Examples
    --------
    >>> from pyconv import Conv2d, ReLU, Sequential
    >>> model = Sequential(Conv2d(1, 4, 3), ReLU())
    >>> draw_activations(model, np.zeros((1, 8, 8), np.float32), "1")[1:4]
    b'PNG'
    """
    with frozen(model), watched(model) as passages:
        if layer not in passages:
            raise ValueError(
                f"draw_activations: layer is unknown, got {layer!r}; "
                f"expected one of {', '.join(passages)}"
            )
        model.eval()(image[np.newaxis])
        output = passages[layer].output
    if output is None or output.ndim != 4:
        shape = None if output is None else output.shape
        raise ValueError(
            f"draw_activations: layer makes no maps, got an output {shape} from {layer!r}; "
            "expected (1, C, H, W)"
        )
    maps = output[0, :most]
    kind = type(passages[layer].layer).__name__
    high = max(float(maps.max()), 1e-12)
    return _tiles(
        list(maps),
        title or f"Activations of layer {layer} ({kind})",
        cmap="magma",
        vmin=min(float(maps.min()), 0.0),
        vmax=high,
        scale=True,
    )


def saliency(model: Layer, image: NDArray[Any], target: int | None = None) -> NDArray[Any]:
    """Return how much the score of a class depends on each pixel.

    Parameters
    ----------
    model : Layer
        A classifier, from (1, C, H, W) to (1, K). It is run in eval mode, and left as it was, but for its
        gradients, which are zero.
    image : ndarray, shape (C, H, W)
        Of the model's dtype.
    target : int, optional
        The class; by default the one that the model takes.

    Returns
    -------
    ndarray, shape (H, W)
        ``max over channels of abs(d score[target] / d image)``, the gradient of the score before softmax.

    Examples
    --------
    >>> from pyconv import Flatten, Linear, Sequential
    >>> linear = Linear(4, 2, bias=False)
    >>> linear.weight.value[...] = [[1, -2, 3, 0], [0, 0, 0, 0]]
    >>> saliency(Sequential(Flatten(), linear), np.ones((1, 2, 2), np.float32), target=0)
    array([[1., 2.],
           [3., 0.]], dtype=float32)
    """
    with frozen(model):
        model.eval(differentiable=True)
        scores = model(image[np.newaxis])
        if scores.ndim != 2:
            raise ValueError(
                f"saliency: model makes no scores, got an output {scores.shape}; expected (1, K)"
            )
        chosen = int(scores.argmax()) if target is None else target
        if not 0 <= chosen < scores.shape[1]:
            raise ValueError(
                f"saliency: target is out of range, got {target}; expected 0 to {scores.shape[1] - 1}"
            )
        grad = np.zeros_like(scores)
        grad[0, chosen] = 1
        strength: NDArray[Any] = np.abs(model.backward(grad)[0]).max(axis=0)
        model.zero_grad()
    return strength


def draw_saliency(
    image: NDArray[Any], strength: NDArray[Any], *, title: str = "What the score depends on"
) -> bytes:
    """Return a PNG of an image, its saliency map, and one on top of the other.

    Parameters
    ----------
    image : ndarray, shape (C, H, W)
        1 or 3 channels; scaled to the whole range.
    strength : ndarray, shape (H, W)
        What `saliency` returns.
    title : str

    Returns
    -------
    bytes

    Examples
    --------
    >>> draw_saliency(np.zeros((1, 8, 8)), np.eye(8))[1:4]
    b'PNG'
    """
    if image.ndim != 3 or image.shape[0] not in {1, 3} or strength.shape != image.shape[1:]:
        raise ValueError(
            f"draw_saliency: shapes do not fit, got image {image.shape} and strength "
            f"{strength.shape}; expected (1 or 3, H, W) and (H, W)"
        )
    picture = image.astype(np.float64).transpose(1, 2, 0)
    picture = (picture - picture.min()) / max(float(np.ptp(picture)), 1e-12)
    shown = np.clip(strength / max(float(np.percentile(strength, 99.5)), 1e-12), 0, 1)
    H, W = strength.shape
    figure = new_figure(9.6, 3.2 * H / W + 0.9, title)
    parts = figure.subplots(1, 3)
    names = ("image", "saliency", "both")
    for axes, name in zip(parts, names, strict=True):
        axes.set_axis_off()
        axes.set_title(name, fontsize=10, color=INK, loc="left")
    gray = picture.mean(axis=2)
    parts[0].imshow(picture.squeeze(), cmap="gray", vmin=0, vmax=1)
    parts[1].imshow(shown, cmap="magma", vmin=0, vmax=1)
    parts[2].imshow(gray, cmap="gray", vmin=0, vmax=1)
    parts[2].imshow(shown, cmap="magma", alpha=0.85 * shown, vmin=0, vmax=1)
    return png(figure)


def _tiles(
    pictures: list[NDArray[Any]], title: str, *, scale: bool = False, **options: Any
) -> bytes:
    """Return a PNG of small pictures side by side, numbered, with their scale on the right."""
    columns = min(8, len(pictures))
    rows = -(-len(pictures) // columns)
    H, W = pictures[0].shape[:2]
    figure = new_figure(1.15 * columns + 0.9 * scale, rows * (1.15 * H / W + 0.22) + 0.6, title)
    grid = figure.subplots(rows, columns, squeeze=False)
    shown = None
    for index, axes in enumerate(grid.flat):
        if index >= len(pictures):
            axes.set_axis_off()
            continue
        shown = axes.imshow(pictures[index], interpolation="nearest", **options)
        axes.set_title(str(index), fontsize=7, color=INK, pad=2)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set(color="#b5b5b5", linewidth=0.6)
    if scale:
        bar = figure.colorbar(shown, ax=grid, fraction=0.03, pad=0.02)
        bar.ax.tick_params(labelsize=7, colors=INK)
        bar.outline.set_visible(False)
    return png(figure)
