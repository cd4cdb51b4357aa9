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
    ((6, 10), {"soft": True}),
    ((5, 4, 6), {"soft": True, "weighted": True, "label_smoothing": 0.2}),
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
    if options.pop("soft", False):
        return logits, rng.uniform(0, 0.3, shape).astype(dtype), options
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


def test_cross_entropy_leaves_out_terms_of_weight_zero(isa: str, dtype: DType) -> None:
    """Even if the probability is 0 and its logarithm infinite; without any weight it is NaN."""
    logits = np.array([[0.0, -np.inf, 1.0], [0.0, 2.0, 1.0]], dtype)
    weight = np.array([1.0, 0.0, 1.0], dtype)
    assert F.cross_entropy(logits, np.array([1, 2]), weight=weight) == pytest.approx(
        reference.cross_entropy(logits[1:], np.array([2]))
    )
    assert F.cross_entropy(logits, np.array([1, 2])) == np.inf
    smooth = F.cross_entropy(logits, np.array([0, 2]), weight=weight, label_smoothing=0.3)
    assert np.isfinite(smooth)
    nothing = F.cross_entropy_backward(logits, np.array([1, 1]), weight=weight)
    assert np.isnan(nothing).all()
    assert np.isnan(F.cross_entropy(logits, np.array([1, 1]), weight=weight))
    assert np.isnan(F.cross_entropy(logits, np.array([0, 0]), ignore_index=0))


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.25}])
def test_cross_entropy_of_certain_probabilities_is_that_of_classes(
    options: dict[str, Any], dtype: DType, rng: np.random.Generator
) -> None:
    logits, target, _ = draw(rng, (9, 5), {}, dtype)
    certain = np.eye(5, dtype=dtype)[target]
    tolerance = {"rtol": 40 * np.finfo(dtype).eps, "atol": 4 * np.finfo(dtype).eps}
    np.testing.assert_allclose(
        F.cross_entropy(logits, certain, **options),
        F.cross_entropy(logits, target, **options),
        **tolerance,
    )
    got = F.cross_entropy_backward(logits, certain, **options)
    expected = F.cross_entropy_backward(logits, target, **options)
    np.testing.assert_allclose(got, expected, **tolerance)


def test_cross_entropy_leaves_out_classes_of_probability_zero(dtype: DType) -> None:
    logits = np.array([[0, -np.inf, 0]], dtype)
    target = np.array([[0.5, 0, 0.5]], dtype)
    assert F.cross_entropy(logits, target) == pytest.approx(math.log(2))
    np.testing.assert_allclose(F.cross_entropy_backward(logits, target), 0, atol=1e-7)
    assert F.cross_entropy(logits, np.array([[0.5, 0.5, 0]], dtype)) == np.inf
    assert np.isnan(F.cross_entropy(logits[:0], target[:0]))


def test_cross_entropy_takes_every_unsigned_target(rng: np.random.Generator) -> None:
    """A class beyond int64 is out of range and not, wrapped round, ignore_index."""
    logits = rng.standard_normal((2, 3))
    huge = np.array([0, 2**64 - 100], np.uint64)
    with pytest.raises(ValueError, match=r"^cross_entropy: target holds a class out of range"):
        F.cross_entropy(logits, huge)


@pytest.mark.parametrize("inner", [2, 7, 16, 33])
def test_cross_entropy_over_channels_in_every_lane(
    inner: int, isa: str, dtype: DType, rng: np.random.Generator
) -> None:
    """A NaN spoils its own pixel's gradient, and no other's."""
    logits, target, _ = draw(rng, (2, 5, inner), {}, dtype)
    clean = F.cross_entropy_backward(logits, target)
    for position in range(inner):
        spoiled = logits.copy()
        spoiled[1, 3, position] = np.nan
        got = F.cross_entropy_backward(spoiled, target)
        assert np.isnan(got[1, :, position]).all()
        got[1, :, position] = clean[1, :, position]
        np.testing.assert_array_equal(got, clean)
        assert np.isnan(F.cross_entropy(spoiled, target))


REGRESSION: dict[str, dict[str, Any]] = {
    "l1": {},
    "smooth_l1": {"beta": 0.6},
    "bce_with_logits": {},
}


@pytest.mark.parametrize("name", REGRESSION)
@pytest.mark.parametrize("shape", [(6, 10), (1,), (2, 3, 4, 5)])
def test_regression_losses_and_gradients_match_definition(
    name: str, shape: tuple[int, ...], dtype: DType, rng: np.random.Generator
) -> None:
    options = REGRESSION[name]
    x, target = (rng.uniform(0, 1, shape).astype(dtype) for _ in range(2))
    x = (6 * x - 3).astype(dtype)
    value = getattr(F, name)(x, target, **options)
    expected = getattr(reference, name)(x, target, **options)
    assert isinstance(value, float)
    assert math.isclose(value, expected, rel_tol=(x.size + 4) * 2.0**-52)
    got = getattr(F, f"{name}_backward")(x, target, **options)
    back = getattr(reference, f"{name}_backward")(x, target, **options)
    assert got.dtype == dtype
    assert_within_bound(got, back, np.abs(back) + 1 / x.size, 4)
    if dtype == np.float64:
        assert_gradient(lambda v: getattr(F, name)(v, target, **options), got, x, rng)


def test_smooth_l1_without_a_parabola_is_l1(rng: np.random.Generator) -> None:
    x, target = rng.standard_normal((2, 50))
    x[0] = target[0]
    assert F.smooth_l1(x, target, beta=0) == pytest.approx(F.l1(x, target), rel=1e-15)
    expected = F.l1_backward(x, target)
    np.testing.assert_array_equal(F.smooth_l1_backward(x, target, beta=0), expected)
    with pytest.raises(ValueError, match=r"^smooth_l1: beta is out of range, got -1"):
        F.smooth_l1(x, target, beta=-1)


@pytest.mark.parametrize("shape", [(6, 10), (3, 5, 4, 6)])
@pytest.mark.parametrize("weighted", [False, True])
def test_nll_and_gradient_match_definition(
    shape: tuple[int, ...], weighted: bool, dtype: DType, rng: np.random.Generator
) -> None:
    logits, target, options = draw(rng, shape, {"weighted": weighted, "ignore_index": 1}, dtype)
    log_probability = F.log_softmax(logits, axis=1)
    value = F.nll(log_probability, target, **options)
    expected = reference.nll(log_probability, target, **options)
    assert math.isclose(value, expected, rel_tol=1e-13)
    entropy = F.cross_entropy(logits, target, **options)
    assert math.isclose(value, entropy, rel_tol=40 * float(np.finfo(dtype).eps))
    got = F.nll_backward(log_probability, target, **options)
    back = reference.nll_backward(log_probability, target, **options)
    np.testing.assert_allclose(got, back, rtol=8 * np.finfo(dtype).eps)
    assert np.isnan(F.nll(log_probability, np.ones_like(target), **options))


def test_other_losses_agree_with_torch(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch", reason="torch, an independent oracle, is not installed")
    functional = torch.nn.functional
    x, target = rng.standard_normal((2, 6, 5))
    t = [torch.from_numpy(array) for array in (x, np.abs(target) / 4)]
    assert F.l1(x, np.abs(target) / 4) == pytest.approx(functional.l1_loss(*t).item())
    for beta in (0.0, 0.5, 1.0):
        got = F.smooth_l1(x, np.abs(target) / 4, beta=beta)
        assert got == pytest.approx(functional.smooth_l1_loss(*t, beta=beta).item())
    got = F.bce_with_logits(x, np.abs(target) / 4)
    assert got == pytest.approx(functional.binary_cross_entropy_with_logits(*t).item())


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
