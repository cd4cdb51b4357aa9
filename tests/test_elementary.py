# SPDX-License-Identifier: BSD-3-Clause
"""Elementary functions of vectors: their largest error, in units in the last place, and their limits.

float32 is compared with NumPy's float64 functions, whose own error does not show there, on a dense sample
of all bit patterns; float64 with NumPy's long double on random arguments, where that is wider.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from checks import assert_same_bits
from pyconv import _core
from pyconv import functional as F
from reference import Array, normal_distribution

DType = np.dtype[Any]
STEP = 4999  # every how many bit patterns one is tried
COUNT = 60_000
Function = Callable[[Array], Array]


def _sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    wide: Array = np.where(x > 0, 1, e) / (1 + e)
    return wide


def _core_function(name: str) -> Function:
    return lambda x: getattr(_core, name)(x, None)


# name: the function, its definition in any precision, the bound in ulp (what is measured, rounded up),
# where it is defined, and ranges in which float64 is sampled.
FUNCTIONS: dict[str, tuple[Function, Function, float, tuple[float, float], list[float]]] = {
    "exp": (_core_function("_exp"), np.exp, 1.1, (-np.inf, np.inf), [1e-6, 1, 709]),
    "expm1": (_core_function("_expm1_of_negative"), np.expm1, 1.4, (-np.inf, 0), [1e-6, 1, 709]),
    "log": (_core_function("_log"), np.log, 1.0, (0, np.inf), [1e-300, 1e-6, 2, 1e300]),
    "log1p": (_core_function("_log1p_of_fraction"), np.log1p, 1.5, (0, 1), [1e-6, 0.3, 1]),
    "tanh": (F.tanh, np.tanh, 1.6, (-np.inf, np.inf), [1e-6, 0.6, 1, 25]),
    "sigmoid": (F.sigmoid, _sigmoid, 2.4, (-np.inf, np.inf), [1, 40, 740]),
}


def ulps(got: Array, expected: Array) -> Array:
    """Return errors in units in the last place of the expected value; infinities must agree."""
    with np.errstate(all="ignore"):
        rounded = expected.astype(got.dtype)
        unit = np.spacing(np.abs(rounded)).astype(expected.dtype)
        error: Array = np.abs(got.astype(expected.dtype) - expected) / unit
    finite = np.isfinite(rounded)
    np.testing.assert_array_equal(got[~finite], rounded[~finite])
    return np.where(finite, error, 0)


def sample(low: float, high: float) -> Array:
    """Every STEP-th float32 from low to high, subnormal and special numbers among them."""
    bits = np.arange(0, 2**32, STEP, dtype=np.uint64).astype(np.uint32)
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1.0], np.float32)
    values = np.concatenate([bits.view(np.float32), special])
    return values[~(values < low) & ~(values > high)]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_float32_error_is_within_its_bound(name: str, isa: str) -> None:
    function, define, bound, (low, high), _ = FUNCTIONS[name]
    x = sample(low, high)
    with np.errstate(all="ignore"):
        error = ulps(function(x), define(x.astype(np.float64)))
    worst = int(np.argmax(error))
    assert error[worst] <= bound, f"{error[worst]:.3f} ulp at {x[worst]!r}"


@pytest.mark.skipif(
    np.finfo(np.longdouble).nmant <= 52, reason="long double is no wider than float64 here"
)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_float64_error_is_within_its_bound(name: str, isa: str, rng: np.random.Generator) -> None:
    function, define, bound, (low, high), ranges = FUNCTIONS[name]
    for scale in ranges:
        x = scale * rng.uniform(-1 if low < 0 else 0, 1 if high > 0 else 0, COUNT)
        x = x[(x > low) & (x <= high)]
        error = ulps(function(x), define(x.astype(np.longdouble)))
        worst = int(np.argmax(error))
        assert error[worst] <= bound, f"{error[worst]:.3f} ulp at {x[worst]!r}"


def test_normal_distribution_keeps_its_relative_accuracy(
    isa: str, dtype: DType, rng: np.random.Generator
) -> None:
    """In the lower tail too, where 1 + erf would have none left; math.erfc itself is good to 1 ulp."""
    lowest = -14 if dtype == np.float32 else -38
    for low, high in ((lowest, -5), (-5, 0), (-0.1, 0.1), (0, 9)):
        x = rng.uniform(low, high, 20_000).astype(dtype)
        got = _core._normal_distribution(x, None)
        wide = x.astype(np.longdouble)
        # erfc at the rounded quotient, corrected to first order for the rounding.
        t = -x.astype(np.float64) / math.sqrt(2)
        shift = (-wide / np.sqrt(np.longdouble(2)) - t).astype(np.float64)
        slope = -np.exp(-t * t) / math.sqrt(math.pi)
        expected = normal_distribution(x) + slope * shift
        error = ulps(got, expected.astype(np.longdouble))
        # expected is itself rounded, by erfc and in the quotient.
        assert np.max(error) <= (9 if dtype == np.float32 else 9 + 2)


@pytest.mark.parametrize("lane", range(36))
def test_limits_are_reached_in_every_lane(lane: int, isa: str, dtype: DType) -> None:
    """NaN, infinities, zeros of both signs, overflow, and results below the normal range."""
    info = np.finfo(dtype)
    tiny, largest = float(info.smallest_subnormal), float(info.max)
    exp_log, tiny_log = math.log(largest), math.log(float(info.smallest_normal)) - 3
    cases: list[tuple[str, float, float | None]] = [
        ("exp", -np.inf, 0.0),
        ("exp", np.inf, np.inf),
        ("exp", largest, np.inf),
        ("exp", -largest, 0.0),
        ("exp", exp_log + 1, np.inf),
        ("exp", 0.0, 1.0),
        ("exp", tiny_log, None),
        ("expm1", -np.inf, -1.0),
        ("expm1", -0.0, -0.0),
        ("expm1", -tiny, -tiny),
        ("log", 0.0, -np.inf),
        ("log", -0.0, -np.inf),
        ("log", -1.0, np.nan),
        ("log", -np.inf, np.nan),
        ("log", np.inf, np.inf),
        ("log", 1.0, 0.0),
        ("log", tiny, None),
        ("log1p", tiny, tiny),
        ("tanh", np.inf, 1.0),
        ("tanh", -np.inf, -1.0),
        ("tanh", -0.0, -0.0),
        ("tanh", -tiny, -tiny),
        ("tanh", largest, 1.0),
        ("sigmoid", np.inf, 1.0),
        ("sigmoid", -np.inf, 0.0),
        ("sigmoid", 0.0, 0.5),
        ("sigmoid", tiny_log, None),
    ]
    for name, value, limit in cases:
        function, define = FUNCTIONS[name][:2]
        x = np.full(36, -0.5 if name == "expm1" else 0.5, dtype)
        expected = function(x)
        x[lane] = value
        got = function(x)
        if limit is None:  # whatever it is, rounded once more than the definition
            exact = float(define(x[lane : lane + 1].astype(np.float64))[0])
            assert abs(float(got[lane]) - exact) <= 1.5 * float(np.spacing(dtype.type(abs(exact))))
            assert got[lane] != 0
            expected[lane] = got[lane]
        elif np.isnan(limit):
            assert np.isnan(got[lane])
            got[lane] = expected[lane]
        else:
            expected[lane] = limit
        assert_same_bits(got, expected)
    for function, *_ in FUNCTIONS.values():
        x = np.full(36, 0.5, dtype)
        x[lane] = np.nan
        np.testing.assert_array_equal(np.isnan(function(x)), np.isnan(x))


def test_functions_are_monotonic_where_their_pieces_meet(isa: str, dtype: DType) -> None:
    """A polynomial that ends too high or too low for the next would show as a step backwards."""
    eps = float(np.finfo(dtype).eps)
    for function, seams in (
        (F.tanh, [0.5493]),
        (_core_function("_log1p_of_fraction"), [math.sqrt(2) - 1]),
        (_core_function("_log"), [math.sqrt(0.5), math.sqrt(2)]),
        (_core_function("_exp"), [math.log(2) / 2, -math.log(2) / 2]),
    ):
        for seam in seams:
            x = (seam * (1 + eps * np.arange(-2000, 2000))).astype(dtype)
            x.sort()
            y = function(x).astype(np.float64)
            assert np.all(np.diff(y) >= -2.5 * eps * np.abs(y[1:]))
