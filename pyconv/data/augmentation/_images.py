# SPDX-License-Identifier: BSD-3-Clause
"""What the augmentations share: the check of their arguments, and the way to floats and back."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pyconv.functional._arguments import number

Array: TypeAlias = NDArray[Any]


def as_images(function: str, images: object) -> Array:
    """Return `images`, which must be (N, C, H, W) of uint8, float32 or float64, C-contiguous."""
    if not isinstance(images, np.ndarray):
        got = type(images).__name__
        raise TypeError(f"{function}: images is not an array, got {got}; expected numpy.ndarray")
    if images.dtype not in (np.uint8, np.float32, np.float64):
        raise TypeError(
            f"{function}: images has the wrong dtype, got {images.dtype}; "
            "expected uint8, float32 or float64"
        )
    if images.ndim != 4:
        raise ValueError(
            f"{function}: images has the wrong shape, got {images.shape}; expected (N, C, H, W)"
        )
    return np.ascontiguousarray(images)


def amount(function: str, name: str, value: object) -> float:
    """Return how far an augmentation may go, a finite number from 0."""
    result = number(function, name, value)
    if not (result >= 0 and math.isfinite(result)):
        raise ValueError(
            f"{function}: {name} is out of range, got {value}; expected a number from 0"
        )
    return result


def not_negative(function: str, name: str, *sizes: int) -> None:
    """Raise if one of the sizes that make up an argument is below 0."""
    if min(sizes) < 0:
        got = sizes[0] if len(set(sizes)) == 1 else sizes
        raise ValueError(f"{function}: {name} is negative, got {got}; expected at least 0")


def as_float(images: Array) -> Array:
    """Return the images in the dtype that is computed in: a copy, but for float images."""
    return images.astype(np.float32) if images.dtype == np.uint8 else images


def from_float(values: Array, dtype: np.dtype[Any]) -> Array:
    """Return computed images in the dtype they had; `values` is overwritten if that is uint8."""
    if dtype != np.uint8:
        return values
    np.rint(values, out=values)
    return np.clip(values, 0, 255, out=values).astype(np.uint8)
