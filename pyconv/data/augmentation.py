# SPDX-License-Identifier: BSD-3-Clause
"""Random changes to a batch of images (N, C, H, W), any dtype; each image gets its own.

All functions return a new array, keep the dtype and draw from an explicit Generator.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray


def random_shift(images: NDArray[Any], pixels: int, *, rng: np.random.Generator) -> NDArray[Any]:
    """Move each image by up to `pixels` along both axes; what moves in is 0."""
    N, _, H, W = images.shape
    padded = np.pad(images, ((0, 0), (0, 0), (pixels, pixels), (pixels, pixels)))
    top, left = rng.integers(0, 2 * pixels + 1, (2, N))
    # windows[n, c, i, j] is the H x W image whose corner is at (i, j): a view, no copy.
    windows = sliding_window_view(padded, (H, W), axis=(2, 3))
    return np.ascontiguousarray(windows[np.arange(N), :, top, left])


def random_flip(images: NDArray[Any], *, rng: np.random.Generator) -> NDArray[Any]:
    """Mirror each image left to right with probability 1/2."""
    flipped = images.copy()
    chosen = rng.random(len(images)) < 0.5
    flipped[chosen] = images[chosen, :, :, ::-1]
    return flipped


def random_affine(
    images: NDArray[Any],
    *,
    rng: np.random.Generator,
    degrees: float = 0.0,
    scale: float = 0.0,
    shear: float = 0.0,
    shift: float = 0.0,
) -> NDArray[Any]:
    """Rotate, scale, shear and move each image about its centre, with bilinear sampling.

    Parameters
    ----------
    images : ndarray, shape (N, C, H, W)
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
        Of the dtype of `images` (integers are rounded); 0 where the source lies outside.
    """
    N, _, H, W = images.shape
    angle = np.deg2rad(rng.uniform(-degrees, degrees, N))
    scale_h, scale_w = np.exp(rng.uniform(-scale, scale, (2, N)))
    tangent = rng.uniform(-shear, shear, N)
    shift_h, shift_w = rng.uniform(-shift, shift, (2, N))

    # Each output pixel asks where it comes from: (h, w) = matrix @ (oh, ow) + shift, from the centre.
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = np.empty((N, 2, 2))
    matrix[:, 0, 0], matrix[:, 0, 1] = cos * scale_h, -sin * scale_h
    matrix[:, 1, 0], matrix[:, 1, 1] = (
        (sin + tangent * cos) * scale_w,
        (cos - tangent * sin) * scale_w,
    )
    center = np.array([(H - 1) / 2, (W - 1) / 2])
    target = np.indices((H, W)).reshape(2, -1) - center[:, None]
    source = matrix @ target + center[:, None] + np.stack([shift_h, shift_w], axis=1)[:, :, None]

    result = _sample_bilinear(images, source[:, 0], source[:, 1]).reshape(images.shape)
    if np.issubdtype(images.dtype, np.integer):
        np.rint(result, out=result)
    return result.astype(images.dtype)


def _sample_bilinear(
    images: NDArray[Any], h: NDArray[np.float64], w: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return images[n, :, h[n], w[n]] interpolated, shape (N, C, P) for h and w of shape (N, P)."""
    N, C, H, W = images.shape
    # One pixel of zeros around the image stands for everything outside it.
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1))).reshape(N, C, -1)
    h, w = np.clip(h + 1, 0, H + 1), np.clip(w + 1, 0, W + 1)
    top, left = np.minimum(h, H).astype(np.intp), np.minimum(w, W).astype(np.intp)
    below, right = h - top, w - left
    result = np.zeros((N, C, h.shape[1]))
    for down, weight_h in ((0, 1 - below), (1, below)):
        for across, weight_w in ((0, 1 - right), (1, right)):
            at = (top + down) * (W + 2) + left + across
            pixels = np.take_along_axis(padded, at[:, None, :], axis=2)
            result += pixels * (weight_h * weight_w)[:, None, :]
    return result
