# SPDX-License-Identifier: BSD-3-Clause
"""The same bits whatever the threads, the alignment, the strides, the batch and the repetition."""

from typing import Any

import numpy as np
import pytest

import pyconv
from buffers import CACHE_LINE, at_offset, layouts
from calls import CALLS, Call, arrays_of
from checks import assert_same_bits
from reference import Array

DType = np.dtype[Any]
every_call = pytest.mark.parametrize("call", CALLS, ids=str)
THREADS = (1, 2, 3, 7)

# One large image: the work is split within it, not by images.
SINGLE_IMAGE = [
    Call("conv2d", lambda d, N: (d(1, 16, 60, 70), d(24, 16, 3, 3), d(24)), {"padding": 1}, "one"),
    Call(
        "conv2d_backward_input",
        lambda d, N: (d(1, 24, 30, 35), d(24, 16, 3, 3), (1, 16, 60, 70)),
        {"padding": 1, "stride": 2},
        "one",
    ),
    Call(
        "conv2d_backward_weight",
        lambda d, N: (d(1, 4, 150, 160), d(1, 3, 150, 160), (4, 3, 3, 3)),
        {"padding": 1},
        "one",
    ),
    Call("conv2d_backward_bias", lambda d, N: (d(1, 2, 400, 410),), {}, "one"),
    Call("batch_norm_statistics", lambda d, N: (d(1, 2, 400, 410),), {}, "one"),
    Call("gemm", lambda d, N: (d(150, 3000), d(3000, 90)), {}, "deep_one"),
    Call("gemm", lambda d, N: (d(6, 70), d(70, 5000)), {}, "wide_one"),
    Call("max_pool2d", lambda d, N: (d(1, 2, 400, 410), 3), {"stride": 2}, "one"),
    Call("softmax", lambda d, N: (d(1, 7, 50000),), {"axis": 1}, "one"),
]


def assert_same_results(got: tuple[Array, ...], expected: tuple[Array, ...]) -> None:
    for one, other in zip(got, expected, strict=True):
        assert_same_bits(one, other)


@pytest.mark.parametrize("call", [*CALLS, *SINGLE_IMAGE], ids=str)
def test_result_is_independent_of_thread_count(call: Call, isa: str, dtype: DType) -> None:
    arguments = call.draw(dtype, call.large)
    with pyconv.num_threads(1):
        expected = call.run(arguments)
    for threads in THREADS:
        with pyconv.num_threads(threads):
            assert_same_results(call.run(arguments), expected)


@every_call
def test_result_is_the_same_every_time(call: Call, isa: str, dtype: DType) -> None:
    """Memory is left dirty between the runs: a read of scratch never written would show."""
    arguments = call.draw(dtype, 3)
    expected = call.run(arguments)
    for fill in (np.nan, 1e30, -1.0):
        dirt = [np.full(5000, fill) for _ in range(3)]
        del dirt
        assert_same_results(call.run(arguments), expected)


@every_call
def test_result_is_independent_of_alignment(call: Call, isa: str, dtype: DType) -> None:
    """Inputs may start at any byte, `out` at any element."""
    arguments = call.draw(dtype)
    expected = call.run(arguments)
    positions = arrays_of(arguments)
    for offset in range(CACHE_LINE):
        moved = list(arguments)
        for i in positions:
            moved[i] = at_offset(arguments[i], offset)
        extra = {}
        if call.takes_out and offset % dtype.itemsize == 0:
            extra["out"] = at_offset(np.empty_like(expected[0]), offset)
        assert_same_results(call.run(moved, **extra), expected)


@every_call
def test_result_is_independent_of_strides(call: Call, isa: str, dtype: DType) -> None:
    arguments = call.draw(dtype, 3)
    for i in arrays_of(arguments):
        for name, view in layouts(arguments[i]):
            moved, plain = list(arguments), list(arguments)
            moved[i], plain[i] = view, np.ascontiguousarray(view).copy()
            try:
                assert_same_results(call.run(moved), call.run(plain))
            except AssertionError as error:
                error.add_note(f"{call.names[i]}: {name}")
                raise


@pytest.mark.parametrize("call", [call for call in CALLS if call.per_image], ids=str)
def test_result_is_independent_of_the_rest_of_the_batch(call: Call, isa: str, dtype: DType) -> None:
    """An image alone has the bits that it has among others."""
    N = 5
    batch, alone = call.draw(dtype, N), call.draw(dtype, 1)
    together = call.run(batch)
    for n in range(N):
        # The argument whose length is N in a batch of N, and 1 in a batch of 1, is per image.
        for i in arrays_of(batch):
            axes = [a for a in range(batch[i].ndim) if batch[i].shape[a] != alone[i].shape[a]]
            alone[i] = np.take(batch[i], [n], axes[0]) if axes else batch[i]
        for one, many in zip(call.run(alone), together, strict=True):
            assert_same_bits(one, np.ascontiguousarray(many[n : n + 1]))
