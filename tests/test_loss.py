# SPDX-License-Identifier: BSD-3-Clause
"""The functional losses and their gradients."""

import math
from typing import Any

import numpy as np
import pytest

import reference
from checks import assert_gradient, assert_within_bound
from pyconv import functional as F
from reference import Array

DType = np.dtype[Any]
CROSS_ENTROPY: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((6, 10), {}),
    ((1, 1), {}),
    ((7, 41), {"label_smoothing": 0.1}),
    ((5, 4, 6), {}),
    ((3, 5, 4, 6), {"ignore_index": 2, "label_smoothing": 0.2}),
    ((9, 3), {"ignore_index": 0}),
    ((20, 6), {"weighted": True}),
    ((20, 6), {"weighted": True, "label_smoothing": 0.3, "ignore_index": 1}),
]
every_case = pytest.mark.parametrize(("shape", "options"), CROSS_ENTROPY)


def draw(
    rng: np.random.Generator, shape: tuple[int, ...], options: dict[str, Any], dtype: Any
) -> tuple[Array, Array, dict[str, Any]]:
    """Logits, targets and options, the class weights among them."""
    options = dict(options)
    if options.pop("weighted", False):
        options["weight"] = rng.uniform(0.2, 3, shape[1]).astype(dtype)
    logits = (3 * rng.standard_normal(shape)).astype(dtype)
    return logits, rng.integers(0, shape[1], (shape[0], *shape[2:])), options


@every_case
def test_cross_entropy_and_gradient_stay_within_bound(
    shape: tuple[int, ...],
    options: dict[str, Any],
    isa: str,
    dtype: DType,
    rng: np.random.Generator,
) -> None:
    logits, target, options = draw(rng, shape, options, dtype)
    value = F.cross_entropy(logits, target, **options)
    assert isinstance(value, float)
    expected = reference.cross_entropy(logits, target, **options)
    # Each of the logits enters through its distance to the largest; their mean has that scale.
    depth = 1 + float(np.ptp(logits))
    terms = logits.size + 8
    eps = float(np.finfo(dtype).eps)
    assert abs(value - expected) <= terms * eps * depth
    back = reference.cross_entropy_backward(logits, target, **options)
    got = F.cross_entropy_backward(logits, target, **options)
    assert got.dtype == dtype
    if shape[1] > 1:
        scale = np.full(shape, np.max(np.abs(back)))
        assert_within_bound(got, back, scale * depth, shape[1] + 8)


@every_case
def test_cross_entropy_gradient_agrees_with_differences(
    shape: tuple[int, ...], options: dict[str, Any], isa: str, rng: np.random.Generator
) -> None:
    logits, target, options = draw(rng, shape, options, np.float64)
    grad = F.cross_entropy_backward(logits, target, **options)
    assert_gradient(lambda x: F.cross_entropy(x, target, **options), grad, logits, rng)


@pytest.mark.parametrize("target_dtype", [np.int8, np.int16, np.int32, np.int64, np.uint8])
def test_cross_entropy_takes_targets_of_any_integer_type(
    target_dtype: Any, rng: np.random.Generator
) -> None:
    logits, target, _ = draw(rng, (6, 10), {}, np.float64)
    expected = F.cross_entropy(logits, target)
    assert F.cross_entropy(logits, target.astype(target_dtype)) == expected


def test_cross_entropy_of_confident_logits_does_not_overflow(dtype: DType, isa: str) -> None:
    logits = np.array([[1e4, -1e4, 0.0], [-1e4, 0.0, 1e4]], dtype)
    assert F.cross_entropy(logits, np.array([0, 2])) == 0.0
    assert F.cross_entropy(logits, np.array([1, 0])) == 2e4
    assert np.isfinite(F.cross_entropy_backward(logits, np.array([1, 0]))).all()


@pytest.mark.parametrize("shape", [(6, 10), (1, 2), (30, 3)])
@pytest.mark.parametrize("margin", [1.0, 0.25])
def test_multiclass_hinge_and_gradient_match_definition(
    shape: tuple[int, int], margin: float, isa: str, dtype: DType, rng: np.random.Generator
) -> None:
    """Logits are multiples of 1/8: every margin is exact and none is within 1/16 of its kink."""
    logits = (rng.integers(-20, 20, shape) / 8).astype(dtype)
    margin = margin + 1 / 16
    target = rng.integers(0, shape[1], shape[0])
    value = F.multiclass_hinge(logits, target, margin=margin)
    expected = reference.multiclass_hinge(logits, target, margin=margin)
    assert math.isclose(value, expected, rel_tol=2 * float(np.finfo(dtype).eps))
    grad = F.multiclass_hinge_backward(logits, target, margin=margin)
    back = reference.multiclass_hinge_backward(logits, target, margin=margin)
    assert_within_bound(grad, back, np.abs(back), 1)
    if dtype == np.float64:
        assert_gradient(lambda x: F.multiclass_hinge(x, target, margin=margin), grad, logits, rng)


@pytest.mark.parametrize("shape", [(6, 10), (1,), (2, 3, 4, 5), (40,)])
def test_mse_and_gradient_match_definition(
    shape: tuple[int, ...], isa: str, dtype: DType, rng: np.random.Generator
) -> None:
    x, target = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    value, expected = F.mse(x, target), reference.mse(x, target)
    eps = float(np.finfo(dtype).eps)
    assert isinstance(value, float)
    assert math.isclose(value, expected, rel_tol=(x.size + 4) * eps)
    got, back = F.mse_backward(x, target), reference.mse_backward(x, target)
    assert_within_bound(got, back, np.abs(back), 4)
    if dtype == np.float64:
        assert_gradient(lambda x: F.mse(x, target), got, x, rng)


def test_losses_agree_with_torch(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch", reason="torch, an independent oracle, is not installed")
    for shape, given in CROSS_ENTROPY:
        logits, target, options = draw(rng, shape, given, np.float64)
        tensors = {
            name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
            for name, value in options.items()
        }
        arrays = torch.from_numpy(logits), torch.from_numpy(target)
        expected = torch.nn.functional.cross_entropy(*arrays, **tensors).item()
        assert math.isclose(F.cross_entropy(logits, target, **options), expected, rel_tol=1e-13)
