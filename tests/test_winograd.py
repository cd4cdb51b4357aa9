# SPDX-License-Identifier: BSD-3-Clause
"""Winograd's algorithm, its choice, `precise`, and the cache of transformed weights."""

import copy
import pickle
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pyconv
from checks import assert_exact, assert_same_bits
from pyconv import functional as F
from reference import Array

DType = np.dtype[Any]
Padding: TypeAlias = int | tuple[tuple[int, int], tuple[int, int]]
# N, C, H, W, OC, padding, groups
Shape: TypeAlias = tuple[int, int, int, int, int, Padding, int]

SHAPES: list[Shape] = [
    (2, 5, 9, 11, 7, 1, 1),
    (1, 16, 14, 14, 40, 1, 1),
    (3, 20, 7, 7, 33, 0, 1),
    (2, 8, 10, 17, 64, 2, 2),
    (1, 1, 5, 5, 1, 0, 1),
    (1, 3, 5, 4, 2, ((0, 2), (1, 0)), 1),
    (2, 3, 8, 9, 5, ((1, 0), (2, 2)), 1),
    (1, 70, 13, 300, 18, 1, 1),
    (40, 400, 4, 4, 16, 1, 1),
    (2, 4, 3, 3, 4, 4, 4),
]
DIRECTIONS = ("forward", "backward_input", "backward_weight")
# Kernel size and stride.
FORMS = [(3, 1), (5, 1), (3, 2)]
every_form = pytest.mark.parametrize(("kernel", "stride"), FORMS)


def run(direction: str, x: Array, w: Array, g: Array, **options: Any) -> Array:
    if direction == "forward":
        return F.conv2d(x, w, **options)
    if direction == "backward_input":
        return F.conv2d_backward_input(g, w, x.shape, **options)
    return F.conv2d_backward_weight(g, x, w.shape, **options)


def draw(
    N: int,
    C: int,
    H: int,
    W: int,
    OC: int,
    padding: Padding,
    groups: int,
    dtype: DType,
    kernel: int = 3,
    stride: int = 1,
) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N, C, H, W)).astype(dtype)
    w = rng.standard_normal((OC, C // groups, kernel, kernel)).astype(dtype)
    shape = F.conv2d(x, w, padding=padding, groups=groups, stride=stride).shape
    return x, w, rng.standard_normal(shape).astype(dtype)


def assert_close(got: Any, expected: Any) -> None:
    """Compare on the scale of the largest value: a tile spreads its error over its outputs."""
    scale = np.abs(expected).max()
    assert scale > 0
    assert np.abs(got - expected).max() <= 100 * np.finfo(got.dtype).eps * scale


@every_form
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_winograd_agrees_with_float64(
    shape: Shape, direction: str, kernel: int, stride: int, isa: str, dtype: DType
) -> None:
    x, w, g = draw(*shape, dtype, kernel, stride)
    options: dict[str, Any] = {"padding": shape[5], "groups": shape[6], "stride": stride}
    x8, w8, g8 = (a.astype(np.float64) for a in (x, w, g))
    expected = run(direction, x8, w8, g8, algorithm="im2col", **options)
    assert_close(run(direction, x, w, g, algorithm="winograd", **options), expected)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_stride_2_is_exact_on_integers(
    shape: Shape, direction: str, isa: str, dtype: DType
) -> None:
    """Its transforms only add."""
    x, w, g = (np.rint(array) for array in draw(*shape, dtype, 3, 2))
    options: dict[str, Any] = {"padding": shape[5], "groups": shape[6], "stride": 2}
    expected = run(direction, x, w, g, algorithm="im2col", **options)
    assert_exact(run(direction, x, w, g, algorithm="winograd", **options), expected)


@every_form
@pytest.mark.parametrize(("C", "OC"), [(0, 3), (3, 0), (0, 0)])
def test_winograd_without_channels(C: int, OC: int, kernel: int, stride: int) -> None:
    x, w, g = draw(2, C, 8, 9, OC, 1, 1, np.dtype(np.float32), kernel, stride)
    options: dict[str, Any] = {"padding": 1, "stride": stride, "algorithm": "winograd"}
    bias = np.arange(OC, dtype=np.float32)
    assert_exact(F.conv2d(x, w, bias, **options), bias[:, None, None] + np.zeros_like(g))
    assert_exact(run("backward_input", x, w, g, **options), np.zeros_like(x))
    assert_exact(run("backward_weight", x, w, g, **options), np.zeros_like(w))


@given(
    sizes=st.tuples(*(st.integers(1, high) for high in (3, 20, 20, 20, 20))),
    pads=st.tuples(*[st.integers(0, 3)] * 4),
    form=st.sampled_from(FORMS),
    direction=st.sampled_from(DIRECTIONS),
)
def test_winograd_agrees_on_any_legal_shape(
    sizes: tuple[int, int, int, int, int],
    pads: tuple[int, int, int, int],
    form: tuple[int, int],
    direction: str,
    isa: str,
) -> None:
    N, C, H, W, OC = sizes
    kernel, stride = form
    padding = (pads[:2], pads[2:])
    H, W = max(H, kernel - sum(pads[:2])), max(W, kernel - sum(pads[2:]))
    x, w, g = draw(N, C, H, W, OC, padding, 1, np.dtype(np.float64), kernel, stride)
    options: dict[str, Any] = {"padding": padding, "stride": stride}
    expected = run(direction, x, w, g, algorithm="im2col", **options)
    got = run(direction, x, w, g, algorithm="winograd", **options)
    assert np.abs(got - expected).max() <= 1e-12 * max(1, np.abs(expected).max())


@every_form
def test_winograd_gradients_are_adjoint(kernel: int, stride: int, isa: str) -> None:
    x, w, g = draw(2, 18, 9, 10, 21, 1, 1, np.dtype(np.float64), kernel, stride)
    options: dict[str, Any] = {"padding": 1, "stride": stride}
    y, gx, gw = (run(d, x, w, g, algorithm="winograd", **options) for d in DIRECTIONS)
    magnitude = run("forward", np.abs(x), np.abs(w), g, **options)
    for a, b in ((x, gx), (w, gw)):
        difference = float(np.vdot(a, b)) - float(np.vdot(y, g))
        assert abs(difference) <= 1e-12 * float(np.vdot(magnitude, np.abs(g)))


def rms(a: Any) -> float:
    return float(np.linalg.norm(a.astype(np.float64)) / np.sqrt(a.size))


@every_form
@pytest.mark.parametrize("C", [64, 512])
@pytest.mark.parametrize("direction", ["forward", "backward_input"])
def test_winograd_keeps_its_error_budget(direction: str, C: int, kernel: int, stride: int) -> None:
    """The rms error is at most 3 times that of direct summation, the largest 4 times."""
    x, w, g = draw(1, C, 24, 24, C, kernel // 2, 1, np.dtype(np.float32), kernel, stride)
    options: dict[str, Any] = {"padding": kernel // 2, "stride": stride}
    expected = run(
        direction, *(a.astype(np.float64) for a in (x, w, g)), algorithm="im2col", **options
    )
    error, direct = (
        run(direction, x, w, g, algorithm=algorithm, **options) - expected
        for algorithm in ("winograd", "implicit_gemm")
    )
    assert rms(error) <= 3 * rms(direct)
    assert float(np.abs(error).max()) <= 4 * float(np.abs(direct).max())


@pytest.mark.parametrize(("kernel", "stride", "size"), [(3, 1, 56), (5, 1, 56), (3, 2, 111)])
def test_winograd_weight_gradient_keeps_its_error_budget(
    kernel: int, stride: int, size: int
) -> None:
    """Over 4e5 pixels the rms error stays below 6 times that of chunked direct summation."""
    padding = kernel // 2
    x, w, g = draw(128, 8, size, size, 8, padding, 1, np.dtype(np.float32), kernel, stride)
    options: dict[str, Any] = {"padding": padding, "stride": stride}
    expected = F.conv2d_backward_weight(
        g.astype(np.float64), x.astype(np.float64), w.shape, algorithm="implicit_gemm", **options
    )
    error, direct = (
        F.conv2d_backward_weight(g, x, w.shape, algorithm=algorithm, **options) - expected
        for algorithm in ("winograd", "implicit_gemm")
    )
    assert rms(error) <= 6 * rms(direct)


@every_form
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_winograd_loses_no_special_value(
    direction: str, value: float, kernel: int, stride: int, isa: str, dtype: DType
) -> None:
    """It may spread over a tile, but reaches whatever depends on it."""
    rng = np.random.default_rng(1)
    options: dict[str, Any] = {"padding": 1, "stride": stride}
    for _ in range(10):
        x, w, g = draw(1, 18, 11, 10, 19, 1, 1, dtype, kernel, stride)
        changed = x if direction == "forward" else g
        changed[tuple(rng.integers(changed.shape))] = value
        expected = run(direction, x, w, g, algorithm="implicit_gemm", **options)
        got = run(direction, x, w, g, algorithm="winograd", **options)
        assert not np.isfinite(got[~np.isfinite(expected)]).any()


@every_form
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("shape", [(1, 64, 7, 7, 64), (2, 32, 28, 28, 40), (1, 24, 100, 100, 24)])
def test_winograd_does_not_depend_on_threads(
    shape: tuple[int, int, int, int, int], direction: str, kernel: int, stride: int
) -> None:
    x, w, g = draw(*shape, 1, 1, np.dtype(np.float32), kernel, stride)
    options: dict[str, Any] = {"padding": 1, "stride": stride, "algorithm": "winograd"}
    results = []
    for threads in (1, 2, 3):
        with pyconv.num_threads(threads):
            results.append(run(direction, x, w, g, **options))
    assert_same_bits(results[0], results[1])
    assert_same_bits(results[0], results[2])


@every_form
@pytest.mark.parametrize("algorithm", ["winograd", "implicit_gemm", "direct", "im2col"])
@pytest.mark.parametrize("shape", [(2, 18, 9, 35, 21), (1, 500, 7, 7, 19)], ids=str)
def test_residual_is_added_before_the_activation(
    shape: tuple[int, int, int, int, int],
    algorithm: str,
    kernel: int,
    stride: int,
    isa: str,
    dtype: DType,
) -> None:
    x, w, residual = draw(*shape, 1, 1, dtype, kernel, stride)
    options: dict[str, Any] = {"padding": 1, "stride": stride, "algorithm": algorithm}
    bias = residual[0, :, 0, 0].copy()
    plain = F.conv2d(x, w, bias, **options)
    got = F.conv2d(x, w, bias, residual=residual, activation="relu", **options)
    assert_close(got, np.maximum(plain + residual, 0))


def test_precise_forbids_winograd() -> None:
    x, w, g = draw(1, 64, 28, 28, 64, 1, 1, np.dtype(np.float32))
    for direction in DIRECTIONS:
        exact = run(direction, x, w, g, padding=1, algorithm="direct")
        assert np.any(run(direction, x, w, g, padding=1) != exact)
        with pyconv.precise():
            got = run(direction, x, w, g, padding=1)
            with pytest.raises(ValueError, match="algorithm is forbidden"):
                run(direction, x, w, g, padding=1, algorithm="winograd")
        np.testing.assert_allclose(got, exact, atol=2e-4, rtol=2e-5)
        assert np.any(run(direction, x, w, g, padding=1) != exact)


@pytest.mark.parametrize(
    "options",
    [
        {"stride": 3},
        {"stride": (1, 2)},
        {"stride": 2, "kernel": 5},
        {"dilation": 2},
        {"kernel": 7},
        {"kernel": 4},
    ],
    ids=str,
)
def test_winograd_says_what_it_cannot_do(options: dict[str, Any]) -> None:
    options = dict(options)
    kernel = options.pop("kernel", 3)
    x, w = np.zeros((1, 1, 9, 9)), np.zeros((1, 1, kernel, kernel))
    with pytest.raises(ValueError, match="conv2d: algorithm does not apply, got 'winograd'"):
        F.conv2d(x, w, algorithm="winograd", **options)


@pytest.mark.parametrize("algorithm", ["auto", "winograd", "implicit_gemm", "direct"])
def test_weight_cache_changes_nothing(algorithm: str, isa: str) -> None:
    x, w, _ = draw(1, 32, 20, 20, 40, 1, 1, np.dtype(np.float32))
    cache = F.WeightCache()
    first, second = (
        F.conv2d(x, w, padding=1, algorithm=algorithm, weight_cache=cache) for _ in range(2)
    )
    assert_same_bits(first, second)
    assert_close(first, F.conv2d(x, w, padding=1, algorithm="im2col"))
    # It is the cache that is read: the old weight's, until it is cleared.
    stale = F.conv2d(x, -w, padding=1, algorithm=algorithm, weight_cache=cache)
    assert_same_bits(first, stale)
    cache.clear()
    assert_same_bits(-first, F.conv2d(x, -w, padding=1, algorithm=algorithm, weight_cache=cache))
    with pytest.raises(TypeError, match="conv2d: weight_cache is of the wrong type"):
        F.conv2d(x, w, weight_cache={})  # type: ignore[arg-type]


def test_layer_forgets_the_cache_when_its_weight_changes() -> None:
    rng = np.random.default_rng(0)
    layer = pyconv.Conv2d(32, 32, 3, padding=1, rng=rng)
    x = rng.standard_normal((1, 32, 20, 20)).astype(np.float32)
    layer.eval()
    before = layer(x)
    assert_same_bits(before, layer(x))
    layer.weight.value *= 2
    layer.weight.bump()
    assert np.any(layer(x) != before)
    layer.weight.value = layer.weight.value / 2
    assert_same_bits(before, layer(x))
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert_same_bits(before, other(x))
