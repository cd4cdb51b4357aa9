# SPDX-License-Identifier: BSD-3-Clause
"""The algorithm for groups of few channels, where its loops differ: test_conv2d.py has the rest."""

from functools import cache
from typing import Any

import numpy as np
import pytest

import pyconv
import reference
from cases import Conv2dCase
from checks import assert_exact, assert_same_bits, raises_naming
from pyconv import functional as F
from reference import Array

DType = np.dtype[Any]
FORCED: dict[str, Any] = {"algorithm": "depthwise"}


def _cases() -> list[Conv2dCase]:
    base = Conv2dCase(N=2, C=3, H=9, W=9, OC=3, KH=3, KW=3, padding=1, groups=3)
    cases = {}

    def add(name: str, **changes: Any) -> None:
        cases[name] = Conv2dCase(**{**vars(base), "name": name, **changes})

    for W in range(1, 36):  # every remainder of every vector, twice
        add(f"W{W}", W=W, H=5)
        add(f"W{W}_stride2", W=W, H=6, stride=2)
    for H in range(1, 17):  # rows are taken by 4 and by 7
        add(f"H{H}", H=H, W=7)
        add(f"H{H}_wide", H=H, W=18)
    for K in (1, 2, 3, 4, 5, 6, 7, 9):
        for stride in (1, 2, 3):
            for dilation in (1, 2):
                reach = dilation * (K - 1)
                add(
                    f"K{K}_s{stride}_d{dilation}",
                    KH=K,
                    KW=K,
                    H=20,
                    W=19,
                    stride=stride,
                    dilation=dilation,
                    padding=(reach // 2, (reach + 1) // 2),
                )
    for channels in (1, 2, 3, 4, 5, 8):
        for filters in (1, 2, 3, 4, 7, 8):
            for stride in (1, 2):
                name = f"channels{channels}_filters{filters}_s{stride}"
                add(name, C=2 * channels, OC=2 * filters, groups=2, W=11, stride=stride)
    for K in (
        3,
        5,
    ):  # more than one chunk of the sum, of filters by two and one, with and without bands
        for stride in (1, 2):
            for H, W in ((150, 19), (41, 53), (14, 14)):
                name = f"groups_K{K}_s{stride}_{H}x{W}"
                many = {"N": 3, "C": 4, "OC": 6, "groups": 2}
                add(name, KH=K, KW=K, padding=K // 2, stride=stride, H=H, W=W, **many)
    for K in (3, 5):
        for pad in range(K):
            for H, W in ((1, 2), (4, 5), (7, 8), (16, 17), (5, 34), (6, 97), (40, 13)):
                if H + 2 * pad >= K and W + 2 * pad >= K:
                    name = f"K{K}_pad{pad}_{H}x{W}_s2"
                    add(name, KH=K, KW=K, H=H, W=W, padding=pad, stride=2)
    add("bands_of_one_plane", N=1, C=1, OC=1, groups=1, H=45, W=14, stride=2)
    add("uneven_pads_s2", padding=((0, 1), (2, 0)), W=20, H=11, stride=2)
    add("unequal_pads", padding=((0, 2), (3, 1)), W=20)
    add("wide_pads", padding=((5, 6), (20, 21)), KH=7, KW=9, W=20)
    add("many_images", N=40, C=40, OC=40, groups=40, H=7, W=7)
    add("bands", C=2, OC=2, groups=2, H=150, W=150)
    for K in (3, 5):
        for stride in (1, 2):  # a last band of few rows, and columns that no vector ends with
            name = f"bands_K{K}_s{stride}"
            add(name, KH=K, KW=K, padding=K // 2, stride=stride, H=103, W=75, C=2, OC=2, groups=2)
    for dilation in (2, 3, 4):  # planes whose rows are every so many of those there are
        for H, W in ((9, 17), (34, 20), (70, 75)):
            for top, left in (
                (0, 0),
                (dilation, dilation),
                (2 * dilation, dilation + 1),
                (3 * dilation, 2),
            ):
                for K in (3, 5) if H > 16 else (3,):
                    name = f"dilation{dilation}_K{K}_pad{top}_{left}_{H}x{W}"
                    padding = (top, left)
                    add(name, KH=K, KW=K, H=H, W=W, padding=padding, dilation=dilation)
    for W in (1000, 1100, 4200):
        for stride in (1, 2):
            add(f"long_rows_{W}_s{stride}", H=7, W=W, C=2, OC=2, groups=2, stride=stride)
    return list(cases.values())


CASES = _cases()


@cache
def expected(case: Conv2dCase) -> tuple[Array, ...]:
    x, w, b, g = case.integers(np.float64)
    options = case.options
    return (
        reference.conv2d(x, w, b, **options),
        reference.conv2d_backward_input(g, w, x.shape, **options),
        reference.conv2d_backward_weight(g, x, w.shape, **options),
    )


@pytest.mark.parametrize("case", CASES, ids=str)
def test_results_are_exact_on_integers(case: Conv2dCase, isa: str, dtype: DType) -> None:
    x, w, b, g = case.integers(dtype)
    options = {**case.options, **FORCED}
    output, grad_input, grad_weight = expected(case)
    assert_exact(F.conv2d(x, w, b, **options), output)
    for activation in ("relu", "relu6"):
        rectified = F.conv2d(x, w, b, activation=activation, **options)
        assert_exact(rectified, np.clip(output, 0, 6 if activation == "relu6" else None))
    assert_exact(F.conv2d_backward_input(g, w, x.shape, **options), grad_input)
    assert_exact(F.conv2d_backward_weight(g, x, w.shape, **options), grad_weight)
    fused = F.conv2d(x, w, b, residual=g, activation="relu", **options)
    assert_exact(fused, np.maximum(output + g, 0))


@cache  # by definition is slow, and float64 and small integers say it for every type and instruction set
def with_special_values(case: Conv2dCase, value: float) -> list[tuple[Array, ...]]:
    """x, w and g, of which one value is `value`, for every place; and output and gradient of w."""
    x, w, _, g = case.integers(np.float64)
    w[w == 0] = 1
    results: list[tuple[Array, ...]] = []
    for array in (x, w, g):
        for place in range(array.size):
            usual = array.flat[place]
            array.flat[place] = value
            with np.errstate(all="ignore"):
                output = reference.conv2d_by_definition(x, w, **case.options)
                grad_weight = reference.conv2d_backward_weight_by_definition(
                    g, x, w.shape, **case.options
                )
            results.append((x.copy(), w.copy(), g.copy(), output, grad_weight))
            array.flat[place] = usual
    return results


# Values on either side of a row must not reach its neighbours: the copies of rows share their zeros, and
# vectors reach beyond the ends. Padding is zeros, of which an infinite weight makes NaN.
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("H", "W", "dilation"),
    [
        *((3, 1, 1), (7, 4, 1), (3, 5, 1), (4, 7, 1), (7, 8, 1), (3, 11, 1)),
        *((8, 16, 1), (3, 18, 1), (3, 33, 1), (9, 18, 2)),
    ],
)
def test_nan_and_inf_reach_exactly_what_they_should(
    H: int, W: int, dilation: int, stride: int, value: float, isa: str, dtype: DType
) -> None:
    window: dict[str, Any] = {"padding": dilation, "dilation": dilation, "stride": stride}
    case = Conv2dCase(N=1, C=2, H=H, W=W, OC=2, KH=3, KW=3, groups=2, **window)
    for arrays in with_special_values(case, value):
        x, w, g, output, grad_weight = (array.astype(dtype) for array in arrays)
        assert_exact(F.conv2d(x, w, **case.options, **FORCED), output)
        got = F.conv2d_backward_weight(g, x, w.shape, **case.options, **FORCED)
        assert_exact(got, grad_weight)


@pytest.mark.parametrize(
    ("N", "C", "channels", "H", "W"),
    [
        (1, 24, 1, 57, 57),
        (2, 64, 4, 30, 30),
        (5, 300, 1, 7, 7),
        (3, 4, 1, 160, 160),
        (1, 2, 1, 40, 40),
        (1, 2, 1, 400, 5),  # of bands of rows that are shorter than a vector
    ],
)
def test_results_have_the_same_bits_for_any_number_of_threads(
    N: int, C: int, channels: int, H: int, W: int, isa: str
) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N, C, H, W), np.float32)
    w = rng.standard_normal((C, channels, 3, 3), np.float32)
    for stride in (1, 2):
        options: dict[str, Any] = {
            "padding": 1,
            "stride": stride,
            "groups": C // channels,
            **FORCED,
        }
        results = []
        for threads in (1, 2, 3):
            with pyconv.num_threads(threads):
                y = F.conv2d(x, w, **options)
                results.append(
                    (
                        y,
                        F.conv2d_backward_input(y, w, x.shape, **options),
                        F.conv2d_backward_weight(y, x, w.shape, **options),
                    )
                )
        for other in results[1:]:
            for got, one in zip(other, results[0], strict=True):
                assert_same_bits(got, one)


def test_weight_gradient_error_does_not_grow_with_the_pixels(isa: str) -> None:
    """A float32 sum of 400,000 values, all of one sign: a single running sum loses four digits."""
    rng = np.random.default_rng(0)
    x = rng.random((4, 2, 320, 320), np.float32)
    g = rng.random((4, 2, 320, 320), np.float32)
    options: dict[str, Any] = {"padding": 1, "groups": 2}
    got = F.conv2d_backward_weight(g, x, (2, 1, 3, 3), **options, **FORCED)
    exact = F.conv2d_backward_weight(
        g.astype(np.float64), x.astype(np.float64), (2, 1, 3, 3), **options
    )
    assert np.max(np.abs(got / exact - 1)) < 2e-6


@pytest.mark.parametrize("activation", ["relu", "relu6", "hardswish"])
@pytest.mark.parametrize("algorithm", ["depthwise", "implicit_gemm", "direct", "im2col"])
@pytest.mark.parametrize("W", [5, 19])
def test_activation_is_that_of_its_function(
    algorithm: str, activation: str, W: int, isa: str, dtype: DType
) -> None:
    rng = np.random.default_rng(0)
    x = 3 * rng.standard_normal((2, 6, 9, W)).astype(dtype)
    w = rng.standard_normal((6, 2, 3, 3)).astype(dtype)
    options: dict[str, Any] = {"padding": 1, "groups": 3, "algorithm": algorithm}
    expected = getattr(F, activation)(F.conv2d(x, w, **options))
    assert_same_bits(F.conv2d(x, w, activation=activation, **options), expected)
    b = rng.standard_normal(6).astype(dtype)
    options = {"padding": 1, "stride": 2, "algorithm": algorithm}
    for groups, weight in ((3, w), (6, w[:, :1])):
        expected = getattr(F, activation)(
            F.conv_transpose2d(x, weight, b, groups=groups, **options)
        )
        got = F.conv_transpose2d(x, weight, b, activation=activation, groups=groups, **options)
        assert_same_bits(got, expected)


@pytest.mark.parametrize("C", [1, 4, 8])
def test_auto_takes_it_for_groups_of_few_channels(C: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 8 * C, 12, 12), np.float32)
    w = rng.standard_normal((8 * C, C, 5, 5), np.float32)
    options: dict[str, Any] = {"padding": 2, "groups": 8}
    assert_same_bits(F.conv2d(x, w, **options), F.conv2d(x, w, **options, **FORCED))
    with pyconv.precise():
        assert_same_bits(F.conv2d(x, w, **options), F.conv2d(x, w, **options, **FORCED))


def test_says_where_it_does_not_apply() -> None:
    x, w = np.ones((1, 2, 4, 4, 4)), np.ones((2, 1, 3, 3, 3))
    raises_naming(lambda: F.conv3d(x, w, groups=2, **FORCED), "algorithm")
    wide = np.ones((1, 1, 1, 1 << 20))
    raises_naming(
        lambda: F.conv2d(wide, np.ones((1, 1, 1, 2)), dilation=1 << 19, **FORCED), "algorithm"
    )


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("K", [3, 5])
@pytest.mark.parametrize("shape", [(0, 3, 5, 5), (2, 3, 0, 5), (2, 3, 5, 0)])
def test_empty_batches_and_maps_have_empty_or_zero_gradients(
    shape: tuple[int, int, int, int], K: int, stride: int, isa: str
) -> None:
    x, w = np.ones(shape, np.float32), np.ones((3, 1, K, K), np.float32)
    options: dict[str, Any] = {"padding": K - 1, "stride": stride, "groups": 3, **FORCED}
    y = F.conv2d(x, w, **options)
    assert F.conv2d_backward_input(y, w, x.shape, **options).shape == shape
    np.testing.assert_array_equal(F.conv2d_backward_weight(y, x, w.shape, **options), 0 * w)
