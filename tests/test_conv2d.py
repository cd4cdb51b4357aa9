# SPDX-License-Identifier: BSD-3-Clause
"""conv2d and its three gradients.

The properties that every function shares (threads, layouts, out, memory) are tested over
calls.CALLS in test_determinism.py and test_memory_safety.py.
"""

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given

import reference
from cases import ALGORITHMS, CONV2D, CONV2D_GRID, Conv2dCase, conv2d_cases
from checks import (
    assert_adjoint,
    assert_adjoint_exactly,
    assert_exact,
    assert_trustworthy,
    assert_within_bound,
    is_trustworthy,
)
from pyconv import functional as F
from reference import Array

DType = np.dtype[Any]
Results = tuple[Array, Array, Array]
every_case = pytest.mark.parametrize("case", CONV2D, ids=str)
grid_case = pytest.mark.parametrize("case", CONV2D_GRID, ids=str)
DIRECTIONS = ("conv2d", "conv2d_backward_input", "conv2d_backward_weight")
# A pixel between wide strides, or a tap that only meets padding, has gradient 0.
MAX_ZEROS = (0.3, 0.95, 0.95)


def directions(
    module: Any, case: Conv2dCase, x: Array, w: Array, g: Array, **extra: Any
) -> Results:
    """Output, grad_input and grad_weight, from the library or from the reference."""
    options = {**case.options, **extra}
    return (
        module.conv2d(x, w, **options),
        module.conv2d_backward_input(g, w, case.input_shape, **options),
        module.conv2d_backward_weight(g, x, case.weight_shape, **options),
    )


@cache
def integer_results(case: Conv2dCase) -> Results:
    x, w, _, g = case.integers(np.float64)
    return directions(reference, case, x, w, g)


def assert_all_exact(case: Conv2dCase, dtype: DType) -> None:
    """Compare every algorithm of direct summation in every direction."""
    x, w, _, g = case.integers(dtype)
    for algorithm in ALGORITHMS:
        results = directions(F, case, x, w, g, algorithm=algorithm)
        for name, got, expected in zip(DIRECTIONS, results, integer_results(case), strict=True):
            assert_exact(got, expected, f"{name}, algorithm={algorithm!r}")


@every_case
def test_conv2d_and_gradients_are_exact_on_integers(
    case: Conv2dCase, isa: str, dtype: DType
) -> None:
    for expected, max_zeros in zip(integer_results(case), MAX_ZEROS, strict=True):
        assert_trustworthy(expected, max_zeros=max_zeros)
    assert_all_exact(case, dtype)


@given(case=conv2d_cases())
def test_conv2d_and_gradients_are_exact_on_any_legal_case(
    case: Conv2dCase, isa: str, dtype: DType
) -> None:
    assume(is_trustworthy(integer_results(case)[0]))
    assert_all_exact(case, dtype)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@grid_case
def test_conv2d_epilogue_is_exact_on_integers(
    case: Conv2dCase, algorithm: str, isa: str, dtype: DType
) -> None:
    x, w, b, residual = case.integers(dtype)
    expected = integer_results(case)[0] + reference.double(b)[:, None, None]
    options = {**case.options, "algorithm": algorithm}
    assert_exact(F.conv2d(x, w, b, **options), expected)
    assert_exact(F.conv2d(x, w, b, activation="relu", **options), np.maximum(expected, 0))
    expected += residual
    y = F.conv2d(x, w, b, activation="relu", residual=residual, **options)
    assert_exact(y, np.maximum(expected, 0))


@every_case
def test_conv2d_backward_bias_is_exact_on_integers(
    case: Conv2dCase, isa: str, dtype: DType
) -> None:
    _, _, _, g = case.integers(dtype)
    assert_exact(F.conv2d_backward_bias(g), reference.conv2d_backward_bias(g))


@cache
def float_results(case: Conv2dCase, dtype: str) -> tuple[Results, Results]:
    """Three results and their magnitudes, on normally distributed numbers."""
    x, w, _, g = case.floats(dtype)
    magnitudes = directions(reference, case, np.abs(x), np.abs(w), np.abs(g))
    return directions(reference, case, x, w, g), magnitudes


@grid_case
def test_conv2d_and_gradients_stay_within_bound(case: Conv2dCase, isa: str, dtype: DType) -> None:
    x, w, _, g = case.floats(dtype)
    for algorithm in ALGORITHMS:
        results = directions(F, case, x, w, g, algorithm=algorithm)
        references = float_results(case, dtype.name)
        for got, expected, magnitude, terms in zip(results, *references, case.terms, strict=True):
            assert_within_bound(got, expected, magnitude, terms)


def adjoint_pairs(
    case: Conv2dCase, x: Array, w: Array, algorithm: str
) -> list[tuple[Any, Any, Array]]:
    """(forward, adjoint, point) of conv2d as a map of input and as a map of weight."""
    options = {**case.options, "algorithm": algorithm}
    return [
        (
            lambda x: F.conv2d(x, w, **options),
            lambda g: F.conv2d_backward_input(g, w, x.shape, **options),
            x,
        ),
        (
            lambda w: F.conv2d(x, w, **options),
            lambda g: F.conv2d_backward_weight(g, x, w.shape, **options),
            w,
        ),
    ]


@grid_case
def test_conv2d_gradients_are_adjoint(case: Conv2dCase, isa: str) -> None:
    x, w, _, g = case.floats(np.float64)
    for algorithm in ALGORITHMS:
        for forward, adjoint, point in adjoint_pairs(case, x, w, algorithm):
            assert_adjoint(forward, adjoint, point, g)


@grid_case
def test_conv2d_gradients_are_exactly_adjoint_on_integers(
    case: Conv2dCase, isa: str, dtype: DType
) -> None:
    x, w, _, g = case.integers(dtype)
    for algorithm in ALGORITHMS:
        for forward, adjoint, point in adjoint_pairs(case, x, w, algorithm):
            assert_adjoint_exactly(forward, adjoint, point, g)


def test_conv2d_forward_is_exact_on_long_sums(isa: str) -> None:
    """More than 16384 products in float32: the density rule keeps every partial sum exact."""
    case = Conv2dCase(N=1, C=2000, H=4, W=5, OC=8, KH=3, KW=3, padding=1, name="long_sum")
    assert_all_exact(case, np.dtype(np.float32))


# Few pixels, many filters and a long sum: pixels become the rows of a tile.
FEW_PIXELS = [
    Conv2dCase(N=1, C=640, H=7, W=7, OC=80, KH=1, KW=1, name="49_pixels"),
    Conv2dCase(N=1, C=64, H=7, W=7, OC=72, KH=3, KW=3, padding=1, name="3x3"),
    Conv2dCase(N=4, C=128, H=5, W=5, OC=64, KH=3, KW=3, padding=1, name="batch"),
    Conv2dCase(N=1, C=256, H=14, W=13, OC=64, KH=3, KW=3, padding=1, stride=2, name="strided"),
    Conv2dCase(N=2, C=256, H=5, W=5, OC=130, KH=3, KW=3, padding=1, groups=2, name="grouped"),
    Conv2dCase(N=1, C=300, H=1, W=1, OC=77, KH=1, KW=1, name="one_pixel"),
    *(  # every way to cut them into panels, across two images
        Conv2dCase(N=2, C=400, H=1, W=W, OC=64, KH=1, KW=1, name=f"2_times_{W}_pixels")
        for W in range(2, 27)
    ),
]


@pytest.mark.parametrize("case", FEW_PIXELS, ids=str)
def test_conv2d_of_few_pixels_is_exact_on_integers(
    case: Conv2dCase, isa: str, dtype: DType
) -> None:
    x, w, b, residual = case.integers(dtype)
    expected = integer_results(case)[0] + reference.double(b)[:, None, None]
    options = {**case.options, "algorithm": "implicit_gemm"}
    assert_exact(F.conv2d(x, w, b, **options), expected)
    cache = F.WeightCache()
    for _ in range(2):  # packed, and found packed
        assert_exact(F.conv2d(x, w, b, weight_cache=cache, **options), expected)
    y = F.conv2d(x, w, b, activation="relu", residual=residual, weight_cache=cache, **options)
    assert_exact(y, np.maximum(expected + residual, 0))
    g = residual
    assert_exact(
        F.conv2d_backward_input(g, w, case.input_shape, **options), integer_results(case)[1]
    )


def test_conv2d_backward_weight_adds_up_chunks_of_many_panels(
    isa: str, dtype: DType, rng: np.random.Generator
) -> None:
    # More pixels than a chunk has, more channels than panels that go together have on any ISA, and more
    # rows than one block.
    N, C, OC, H, W = 2, 110, 150, 100, 101
    x = rng.integers(-3, 4, (N, C, H, W)).astype(dtype)
    g = rng.integers(-3, 4, (N, OC, H, W)).astype(dtype)
    got = F.conv2d_backward_weight(g, x, (OC, C, 1, 1), algorithm="implicit_gemm")
    pixels = [array.transpose(1, 0, 2, 3).reshape(array.shape[1], -1) for array in (g, x)]
    expected = pixels[0].astype(np.float64) @ pixels[1].astype(np.float64).T
    assert_exact(got.reshape(OC, C), expected.astype(dtype))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_conv2d_backward_weight_is_stable_over_many_pixels(algorithm: str, isa: str) -> None:
    """A plain running sum over 2.6e5 pixels would use up half of float32's digits.

    The error stays below the probable growth 6 * sqrt(K) * u of a sum of K rounded products.
    """
    case = Conv2dCase(N=1, C=1, H=512, W=512, OC=2, KH=3, KW=3, padding=1, name="many_pixels")
    x, _, _, g = case.floats(np.float32)
    got = F.conv2d_backward_weight(g, x, case.weight_shape, algorithm=algorithm, **case.options)
    define = reference.conv2d_backward_weight
    expected = define(g, x, case.weight_shape, **case.options)
    magnitude = define(np.abs(g), np.abs(x), case.weight_shape, **case.options)
    assert_within_bound(got, expected, magnitude, 3 * np.sqrt(case.terms[2]) - 2)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_conv2d_padding_words_mean_zeros_around_the_image(stride: int, dtype: DType) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 10, 11)).astype(dtype)
    w = rng.standard_normal((4, 3, 4, 3)).astype(dtype)
    H, W = x.shape[2:]
    total_h = max(0, (-(-H // stride) - 1) * stride + 4 - H)
    total_w = max(0, (-(-W // stride) - 1) * stride + 3 - W)
    top, left = total_h // 2, total_w // 2
    padded = np.pad(x, ((0, 0), (0, 0), (top, total_h - top), (left, total_w - left)))
    same = F.conv2d(x, w, stride=stride, padding="same")
    assert same.shape[2:] == (-(-H // stride), -(-W // stride))
    np.testing.assert_array_equal(same, F.conv2d(padded, w, stride=stride, padding="valid"))
    np.testing.assert_array_equal(same, F.conv2d(padded, w, stride=stride))


def test_conv2d_options_take_an_int_or_a_pair(rng: np.random.Generator, dtype: DType) -> None:
    x = rng.standard_normal((2, 3, 10, 11)).astype(dtype)
    w = rng.standard_normal((4, 3, 3, 3)).astype(dtype)
    once = F.conv2d(x, w, stride=2, padding=1, dilation=2)
    pairs = F.conv2d(x, w, stride=(2, 2), padding=((1, 1), (1, 1)), dilation=(2, 2))
    np.testing.assert_array_equal(once, pairs)
    two: Any = np.int32(2)
    numpy_ints = F.conv2d(x, w, stride=[two, two], padding=[[1, 1], [1, 1]], dilation=two)
    np.testing.assert_array_equal(once, numpy_ints)


def test_conv2d_agrees_with_torch(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch", reason="torch, an independent oracle, is not installed")
    for case in CONV2D_GRID:
        if isinstance(case.padding, str) or not isinstance(case.padding, int):
            continue
        x, w, b, _ = case.floats(np.float64)
        tensors = map(torch.from_numpy, (x, w, b))
        expected = torch.nn.functional.conv2d(*tensors, **case.options).numpy()
        magnitude = reference.conv2d(*map(np.abs, (x, w, b)), **case.options)
        assert_within_bound(F.conv2d(x, w, b, **case.options), expected, magnitude, case.terms[0])
