# SPDX-License-Identifier: BSD-3-Clause
"""Bad input: the right result, or one of four errors whose text names the argument.

Boundary values first: of the crashes known in other libraries, most came from a size that was
zero, negative or huge, or from shapes that contradict each other, in exactly these functions.
"""

import re
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from calls import CALLS, IN_PLACE, Call, arrays_of
from cases import ALGORITHMS
from checks import assert_exact, assert_same_bits, raises_naming
from pyconv import functional as F
from reference import Array

DType = np.dtype[Any]
FIRST_CALLS = list({call.function: call for call in reversed(CALLS)}.values())[::-1]
every_function = pytest.mark.parametrize("call", FIRST_CALLS, ids=str)
pytestmark = pytest.mark.usefixtures("bounded_address_space")


# Arrays ------------------------------------------------------------------------------------------


def _misaligned(array: Array) -> Array:
    raw = np.zeros(array.nbytes + 1, np.uint8)
    view = raw[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


class Subclass(np.ndarray[Any, Any]):
    """An ndarray subclass that adds nothing."""


WRONG_TYPES: dict[str, Callable[[Array], Any]] = {
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "object": lambda a: a.astype(object),
    "integer": lambda a: np.ones(a.shape, np.int64),
    "bool": lambda a: np.ones(a.shape, bool),
    "complex": lambda a: a.astype(complex),
    "float16": lambda a: a.astype(np.float16),
    "long double": lambda a: a.astype(np.longdouble),
    "string": lambda a: a.astype(str),
    "structured": lambda a: np.zeros(a.shape, [("x", "f4")]),
    "masked": lambda a: np.ma.masked_array(a, a > 0),
    "list": lambda a: a.tolist(),
    "None": lambda a: None,
    "scalar": lambda a: 1.0,
    "memoryview": lambda a: a.data,
}
WITH_BIAS = ("conv1d", "conv2d", "conv3d", "conv_transpose2d", "linear")
WITH_WEIGHT = [
    "batch_norm",
    "batch_norm_training",
    "batch_norm_backward",
    *(
        f"{kind}_norm{suffix}"
        for kind in ("group", "instance", "layer")
        for suffix in ("", "_backward")
    ),
]
OPTIONAL = {(function, "bias") for function in WITH_BIAS} | {
    (function, name) for function in WITH_WEIGHT for name in ("weight", "bias")
}


def float_positions(arguments: list[Any]) -> list[int]:
    return [i for i in arrays_of(arguments) if arguments[i].dtype.kind == "f"]


@pytest.mark.parametrize("kind", WRONG_TYPES)
@every_function
def test_wrong_array_type_is_named(call: Call, kind: str, dtype: DType) -> None:
    arguments = call.draw(dtype)
    for i in float_positions(arguments):
        name = call.names[i]
        if kind == "None" and (call.function, name) in OPTIONAL:
            continue
        wrong = list(arguments)
        wrong[i] = WRONG_TYPES[kind](arguments[i])
        assert raises_naming(partial(call.run, wrong), name) is TypeError


@every_function
def test_mixed_dtypes_are_named(call: Call, dtype: DType) -> None:
    arguments = call.draw(dtype)
    positions = float_positions(arguments)
    names = [call.names[i] for i in positions]
    other = np.dtype(np.float32 if dtype == np.float64 else np.float64)
    for i in positions if len(positions) > 1 else []:
        mixed = list(arguments)
        mixed[i] = arguments[i].astype(other)
        assert raises_naming(partial(call.run, mixed), *names) is TypeError


@every_function
def test_unusual_but_valid_arrays_give_the_right_result(call: Call, dtype: DType) -> None:
    """Misaligned, read-only, a subclass, a memory map."""
    arguments = call.draw(dtype)
    expected = call.run(arguments)
    for i in arrays_of(arguments):
        read_only = arguments[i].copy()
        read_only.flags.writeable = False
        for unusual in (_misaligned(arguments[i]), read_only, arguments[i].view(Subclass)):
            changed = list(arguments)
            changed[i] = unusual
            for got, plain in zip(call.run(changed), expected, strict=True):
                assert_same_bits(got, plain)


RESHAPED: dict[str, Callable[[Array], Array]] = {
    "one axis more": lambda a: a[None],
    "one axis less": lambda a: np.asarray(a[0]),
    "no axis": lambda a: a.ravel()[:1].reshape(()),
    "one row more": lambda a: np.concatenate([a, a[:1]]),
    "one column less": lambda a: a[..., :-1],
    "one column more": lambda a: np.concatenate([a, a[..., :1]], axis=-1),
    "axes exchanged": lambda a: np.moveaxis(a, 0, -1),
    "no row": lambda a: a[:0],
    "no column": lambda a: a[..., :0],
    "no channel": lambda a: a[:, :0] if a.ndim > 1 else a[:0],
    "one channel more": lambda a: np.concatenate([a, a[:, :1]], axis=1) if a.ndim > 1 else a[None],
}


@pytest.mark.parametrize("kind", RESHAPED)
@pytest.mark.parametrize("call", CALLS, ids=str)
def test_shapes_that_contradict_each_other_are_named(call: Call, kind: str, dtype: DType) -> None:
    """Either the definition has a result of that shape, or the error names an argument.

    Which of two contradicting arguments is to blame is a matter of taste.
    """
    arguments = call.draw(dtype, 3)
    for i in arrays_of(arguments):
        changed = list(arguments)
        changed[i] = RESHAPED[kind](arguments[i])
        try:
            results = call.run(changed)
        except ValueError as error:
            text = str(error)
            if not re.search(rf"^{call.function}: .*\b({'|'.join(call.names)})\b", text):
                error.add_note(f"names none of {call.names}")
                raise
            continue
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's mean of nothing
            expected = (changed[0],) * 2 if call.function == "dropout" else call.define(changed)
        assert [result.shape for result in results] == [result.shape for result in expected]


# Results -----------------------------------------------------------------------------------------


def bad_outs(expected: Array) -> dict[str, Any]:
    """Everything that `out` must not be."""
    spaced = np.zeros((*expected.shape[:-1], 2 * expected.shape[-1]), expected.dtype)[..., ::2]
    other = np.dtype(np.float32 if expected.dtype == np.float64 else np.float64)
    read_only = np.zeros_like(expected)
    read_only.flags.writeable = False
    bad: dict[str, Any] = {
        "other float": np.zeros(expected.shape, other),
        "integer": np.zeros(expected.shape, np.int32),
        "byte-swapped": np.zeros(expected.shape, expected.dtype.newbyteorder()),
        "object": np.zeros(expected.shape, object),
        "list": expected.tolist(),
        "string": "out",
        "one row more": np.zeros((expected.shape[0] + 1, *expected.shape[1:]), expected.dtype),
        "one axis more": np.zeros((1, *expected.shape), expected.dtype),
        "empty": np.zeros((0, *expected.shape[1:]), expected.dtype),
        "scalar": np.zeros((), expected.dtype),
        "read-only": read_only,
        "misaligned": _misaligned(expected),
        "masked": np.ma.zeros(expected.shape, expected.dtype),
    }
    if expected.size > 1:
        bad["spaced"] = spaced
        bad["reversed"] = np.zeros_like(expected)[..., ::-1]
        bad["one element everywhere"] = np.lib.stride_tricks.as_strided(
            np.zeros(1, expected.dtype), expected.shape, (0,) * expected.ndim
        )
    if sum(size > 1 for size in expected.shape) > 1:
        bad["Fortran order"] = np.zeros_like(expected, order="F")
    contiguous = {"spaced", "reversed"} if expected.shape[-1] == 1 else set()
    return {kind: out for kind, out in bad.items() if kind not in contiguous}


@pytest.mark.parametrize("call", [call for call in FIRST_CALLS if call.takes_out], ids=str)
def test_bad_out_is_named(call: Call, dtype: DType) -> None:
    arguments = call.draw(dtype)
    expected = call.run(arguments)[0]
    for kind, out in bad_outs(expected).items():
        try:
            raises_naming(partial(call.run, arguments, out=out), "out")
        except AssertionError as error:
            error.add_note(kind)
            raise


@pytest.mark.parametrize("call", [call for call in FIRST_CALLS if call.takes_out], ids=str)
def test_out_that_overlaps_an_input_is_named(call: Call, dtype: DType) -> None:
    """Sharing all memory, unless that is allowed, one element at an end, or a part of the middle."""
    arguments = call.draw(dtype)
    expected = call.run(arguments)[0]
    for i in float_positions(arguments):
        size, total = arguments[i].size, expected.size
        for offset in {0, size - 1, size // 2, 1 - total}:
            shared = np.zeros(size + 2 * total, dtype)
            moved = list(arguments)
            moved[i] = shared[total : total + size].reshape(arguments[i].shape)
            moved[i][...] = arguments[i]
            start = total + offset
            out = shared[start : start + total].reshape(expected.shape)
            if offset == 0 and call.function in IN_PLACE:
                assert_same_bits(call.run(moved, out=out)[0], expected)
                continue
            raises_naming(partial(call.run, moved, out=out), "out")
        apart = np.zeros(size + total, dtype)
        moved = list(arguments)
        moved[i] = apart[:size].reshape(arguments[i].shape)
        moved[i][...] = arguments[i]
        out = apart[size:].reshape(expected.shape)
        assert_same_bits(call.run(moved, out=out)[0], expected)


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_empty_batch_has_an_empty_result_or_a_sum_of_nothing(
    call: Call, isa: str, dtype: DType
) -> None:
    arguments = call.draw(dtype, 0)
    if call.function in {"batch_norm_statistics", "batch_norm_training"}:
        raises_naming(partial(call.run, arguments), "input")
        return
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's mean of nothing
        expected = (arguments[0],) * 2 if call.function == "dropout" else call.define(arguments)
    for got, other in zip(call.run(arguments), expected, strict=True):
        assert_exact(got, other)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_conv2d_without_channels_sums_nothing(algorithm: str, isa: str, dtype: DType) -> None:
    x, w, b = np.ones((2, 0, 5, 6), dtype), np.ones((3, 0, 3, 3), dtype), np.ones(3, dtype)
    got = F.conv2d(x, w, b, padding=1, algorithm=algorithm)
    assert_exact(got, np.ones((2, 3, 5, 6)))
    g = np.ones((2, 3, 5, 6), dtype)
    assert F.conv2d_backward_input(g, w, x.shape, padding=1, algorithm=algorithm).size == 0
    assert F.conv2d_backward_weight(g, x, w.shape, padding=1, algorithm=algorithm).size == 0
    no_filters = np.ones((0, 4, 3, 3), dtype)
    assert F.conv2d(np.ones((2, 4, 5, 6), dtype), no_filters).shape == (2, 0, 3, 4)
    back = F.conv2d_backward_input(
        np.ones((2, 0, 3, 4), dtype), no_filters, (2, 4, 5, 6), algorithm=algorithm
    )
    assert_exact(back, np.zeros((2, 4, 5, 6)))


def test_gemm_without_terms_is_zero(isa: str, dtype: DType) -> None:
    out = np.full((3, 4), np.nan, dtype)
    assert_exact(F.gemm(np.ones((3, 0), dtype), np.ones((0, 4), dtype), out=out), np.zeros((3, 4)))
