# SPDX-License-Identifier: BSD-3-Clause
"""im2col copies, col2im adds back: exact for any numbers, and adjoint to each other."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given

import reference
from cases import CONV2D_GRID, Conv2dCase, conv2d_cases, integers
from checks import assert_adjoint_exactly, assert_exact
from pyconv import functional as F

DType = np.dtype[Any]
every_case = pytest.mark.parametrize("case", CONV2D_GRID, ids=str)


def window_options(case: Conv2dCase) -> dict[str, Any]:
    return {name: value for name, value in case.options.items() if name != "groups"}


@every_case
def test_im2col_matches_definition(case: Conv2dCase, isa: str, dtype: DType) -> None:
    x = case.floats(dtype)[0]
    options = window_options(case)
    kernel_size = (case.KH, case.KW)
    expected = reference.im2col(x, kernel_size, **options)
    got = F.im2col(x, kernel_size, **options)
    assert got.dtype == dtype
    assert_exact(got, expected)


@every_case
def test_col2im_is_exact_on_integers(case: Conv2dCase, isa: str, dtype: DType) -> None:
    options = window_options(case)
    kernel_size = (case.KH, case.KW)
    shape = reference.im2col(np.zeros(case.input_shape), kernel_size, **options).shape
    columns = integers(case.rng(), shape, dtype)
    expected = reference.col2im(columns, case.input_shape, kernel_size, **options)
    assert_exact(F.col2im(columns, case.input_shape, kernel_size, **options), expected)


@given(case=conv2d_cases())
def test_col2im_is_exactly_adjoint_to_im2col(case: Conv2dCase, isa: str, dtype: DType) -> None:
    options = window_options(case)
    kernel_size = (case.KH, case.KW)
    x = np.abs(integers(case.rng(), case.input_shape, dtype))
    columns = F.im2col(x, kernel_size, **options)
    if not columns.any():
        return  # Every tap meets padding; nothing to compare.
    assert_adjoint_exactly(
        lambda x: F.im2col(x, kernel_size, **options),
        lambda y: F.col2im(y, x.shape, kernel_size, **options),
        x,
        np.abs(integers(case.rng(), columns.shape, dtype)),
    )


def test_conv2d_is_a_product_with_im2col(rng: np.random.Generator, dtype: DType) -> None:
    """The textbook identity, on integers and therefore exact."""
    x, w = integers(rng, (2, 3, 9, 10), dtype), integers(rng, (5, 3, 3, 2), dtype)
    options: dict[str, Any] = {"stride": 2, "padding": 1, "dilation": 2}
    columns = F.im2col(x, (3, 2), **options)
    output = F.conv2d(x, w, **options)
    assert_exact(output, (w.reshape(5, -1) @ columns).reshape(output.shape))
