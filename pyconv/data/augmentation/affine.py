# SPDX-License-Identifier: BSD-3-Clause
"""Augmentations by an affine map of the plane, sampled bilinearly: rotation and its kin."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pyconv.data.augmentation._images import Array, amount, as_float, as_images, from_float


def random_rotation(images: Array, degrees: float, *, rng: np.random.Generator) -> Array:
    """Turn each image about its centre by an angle in ``+-degrees``.

    Parameters
    ----------
    images : ndarray, shape (N, C, H, W)
        uint8, float32 or float64.
    degrees : float
    rng : numpy.random.Generator

    Returns
    -------
    ndarray, shape (N, C, H, W)
        0 where the source lies outside.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.ones((2, 1, 5, 5), np.uint8)
    >>> random_rotation(images, 10, rng=np.random.default_rng(0))[:, 0, 2].tolist()
    [[1, 1, 1, 1, 1], [1, 1, 1, 1, 1]]
    """
    amount("random_rotation", "degrees", degrees)
    return random_affine(images, rng=rng, degrees=degrees)


def random_affine(
    images: Array,
    *,
    rng: np.random.Generator,
    degrees: float = 0.0,
    scale: float = 0.0,
    shear: float = 0.0,
    shift: float = 0.0,
) -> Array:
    """Rotate, scale, shear and move each image about its centre, with bilinear sampling.

    Parameters
    ----------
    images : ndarray, shape (N, C, H, W)
        uint8, float32 or float64.
    rng : numpy.random.Generator
    degrees : float
        Rotation in ``+-degrees``.
    scale : float
        Factor in ``exp(+-scale)``, one for each axis.
    shear : float
        Tangent of the shear angle in ``+-shear``.
    shift : float
        Pixels moved in ``+-shift`` along each axis, fractions included.

    Returns
    -------
    ndarray, shape (N, C, H, W)
        Of the dtype of `images` (uint8 is rounded); 0 where the source lies outside.

    Notes
    -----
    Each output pixel (i, j), counted from the centre, asks where it comes from::

        h = cos * scale_h * i - sin * scale_h * j + shift_h
        w = (sin + tangent * cos) * scale_w * i + (cos - tangent * sin) * scale_w * j + shift_w

    Places and values are computed in float32, those of float64 images in float64.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.full((1, 1, 3, 3), 8.0)
    >>> moved = random_affine(images, rng=np.random.default_rng(0), shift=0.5)
    >>> float(moved[0, 0, 1, 1])
    8.0
    """
    images = as_images("random_affine", images)
    for name, value in (("degrees", degrees), ("scale", scale), ("shear", shear), ("shift", shift)):
        amount("random_affine", name, value)
    N, _, H, W = images.shape
    angle = np.deg2rad(rng.uniform(-degrees, degrees, N))
    scale_h, scale_w = np.exp(rng.uniform(-scale, scale, (2, N)))
    tangent = rng.uniform(-shear, shear, N)
    shift_h, shift_w = rng.uniform(-shift, shift, (2, N))
    cos, sin = np.cos(angle), np.sin(angle)

    dtype = np.dtype(np.float64 if images.dtype == np.float64 else np.float32)
    center_h, center_w = (H - 1) / 2, (W - 1) / 2
    i = (np.arange(H) - center_h).astype(dtype)[:, None]
    j = (np.arange(W) - center_w).astype(dtype)

    def source(along_i: Array, along_j: Array, start: Array) -> Array:
        """Return along_i * i + along_j * j + start for all images, (N, H, W)."""
        a, b, c = (x.astype(dtype)[:, None, None] for x in (along_i, along_j, start))
        place: Array = a * i + (b * j + c)
        return place

    h = source(cos * scale_h, -sin * scale_h, shift_h + center_h)
    w = source((sin + tangent * cos) * scale_w, (cos - tangent * sin) * scale_w, shift_w + center_w)
    result = np.empty(images.shape, images.dtype)
    for part in _blocks(N, H * W):
        result[part] = from_float(_sample_bilinear(images[part], h[part], w[part]), images.dtype)
    return result


def _blocks(N: int, pixels: int) -> Iterator[slice]:
    """Cut N images into blocks of some 2**15 pixels, whose temporary arrays stay in cache."""
    step = max(1, 2**15 // max(pixels, 1))
    for start in range(0, N, step):
        yield slice(start, start + step)


def _sample_bilinear(images: Array, h: Array, w: Array) -> Array:
    """Return images[n, :, h[n], w[n]] interpolated, (N, C, H, W), in the dtype of h and w."""
    N, C, H, W = images.shape
    # One pixel of zeros around the image stands for everything outside it.
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    h, w = np.clip(h + 1, 0, H + 1), np.clip(w + 1, 0, W + 1)
    top, left = np.minimum(h, H).astype(np.intp), np.minimum(w, W).astype(np.intp)
    below, right = (h - top).astype(h.dtype), (w - left).astype(w.dtype)
    row = W + 2
    at = (top + (H + 2) * np.arange(N)[:, None, None]) * row + left
    at_right, at_below, at_both = at + 1, at + row, at + row + 1
    result = np.empty((N, C, H, W), h.dtype)
    # A channel at a time: the places are the same, and all arrays stay contiguous.
    for c in range(C):
        plane = padded[:, c].ravel()
        upper = _between(plane, at, at_right, right)
        lower = _between(plane, at_below, at_both, right)
        result[:, c] = upper + (lower - upper) * below
    return result


def _between(plane: Array, first: Array, second: Array, share: Array) -> Array:
    """Return the value `share` of the way from plane[first] to plane[second]."""
    a, b = as_float(plane.take(first)), as_float(plane.take(second))
    b = (b - a) * share
    b += a
    return b
