# SPDX-License-Identifier: BSD-3-Clause
"""The forms that arguments may take, brought to the one form that the extension takes.

Each function names the caller and the argument in its error. What a *value* must be (positive, small
enough, fitting the arrays) is checked once, by the extension; here it is only made an int.
"""

from collections.abc import Sequence
from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyconv._core import WeightCache

Array = NDArray[Any]
Pair = tuple[int, int]
Shape4 = tuple[int, int, int, int]

IntOrPair = int | Sequence[int]
ConvOptions = tuple[Pair, tuple[Pair, Pair] | None, Pair, int]  # stride, padding, dilation, groups

Padding = int | str | Sequence[int] | Sequence[Sequence[int]]

# The same for one or three spatial axes.
IntOrInts = int | Sequence[int]
OptionsNd = tuple[tuple[int, ...], tuple[Pair, ...] | None, tuple[int, ...], int]


# Plain small ints are what nearly every call passes: they are recognised first, since a call of
# isinstance with an abstract class costs more than a small convolution.
_PLAIN = 2**31


def integer(function: str, name: str, value: object, expected: str = "an integer") -> int:
    """Return `value` as an int that fits in 64 bits."""
    if type(value) is int and -_PLAIN < value < _PLAIN:
        return value
    if isinstance(value, bool | np.bool):
        raise TypeError(f"{function}: {name} is a bool, got {value}; expected {expected}")
    try:
        number = index(value)  # type: ignore[arg-type]
    except TypeError:
        message = f"{function}: {name} is not an integer, got {value!r}; expected {expected}"
        raise TypeError(message) from None
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"{function}: {name} is out of range, got {number}; expected 64 bits")
    return number


def integers(function: str, name: str, value: object, count: int, expected: str) -> tuple[int, ...]:
    """Return `value`, a sequence of `count` integers, as a tuple."""
    if isinstance(value, str | bytes) or not isinstance(value, Sequence | np.ndarray):
        raise TypeError(f"{function}: {name} is not a sequence, got {value!r}; expected {expected}")
    if len(value) != count:
        raise ValueError(
            f"{function}: {name} has {len(value)} values, got {value!r}; expected {expected}"
        )
    return tuple(integer(function, name, item, expected) for item in value)


def pair(function: str, name: str, value: object) -> Pair:
    """Return an int or a pair as (vertical, horizontal)."""
    if type(value) is int and -_PLAIN < value < _PLAIN:
        return value, value
    vertical, horizontal = each(function, name, value, 2)
    return vertical, horizontal


def shape4(function: str, name: str, value: object) -> Shape4:
    """Return a shape of four sizes."""
    a, b, c, d = integers(function, name, value, 4, "four sizes")
    return a, b, c, d


def padding(function: str, value: object) -> tuple[Pair, Pair] | None:
    """Return the padding as ((top, bottom), (left, right)), or None for "same"."""
    if type(value) is int and -_PLAIN < value < _PLAIN:
        return (value, value), (value, value)
    both = sides(function, value, 2)
    return None if both is None else (both[0], both[1])


# What conv1d, conv2d and conv3d call a value for each spatial axis, and the padding of each.
_EACH = {
    1: "an int or a tuple of one int",
    2: "an int or a pair of ints",
    3: "an int or a tuple of three ints",
}
_SIDES = {
    1: 'an int, (int,), ((begin, end),), "valid" or "same"',
    2: 'an int, a pair, ((top, bottom), (left, right)), "valid" or "same"',
    3: 'an int, three ints, three pairs (begin, end), "valid" or "same"',
}


def each(function: str, name: str, value: object, axes: int) -> tuple[int, ...]:
    """Return an int, or one for each spatial axis, as a tuple."""
    if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str | bytes):
        return integers(function, name, value, axes, _EACH[axes])
    return (integer(function, name, value, _EACH[axes]),) * axes


def sides(function: str, value: object, axes: int) -> tuple[Pair, ...] | None:
    """Return the padding as (begin, end) of each spatial axis, or None for "same"."""
    expected = _SIDES[axes]
    if isinstance(value, str):
        if value == "same":
            return None
        if value == "valid":
            return ((0, 0),) * axes
        raise ValueError(f"{function}: padding is unknown, got {value!r}; expected {expected}")
    if isinstance(value, Sequence | np.ndarray) and not isinstance(value, bytes):
        if len(value) != axes:
            raise ValueError(
                f"{function}: padding has {len(value)} values, got {value!r}; expected {expected}"
            )
        return tuple(pair(function, "padding", item) for item in value)
    every = integer(function, "padding", value, expected)
    return ((every, every),) * axes


def number(function: str, name: str, value: object) -> float:
    """Return a real number as a float."""
    try:
        if isinstance(value, str | bytes):
            raise TypeError
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        message = f"{function}: {name} is not a number, got {value!r}; expected a float"
        raise TypeError(message) from None


def boolean(function: str, name: str, value: object) -> bool:
    """Return a truth value, refusing everything that is merely truthy."""
    if not isinstance(value, bool | np.bool):
        raise TypeError(f"{function}: {name} is not a bool, got {value!r}; expected True or False")
    return bool(value)


def text_or_none(function: str, name: str, value: object) -> str | None:
    """Return a str or None."""
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{function}: {name} is not a str, got {value!r}; expected a name or None")
    return value


def text(function: str, name: str, value: object) -> str:
    """Return a str."""
    if not isinstance(value, str):
        raise TypeError(f"{function}: {name} is not a str, got {value!r}; expected a name")
    return value


def require_float(function: str, name: str, array: object) -> None:
    """Raise unless `array` is a plain float32 or float64 array."""
    if not isinstance(array, np.ndarray):
        got = type(array).__name__
        raise TypeError(f"{function}: {name} is not an array, got {got}; expected numpy.ndarray")
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{function}: {name} is a masked array; expected numpy.ndarray")
    if array.dtype not in (np.float32, np.float64):
        raise TypeError(
            f"{function}: {name} has dtype {array.dtype.str}; expected native float32 or float64"
        )


def conv_options(
    function: str, stride: object, padding_: object, dilation: object, groups: object
) -> ConvOptions:
    """Return what convolutions take behind their tensors."""
    return (
        pair(function, "stride", stride),
        padding(function, padding_),
        pair(function, "dilation", dilation),
        integer(function, "groups", groups),
    )


def conv_options_nd(
    function: str, axes: int, stride: object, padding_: object, dilation: object, groups: object
) -> OptionsNd:
    """Return what conv1d and conv3d take behind their tensors."""
    return (
        each(function, "stride", stride, axes),
        sides(function, padding_, axes),
        each(function, "dilation", dilation, axes),
        integer(function, "groups", groups),
    )


def cache_or_none(function: str, value: object) -> WeightCache | None:
    """Return the cache of a weight, or None."""
    if value is None or isinstance(value, WeightCache):
        return value
    raise TypeError(
        f"{function}: weight_cache is of the wrong type, got {type(value).__name__}; "
        "expected a WeightCache or None"
    )
