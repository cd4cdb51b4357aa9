# SPDX-License-Identifier: BSD-3-Clause
"""Initialisers: spread, bounds, dtype, and the same numbers for the same seed."""

from typing import Any

import numpy as np
import pytest

from pyconv import init

SHAPE = (64, 32, 3, 3)  # fan_in 288, fan_out 576

# function: expected variance, and whether it is uniform.
CASES: list[tuple[Any, float, bool]] = [
    (init.he_normal, 2 / 288, False),
    (init.he_uniform, 2 / 288, True),
    (init.glorot_normal, 2 / (288 + 576), False),
    (init.glorot_uniform, 2 / (288 + 576), True),
    (init.fan_in_uniform, 1 / (3 * 288), True),
]


@pytest.mark.parametrize(("function", "variance", "uniform"), CASES)
def test_init_has_the_published_spread(
    function: Any, variance: float, uniform: bool, rng: np.random.Generator
) -> None:
    weight = function(SHAPE, rng=rng, dtype=np.float64)
    standard_error = np.sqrt(variance / weight.size)
    assert abs(weight.mean()) < 5 * standard_error
    # The variance of a sample variance is at most 2 / n of its square, the normal distribution's.
    assert abs(weight.var() / variance - 1) < 5 * np.sqrt(2 / weight.size)
    bound = np.sqrt(3 * variance)
    assert (np.abs(weight).max() <= bound) == uniform


@pytest.mark.parametrize("function", [case[0] for case in CASES])
def test_init_is_reproducible_across_dtypes(function: Any) -> None:
    double = function((4, 5), rng=np.random.default_rng(3), dtype=np.float64)
    single = function((4, 5), rng=np.random.default_rng(3))
    assert single.dtype == np.float32
    np.testing.assert_array_equal(single, double.astype(np.float32))


def test_fans_of_dense_and_convolution_weights() -> None:
    assert init.fans((10, 7)) == (7, 10)
    assert init.fans(SHAPE) == (288, 576)
    with pytest.raises(ValueError, match=r"fans: shape has 1 dimensions, got \(3,\)"):
        init.fans((3,))
