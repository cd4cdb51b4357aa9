# SPDX-License-Identifier: BSD-3-Clause
"""What it means to be right: the assertions that all test files share.

Integer-valued data has to agree exactly: as long as no partial sum leaves the integers that the
type represents, every order of summation gives the same number, and an index off by one cannot
hide behind a tolerance. Other data has to stay within ``(K + 2) * eps * direct(|input|, |weight|)``
elementwise, K products summed in any order (Higham, "Accuracy and Stability of Numerical
Algorithms", section 3.1). test_checks.py plants faults to see that the assertions notice.
"""

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from reference import Array, double

MAX_ZEROS = 0.3


def is_trustworthy(expected: Array, *, max_zeros: float = MAX_ZEROS) -> bool:
    """Tell whether a reference is rich enough for agreement with it to mean something.

    A result that is mostly zeros agrees with many wrong computations (the mistrust rule of
    oneDNN's benchdnn).
    """
    return expected.size == 0 or bool(np.mean(double(expected) == 0) <= max_zeros)


def assert_trustworthy(expected: Array, *, max_zeros: float = MAX_ZEROS) -> None:
    """Reject a case whose reference is mostly zeros."""
    assert is_trustworthy(expected, max_zeros=max_zeros), "mistrusted: mostly zeros"


def assert_exact(got: Array, expected: Array, what: str = "") -> None:
    """Equal shapes and equal numbers, NaN at the same places."""
    assert np.shape(got) == np.shape(expected), what
    np.testing.assert_array_equal(got, expected, err_msg=what)


def assert_same_bits(got: Array, expected: Array) -> None:
    """Equal dtypes, shapes and bit patterns: tells -0.0 from 0.0."""
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    if got.tobytes() != expected.tobytes():
        differ = np.ascontiguousarray(got) != np.ascontiguousarray(expected)
        where = np.argwhere(differ)[:1].tolist()
        raise AssertionError(f"{np.count_nonzero(differ)} of {got.size} differ, first at {where}")


def assert_within_bound(got: Array, expected: Array, magnitude: Array, terms: float) -> None:
    """|got - expected| <= (terms + 2) * eps * magnitude, elementwise.

    `magnitude` is the same computation on absolute values, never |expected|: cancellation makes
    that small while the error stays. `terms` counts the rounded operations behind one element.
    """
    assert got.shape == expected.shape
    bound = (terms + 2) * np.finfo(got.dtype).eps * double(magnitude)
    typical = np.mean(np.abs(expected)) if expected.size else np.inf
    assert not expected.size or np.mean(bound) < typical, "mistrusted: the bound is vacuous"
    error = np.abs(double(got) - expected)
    if not np.all(error <= bound):
        worst = np.unravel_index(np.argmax(error - bound), error.shape)
        raise AssertionError(
            f"at {tuple(map(int, worst))}: got {got[worst]}, expected {expected[worst]}; "
            f"error {error[worst]:.3g} exceeds bound {np.broadcast_to(bound, error.shape)[worst]:.3g}"
        )


def inner(a: Array, b: Array) -> float:
    """Inner product in float64; exact for integers while sums stay below 2**53."""
    return float(np.vdot(double(a), double(b)))


def assert_adjoint(
    forward: Callable[[Array], Array],
    adjoint: Callable[[Array], Array],
    x: Array,
    y: Array,
    *,
    rtol: float = 1e-12,
) -> None:
    """Check <forward(x), y> == <x, adjoint(y)> for a linear map; needs float64."""
    fx, ay = forward(x), adjoint(y)
    scale = float(np.linalg.norm(fx) * np.linalg.norm(y) + np.linalg.norm(x) * np.linalg.norm(ay))
    assert abs(inner(fx, y) - inner(x, ay)) <= rtol * scale


def assert_adjoint_exactly(
    forward: Callable[[Array], Array], adjoint: Callable[[Array], Array], x: Array, y: Array
) -> None:
    """Check <forward(x), y> == <x, adjoint(y)> with no tolerance, for integer-valued x and y."""
    left, right = inner(forward(x), y), inner(x, adjoint(y))
    assert left == right
    assert left != 0, "mistrusted: the inner product vanishes"


def assert_gradient(
    loss: Callable[[Array], float],
    gradient: Array,
    x: Array,
    rng: np.random.Generator,
    *,
    directions: int = 4,
    step: float = 1e-5,
) -> None:
    """Compare a gradient with central differences of `loss` in random directions, in float64.

    The difference quotient errs by about ``step**2`` (curvature) plus ``eps / step`` (rounding) of
    the size of what is summed, 1e-10 in all; 1e-7 leaves room for steep functions. Keep x away
    from kinks by more than `step`: cases.distinct() does.
    """
    assert x.dtype == np.float64
    assert gradient.shape == x.shape
    for _ in range(directions):
        direction = rng.choice([-1.0, 1.0], x.shape) * rng.uniform(0.5, 1.0, x.shape)
        ahead, behind = loss(x + step * direction), loss(x - step * direction)
        slope = (ahead - behind) / (2 * step)
        scale = float(np.sum(np.abs(gradient * direction))) + abs(ahead)
        assert abs(slope - inner(gradient, direction)) <= 1e-7 * scale


def assert_vjp(
    forward: Callable[[Array], Array],
    grad_input: Array,
    grad_output: Array,
    x: Array,
    rng: np.random.Generator,
) -> None:
    """assert_gradient for the backward pass of an array-valued function."""
    assert_gradient(lambda moved: inner(forward(moved), grad_output), grad_input, x, rng)


def raises_naming(call: Callable[[], Any], *names: str) -> type[Exception]:
    """Assert that a call fails with one of the documented errors, naming one of the arguments.

    What is out of memory cannot know which argument asked for it.
    """
    try:
        result = call()
    except (ValueError, TypeError, OverflowError, MemoryError) as error:
        failure = error
    else:
        raise AssertionError(f"accepted; returned {getattr(result, 'shape', result)!r:.80}")
    named = re.search(rf"\b({'|'.join(names)})\b", str(failure))
    assert named or isinstance(failure, MemoryError), f"{failure} names none of {names}"
    return type(failure)


def assert_pixels_close(got: Array, expected: Array) -> None:
    """Compare images with a float64 definition of values up to 600 or so, after some ten roundings.

    uint8 has to be the definition rounded and clipped; where that is nearly halfway between two
    values it may be either.
    """
    if got.dtype == np.uint8:
        off = np.abs(got.astype(int) - np.clip(np.rint(expected), 0, 255))
        assert off.max(initial=0) <= 1
        halfway = np.abs(expected - np.floor(expected) - 0.5) < 1e-3
        assert not (off > 0)[~halfway].any()
    else:
        np.testing.assert_allclose(got, expected, rtol=0, atol=6000 * np.finfo(got.dtype).eps)
