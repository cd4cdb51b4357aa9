# SPDX-License-Identifier: BSD-3-Clause
"""Initial values of weights.

Every function draws an array of the given shape from a distribution with mean 0 whose width depends
on the number of inputs (``fan_in``) and outputs (``fan_out``) that one unit is connected to::

    fan_in  = shape[1] * prod(shape[2:])        Linear (out, in), Conv2d (OC, C // G, KH, KW)
    fan_out = shape[0] * prod(shape[2:])

Numbers are drawn in float64 and rounded to `dtype`, so one seed gives a float32 and a float64 model
the same weights up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["fan_in_uniform", "fans", "glorot_normal", "glorot_uniform", "he_normal", "he_uniform"]


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """Return (fan_in, fan_out) of a weight of this shape.

    Parameters
    ----------
    shape : sequence of int
        (out, in) of a dense layer, (OC, C, KH, KW) of a convolution.

    Returns
    -------
    fan_in, fan_out : int
        Values that an output reads, and outputs that read an input.

    Examples
    --------
    >>> fans((16, 3, 5, 5))
    (75, 400)
    """
    if len(shape) < 2:
        raise ValueError(
            f"fans: shape has {len(shape)} dimensions, got {tuple(shape)}; expected at least 2"
        )
    taps = math.prod(shape[2:])
    return shape[1] * taps, shape[0] * taps


def he_normal(
    shape: Sequence[int], *, rng: np.random.Generator, dtype: DTypeLike = np.float32
) -> NDArray[Any]:
    """Draw from N(0, 2 / fan_in), which keeps the variance through a stack of ReLU layers.

    Parameters
    ----------
    shape : sequence of int
        Of a weight, the outputs first.
    rng : numpy.random.Generator
    dtype : float32 or float64

    Returns
    -------
    ndarray

    References
    ----------
    He, Zhang, Ren, Sun: Delving Deep into Rectifiers. ICCV 2015, section 2.2.

    Examples
    --------
    >>> weight = he_normal((64, 128, 3, 3), rng=np.random.default_rng(0))
    >>> round(float(weight.std() / np.sqrt(2 / (128 * 9))), 2)
    1.0
    """
    fan_in, _ = fans(shape)
    return _normal(shape, math.sqrt(2.0 / max(fan_in, 1)), rng, dtype)


def he_uniform(
    shape: Sequence[int], *, rng: np.random.Generator, dtype: DTypeLike = np.float32
) -> NDArray[Any]:
    """Draw from U(-b, b) with ``b = sqrt(6 / fan_in)``: the variance of `he_normal`.

    Parameters
    ----------
    shape, rng, dtype
        As of `he_normal`.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> weight = he_uniform((64, 96), rng=np.random.default_rng(0))
    >>> bool(abs(weight).max() <= np.sqrt(6 / 96))
    True
    """
    fan_in, _ = fans(shape)
    return _uniform(shape, math.sqrt(6.0 / max(fan_in, 1)), rng, dtype)


def glorot_normal(
    shape: Sequence[int], *, rng: np.random.Generator, dtype: DTypeLike = np.float32
) -> NDArray[Any]:
    """Draw from N(0, 2 / (fan_in + fan_out)), the choice for tanh and sigmoid layers.

    Parameters
    ----------
    shape, rng, dtype
        As of `he_normal`.

    Returns
    -------
    ndarray

    References
    ----------
    Glorot, Bengio: Understanding the difficulty of training deep feedforward neural networks.
    AISTATS 2010, equation 12.

    Examples
    --------
    >>> weight = glorot_normal((500, 300), rng=np.random.default_rng(0))
    >>> round(float(weight.std()), 3)  # sqrt(2 / 800)
    0.05
    """
    fan_in, fan_out = fans(shape)
    return _normal(shape, math.sqrt(2.0 / max(fan_in + fan_out, 1)), rng, dtype)


def glorot_uniform(
    shape: Sequence[int], *, rng: np.random.Generator, dtype: DTypeLike = np.float32
) -> NDArray[Any]:
    """Draw from U(-b, b) with ``b = sqrt(6 / (fan_in + fan_out))`` (Glorot 2010, equation 16).

    Parameters
    ----------
    shape, rng, dtype
        As of `he_normal`.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> weight = glorot_uniform((5, 3), rng=np.random.default_rng(0))
    >>> bool(abs(weight).max() <= np.sqrt(6 / 8))
    True
    """
    fan_in, fan_out = fans(shape)
    return _uniform(shape, math.sqrt(6.0 / max(fan_in + fan_out, 1)), rng, dtype)


def fan_in_uniform(
    shape: Sequence[int],
    *,
    fan_in: int | None = None,
    rng: np.random.Generator,
    dtype: DTypeLike = np.float32,
) -> NDArray[Any]:
    """Draw from U(-b, b) with ``b = 1 / sqrt(fan_in)``, the default of every layer here.

    torch's layers use the same bound (there it is called kaiming_uniform with ``a = sqrt(5)``). A
    bias has no fan of its own and passes the one of its weight.

    Parameters
    ----------
    shape : sequence of int
    fan_in : int, optional
        That of the shape if omitted.
    rng : numpy.random.Generator
    dtype : float32 or float64

    Returns
    -------
    ndarray

    Examples
    --------
    >>> bias = fan_in_uniform((8,), fan_in=100, rng=np.random.default_rng(0))
    >>> bool(abs(bias).max() <= 0.1)
    True
    """
    if fan_in is None:
        fan_in, _ = fans(shape)
    return _uniform(shape, 1.0 / math.sqrt(max(fan_in, 1)), rng, dtype)


def _normal(
    shape: Sequence[int], std: float, rng: np.random.Generator, dtype: DTypeLike
) -> NDArray[Any]:
    return rng.normal(0.0, std, tuple(shape)).astype(dtype)


def _uniform(
    shape: Sequence[int], bound: float, rng: np.random.Generator, dtype: DTypeLike
) -> NDArray[Any]:
    return rng.uniform(-bound, bound, tuple(shape)).astype(dtype)
