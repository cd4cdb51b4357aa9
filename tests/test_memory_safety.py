# SPDX-License-Identifier: BSD-3-Clause
"""Reads stay inside the inputs, writes inside `out`, and all of `out` is written."""

from typing import Any

import numpy as np
import pytest

from buffers import HAS_GUARD_PAGES, canary, guarded
from calls import CALLS, Call, arrays_of
from cases import CONV2D, MAX_POOL2D, Conv2dCase, Pool2dCase
from checks import assert_same_bits
from pyconv import functional as F

DType = np.dtype[Any]
every_call = pytest.mark.parametrize("call", CALLS, ids=str)
call_with_out = pytest.mark.parametrize("call", [c for c in CALLS if c.takes_out], ids=str)
needs_guard_pages = pytest.mark.skipif(
    not HAS_GUARD_PAGES, reason="mprotect of an mmap is only used on Linux"
)
both_ends = pytest.mark.parametrize("at_end", [True, False], ids=["end", "begin"])
BATCHES = (1, 2, 3)


@call_with_out
def test_out_is_returned_and_written_completely(call: Call, isa: str, dtype: DType) -> None:
    """Whatever it held before, and nothing around it."""
    for N in BATCHES:
        arguments = call.draw(dtype, N)
        expected = call.run(arguments)[0]
        for fill in (np.nan, np.inf, 1.0):
            out, assert_margins_intact = canary(expected.shape, dtype, fill)
            returned = getattr(F, call.function)(*arguments, **call.options, out=out)
            assert (returned[0] if isinstance(returned, tuple) else returned) is out
            assert_same_bits(out, expected)
            assert_margins_intact()


@every_call
def test_inputs_are_left_unchanged(call: Call, isa: str, dtype: DType) -> None:
    arguments = call.draw(dtype, 3)
    intact = []
    for i in arrays_of(arguments):
        array, assert_margins_intact = canary(arguments[i].shape, arguments[i].dtype, 0)
        array[...] = arguments[i]
        arguments[i] = array
        intact.append((array, array.copy(), assert_margins_intact))
    call.run(arguments)
    for array, copy, assert_margins_intact in intact:
        assert_same_bits(array, copy)
        assert_margins_intact()


@every_call
def test_result_is_no_view_of_an_input(call: Call, dtype: DType) -> None:
    arguments = call.draw(dtype)
    for result in call.run(arguments):
        assert type(result) is np.ndarray
        assert not any(np.shares_memory(result, arguments[i]) for i in arrays_of(arguments))
        assert result.flags.writeable


@needs_guard_pages
@both_ends
@every_call
def test_no_operand_is_touched_outside(call: Call, at_end: bool, isa: str, dtype: DType) -> None:
    """Every operand abuts a page that faults; a fault ends the process, with pytest's traceback."""
    for N in BATCHES:
        arguments = call.draw(dtype, N)
        expected = call.run(arguments)
        for i in arrays_of(arguments):
            arguments[i] = guarded(arguments[i], at_end=at_end)
        extra = {}
        if call.takes_out:
            extra["out"] = guarded(np.full_like(expected[0], np.nan), at_end=at_end)
        for got, plain in zip(call.run(arguments, **extra), expected, strict=True):
            assert_same_bits(got, plain)


@needs_guard_pages
@both_ends
@pytest.mark.parametrize("case", CONV2D, ids=str)
def test_conv2d_touches_nothing_outside(case: Conv2dCase, at_end: bool, isa: str) -> None:
    """The whole grid, all directions, both algorithms."""
    arrays = (guarded(array, at_end=at_end) for array in case.floats(np.float32))
    x, w, b, g = arrays
    for algorithm in ("im2col", "implicit_gemm", "direct", "depthwise"):
        options = {**case.options, "algorithm": algorithm}
        out = guarded(np.full_like(g, np.nan), at_end=at_end)
        grad_x = guarded(np.full_like(x, np.nan), at_end=at_end)
        grad_w = guarded(np.full_like(w, np.nan), at_end=at_end)
        F.conv2d(x, w, b, out=out, **options)
        F.conv2d_backward_input(g, w, x.shape, out=grad_x, **options)
        F.conv2d_backward_weight(g, x, w.shape, out=grad_w, **options)
        assert not any(np.isnan(result).any() for result in (out, grad_x, grad_w))


@needs_guard_pages
@both_ends
@pytest.mark.parametrize("case", MAX_POOL2D, ids=str)
def test_pools_touch_nothing_outside(case: Pool2dCase, at_end: bool, isa: str) -> None:
    x = guarded(case.rng().standard_normal(case.shape).astype(np.float32), at_end=at_end)
    output, indices = F.max_pool2d(x, case.kernel_size, return_indices=True, **case.options)
    g, where = guarded(output, at_end=at_end), guarded(indices, at_end=at_end)
    F.max_pool2d_backward(g, where, x.shape, out=guarded(x, at_end=at_end))
    if case.options.get("dilation", 1) == 1:
        options = {name: value for name, value in case.options.items() if name != "dilation"}
        F.avg_pool2d(x, case.kernel_size, out=g, **options)
        F.avg_pool2d_backward(
            g, x.shape, case.kernel_size, out=guarded(x, at_end=at_end), **options
        )
