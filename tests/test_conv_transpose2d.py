# SPDX-License-Identifier: BSD-3-Clause
"""conv_transpose2d and its gradients: by definition the adjoints of a conv2d."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from cases import ALGORITHMS, Conv2dCase, conv2d_cases, integers
from checks import (
    assert_adjoint_exactly,
    assert_exact,
    assert_trustworthy,
    assert_within_bound,
    is_trustworthy,
)
from pyconv import functional as F
from reference import Array

DType = np.dtype[Any]
SPARSE = 0.95


def options_of(case: Conv2dCase, output_padding: Any) -> dict[str, Any]:
    return {**case.options, "output_padding": output_padding}


# The case describes the transposed convolution itself: C channels in, OC channels out.
BASE = Conv2dCase(N=2, C=4, H=5, W=6, OC=6, KH=3, KW=3)
CASES = [
    (
        replace(
            BASE,
            KH=KH,
            KW=KW,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            name=f"{KH}x{KW}_s{stride}_p{padding}_d{dilation}_g{groups}",
        ),
        output_padding,
    )
    for KH, KW, stride, padding, dilation, groups, output_padding in (
        (3, 3, 1, 0, 1, 1, 0),
        (3, 3, 1, 1, 1, 1, 0),
        (3, 3, 2, 1, 1, 1, 1),
        (3, 3, 3, 1, 1, 1, (1, 2)),
        (2, 2, 2, 0, 1, 1, 0),
        (4, 4, 2, 1, 1, 1, 0),
        (4, 3, (2, 3), (1, 0), 1, 1, (0, 1)),
        (1, 1, 1, 0, 1, 1, 0),
        (1, 1, 2, 0, 1, 1, 1),
        (2, 2, 3, 0, 1, 1, 2),
        (3, 3, 2, ((1, 0), (0, 2)), 1, 1, 0),
        (3, 3, 1, 2, 2, 1, 0),
        (3, 2, 2, 1, (2, 1), 1, 1),
        (3, 3, 2, 1, 1, 2, 1),
        (3, 3, 1, 1, 1, 2, 0),
        (5, 5, 2, 2, 1, 1, 1),
        (1, 3, (1, 2), (0, 1), 1, 1, 0),
        (3, 3, 1, "same", 1, 1, 0),
        (3, 4, (2, 3), "same", (1, 2), 1, 0),
        (2, 2, 3, "same", 1, 2, 0),
        (3, 3, 2, "valid", 1, 1, 1),
    )
]
every_case = pytest.mark.parametrize(("case", "output_padding"), CASES, ids=str)


def draw(case: Conv2dCase, output_padding: Any, dtype: Any) -> tuple[Array, Array, Array, Array]:
    """Integer input, weight (C, OC // groups, KH, KW), bias and grad_output."""
    rng = case.rng()
    x = integers(rng, (case.N, case.C, case.H, case.W), dtype)
    w = integers(rng, (case.C, case.OC // case.groups, case.KH, case.KW), dtype)
    b = integers(rng, (case.OC,), dtype)
    shape = reference.conv_transpose2d(x, w, **options_of(case, output_padding)).shape
    return x, w, b, integers(rng, shape, dtype)


def assert_all_exact(case: Conv2dCase, output_padding: Any, dtype: DType) -> None:
    x, w, b, g = draw(case, output_padding, dtype)
    options = options_of(case, output_padding)
    output = reference.conv_transpose2d(x, w, b, **options)
    assert_trustworthy(output, max_zeros=SPARSE)
    grad_input = reference.conv_transpose2d_backward_input(g, w, **options)
    grad_weight = reference.conv_transpose2d_backward_weight(g, x, w.shape, **options)
    assert grad_input.shape == x.shape
    for algorithm in ALGORITHMS:
        extra = {**options, "algorithm": algorithm}
        assert_exact(F.conv_transpose2d(x, w, b, **extra), output)
        rectified = F.conv_transpose2d(x, w, b, activation="relu", **extra)
        assert_exact(rectified, np.maximum(output, 0))
        assert_exact(F.conv_transpose2d_backward_input(g, w, **extra), grad_input)
        got = F.conv_transpose2d_backward_weight(g, x, w.shape, **extra)
        assert_exact(got, grad_weight)


@every_case
def test_conv_transpose2d_is_exact_on_integers(
    case: Conv2dCase, output_padding: Any, isa: str, dtype: DType
) -> None:
    assert_all_exact(case, output_padding, dtype)


@given(case=conv2d_cases(), extra=st.integers(0, 2))
def test_conv_transpose2d_is_exact_on_any_legal_case(
    case: Conv2dCase, extra: int, isa: str, dtype: DType
) -> None:
    plain = replace(case, padding=0, H=min(case.H, 6), W=min(case.W, 9))
    stride, dilation = reference.pair(plain.stride), reference.pair(plain.dilation)
    room = min(max(s, d) - 1 for s, d in zip(stride, dilation, strict=True))
    assert_all_exact(plain, min(extra, room), dtype)


@every_case
def test_conv_transpose2d_gradients_are_exactly_adjoint(
    case: Conv2dCase, output_padding: Any, isa: str, dtype: DType
) -> None:
    x, w, _, g = draw(case, output_padding, dtype)
    options = options_of(case, output_padding)
    assert_adjoint_exactly(
        lambda x: F.conv_transpose2d(x, w, **options),
        lambda g: F.conv_transpose2d_backward_input(g, w, **options),
        x,
        g,
    )
    assert_adjoint_exactly(
        lambda w: F.conv_transpose2d(x, w, **options),
        lambda g: F.conv_transpose2d_backward_weight(g, x, w.shape, **options),
        w,
        g,
    )


@every_case
def test_conv_transpose2d_is_the_input_gradient_of_conv2d(
    case: Conv2dCase, output_padding: Any, isa: str, dtype: DType
) -> None:
    x, w, _, g = draw(case, output_padding, dtype)
    output = F.conv_transpose2d(x, w, **options_of(case, output_padding))
    expected = F.conv2d_backward_input(x, w, g.shape, **case.options)
    np.testing.assert_array_equal(output, expected)


@every_case
def test_conv_transpose2d_stays_within_bound(
    case: Conv2dCase, output_padding: Any, isa: str, dtype: DType
) -> None:
    x, w, b, _ = (
        case.rng().standard_normal(a.shape).astype(dtype) for a in draw(case, output_padding, dtype)
    )
    options = options_of(case, output_padding)
    expected = reference.conv_transpose2d(x, w, b, **options)
    magnitude = reference.conv_transpose2d(*map(np.abs, (x, w, b)), **options)
    got = F.conv_transpose2d(x, w, b, **options)
    assert_within_bound(got, expected, magnitude, case.C * case.KH * case.KW + 1)


def test_conv_transpose2d_cases_are_trustworthy() -> None:
    """Most of the table leaves few zeros, so that SPARSE is an exception for wide strides."""
    dense = [
        is_trustworthy(reference.conv_transpose2d(x, w, **options_of(case, output_padding)))
        for case, output_padding in CASES
        for x, w, _, _ in [draw(case, output_padding, np.float64)]
    ]
    assert np.mean(dense) > 0.6


@pytest.mark.parametrize("activation", [None, "relu", "relu6", "hardswish"])
@pytest.mark.parametrize("groups", [1, 2])
def test_pixels_that_no_tap_reaches_are_the_bias(
    groups: int, activation: str | None, isa: str, rng: np.random.Generator
) -> None:
    """A 1 x 1 kernel of stride 3 leaves eight of nine pixels without a product."""
    x = rng.standard_normal((2, 4, 5, 6), dtype=np.float32)
    w = rng.standard_normal((4, 3, 1, 1), dtype=np.float32)
    b = np.linspace(-7, 7, 3 * groups, dtype=np.float32)
    y = F.conv_transpose2d(x, w, b, stride=3, groups=groups, activation=activation)
    alone = F.conv_transpose2d(
        np.zeros_like(x), w, b, groups=groups, activation=activation, algorithm="im2col"
    )[0, :, 0, 0]
    for h, v in ((0, 1), (1, 0), (2, 2)):
        got = y[:, :, h::3, v::3]
        assert_exact(got, np.broadcast_to(alone[:, None, None], got.shape))
