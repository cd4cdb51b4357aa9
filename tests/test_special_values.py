# SPDX-License-Identifier: BSD-3-Clause
"""NaN, infinities, signed zeros and denormal numbers, in every lane of a vector and in its tail.

Vector code that treats the body and the tail of a row differently gives different answers for the
same number at different places; so each value visits every position of a row that is longer than
two vectors of the widest instruction set.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

import pyconv
import reference
from calls import CALLS, Call, arrays_of
from cases import ALGORITHMS
from checks import assert_exact, assert_same_bits
from pyconv import functional as F
from reference import Array

DType = np.dtype[Any]
LANES = 16  # float32 in 512 bits
ROW = 2 * LANES + 4


def _wide() -> list[Call]:
    """Products and convolutions whose rows are longer than two vectors; pools have such rows."""
    convolution: dict[str, Any] = {"padding": 1}
    return [
        Call("gemm", lambda d, N: (d(3, ROW), d(ROW, 5)), {}, "wide_K"),
        Call("gemm", lambda d, N: (d(ROW, 3), d(3, ROW)), {}, "wide_M_N"),
        Call("gemm", lambda d, N: (d(3, ROW), d(ROW, 3)), {"trans_a": True, "trans_b": True}, "tt"),
        Call("conv2d", lambda d, N: (d(1, 2, 3, ROW), d(3, 2, 3, 3)), convolution, "wide"),
        Call("conv2d", lambda d, N: (d(1, 1, 1, 3), d(ROW, 1, 1, 1)), {}, "wide_OC"),
        Call("conv2d", lambda d, N: (d(1, 2, 3, ROW), d(2, 1, 3, 3)), {"groups": 2}, "depthwise"),
        Call(
            "conv2d_backward_weight",
            lambda d, N: (d(1, 3, 3, ROW), d(1, 2, 3, ROW), (3, 2, 3, 3)),
            convolution,
            "wide",
        ),
        Call(
            "conv2d_backward_input",
            lambda d, N: (d(1, 3, 3, ROW), d(3, 2, 1, 1), (1, 2, 3, ROW)),
            {},
            "wide",
        ),
        Call("conv2d_backward_bias", lambda d, N: (d(1, 3, 2, ROW),), {}, "wide"),
    ]


# Functions whose results show NaN wherever a NaN took part. A weight that is NaN times the zeros
# around grad_output is left open for gradients of the input: see the test of infinite weights.
LEFT_OPEN = {
    "conv1d_backward_input",
    "conv2d_backward_input",
    "conv3d_backward_input",
    "conv_transpose2d",
    "dropout",
}
NAN_CALLS = [
    call for call in [*CALLS, *_wide()] if call.function not in LEFT_OPEN or call.name == "wide"
]


def with_value(array: Array, position: int, value: float) -> Array:
    changed = array.copy()
    changed.flat[position] = value
    return changed


def positions(array: Array) -> list[int]:
    """Every place of the last row, and some places elsewhere."""
    row = array.shape[-1]
    return [*range(array.size - row, array.size), *range(0, array.size, array.size // 5 + 1)]


def float_arguments(arguments: list[Any]) -> list[int]:
    return [i for i in arrays_of(arguments) if arguments[i].dtype.kind == "f"]


@cache
def nan_masks(call_index: int) -> dict[tuple[int, int], list[Array]]:
    """Where the definition gives NaN, for a NaN at each position of each argument."""
    call = NAN_CALLS[call_index]
    arguments = call.draw(np.float32, 1)
    masks = {}
    with np.errstate(all="ignore"):
        for i in float_arguments(arguments):
            for position in positions(arguments[i]):
                changed = list(arguments)
                changed[i] = with_value(arguments[i], position, np.nan)
                masks[i, position] = [np.isnan(result) for result in call.define(changed)]
    return masks


@pytest.mark.parametrize("index", range(len(NAN_CALLS)), ids=[str(call) for call in NAN_CALLS])
def test_nan_appears_exactly_where_the_definition_has_it(
    index: int, isa: str, dtype: DType
) -> None:
    call = NAN_CALLS[index]
    arguments = call.draw(np.float32, 1)
    for i in float_arguments(arguments):
        arguments[i] = arguments[i].astype(dtype)
    for (i, position), expected in nan_masks(index).items():
        changed = list(arguments)
        changed[i] = with_value(arguments[i], position, np.nan)
        where = f"NaN at {position} of {call.names[i]}"
        for got, mask in zip(call.run(changed), expected, strict=True):
            assert_exact(np.isnan(got), mask, where)


@cache
def convolutions_with(value: float) -> list[tuple[Array, Array, Array]]:
    """Input, weight and output, with `value` at each place of one of the first two."""
    rng = np.random.default_rng(0)
    x = rng.integers(1, 5, (1, 2, 4, 7)).astype(np.float64)
    w = rng.integers(1, 5, (3, 2, 3, 3)).astype(np.float64)
    sparse = w * (w > 2)  # zero weights are multiplied, not skipped
    operands = [(x, with_value(w, position, value)) for position in range(w.size)]
    operands += [(with_value(x, position, value), sparse) for position in range(x.size)]
    with np.errstate(all="ignore"):
        return [(x, w, reference.conv2d_by_definition(x, w, padding=1)) for x, w in operands]


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_conv2d_pads_with_zeros_that_meet_infinities(
    algorithm: str, value: float, isa: str, dtype: DType
) -> None:
    """0 * Inf = NaN where a padding zero meets an infinite weight, exactly as after np.pad."""
    for x, w, expected in convolutions_with(value):
        got = F.conv2d(x.astype(dtype), w.astype(dtype), padding=1, algorithm=algorithm)
        assert_exact(got, expected)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_conv2d_backward_input_never_loses_an_infinite_weight(
    algorithm: str, isa: str, dtype: DType
) -> None:
    """Finite results are right; only where the definition has a number may NaN appear instead.

    The gradient at the border may be computed as a convolution of grad_output padded with zeros,
    which an infinite weight turns into NaN.
    """
    rng = np.random.default_rng(0)
    g = rng.integers(1, 5, (1, 3, 4, 7)).astype(dtype)
    w = rng.integers(1, 5, (3, 2, 3, 3)).astype(dtype)
    shape = (1, 2, 4, 7)
    for position in range(0, w.size, 2):
        changed = with_value(w, position, np.inf)
        got = F.conv2d_backward_input(g, changed, shape, padding=1, algorithm=algorithm)
        expected = reference.conv2d_backward_input_by_definition(g, changed, shape, padding=1)
        border = np.isnan(got) & np.isfinite(expected)
        assert not border[..., 1:-1, 1:-1].any()
        assert_exact(np.where(border, 0, got), np.where(border, 0, expected))


def test_gemm_multiplies_zeros_by_infinities(isa: str, dtype: DType) -> None:
    a, b = np.zeros((ROW, 3), dtype), np.ones((3, ROW), dtype)
    for j in range(ROW):
        changed = with_value(b, j, np.inf)
        expected = np.zeros((ROW, ROW))
        expected[:, j] = np.nan
        assert_exact(F.gemm(a, changed), expected)


@pytest.mark.parametrize("position", range(ROW))
def test_relu_of_special_values(position: int, isa: str, dtype: DType) -> None:
    for value, expected in (
        (-0.0, 0.0),
        (0.0, 0.0),
        (np.inf, np.inf),
        (-np.inf, 0.0),
        (np.finfo(dtype).smallest_subnormal, np.finfo(dtype).smallest_subnormal),
    ):
        x = with_value(np.ones(ROW, dtype), position, value)
        assert_same_bits(F.relu(x), with_value(np.ones(ROW, dtype), position, expected))


@pytest.mark.parametrize("function", ["sigmoid", "tanh", "softmax", "log_softmax"])
def test_saturating_functions_neither_overflow_nor_lose_infinities(
    function: str, isa: str, dtype: DType
) -> None:
    """Large arguments: +-1, 0 or the argument itself, never NaN."""
    huge = float(np.finfo(dtype).max)
    define: Callable[[Array], Array] = getattr(reference, function)
    for value in (1e4, -1e4, huge, -huge, *((np.inf, -np.inf) if "soft" not in function else ())):
        for position in (0, LANES - 1, LANES, ROW - 1):
            x = with_value(np.zeros((2, ROW), dtype), position, value)
            got = getattr(F, function)(x)
            with np.errstate(all="ignore"):
                expected = define(x)
            assert not np.isnan(got).any()
            np.testing.assert_allclose(got, expected, rtol=64 * np.finfo(dtype).eps, atol=1e-30)


@pytest.mark.parametrize("first", [0.0, -0.0])
def test_max_pool2d_keeps_the_sign_of_the_first_zero(first: float, isa: str, dtype: DType) -> None:
    for W in range(2, 2 * ROW, 2):
        x = np.empty((1, 1, 2, W), dtype)
        x[..., ::2], x[..., 1::2] = first, -first
        output, indices = F.max_pool2d(x, 2, return_indices=True)
        assert_same_bits(output, np.full((1, 1, 1, W // 2), first, dtype))
        assert_exact(indices.ravel(), np.arange(0, W, 2))
        assert_same_bits(F.max_pool2d(x, 2), output)


@pytest.mark.parametrize("function", ["max_pool2d", "adaptive_max_pool2d", "global_max_pool2d"])
def test_max_pools_of_nan_and_infinities_match_definition(
    function: str, isa: str, dtype: DType
) -> None:
    """Values and indices: the last NaN of a window wins, an all -inf window has its first pixel."""
    rng = np.random.default_rng(0)
    options: dict[str, tuple[Any, ...]] = {"max_pool2d": (3,), "adaptive_max_pool2d": ((2, 9),)}
    arguments = options.get(function, ())
    for _ in range(10):
        x = rng.choice([np.nan, np.inf, -np.inf, -np.inf, 1.0], (1, 2, 6, 2 * ROW)).astype(dtype)
        expected = getattr(reference, function)(x, *arguments, return_indices=True)
        got = getattr(F, function)(x, *arguments, return_indices=True)
        assert_exact(got[0], expected[0])
        assert_exact(got[1], expected[1])
        assert_exact(getattr(F, function)(x, *arguments), expected[0])


def test_denormal_numbers_are_not_flushed(isa: str, dtype: DType) -> None:
    """In products, pools and activations, on every thread."""
    tiny = np.finfo(dtype).smallest_subnormal
    n = 300
    with pyconv.num_threads(3):
        product = F.gemm(np.full((n, 1), tiny), np.ones((1, n), dtype))
        assert_same_bits(product, np.full((n, n), tiny, dtype))
        image = np.full((4, 8, 32, 32), tiny, dtype)
        assert_same_bits(F.conv2d(image, np.ones((8, 1, 1, 1), dtype), groups=8), image)
        assert_same_bits(F.max_pool2d(image, 1), image)
        assert_same_bits(F.avg_pool2d(image, 1), image)
        assert_same_bits(F.relu(image), image)
