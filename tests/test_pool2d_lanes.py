# SPDX-License-Identifier: BSD-3-Clause
"""Usual windows at every width: the vectors at the ends of rows, and special values in each lane.

A vector at the end of a row goes on into the next row or plane, so each width has several of both.
"""

from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest

import reference
from buffers import HAS_GUARD_PAGES, guarded
from checks import assert_exact, assert_same_bits
from pyconv import functional as F
from reference import Array

DType = np.dtype[Any]
LANES = 16  # float32 in 512 bits
WIDTHS = range(1, 2 * LANES + 2)
ROWS = 5
SPECIAL = (np.nan, np.inf, -np.inf)

# Windows that have code of their own, and some that go by the general one.
WINDOWS: dict[str, tuple[Any, dict[str, Any]]] = {
    "2x2_s2": (2, {}),
    "3x3_s2_p1": (3, {"stride": 2, "padding": 1}),
    "3x3_s2": (3, {"stride": 2}),
    "3x3_s2_ceil": (3, {"stride": 2, "ceil_mode": True}),
    "3x3_s1_p1": (3, {"stride": 1, "padding": 1}),
    "5x5_s2_p2": (5, {"stride": 2, "padding": 2}),
    "3x3_s3_p1": (3, {"padding": 1}),
    "2x2_s1_same": (2, {"stride": 1, "padding": "same"}),
}
every_window = pytest.mark.parametrize("name", WINDOWS)


def fits(name: str, W: int) -> bool:
    size, options = WINDOWS[name]
    padding = options.get("padding", 0)
    return bool(padding == "same" or W + 2 * padding >= size)


@cache
def planes(W: int) -> Array:
    """Planes full of ties, one for each special value at each place of a row, the row varying."""
    rng = np.random.default_rng(W)
    x = rng.integers(-1, 2, (len(SPECIAL), W, ROWS, W)).astype(np.float64)
    for (i, value), w in product(enumerate(SPECIAL), range(W)):
        x[i, w, (i + w) % ROWS, w] = value
    # Two NaNs, and planes with nothing but the smallest value.
    x[0, :, -1, W // 2] = np.nan
    x[2, -1] = -np.inf
    return x


@cache
def max_reference(name: str, W: int) -> Any:
    size, options = WINDOWS[name]
    return reference.max_pool2d(planes(W), size, return_indices=True, **options)


@every_window
def test_max_pool2d_is_exact_at_every_width(name: str, isa: str, dtype: DType) -> None:
    """Values, indices and gradients: ties, NaN and infinities in each lane."""
    size, options = WINDOWS[name]
    for W in filter(lambda W: fits(name, W), WIDTHS):
        x = planes(W).astype(dtype)
        output, indices = max_reference(name, W)
        got, where = F.max_pool2d(x, size, return_indices=True, **options)
        assert_exact(got, output, f"W = {W}")
        assert_exact(where, indices, f"W = {W}")
        assert_exact(F.max_pool2d(x, size, **options), output, f"W = {W}")
        g = np.random.default_rng(W).integers(-9, 10, output.shape).astype(dtype)
        expected = reference.max_pool2d_backward(g, indices, x.shape)
        assert_exact(F.max_pool2d_backward(g, where, x.shape), expected, f"W = {W}")


@cache
def average_reference(name: str, W: int, count_include_pad: bool) -> tuple[Array, Array, Array]:
    """Return averages, a gradient, and what it gives: multiples of every divisor, so exact."""
    size, options = WINDOWS[name]
    with np.errstate(invalid="ignore"):
        x = planes(W)
        output = reference.avg_pool2d(x, size, count_include_pad=count_include_pad, **options)
        g = np.random.default_rng(W).integers(-9, 10, output.shape) * 3600.0
        g[:, :, 0, :: output.shape[3] // 3 + 1] = np.array(SPECIAL).reshape(3, 1, 1)
        back = reference.avg_pool2d_backward(
            g, x.shape, size, count_include_pad=count_include_pad, **options
        )
    return output, g, back


@every_window
@pytest.mark.parametrize("count_include_pad", [True, False])
def test_avg_pool2d_is_exact_at_every_width(
    name: str, count_include_pad: bool, isa: str, dtype: DType
) -> None:
    """Integers divided once: the rounding of a quotient of exact numbers."""
    size, options = WINDOWS[name]
    options = {**options, "count_include_pad": count_include_pad}
    for W in filter(lambda W: fits(name, W), WIDTHS):
        x = planes(W).astype(dtype)
        output, g, back = average_reference(name, W, count_include_pad)
        assert_exact(F.avg_pool2d(x, size, **options), output.astype(dtype), f"W = {W}")
        got = F.avg_pool2d_backward(g.astype(dtype), x.shape, size, **options)
        assert_exact(got, back.astype(dtype), f"W = {W}")


def test_global_pools_are_exact_at_every_size(isa: str, dtype: DType) -> None:
    for W in (*WIDTHS, 50, 64, 70):
        x = planes(W)[:, :, :1].astype(dtype)
        output, indices = reference.global_max_pool2d(x, return_indices=True)
        got, where = F.global_max_pool2d(x, return_indices=True)
        assert_exact(got, output, f"W = {W}")
        assert_exact(where, indices, f"W = {W}")
        assert_exact(F.global_max_pool2d(x), output, f"W = {W}")
        with np.errstate(invalid="ignore"):
            average = reference.global_avg_pool2d(x).astype(dtype)
        assert_exact(F.global_avg_pool2d(x), average, f"W = {W}")


def cell_indices(rng: np.random.Generator, H: int, W: int, planes: int) -> Array:
    """Draw indices as 2 x 2 windows at stride 2 have them."""
    oh, ow = np.ogrid[: H // 2, : W // 2]
    h, w = rng.integers(0, 2, (2, planes, 1, H // 2, W // 2))
    return np.asarray((2 * oh + h) * W + 2 * ow + w, np.int32)


def add_at(g: Array, indices: Array, shape: tuple[int, ...]) -> Array:
    """Add in the order of the outputs, in the dtype of g."""
    result = np.zeros((shape[0], shape[1], shape[2] * shape[3]), g.dtype)
    for n, c, oh, ow in np.ndindex(g.shape):
        if indices[n, c, oh, ow] >= 0:
            result[n, c, indices[n, c, oh, ow]] += g[n, c, oh, ow]
    return result.reshape(shape)


@pytest.mark.parametrize("H", [4, 5])
def test_max_pool2d_backward_of_2x2_cells_has_the_bits_of_a_sum(
    H: int, isa: str, dtype: DType, rng: np.random.Generator
) -> None:
    """Whatever is between the indices that suit whole vectors: -1, other pixels, signed zeros."""
    for W in range(2, 2 * LANES + 4):
        shape = (3, 1, H, W)
        indices = cell_indices(rng, H, W, 3)
        g = rng.standard_normal(indices.shape).astype(dtype)
        g[rng.random(g.shape) < 0.3] = -0.0
        assert_same_bits(F.max_pool2d_backward(g, indices, shape), add_at(g, indices, shape))
        for value in (-1, 0, W - 1, W, H * W - 1):
            changed = indices.copy()
            changed[1, 0, rng.integers(H // 2), rng.integers(W // 2)] = value
            got = F.max_pool2d_backward(g, changed, shape)
            assert_same_bits(got, add_at(g, changed, shape))


def test_max_pool2d_backward_finds_a_wrong_index_between_2x2_cells(
    isa: str, dtype: DType, rng: np.random.Generator
) -> None:
    H, W = 4, 38
    for value in (-2, H * W, 2**31 - 1, -(2**31)):
        for ow in range(W // 2):
            indices = cell_indices(rng, H, W, 2)
            indices[1, 0, 1, ow] = value
            with pytest.raises(ValueError, match=f"indices holds .* got {value};"):
                F.max_pool2d_backward(np.ones(indices.shape, dtype), indices, (2, 1, H, W))


@pytest.mark.skipif(not HAS_GUARD_PAGES, reason="needs mprotect")
@every_window
@pytest.mark.parametrize("at_end", [True, False])
def test_pools_touch_no_memory_outside_at_any_width(
    name: str, at_end: bool, isa: str, dtype: DType
) -> None:
    """Every array ends, or begins, at a page that may not be touched."""
    size, options = WINDOWS[name]
    for W in filter(lambda W: fits(name, W), WIDTHS):
        x = guarded(np.ones((1, 2, ROWS, W), dtype), at_end=at_end)
        y, indices = F.max_pool2d(x, size, return_indices=True, **options)
        out = guarded(np.empty_like(y), at_end=at_end)
        assert_exact(F.max_pool2d(x, size, out=out, **options), y)
        F.max_pool2d(x, size, out=out, return_indices=True, **options)
        F.avg_pool2d(x, size, out=out, **options)
        back = guarded(np.empty_like(x), at_end=at_end)
        F.avg_pool2d_backward(out, x.shape, size, out=back, **options)
        F.max_pool2d_backward(out, guarded(indices, at_end=at_end), x.shape, out=back)


@pytest.mark.parametrize("pixels", [1, 2, 4, 7, 8, 9, 15, 16, 17, 49, 64, 65, 128, 129])
def test_windows_of_whole_planes(pixels: int, isa: str, dtype: DType) -> None:
    """Planes are reduced side by side: each number of them, and special values at each place."""
    rng = np.random.default_rng(pixels)
    for count in (1, 2, LANES - 1, LANES + 1):
        x = rng.integers(-9, 10, (1, count, 1, pixels)).astype(dtype)
        assert_exact(F.global_max_pool2d(x), x.max(3, keepdims=True))
        average = x.sum(3, keepdims=True) / dtype.type(pixels)
        assert_exact(F.global_avg_pool2d(x), average)
        assert_exact(F.avg_pool2d(x, (1, pixels), divisor_override=2), x.sum(3, keepdims=True) / 2)
    for value, place in product(SPECIAL, range(pixels)):
        changed = x.copy()
        changed[0, place % count, 0, place] = value
        assert_exact(F.global_max_pool2d(changed), changed.max(3, keepdims=True))
        assert_exact(
            F.global_avg_pool2d(changed), changed.sum(3, keepdims=True) / dtype.type(pixels)
        )
