# SPDX-License-Identifier: BSD-3-Clause
"""Activations, softmax and dropout, with their gradients.

Bounds count roundings: `terms` is how many operations of relative error eps stand behind one
element, and the magnitude is what those errors scale with.
"""

from typing import Any

import numpy as np
import pytest

import reference
from cases import distinct
from checks import assert_exact, assert_same_bits, assert_vjp, assert_within_bound
from pyconv import functional as F
from reference import Array

DType = np.dtype[Any]
# exp or tanh (2 ulp of a good library), an addition, a division and a final rounding.
ROUNDINGS = 6
LENGTHS = (*range(1, 41), 1000)


@pytest.mark.parametrize("function", ["relu", "leaky_relu"])
def test_rectifiers_match_definition(
    function: str, isa: str, dtype: DType, rng: np.random.Generator
) -> None:
    """One multiplication at most, which is rounded like NumPy's."""
    for n in LENGTHS:
        x, g = (rng.standard_normal((2, n)).astype(dtype) for _ in range(2))
        output = getattr(F, function)(x)
        slope = dtype.type(0.0 if function == "relu" else 0.01)
        assert_exact(output, np.where(x > 0, x, slope * x))
        saved = output if function == "relu" else x
        grad = getattr(F, f"{function}_backward")(g, saved)
        assert_exact(grad, np.where(x > 0, g, slope * g))


def test_leaky_relu_takes_any_slope(dtype: DType, rng: np.random.Generator) -> None:
    x = rng.standard_normal(50).astype(dtype)
    for slope in (0.0, 0.25, 1.0, -0.5, 2.0):
        got = F.leaky_relu(x, negative_slope=slope)
        assert_exact(got, reference.leaky_relu(x, negative_slope=slope))


@pytest.mark.parametrize("function", ["sigmoid", "tanh"])
def test_sigmoids_stay_within_bound(
    function: str, isa: str, dtype: DType, rng: np.random.Generator
) -> None:
    """Relative to the result itself, small results included."""
    define, define_back = getattr(reference, function), getattr(reference, f"{function}_backward")
    for n in LENGTHS:
        for scale in (1e-6, 1e-2, 1.0, 10.0, 80.0):
            x = (rng.uniform(-1, 1, n) * scale).astype(dtype)
            expected = define(x)
            got = getattr(F, function)(x)
            assert_within_bound(got, expected, np.abs(expected), ROUNDINGS)
            assert np.all(np.abs(got) <= 1)
            g, y = rng.standard_normal(n).astype(dtype), got
            back = define_back(g, y)
            # 1 - y and 1 - y*y cancel near 1, where their rounding counts relative to 1.
            magnitude = np.abs(g) * (np.abs(y) if function == "sigmoid" else 1.0)
            got_back = getattr(F, f"{function}_backward")(g, y)
            assert np.all(np.abs(got_back - back) <= ROUNDINGS * np.finfo(dtype).eps * magnitude)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
@pytest.mark.parametrize("shape", [(2, 3, 4), (1, 1, 1), (5, 17, 33), (3, 40, 2), (2, 1, 70)])
def test_softmax_and_gradient_stay_within_bound(
    shape: tuple[int, ...], axis: int, isa: str, dtype: DType, rng: np.random.Generator
) -> None:
    """The argument x - max(x) of exp is rounded: a relative error of |x - max(x)| * eps."""
    x = (5 * rng.standard_normal(shape)).astype(dtype)
    g = rng.standard_normal(shape).astype(dtype)
    K = shape[axis] + ROUNDINGS
    depth = 1 + np.abs(x - np.max(x, axis=axis, keepdims=True))
    y = F.softmax(x, axis=axis)
    expected = reference.softmax(x, axis=axis)
    assert_within_bound(y, expected, expected * depth, K)
    log_y = F.log_softmax(x, axis=axis)
    expected = reference.log_softmax(x, axis=axis)
    if shape[axis] > 1:
        assert_within_bound(log_y, expected, depth, K)
    else:
        assert_exact(log_y, expected)

    def total(array: Array) -> Array:
        return reference.double(np.sum(np.abs(array), axis=axis, keepdims=True, dtype=np.float64))

    eps = np.finfo(dtype).eps
    got = F.softmax_backward(g, y, axis=axis)
    magnitude = np.abs(y) * (np.abs(g) + total(g * y))
    error = np.abs(got - reference.softmax_backward(g, y, axis=axis))
    assert np.all(error <= (K + 2) * eps * magnitude)
    got = F.log_softmax_backward(g, log_y, axis=axis)
    magnitude = np.abs(g) + np.exp(log_y) * (1 + np.abs(log_y)) * total(g)
    error = np.abs(got - reference.log_softmax_backward(g, log_y, axis=axis))
    assert np.all(error <= (K + 2) * eps * magnitude)


@pytest.mark.parametrize(
    "function", ["relu", "leaky_relu", "sigmoid", "tanh", "softmax", "log_softmax"]
)
def test_activation_gradient_agrees_with_differences(
    function: str, isa: str, rng: np.random.Generator
) -> None:
    forward, backward = getattr(F, function), getattr(F, f"{function}_backward")
    x = 3 * distinct(rng, (4, 6, 7))
    g = rng.standard_normal(x.shape)
    saved = x if function == "leaky_relu" else forward(x)
    assert_vjp(forward, backward(g, saved), g, x, rng)


def test_softmax_sums_to_one(isa: str, dtype: DType, rng: np.random.Generator) -> None:
    y = F.softmax((50 * rng.standard_normal((20, 100))).astype(dtype))
    assert np.all(y >= 0)
    np.testing.assert_allclose(y.sum(axis=1, dtype=np.float64), 1, rtol=100 * np.finfo(dtype).eps)


@pytest.mark.parametrize("p", [0.0, 0.25, 0.5, 0.9])
def test_dropout_drops_with_probability_p(p: float, dtype: DType) -> None:
    x = np.random.default_rng(1).standard_normal((200, 300)).astype(dtype)
    output, mask = F.dropout(x, p, rng=np.random.default_rng(0))
    assert output.dtype == mask.dtype == dtype
    assert set(np.unique(mask)) <= {dtype.type(0), dtype.type(1 / (1 - p))}
    assert_exact(output, x * mask)
    # Five standard deviations of a binomial count.
    assert abs(np.mean(mask == 0) - p) <= 5 * np.sqrt(p * (1 - p) / x.size)
    g = np.random.default_rng(2).standard_normal(x.shape).astype(dtype)
    assert_exact(F.dropout_backward(g, mask), g * mask)


def test_dropout_depends_on_the_generator_alone(rng: np.random.Generator, dtype: DType) -> None:
    x = rng.standard_normal((30, 40)).astype(dtype)
    first, mask = F.dropout(x, 0.5, rng=np.random.default_rng(8))
    again, _ = F.dropout(x, 0.5, rng=np.random.default_rng(8))
    other, _ = F.dropout(x, 0.5, rng=np.random.default_rng(9))
    assert_same_bits(first, again)
    assert not np.array_equal(first, other)
    assert 0 < np.count_nonzero(mask) < mask.size
