# SPDX-License-Identifier: BSD-3-Clause
"""Augmentations that change values where they are: colours, and holes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pyconv.data.augmentation._images import (
    Array,
    amount,
    as_float,
    as_images,
    from_float,
    not_negative,
)
from pyconv.functional._arguments import pair

# Red, green and blue in the luma of ITU-R BT.601.
_LUMA = (0.299, 0.587, 0.114)


def cutout(images: Array, size: int | Sequence[int], *, rng: np.random.Generator) -> Array:
    """Set a rectangle of each image to 0, around a pixel of its own.

    Parameters
    ----------
    images : ndarray, shape (N, C, H, W)
        uint8, float32 or float64.
    size : int or (int, int)
        Height and width (h, w) of the rectangle. What lies outside the image is cut off.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray, shape (N, C, H, W)

    Notes
    -----
    For image n and a pixel (i, j), all of them equally likely, rows ``i - h // 2`` to
    ``i - h // 2 + h - 1`` and columns likewise become 0, in all channels.

    References
    ----------
    T. DeVries and G. Taylor, "Improved regularization of convolutional neural networks with
    cutout", arXiv:1708.04552, 2017.

    Examples
    --------
    >>> import numpy as np
    >>> cutout(np.ones((1, 1, 3, 4)), 2, rng=np.random.default_rng(1))[0, 0]
    array([[1., 0., 0., 1.],
           [1., 0., 0., 1.],
           [1., 1., 1., 1.]])
    """
    images = as_images("cutout", images)
    h, w = pair("cutout", "size", size)
    not_negative("cutout", "size", h, w)
    N, _, H, W = images.shape
    # Distances from the first row and column of each rectangle.
    rows = np.arange(H) - (rng.integers(0, H, (N, 1)) - h // 2)
    columns = np.arange(W) - (rng.integers(0, W, (N, 1)) - w // 2)
    hole_rows, hole_columns = (rows >= 0) & (rows < h), (columns >= 0) & (columns < w)
    hole = hole_rows[:, None, :, None] & hole_columns[:, None, None, :]
    return np.where(hole, np.zeros((), images.dtype), images)


def color_jitter(
    images: Array,
    *,
    rng: np.random.Generator,
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
) -> Array:
    """Change brightness, contrast and saturation of each image, in this order.

    Parameters
    ----------
    images : ndarray, shape (N, C, H, W)
        uint8, float32 or float64. With three channels they are red, green and blue.
    rng : numpy.random.Generator
    brightness, contrast, saturation : float
        Factors are drawn from ``1 - amount`` (at least 0) to ``1 + amount``. Saturation needs
        three channels.

    Returns
    -------
    ndarray, shape (N, C, H, W)
        uint8 is rounded and clipped at the end; floating images are never clipped, whatever
        their range is.

    Notes
    -----
    With factors b, c and s, and ``grey = 0.299 * red + 0.587 * green + 0.114 * blue``, or the mean
    over the channels where there are not three::

        x = b * x                                   # 0 is black
        x = c * x + (1 - c) * np.mean(grey(x))
        x = s * x + (1 - s) * grey(x)

    Brightness hence means something for images whose black is 0, before they are standardised;
    contrast and saturation do the same for any offset and scale.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.full((1, 1, 1, 2), 100, np.uint8)
    >>> color_jitter(images, rng=np.random.default_rng(0), brightness=0.5).tolist()
    [[[[114, 114]]]]
    """
    images = as_images("color_jitter", images)
    N, C, _, _ = images.shape
    factors = []
    for name, value in (
        ("brightness", brightness),
        ("contrast", contrast),
        ("saturation", saturation),
    ):
        most = amount("color_jitter", name, value)
        factors.append(rng.uniform(max(0.0, 1 - most), 1 + most, (N, 1, 1, 1)))
    if saturation and C != 3:
        raise ValueError(
            f"color_jitter: saturation needs three channels, got {C}; expected images (N, 3, H, W)"
        )
    values = as_float(images)
    b, c, s = (factor.astype(values.dtype) for factor in factors)
    values = values * b
    if contrast:
        mean = _grey(values).mean(axis=(2, 3), keepdims=True)
        values = c * values + (1 - c) * mean
    if saturation:
        values = s * values + (1 - s) * _grey(values)
    return from_float(values, images.dtype)


def _grey(values: Array) -> Array:
    """Return the images without colour, (N, 1, H, W)."""
    if values.shape[1] != 3:
        mean: Array = values.mean(axis=1, keepdims=True)
        return mean
    red, green, blue = (values[:, c : c + 1] * values.dtype.type(_LUMA[c]) for c in range(3))
    grey: Array = red + green + blue
    return grey
