# SPDX-License-Identifier: BSD-3-Clause
"""Checks of the estimators' parameters, which scikit-learn wants made in `fit` and not before."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np

from pyconv.layers import Layer

_Rule = tuple[Callable[[Any], bool], str]


def _whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= 1)


def _number(value: Any) -> bool:
    return isinstance(value, Real) and math.isfinite(value)


def _sizes(value: Any) -> bool:
    return isinstance(value, tuple | list) and all(map(_whole, value))


_SIZES: _Rule = (_sizes, "a tuple of positive integers")
_NOT_NEGATIVE: _Rule = (lambda value: _number(value) and value >= 0, "a number, at least 0")
_POSITIVE: _Rule = (_whole, "an integer, at least 1")
_RULES: dict[str, _Rule] = {
    "network": (
        lambda value: value is None or isinstance(value, Layer) or callable(value),
        "a Layer, a function that returns one, or None",
    ),
    "image_shape": (
        lambda value: value is None or (_sizes(value) and len(value) in {2, 3}),
        "(H, W), (C, H, W) or None",
    ),
    "channels": _SIZES,
    "hidden_layer_sizes": _SIZES,
    "solver": (lambda value: value in ("adam", "sgd"), "'adam' or 'sgd'"),
    "alpha": _NOT_NEGATIVE,
    "batch_size": (lambda value: value == "auto" or _whole(value), "'auto' or at least 1"),
    "learning_rate_init": (lambda value: _number(value) and value > 0, "a number above 0"),
    "max_iter": _POSITIVE,
    "tol": _NOT_NEGATIVE,
    "momentum": (lambda value: _number(value) and 0 <= value < 1, "a number, 0 <= momentum < 1"),
    "validation_fraction": (
        lambda value: _number(value) and 0 < value < 1,
        "a number between 0 and 1",
    ),
    "n_iter_no_change": _POSITIVE,
    "callbacks": (
        lambda value: (
            value is None or (isinstance(value, tuple | list) and all(map(callable, value)))
        ),
        "a list of functions, or None",
    ),
}


def check_parameters(estimator: Any) -> None:
    """Raise a ValueError for the first parameter that is not what it should be."""
    for name, (holds, expected) in _RULES.items():
        value = getattr(estimator, name)
        if not holds(value):
            raise ValueError(
                f"{type(estimator).__name__}: {name} is not valid, got {value!r}; "
                f"expected {expected}"
            )


def sample_shape(estimator: Any, shape: tuple[int, ...] | None, features: int) -> tuple[int, ...]:
    """Return the shape of one sample, by `image_shape` or by X itself.

    Parameters
    ----------
    estimator : ConvNet
    shape : tuple of int, optional
        That of the images in X, if they are images.
    features : int
        Numbers in a row of X.
    """
    declared = estimator.image_shape
    if declared is None:
        return shape or (features,)
    declared = tuple(declared) if len(declared) == 3 else (1, *declared)
    if shape not in (None, declared) or math.prod(declared) != features:
        raise ValueError(
            f"{type(estimator).__name__}: image_shape does not fit X, got {estimator.image_shape}; "
            f"expected {features} values" + (f" as {shape}" if shape else "")
        )
    return declared
