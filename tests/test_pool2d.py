# SPDX-License-Identifier: BSD-3-Clause
"""Max and average pooling, adaptive and global ones, and their gradients."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given

import reference
from cases import AVG_POOL2D, MAX_POOL2D, Pool2dCase, distinct, integers, pool2d_cases
from checks import assert_adjoint, assert_exact, assert_same_bits, assert_vjp, assert_within_bound
from pyconv import functional as F
from reference import Array

DType = np.dtype[Any]
ROUNDINGS = 4  # Of the divisor, of a division or a product with its inverse, and of the result.


@cache
def max_reference(case: Pool2dCase) -> tuple[Array, Array, Array]:
    """Input with many ties, its maxima and their indices."""
    x = case.rng().integers(-3, 4, case.shape).astype(np.float64)
    output, indices = reference.max_pool2d(x, case.kernel_size, return_indices=True, **case.options)
    return x, output, indices


def assert_max_pool_exact(case: Pool2dCase, dtype: DType) -> None:
    x, output, indices = max_reference(case)
    x = x.astype(dtype)
    got, where = F.max_pool2d(x, case.kernel_size, return_indices=True, **case.options)
    assert where.dtype == np.int32
    assert_exact(got, output)
    assert_exact(where, indices)
    assert_same_bits(F.max_pool2d(x, case.kernel_size, **case.options), got)
    g = integers(case.rng(), output.shape, dtype)
    expected = reference.max_pool2d_backward(g, indices, case.shape)
    assert_exact(F.max_pool2d_backward(g, where, case.shape), expected)


@pytest.mark.parametrize("case", MAX_POOL2D, ids=str)
def test_max_pool2d_matches_definition(case: Pool2dCase, isa: str, dtype: DType) -> None:
    """Values, indices and gradients, ties included: the first maximum wins."""
    assert_max_pool_exact(case, dtype)


@given(case=pool2d_cases(dilated=True))
def test_max_pool2d_matches_definition_on_any_legal_case(
    case: Pool2dCase, isa: str, dtype: DType
) -> None:
    assert_max_pool_exact(case, dtype)


def test_max_pool2d_gradient_agrees_with_differences(rng: np.random.Generator) -> None:
    x = distinct(rng, (2, 3, 8, 9))
    options: dict[str, Any] = {"stride": 2, "padding": 1}
    output, indices = F.max_pool2d(x, 3, return_indices=True, **options)
    g = rng.standard_normal(output.shape)
    grad = F.max_pool2d_backward(g, indices, x.shape)
    assert_vjp(lambda x: F.max_pool2d(x, 3, **options), grad, g, x, rng)


def test_max_pool2d_of_minus_infinity_takes_the_first_pixel(isa: str, dtype: DType) -> None:
    x = np.full((1, 1, 4, 6), -np.inf, dtype)
    output, indices = F.max_pool2d(x, 2, padding=1, return_indices=True)
    expected = reference.max_pool2d(x, 2, padding=1, return_indices=True)
    assert np.all(output == -np.inf)
    assert_exact(indices, expected[1])


def test_max_pool2d_window_without_a_pixel_has_index_minus_one(isa: str, dtype: DType) -> None:
    """Taps at -1 and 1 of a one-pixel row: both are padding."""
    x = np.ones((1, 2, 1, 1), dtype)
    options: dict[str, Any] = {"padding": (0, 1), "dilation": 2}
    output, indices = F.max_pool2d(x, (1, 2), return_indices=True, **options)
    assert np.all(output == -np.inf)
    assert np.all(indices == -1)
    assert_exact(F.max_pool2d_backward(np.ones_like(output), indices, x.shape), np.zeros(x.shape))


def test_max_pool2d_rows_without_a_pixel_have_index_minus_one(isa: str, dtype: DType) -> None:
    """Taps at rows -1 and 2 of two rows, and pairs of columns that need no padding."""
    x = np.ones((2, 2, 2, 40), dtype)
    options: dict[str, Any] = {"padding": (1, 0), "dilation": (3, 1), "stride": 2}
    output, indices = F.max_pool2d(x, 2, return_indices=True, **options)
    assert output.shape == (2, 2, 1, 20)
    assert np.all(output == -np.inf)
    assert np.all(indices == -1)
    assert_same_bits(F.max_pool2d(x, 2, **options), output)


Average = Callable[[Any, Array], Array]
AVERAGES: dict[str, dict[str, Any]] = {
    "include": {},
    "exclude": {"count_include_pad": False},
    "override": {"divisor_override": 3},
}


def average_pair(case: Pool2dCase, kind: str) -> tuple[Average, Average]:
    """avg_pool2d and its backward of one case, from the library or from the reference."""
    options = {**case.options, **AVERAGES[kind]}
    return (
        lambda module, x: module.avg_pool2d(x, case.kernel_size, **options),
        lambda module, g: module.avg_pool2d_backward(g, case.shape, case.kernel_size, **options),
    )


@cache
def average_reference(case: Pool2dCase, kind: str, dtype: str) -> list[tuple[Array, Array, Array]]:
    """Return data, result and magnitude, forward and backward."""
    window, rng = case.window(), case.rng()
    x = rng.standard_normal(case.shape).astype(dtype)
    g = rng.standard_normal((*case.shape[:2], window.OH, window.OW)).astype(dtype)
    return [
        (data, run(reference, data), run(reference, np.abs(data)))
        for run, data in zip(average_pair(case, kind), (x, g), strict=True)
    ]


def assert_average_right(case: Pool2dCase, dtype: DType, kind: str) -> None:
    window = case.window()
    terms = window.KH * window.KW + ROUNDINGS
    references = average_reference(case, kind, dtype.name)
    for run, (data, expected, magnitude) in zip(average_pair(case, kind), references, strict=True):
        assert_within_bound(run(F, data), expected, magnitude, terms)


every_average = pytest.mark.parametrize("kind", AVERAGES)


@every_average
@pytest.mark.parametrize("case", AVG_POOL2D, ids=str)
def test_avg_pool2d_and_gradient_match_definition(
    case: Pool2dCase, kind: str, isa: str, dtype: DType
) -> None:
    assert_average_right(case, dtype, kind)


@given(case=pool2d_cases(dilated=False))
def test_avg_pool2d_matches_definition_on_any_legal_case(
    case: Pool2dCase, isa: str, dtype: DType
) -> None:
    for kind in AVERAGES:
        assert_average_right(case, dtype, kind)


@every_average
def test_avg_pool2d_gradient_is_adjoint(kind: str, isa: str) -> None:
    for case in AVG_POOL2D:
        forward, backward = average_pair(case, kind)
        (x, _, _), (g, _, _) = average_reference(case, kind, "float64")
        assert_adjoint(partial(forward, F), partial(backward, F), x, g)


def test_avg_pool2d_is_exact_on_powers_of_two(isa: str, dtype: DType) -> None:
    """Sums of integers divided by 4 have no rounding."""
    for W in range(2, 41):
        x = integers(np.random.default_rng(W), (2, 3, 6, W), dtype)
        assert_exact(F.avg_pool2d(x, 2), reference.avg_pool2d(x, 2))
        g = integers(np.random.default_rng(W), (2, 3, 3, W // 2), dtype)
        expected = reference.avg_pool2d_backward(g, x.shape, 2)
        assert_exact(F.avg_pool2d_backward(g, x.shape, 2), expected)


ADAPTIVE = [
    ((2, 3, 7, 9), (1, 1)),
    ((2, 3, 7, 9), (7, 9)),
    ((2, 3, 7, 9), (3, 4)),
    ((1, 2, 5, 40), (2, 33)),
    ((1, 2, 3, 4), (5, 7)),
    ((1, 1, 13, 11), 6),
]
every_adaptive = pytest.mark.parametrize(("shape", "output_size"), ADAPTIVE)


@every_adaptive
def test_adaptive_avg_pool2d_and_gradient_match_definition(
    shape: tuple[int, ...], output_size: Any, isa: str, dtype: DType, rng: np.random.Generator
) -> None:
    x = rng.standard_normal(shape).astype(dtype)
    expected = reference.adaptive_avg_pool2d(x, output_size)
    magnitude = reference.adaptive_avg_pool2d(np.abs(x), output_size)
    taps = shape[2] * shape[3] + ROUNDINGS
    assert_within_bound(F.adaptive_avg_pool2d(x, output_size), expected, magnitude, taps)
    g = rng.standard_normal(expected.shape).astype(dtype)
    back = reference.adaptive_avg_pool2d_backward(g, shape)
    magnitude = reference.adaptive_avg_pool2d_backward(np.abs(g), shape)
    assert_within_bound(F.adaptive_avg_pool2d_backward(g, shape), back, magnitude, taps)


@every_adaptive
def test_adaptive_max_pool2d_and_gradient_match_definition(
    shape: tuple[int, ...], output_size: Any, isa: str, dtype: DType, rng: np.random.Generator
) -> None:
    x = rng.integers(-3, 4, shape).astype(dtype)
    output, indices = reference.adaptive_max_pool2d(x, output_size, return_indices=True)
    got, where = F.adaptive_max_pool2d(x, output_size, return_indices=True)
    assert where.dtype == np.int32
    assert_exact(got, output)
    assert_exact(where, indices)
    assert_exact(F.adaptive_max_pool2d(x, output_size), output)
    g = integers(rng, output.shape, dtype)
    expected = reference.max_pool2d_backward(g, indices, shape)
    assert_exact(F.max_pool2d_backward(g, where, shape), expected)


@pytest.mark.parametrize("shape", [(2, 3, 7, 9), (1, 1, 1, 1), (3, 2, 1, 40), (1, 2, 56, 56)])
def test_global_pools_match_definition(
    shape: tuple[int, ...], isa: str, dtype: DType, rng: np.random.Generator
) -> None:
    x = rng.standard_normal(shape).astype(dtype)
    pixels = shape[2] * shape[3] + ROUNDINGS
    average = reference.global_avg_pool2d(x)
    magnitude = reference.global_avg_pool2d(np.abs(x))
    assert_within_bound(F.global_avg_pool2d(x), average, magnitude, pixels)
    output, indices = reference.global_max_pool2d(x, return_indices=True)
    got, where = F.global_max_pool2d(x, return_indices=True)
    assert_exact(got, output)
    assert_exact(where, indices)
    assert_exact(F.global_max_pool2d(x), output)
    g = rng.standard_normal(average.shape).astype(dtype)
    back = reference.global_avg_pool2d_backward(g, shape)
    assert_within_bound(F.global_avg_pool2d_backward(g, shape), back, np.abs(back), ROUNDINGS)


def test_pools_agree_with_torch(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch", reason="torch, an independent oracle, is not installed")
    for case in MAX_POOL2D:
        padding = reference.pair(case.options.get("padding", 0))
        span = zip(padding, reference.pair(case.kernel_size), strict=True)
        if any(isinstance(p, tuple) or 2 * p > k for p, k in span):
            continue  # torch has symmetric padding of at most half the kernel.
        x = torch.from_numpy(rng.integers(-3, 4, case.shape).astype(np.float64))
        options = {**case.options, "return_indices": True}
        output, indices = torch.nn.functional.max_pool2d(x, case.kernel_size, **options)
        got, where = F.max_pool2d(x.numpy(), case.kernel_size, **options)
        assert_exact(got, output.numpy())
        assert_exact(where, indices.numpy())
