# SPDX-License-Identifier: BSD-3-Clause
"""gemm and linear: sizes around the register tile and the cache blocks, transposes, alpha, beta."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from cases import around, block_sizes, integers
from checks import (
    assert_adjoint_exactly,
    assert_exact,
    assert_trustworthy,
    assert_within_bound,
)
from pyconv import functional as F
from reference import Array

DType = np.dtype[Any]


def _sizes() -> list[tuple[int, int, int]]:
    """(M, N, K) around MR x NR tiles and around MC, KC and NC, one axis at a time."""
    sizes = {(1, 1, 1), (1, 40, 7), (40, 1, 7), (3, 5, 1), (7, 11, 0)}
    for MR, NR in product(block_sizes("MR"), block_sizes("NR")):
        sizes |= {(M, N, 5) for M, N in product(around(MR), around(NR)) if M * N < 2000}
    for MC in block_sizes("MC"):
        sizes |= {(M, 9, 4) for M in around(MC)[:3]}
    for KC in block_sizes("KC"):
        sizes |= {(5, 9, K) for K in around(KC)}
    for NC in block_sizes("NC"):
        sizes |= {(3, N, 2) for N in (NC - 1, NC, NC + 1)}
    return sorted(sizes)


SIZES = _sizes()
TRANSPOSES = [(False, False), (False, True), (True, False), (True, True)]


def operands(
    rng: np.random.Generator, size: tuple[int, int, int], dtype: Any, trans_a: bool, trans_b: bool
) -> tuple[Array, Array]:
    M, N, K = size
    a = integers(rng, (K, M) if trans_a else (M, K), dtype)
    b = integers(rng, (N, K) if trans_b else (K, N), dtype, terms=max(K, 1))
    return a, b


@pytest.mark.parametrize(("trans_a", "trans_b"), TRANSPOSES)
def test_gemm_is_exact_on_integers(
    trans_a: bool, trans_b: bool, isa: str, dtype: DType, rng: np.random.Generator
) -> None:
    """Every size of the table; a loop, for a test of each would be thousands."""
    for size in SIZES:
        a, b = operands(rng, size, dtype, trans_a, trans_b)
        expected = (a.T if trans_a else a).astype(np.float64) @ (b.T if trans_b else b)
        if size[2] > 0:
            assert_trustworthy(expected)
        assert_exact(F.gemm(a, b, trans_a=trans_a, trans_b=trans_b), expected, f"M, N, K = {size}")


@given(
    size=st.tuples(st.integers(1, 70), st.integers(1, 140), st.integers(1, 600)),
    transposes=st.sampled_from(TRANSPOSES),
    alpha=st.sampled_from([1.0, -1.0, 0.5, 0.0]),
    beta=st.sampled_from([0.0, 1.0, -2.0, 0.25]),
    seed=st.integers(0, 2**16),
)
def test_gemm_is_exact_for_any_options(
    size: tuple[int, int, int],
    transposes: tuple[bool, bool],
    alpha: float,
    beta: float,
    seed: int,
    isa: str,
    dtype: DType,
) -> None:
    rng = np.random.default_rng(seed)
    trans_a, trans_b = transposes
    a, b = operands(rng, size, dtype, trans_a, trans_b)
    out = integers(rng, size[:2], dtype)
    options: dict[str, Any] = {"trans_a": trans_a, "trans_b": trans_b, "alpha": alpha, "beta": beta}
    expected = reference.gemm(a, b, out=out.copy(), **options)
    assert F.gemm(a, b, out=out, **options) is out
    assert_exact(out, expected)


def test_gemm_with_beta_zero_never_reads_out(rng: np.random.Generator, isa: str) -> None:
    a, b = rng.standard_normal((17, 33)), rng.standard_normal((33, 9))
    out = np.full((17, 9), np.nan)
    F.gemm(a, b, out=out)
    assert not np.isnan(out).any()


def test_gemm_needs_out_for_beta(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match="out"):
        F.gemm(np.ones((2, 2)), np.ones((2, 2)), beta=1.0)


@pytest.mark.parametrize("K", [1, 7, 300, 1000])
def test_gemm_stays_within_bound(K: int, isa: str, dtype: DType, rng: np.random.Generator) -> None:
    a = rng.standard_normal((50, K)).astype(dtype)
    b = rng.standard_normal((K, 70)).astype(dtype)
    magnitude = np.abs(a).astype(np.float64) @ np.abs(b)
    assert_within_bound(F.gemm(a, b), a.astype(np.float64) @ b, magnitude, K)


@pytest.mark.parametrize("spread", [6.0, 15.0])
def test_gemm_stays_within_bound_on_badly_scaled_numbers(
    spread: float, isa: str, dtype: DType, rng: np.random.Generator
) -> None:
    """Magnitudes log-uniform over many decades: the bound is elementwise, so each one counts."""
    K = 200

    def badly_scaled(*shape: int) -> Array:
        values = rng.choice([-1, 1], shape) * 10.0 ** rng.uniform(-spread / 2, spread / 2, shape)
        return values.astype(dtype)

    a, b = badly_scaled(40, K), badly_scaled(K, 50)
    magnitude = np.abs(a).astype(np.float64) @ np.abs(b)
    assert_within_bound(F.gemm(a, b), a.astype(np.float64) @ b, magnitude, K)


def test_gemm_keeps_small_terms_that_survive_cancellation(isa: str, dtype: DType) -> None:
    """Pairs of equal and opposite products leave one small term, exactly."""
    K = 64
    a = np.ones((9, 2 * K + 1), dtype)
    b = np.zeros((2 * K + 1, 20), dtype)
    b[:K], b[K : 2 * K], b[2 * K] = 1000.0, -1000.0, 3.0
    assert_exact(F.gemm(a, b), np.full((9, 20), 3.0))


def test_gemm_of_large_matrices_passes_freivalds_check(
    isa: str, dtype: DType, rng: np.random.Generator
) -> None:
    """(A B) t == A (B t) for random t: O(n^2), so sizes beyond every block are affordable."""
    M, N, K = 517, 773, 641
    a, b = rng.standard_normal((M, K)).astype(dtype), rng.standard_normal((K, N)).astype(dtype)
    t = rng.choice([-1.0, 1.0], N)
    got = F.gemm(a, b).astype(np.float64) @ t
    expected = a.astype(np.float64) @ (b.astype(np.float64) @ t)
    # One element errs by at most K * eps * |a||b|, and probably by its square root; t adds N of
    # them with random signs.
    eps = np.finfo(dtype).eps
    scale = np.linalg.norm(a, axis=1) * np.linalg.norm(b)
    assert np.all(np.abs(got - expected) <= 8 * np.sqrt(K) * eps * scale)


@pytest.mark.parametrize(
    ("N", "inputs", "outputs"), [(1, 1, 1), (5, 17, 7), (33, 64, 10), (2, 300, 40)]
)
def test_linear_and_gradients_are_exact_on_integers(
    N: int, inputs: int, outputs: int, isa: str, dtype: DType, rng: np.random.Generator
) -> None:
    x, w = integers(rng, (N, inputs), dtype), integers(rng, (outputs, inputs), dtype)
    b, g = integers(rng, (outputs,), dtype), integers(rng, (N, outputs), dtype)
    assert_exact(F.linear(x, w), reference.linear(x, w))
    assert_exact(F.linear(x, w, b), reference.linear(x, w, b))
    rectified = F.linear(x, w, b, activation="relu")
    assert_exact(rectified, reference.linear(x, w, b, activation="relu"))
    assert_exact(F.linear_backward_input(g, w), reference.linear_backward_input(g, w))
    assert_exact(F.linear_backward_weight(g, x), reference.linear_backward_weight(g, x))
    assert_exact(F.linear_backward_bias(g), reference.linear_backward_bias(g))
    assert_adjoint_exactly(lambda x: F.linear(x, w), lambda g: F.linear_backward_input(g, w), x, g)
    assert_adjoint_exactly(lambda w: F.linear(x, w), lambda g: F.linear_backward_weight(g, x), w, g)
