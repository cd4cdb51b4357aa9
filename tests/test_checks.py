# SPDX-License-Identifier: BSD-3-Clause
"""The checkers notice planted faults, and the two forms of the reference agree.

A test that cannot fail proves nothing. Each fault below is one that a real convolution could have.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import checks
import reference
from buffers import at_offset, canary, layouts
from cases import (
    CONV2D_GRID,
    EXACT_TERMS,
    INTEGER_LIMIT,
    Conv2dCase,
    distinct,
    integers,
)
from reference import Array

CASE = Conv2dCase(N=2, C=3, H=6, W=7, OC=4, KH=3, KW=3, padding=1)
Fault = Callable[..., Array]


def _conv2d(x: Array, w: Array, **changes: Any) -> Array:
    return reference.conv2d(x, w, **{**CASE.options, **changes})


FAULTS: dict[str, Fault] = {
    "wrong by 1e-3": lambda x, w: _conv2d(x, w) * (1 + 1e-3),
    "one element wrong by 1e-3": lambda x, w: (
        _conv2d(x, w) * np.where(np.arange(2 * 4 * 6 * 7).reshape(2, 4, 6, 7) == 100, 1 + 1e-3, 1)
    ),
    "padding off by one": lambda x, w: _conv2d(x, w, padding=((0, 2), (1, 1))),
    "axes exchanged": lambda x, w: _conv2d(x, w.swapaxes(2, 3)),
    "kernel flipped": lambda x, w: _conv2d(x, w[:, :, ::-1, ::-1]),
    "last tap dropped": lambda x, w: _conv2d(x, w * (np.arange(9).reshape(3, 3) < 8)),
    "last channel dropped": lambda x, w: _conv2d(x[:, :2], w[:, :2]),
    "tail of rows not written": lambda x, w: _conv2d(x, w) * (np.arange(7) < 6),
    "images exchanged": lambda x, w: _conv2d(x[::-1], w),
    "border pixel repeated": lambda x, w: _conv2d(
        np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge"), w, padding=0
    ),
    "filters exchanged": lambda x, w: _conv2d(x, w[[1, 0, 2, 3]]),
}
every_fault = pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)


@every_fault
def test_assert_exact_notices_fault(fault: Fault) -> None:
    x, w, _, _ = CASE.integers(np.float64)
    expected = _conv2d(x, w)
    checks.assert_exact(_conv2d(x, w).astype(np.float32), expected)
    with pytest.raises(AssertionError):
        checks.assert_exact(fault(x, w), expected)


@every_fault
def test_assert_within_bound_notices_fault(fault: Fault) -> None:
    x, w, _, _ = CASE.floats(np.float32)
    expected, magnitude = _conv2d(x, w), _conv2d(np.abs(x), np.abs(w))
    checks.assert_within_bound(expected.astype(np.float32), expected, magnitude, CASE.terms[0])
    with pytest.raises(AssertionError, match="exceeds bound"):
        checks.assert_within_bound(
            fault(x, w).astype(np.float32), expected, magnitude, CASE.terms[0]
        )


@every_fault
def test_assert_adjoint_notices_fault(fault: Fault) -> None:
    """Also at a relative 1e-4 of one function, far below what differences could tell."""
    x, w, _, g = CASE.floats(np.float64)

    def adjoint(g: Array) -> Array:
        return reference.conv2d_backward_input(g, w, x.shape, **CASE.options)

    checks.assert_adjoint(lambda x: _conv2d(x, w), adjoint, x, g)
    with pytest.raises(AssertionError):
        checks.assert_adjoint(lambda x: fault(x, w), adjoint, x, g)
    with pytest.raises(AssertionError):
        checks.assert_adjoint(lambda x: _conv2d(x, w) * (1 + 1e-4), adjoint, x, g)


@every_fault
def test_assert_adjoint_exactly_notices_fault(fault: Fault) -> None:
    x, w, _, g = CASE.integers(np.float32)

    def adjoint(g: Array) -> Array:
        return reference.conv2d_backward_input(g, w, x.shape, **CASE.options)

    checks.assert_adjoint_exactly(lambda x: _conv2d(x, w), adjoint, x, g)
    with pytest.raises(AssertionError):
        checks.assert_adjoint_exactly(lambda x: fault(x, w), adjoint, x, g)


@pytest.mark.parametrize("factor", [1.0, 1 + 1e-3, 1 + 1e-5, 0.0, -1.0])
def test_assert_gradient_notices_fault(factor: float, rng: np.random.Generator) -> None:
    x = distinct(rng, (4, 9))
    g = rng.standard_normal(x.shape)
    y = reference.tanh(x)
    grad = factor * reference.tanh_backward(g, y)
    if factor == 1:
        checks.assert_vjp(reference.tanh, grad, g, x, rng)
        return
    with pytest.raises(AssertionError):
        checks.assert_vjp(reference.tanh, grad, g, x, rng)


def test_assert_gradient_notices_one_wrong_element(rng: np.random.Generator) -> None:
    x = distinct(rng, (4, 9))
    g = rng.standard_normal(x.shape)
    grad = reference.sigmoid_backward(g, reference.sigmoid(x))
    grad[2, 3] *= 1.01
    with pytest.raises(AssertionError):
        checks.assert_vjp(reference.sigmoid, grad, g, x, rng)


def test_assert_exact_tells_nan_and_shape() -> None:
    checks.assert_exact(np.array([np.nan, 1.0]), np.array([np.nan, 1.0]))
    for wrong in ([1.0, 1.0], [np.nan, np.nan], [np.nan], [[np.nan, 1.0]], [np.nan, np.inf]):
        with pytest.raises(AssertionError):
            checks.assert_exact(np.array(wrong), np.array([np.nan, 1.0]))


def test_assert_same_bits_tells_signed_zero_and_dtype() -> None:
    zero = np.zeros(3)
    checks.assert_same_bits(zero, zero.copy())
    for wrong in (-zero, zero.astype(np.float32), zero[:2], zero + 5e-324):
        with pytest.raises(AssertionError):
            checks.assert_same_bits(wrong, zero)


def test_mostly_zero_references_are_mistrusted() -> None:
    sparse = np.zeros(100)
    sparse[:50] = 1.0
    with pytest.raises(AssertionError, match="mistrusted"):
        checks.assert_trustworthy(sparse)
    checks.assert_trustworthy(np.where(np.arange(100) < 80, 1.0, 0.0))


def test_vacuous_bounds_are_mistrusted() -> None:
    tiny = np.full(10, 1e-9)
    with pytest.raises(AssertionError, match="vacuous"):
        checks.assert_within_bound(tiny.astype(np.float32), tiny, np.ones(10), 100)


def test_vanishing_inner_products_are_mistrusted() -> None:
    with pytest.raises(AssertionError, match="mistrusted"):
        checks.assert_adjoint_exactly(lambda x: 0 * x, lambda y: 0 * y, np.ones(3), np.ones(3))


def test_integers_keep_long_sums_exact(rng: np.random.Generator) -> None:
    """The sum of absolute products stays below 2**24 however long it is."""
    for terms in (10, EXACT_TERMS, 10 * EXACT_TERMS):
        a, b = integers(rng, (terms,), np.float64), integers(rng, (terms,), np.float64, terms)
        assert np.sum(np.abs(a * b)) < 2**24
        assert np.max(np.abs(a)) <= INTEGER_LIMIT
        assert np.count_nonzero(b) > 0


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_distinct_values_stay_apart_and_away_from_zero(size: int, rng: np.random.Generator) -> None:
    values = np.sort(distinct(rng, (size,)))
    assert np.all(np.diff(values) >= 1 / size)
    assert np.all(np.abs(values) >= 0.5 / size)


@pytest.mark.parametrize("side", ["front", "behind"])
def test_canary_notices_stray_write(side: str) -> None:
    array, assert_margins_intact = canary((3, 5), np.float32, 0.0)
    array[...] = 7
    assert_margins_intact()
    raw = array.base
    assert raw is not None
    start = array.ctypes.data - raw.ctypes.data
    raw[start - 1 if side == "front" else start + array.nbytes] ^= 1
    with pytest.raises(AssertionError, match=side):
        assert_margins_intact()


def test_layouts_hold_equal_values(rng: np.random.Generator) -> None:
    array = rng.standard_normal((2, 3, 4, 5))
    views = dict(layouts(array))
    broadcast = views.pop("repeated images")
    np.testing.assert_array_equal(broadcast[1], array[0])
    for view in views.values():
        np.testing.assert_array_equal(view, array)
    assert sum(not view.flags.c_contiguous for view in views.values()) >= 5


@pytest.mark.parametrize("offset", [0, 1, 4, 63])
def test_at_offset_moves_the_first_byte(offset: int) -> None:
    array = at_offset(np.arange(6.0), offset)
    assert array.ctypes.data % 64 == offset
    np.testing.assert_array_equal(array, np.arange(6.0))


@pytest.mark.parametrize("case", CONV2D_GRID[::4], ids=str)
def test_reference_by_taps_agrees_with_reference_by_products(case: Conv2dCase) -> None:
    """Integers: the two orders of summation give the same numbers."""
    x, w, _, g = case.integers(np.float64)
    options = case.options
    checks.assert_exact(
        reference.conv2d(x, w, **options), reference.conv2d_by_definition(x, w, **options)
    )
    checks.assert_exact(
        reference.conv2d_backward_input(g, w, x.shape, **options),
        reference.conv2d_backward_input_by_definition(g, w, x.shape, **options),
    )
    checks.assert_exact(
        reference.conv2d_backward_weight(g, x, w.shape, **options),
        reference.conv2d_backward_weight_by_definition(g, x, w.shape, **options),
    )
