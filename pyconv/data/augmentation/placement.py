# SPDX-License-Identifier: BSD-3-Clause
"""Augmentations that put pixels elsewhere, whole ones: mirror, crop, shift."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from pyconv.data.augmentation._images import Array, as_images, not_negative
from pyconv.functional._arguments import integer, pair


def random_flip(
    images: Array, *, rng: np.random.Generator, horizontal: bool = True, vertical: bool = False
) -> Array:
    """Mirror each image with probability 1/2, along each axis that is asked for.

    Parameters
    ----------
    images : ndarray, shape (N, C, H, W)
        uint8, float32 or float64.
    rng : numpy.random.Generator
    horizontal : bool
        Swap left and right.
    vertical : bool
        Swap top and bottom.

    Returns
    -------
    ndarray, shape (N, C, H, W)

    Examples
    --------
    >>> import numpy as np
    >>> images = np.arange(4.0).reshape(2, 1, 1, 2)
    >>> random_flip(images, rng=np.random.default_rng(3)).tolist()
    [[[[1.0, 0.0]]], [[[3.0, 2.0]]]]
    """
    images = as_images("random_flip", images)
    flipped = images.copy()
    for wanted, axis in ((horizontal, 3), (vertical, 2)):
        if wanted:
            chosen = rng.random(len(images)) < 0.5
            flipped[chosen] = np.flip(flipped[chosen], axis)
    return flipped


def random_crop(
    images: Array,
    size: int | Sequence[int] | None = None,
    *,
    padding: int | Sequence[int] = 0,
    rng: np.random.Generator,
) -> Array:
    """Cut a window out of each image, at a place of its own.

    Parameters
    ----------
    images : ndarray, shape (N, C, H, W)
        uint8, float32 or float64.
    size : int or (int, int), optional
        Height and width (h, w) of the window; those of the images by default.
    padding : int or (int, int)
        Rows above and below, and columns left and right, of zeros around each image first.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray, shape (N, C, h, w)

    Raises
    ------
    ValueError
        The window is larger than the padded image.

    Notes
    -----
    For image n and corners (i, j), all of them equally likely::

        padded[n, :, i : i + h, j : j + w]

    Examples
    --------
    >>> import numpy as np
    >>> images = np.arange(6.0).reshape(1, 1, 2, 3)
    >>> random_crop(images, (2, 2), rng=np.random.default_rng(0)).tolist()
    [[[[1.0, 2.0], [4.0, 5.0]]]]
    """
    images = as_images("random_crop", images)
    pad_h, pad_w = pair("random_crop", "padding", padding)
    not_negative("random_crop", "padding", pad_h, pad_w)
    N, _, H, W = images.shape
    h, w = (H, W) if size is None else pair("random_crop", "size", size)
    not_negative("random_crop", "size", h, w)
    if h > H + 2 * pad_h or w > W + 2 * pad_w:
        raise ValueError(
            f"random_crop: size is larger than the images, got {(h, w)}; expected at most "
            f"{(H + 2 * pad_h, W + 2 * pad_w)}, the images {(H, W)} and their padding"
        )
    padded = np.pad(images, ((0, 0), (0, 0), (pad_h, pad_h), (pad_w, pad_w)))
    top = rng.integers(0, H + 2 * pad_h - h + 1, N)
    left = rng.integers(0, W + 2 * pad_w - w + 1, N)
    # windows[n, c, i, j] is the h x w window whose corner is at (i, j): a view, no copy.
    windows = sliding_window_view(padded, (h, w), axis=(2, 3))
    return np.ascontiguousarray(windows[np.arange(N), :, top, left])


def random_shift(images: Array, pixels: int, *, rng: np.random.Generator) -> Array:
    """Move each image by up to `pixels` whole ones along both axes; what moves in is 0.

    Parameters
    ----------
    images : ndarray, shape (N, C, H, W)
        uint8, float32 or float64.
    pixels : int
    rng : numpy.random.Generator

    Returns
    -------
    ndarray, shape (N, C, H, W)

    Examples
    --------
    >>> import numpy as np
    >>> images = np.ones((1, 1, 1, 3))
    >>> random_shift(images, 1, rng=np.random.default_rng(3)).tolist()
    [[[[0.0, 0.0, 0.0]]]]
    """
    pixels = integer("random_shift", "pixels", pixels)
    not_negative("random_shift", "pixels", pixels)
    return random_crop(images, padding=pixels, rng=rng)
