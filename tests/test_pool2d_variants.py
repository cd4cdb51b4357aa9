# SPDX-License-Identifier: BSD-3-Clause
"""Power-average pooling, and the inverse of max pooling."""

from functools import partial
from typing import Any

import numpy as np
import pytest

import reference
from cases import AVG_POOL2D, Pool2dCase, integers
from checks import assert_adjoint, assert_exact, assert_vjp, assert_within_bound
from pyconv import functional as F
from reference import Array

DType = np.dtype[Any]
CASES = AVG_POOL2D[::3]
POWERS = (1.0, 1.5, 2.0, 3.0)
# Of a power, a root (pow: below 1 ulp each), and of a share.
ROUNDINGS = 8


def norm_options(case: Pool2dCase, p: float) -> dict[str, Any]:
    return {**case.options, "norm_type": p}


@pytest.mark.parametrize("p", POWERS)
def test_lp_pool2d_and_gradient_match_definition(p: float, isa: str, dtype: DType) -> None:
    """Terms are positive: relative errors do not grow by cancellation."""
    for case in CASES:
        window, rng, options = case.window(), case.rng(), norm_options(case, p)
        terms = window.KH * window.KW + ROUNDINGS
        x = rng.uniform(0.25, 2, case.shape).astype(dtype)
        expected = reference.lp_pool2d(x, case.kernel_size, **options)
        y = F.lp_pool2d(x, case.kernel_size, **options)
        assert_within_bound(y, expected, expected, terms)
        g = rng.uniform(0.5, 1, expected.shape).astype(dtype)
        back = reference.lp_pool2d_backward(g, x, y, case.kernel_size, **options)
        got = F.lp_pool2d_backward(g, x, y, case.kernel_size, **options)
        assert_within_bound(got, back, back, terms)


def test_lp_pool2d_is_exact_on_pythagorean_triples(isa: str, dtype: DType) -> None:
    x = np.zeros((2, 3, 4, 30), dtype)
    x[..., ::2, ::2], x[..., 1::2, 1::2] = 3, -4
    y = F.lp_pool2d(x, 2)
    assert_exact(y, np.full((2, 3, 2, 15), 5.0))
    assert_exact(F.lp_pool2d_backward(np.full_like(y, 5), x, y, 2), x)


def test_lp_pool2d_takes_no_absolute_values(dtype: DType) -> None:
    x = np.array([[[[1, -3], [0, 0]]]], dtype)
    assert_exact(F.lp_pool2d(x, 2, norm_type=1), np.array([[[[-2.0]]]]))
    assert np.isnan(F.lp_pool2d(x, 2, norm_type=3)).all()


@pytest.mark.parametrize("p", POWERS)
def test_lp_pool2d_output_of_zero_has_no_gradient(p: float, dtype: DType) -> None:
    x = np.zeros((1, 1, 2, 4), dtype)
    x[..., 3] = 1
    y = F.lp_pool2d(x, 2, norm_type=p)
    got = F.lp_pool2d_backward(np.ones_like(y), x, y, 2, norm_type=p)
    assert_exact(got[..., :2], np.zeros((1, 1, 2, 2)))
    assert (got[..., 3] > 0).all()


@pytest.mark.parametrize("p", POWERS)
def test_lp_pool2d_gradient_agrees_with_differences(p: float, rng: np.random.Generator) -> None:
    x = rng.uniform(0.5, 2, (2, 3, 8, 9))
    options: dict[str, Any] = {"norm_type": p, "stride": 2, "padding": 1}
    y = F.lp_pool2d(x, 3, **options)
    g = rng.standard_normal(y.shape)
    grad = F.lp_pool2d_backward(g, x, y, 3, **options)
    assert_vjp(lambda x: F.lp_pool2d(x, 3, **options), grad, g, x, rng)


@pytest.mark.parametrize("p", POWERS)
def test_lp_pool2d_agrees_with_torch(p: float, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch", reason="torch, an independent oracle, is not installed")
    x = torch.from_numpy(rng.uniform(0.5, 2, (2, 3, 9, 10))).requires_grad_()
    for size, stride in ((2, None), (3, 2), ((2, 3), 1)):
        expected = torch.nn.functional.lp_pool2d(x, p, size, stride)
        y = F.lp_pool2d(x.detach().numpy(), size, norm_type=p, stride=stride)
        np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-14)
        g = rng.standard_normal(y.shape)
        (back,) = torch.autograd.grad(expected, x, torch.from_numpy(g))
        got = F.lp_pool2d_backward(g, x.detach().numpy(), y, size, norm_type=p, stride=stride)
        np.testing.assert_allclose(got, back.numpy(), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("p", [0, -1, np.nan, np.inf])
def test_lp_pool2d_refuses_powers_without_a_root(p: float) -> None:
    x = np.ones((1, 1, 2, 2))
    with pytest.raises(ValueError, match=r"lp_pool2d: norm_type is out of range"):
        F.lp_pool2d(x, 2, norm_type=p)
    with pytest.raises(ValueError, match=r"lp_pool2d_backward: norm_type is out of range"):
        F.lp_pool2d_backward(x[..., :1, :1], x, x[..., :1, :1], 2, norm_type=p)


SHAPE, SMALL = (2, 3, 6, 11), (2, 3, 3, 5)


def some_indices(rng: np.random.Generator, *, distinct: bool) -> Array:
    pixels = SHAPE[2] * SHAPE[3]
    if not distinct:
        return rng.integers(-1, pixels, SMALL).astype(np.int32)
    planes = [rng.permutation(pixels)[: SMALL[2] * SMALL[3]] for _ in range(SHAPE[0] * SHAPE[1])]
    return np.array(planes, np.int32).reshape(SMALL)


@pytest.mark.parametrize("distinct", [True, False])
def test_max_unpool2d_and_gradient_match_definition(
    distinct: bool, dtype: DType, rng: np.random.Generator
) -> None:
    indices = some_indices(rng, distinct=distinct)
    x, g = integers(rng, SMALL, dtype), integers(rng, SHAPE, dtype)
    expected = reference.max_unpool2d(x, indices, SHAPE)
    assert_exact(F.max_unpool2d(x, indices, SHAPE), expected)
    back = reference.max_unpool2d_backward(g, indices)
    assert_exact(F.max_unpool2d_backward(g, indices), back)


def test_max_unpool2d_gradient_is_adjoint(rng: np.random.Generator) -> None:
    indices = some_indices(rng, distinct=True)
    forward = partial(F.max_unpool2d, indices=indices, output_shape=SHAPE)
    backward = partial(F.max_unpool2d_backward, indices=indices)
    assert_adjoint(forward, backward, rng.standard_normal(SMALL), rng.standard_normal(SHAPE))


def test_max_unpool2d_undoes_max_pool2d(dtype: DType, rng: np.random.Generator) -> None:
    x = integers(rng, (2, 3, 8, 10), dtype)
    y, indices = F.max_pool2d(x, 2, return_indices=True)
    back = F.max_unpool2d(y, indices, x.shape)
    assert_exact(F.max_unpool2d_backward(back, indices), y)
    assert np.all((back == 0) | (back == x))
    assert np.count_nonzero(back) == y.size


@pytest.mark.parametrize("value", [-2, SHAPE[2] * SHAPE[3], 2**31 - 1])
def test_max_unpool2d_takes_no_index_on_trust(value: int, rng: np.random.Generator) -> None:
    indices = some_indices(rng, distinct=True)
    indices[1, 2, 1, 3] = value
    with pytest.raises(ValueError, match=f"max_unpool2d: indices holds .* got {value};"):
        F.max_unpool2d(np.ones(SMALL), indices, SHAPE)
    with pytest.raises(ValueError, match=f"max_unpool2d_backward: indices holds .* got {value};"):
        F.max_unpool2d_backward(np.ones(SHAPE), indices)


def test_max_unpool2d_names_the_shape_that_does_not_fit() -> None:
    x, i = np.ones((1, 2, 2, 2)), np.zeros((1, 2, 2, 2), np.int32)
    with pytest.raises(ValueError, match=r"max_unpool2d: output_shape is .*same N and C"):
        F.max_unpool2d(x, i, (1, 3, 4, 4))
    with pytest.raises(ValueError, match=r"max_unpool2d: indices has shape"):
        F.max_unpool2d(x, i[:, :, :1], (1, 2, 4, 4))
    with pytest.raises(ValueError, match=r"max_unpool2d_backward: grad_output is .*same N and C"):
        F.max_unpool2d_backward(np.ones((2, 2, 4, 4)), i)
