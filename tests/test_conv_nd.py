# SPDX-License-Identifier: BSD-3-Clause
"""conv1d, conv3d and their gradients.

The properties that every function shares (threads, layouts, out, memory, bad arrays) are tested
over calls.CALLS in test_determinism.py, test_memory_safety.py and test_arguments.py.
"""

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import pyconv
import reference
from cases import integers
from checks import (
    assert_adjoint,
    assert_adjoint_exactly,
    assert_exact,
    assert_same_bits,
    assert_within_bound,
)
from pyconv import functional as F
from reference import Array

ALGORITHMS = ("im2col", "implicit_gemm", "direct", "auto")  # all that three axes have
DType = np.dtype[Any]
Results = tuple[Array, ...]


@dataclass(frozen=True)
class Case:
    """One convolution: its shapes begin with N, C and OC, C // groups."""

    name: str
    input_shape: tuple[int, ...]
    weight_shape: tuple[int, ...]
    stride: Any = 1
    padding: Any = 0
    dilation: Any = 1
    groups: int = 1

    def __str__(self) -> str:
        return f"{self.stem}-{self.name}"

    @property
    def stem(self) -> str:
        return f"conv{len(self.input_shape) - 2}d"

    @property
    def options(self) -> dict[str, Any]:
        names = ("stride", "padding", "dilation", "groups")
        return {name: getattr(self, name) for name in names}

    @property
    def output_shape(self) -> tuple[int, ...]:
        x, w = np.zeros(self.input_shape), np.zeros(self.weight_shape)
        return reference.conv_nd(x, w, **self.options).shape

    @property
    def terms(self) -> tuple[int, int, int]:
        """Products summed for one element of output, grad_input and grad_weight."""
        g, w = self.output_shape, self.weight_shape
        taps = int(np.prod(w[2:]))
        return w[1] * taps, w[0] // self.groups * taps, g[0] * int(np.prod(g[2:]))

    def draw(self, values: Callable[[np.random.Generator, Any], Array]) -> Results:
        """Return input, weight, bias and grad_output."""
        rng = np.random.default_rng(zlib.crc32(repr(self).encode()))
        OC = self.weight_shape[0]
        shapes = (self.input_shape, self.weight_shape, (OC,), self.output_shape)
        return tuple(values(rng, shape) for shape in shapes)

    def integers(self, dtype: npt.DTypeLike) -> Results:
        return self.draw(lambda rng, shape: integers(rng, shape, dtype))

    def floats(self, dtype: npt.DTypeLike) -> Results:
        return self.draw(lambda rng, shape: rng.standard_normal(shape).astype(dtype))

    def run(self, module: Any, x: Array, w: Array, b: Array, g: Array, **extra: Any) -> Results:
        """Output and the three gradients, from the library or from the reference."""
        options = {**self.options, **extra}
        return (
            getattr(module, self.stem)(x, w, b, **options),
            getattr(module, f"{self.stem}_backward_input")(g, w, self.input_shape, **options),
            getattr(module, f"{self.stem}_backward_weight")(g, x, self.weight_shape, **options),
            getattr(module, f"{self.stem}_backward_bias")(g),
        )


CASES = [
    Case("plain", (2, 3, 11), (5, 3, 3)),
    Case("pointwise", (2, 3, 11), (5, 3, 1)),
    Case("padded", (2, 3, 11), (5, 3, 5), padding=(2,)),
    Case("asymmetric", (2, 3, 11), (5, 3, 3), stride=2, padding=((3, 1),)),
    Case("same", (2, 3, 11), (5, 3, 4), stride=(3,), padding="same"),
    Case("dilated", (2, 3, 23), (5, 3, 4), padding=3, dilation=3),
    Case("strided_and_dilated", (2, 3, 23), (5, 3, 4), stride=2, padding=1, dilation=(3,)),
    Case("stride_beyond_kernel", (2, 3, 23), (5, 3, 2), stride=3),
    Case("grouped", (2, 6, 11), (9, 2, 3), padding=1, groups=3),
    Case("depthwise", (2, 5, 11), (5, 1, 3), padding="same", groups=5),
    Case("long", (1, 3, 1025), (7, 3, 9), padding=4),
    Case("one_pixel", (3, 2, 1), (3, 2, 1)),
    Case("plain", (2, 3, 3, 5, 7), (5, 3, 3, 3, 3)),
    Case("pointwise", (2, 3, 3, 5, 7), (5, 3, 1, 1, 1)),
    Case("padded", (2, 3, 3, 5, 7), (5, 3, 3, 3, 3), padding=1),
    Case("valid", (2, 3, 3, 5, 7), (5, 3, 2, 3, 1), padding="valid"),
    Case(
        "asymmetric",
        (2, 3, 5, 5, 7),
        (5, 3, 3, 2, 3),
        stride=(2, 1, 2),
        padding=((2, 0), (0, 1), (1, 3)),
    ),
    Case("same", (2, 3, 5, 3, 7), (5, 3, 2, 3, 4), stride=(3, 2, 1), padding="same"),
    Case("dilated", (1, 3, 5, 7, 9), (5, 3, 3, 2, 3), padding=(2, 0, 3), dilation=(2, 3, 1)),
    Case("strided_and_dilated", (1, 2, 7, 7, 9), (3, 2, 3, 2, 3), 2, 2, (3, 2, 3)),
    Case("stride_beyond_kernel", (2, 2, 7, 5, 9), (3, 2, 1, 2, 1), stride=(3, 3, 2)),
    Case("grouped", (2, 6, 3, 5, 5), (9, 2, 3, 3, 3), padding=1, groups=3),
    Case("depthwise", (2, 5, 3, 5, 5), (5, 1, 3, 3, 3), padding="same", groups=5),
    Case("flat", (2, 3, 1, 9, 11), (5, 3, 1, 3, 3), padding=(0, 1, 1)),
    Case("deep", (1, 2, 33, 1, 1), (3, 2, 5, 1, 1), padding=(2, 0, 0)),
    Case("one_pixel", (3, 2, 1, 1, 1), (3, 2, 3, 3, 3), padding=1),
    Case("many_channels", (1, 33, 3, 5, 19), (35, 33, 3, 3, 3), padding=1),
]
every_case = pytest.mark.parametrize("case", CASES, ids=str)


@cache
def integer_results(case: Case) -> Results:
    return case.run(reference, *case.integers(np.float64))


@cache
def float_results(case: Case, dtype: str) -> tuple[Results, Results]:
    """Results and their magnitudes, on normally distributed numbers."""
    arrays = case.floats(dtype)
    return case.run(reference, *arrays), case.run(reference, *map(np.abs, arrays))


@pytest.mark.parametrize("size", [(9, 8)], ids=str)
def test_definition_agrees_with_that_of_conv2d(size: tuple[int, int], dtype: DType) -> None:
    """One definition for any number of axes: for two it is held against the other one."""
    rng = np.random.default_rng(1)
    options: Any = {"stride": (2, 1), "padding": ((1, 0), (2, 1)), "dilation": (1, 2), "groups": 2}
    x, w = integers(rng, (2, 4, *size), dtype), integers(rng, (6, 2, 3, 2), dtype)
    expected = reference.conv2d_by_definition(x, w, **options)
    assert_exact(reference.conv_nd(x, w, **options), expected)
    g = integers(rng, expected.shape, dtype)
    assert_exact(
        reference.conv_nd_backward_input(g, w, x.shape, **options),
        reference.conv2d_backward_input_by_definition(g, w, x.shape, **options),
    )
    assert_exact(
        reference.conv_nd_backward_weight(g, x, w.shape, **options),
        reference.conv2d_backward_weight_by_definition(g, x, w.shape, **options),
    )


@every_case
def test_results_are_exact_on_integers(case: Case, isa: str, dtype: DType) -> None:
    arrays = case.integers(dtype)
    for algorithm in ALGORITHMS:
        results = case.run(F, *arrays, algorithm=algorithm)
        for got, expected in zip(results, integer_results(case), strict=True):
            assert_exact(got, expected, algorithm)
        x, w, b, _ = arrays
        relu = getattr(F, case.stem)(
            x, w, b, activation="relu", algorithm=algorithm, **case.options
        )
        assert_exact(relu, np.maximum(integer_results(case)[0], 0), algorithm)


@every_case
def test_results_stay_within_bound(case: Case, isa: str, dtype: DType) -> None:
    arrays = case.floats(dtype)
    for algorithm in ALGORITHMS:
        results = case.run(F, *arrays, algorithm=algorithm)[:3]
        expected, magnitudes = float_results(case, dtype.name)
        for got, one, magnitude, terms in zip(
            results, expected, magnitudes, case.terms, strict=False
        ):
            assert_within_bound(got, one, magnitude, terms + 1)


def adjoint_pairs(case: Case, x: Array, w: Array, algorithm: str) -> list[tuple[Any, Any, Array]]:
    """(forward, adjoint, point) of the convolution as a map of input and as a map of weight."""
    options = {**case.options, "algorithm": algorithm}
    forward = getattr(F, case.stem)
    by_input = getattr(F, f"{case.stem}_backward_input")
    by_weight = getattr(F, f"{case.stem}_backward_weight")
    return [
        (lambda x: forward(x, w, **options), lambda g: by_input(g, w, x.shape, **options), x),
        (lambda w: forward(x, w, **options), lambda g: by_weight(g, x, w.shape, **options), w),
    ]


@every_case
def test_gradients_are_adjoint(case: Case, isa: str) -> None:
    """Nearly on random numbers, and exactly on integers."""
    x, w, _, g = case.floats(np.float64)
    x_int, w_int, _, g_int = case.integers(np.float64)
    for algorithm in ALGORITHMS:
        for forward, adjoint, point in adjoint_pairs(case, x, w, algorithm):
            assert_adjoint(forward, adjoint, point, g)
        for forward, adjoint, point in adjoint_pairs(case, x_int, w_int, algorithm):
            assert_adjoint_exactly(forward, adjoint, point, g_int)


@every_case
def test_strided_inputs_and_dirty_out_give_the_same_bits(case: Case, dtype: DType) -> None:
    arrays = case.floats(dtype)
    x, w, b, g = (np.asfortranarray(array) for array in arrays)
    for algorithm in ALGORITHMS:
        options: Any = {**case.options, "algorithm": algorithm}
        expected = case.run(F, *arrays, algorithm=algorithm)
        for call, arguments, extra, one in zip(
            ("", "_backward_input", "_backward_weight", "_backward_bias"),
            ((x, w, b), (g, w, x.shape), (g, x, w.shape), (g,)),
            (options, options, options, {}),
            expected,
            strict=True,
        ):
            out = np.full_like(one, np.nan)
            assert getattr(F, case.stem + call)(*arguments, out=out, **extra) is out
            assert_same_bits(out, one)


@pytest.mark.parametrize(
    "case",
    [
        Case("large", (2, 16, 3001), (24, 16, 5), padding=2),
        Case("large", (1, 8, 9, 30, 33), (16, 8, 3, 3, 3), (1, 2, 2), 1),
    ],
    ids=str,
)
def test_results_have_the_same_bits_for_any_number_of_threads(case: Case, isa: str) -> None:
    rng = np.random.default_rng(2)
    x, w = (rng.standard_normal(s).astype("f") for s in (case.input_shape, case.weight_shape))
    b = rng.standard_normal(len(w)).astype("f")
    g = getattr(F, case.stem)(x, w, b, **case.options)
    for algorithm in ALGORITHMS:
        with pyconv.num_threads(1):
            expected = case.run(F, x, w, b, g, algorithm=algorithm)
        for threads in (2, 3):
            with pyconv.num_threads(threads):
                results = case.run(F, x, w, b, g, algorithm=algorithm)
            for got, one in zip(results, expected, strict=True):
                assert_same_bits(got, one)


def _f(*shape: int) -> Array:
    return np.ones(shape, np.float32)


BAD: list[tuple[Callable[[], Any], str]] = [
    (
        lambda: F.conv1d(_f(1, 2, 5), _f(3, 2, 6)),
        (
            "conv1d: weight is larger than the padded input along L, got kernel extent 6 (size 6, "
            "dilation 1) and padded size 5; expected at most that"
        ),
    ),
    (
        lambda: F.conv3d(_f(1, 2, 4, 9, 9), _f(3, 2, 3, 3, 3), dilation=(2, 1, 1)),
        (
            "conv3d: weight is larger than the padded input along D, got kernel extent 5 (size 3, "
            "dilation 2) and padded size 4; expected at most that"
        ),
    ),
    (
        lambda: F.conv1d(_f(1, 2, 5, 5), _f(3, 2, 3)),
        "conv1d: input has 4 axes, got shape (1, 2, 5, 5); expected three: (N, C, L)",
    ),
    (
        lambda: F.conv3d(_f(1, 2, 5, 5, 5), _f(3, 2, 3, 3)),
        (
            "conv3d: weight has 4 axes, got shape (3, 2, 3, 3); expected five: (OC, C // groups, KD, "
            "KH, KW)"
        ),
    ),
    (
        lambda: F.conv1d(_f(1, 4, 5), _f(3, 2, 3)),
        (
            "conv1d: weight expects 2 input channels per group, got 4 channels in 1 groups; input "
            "(1, 4, 5), weight (3, 2, 3), groups=1"
        ),
    ),
    (
        lambda: F.conv3d(_f(1, 2, 5, 5, 5), _f(3, 2, 0, 3, 3)),
        "conv3d: weight has an empty kernel, got shape (3, 2, 0, 3, 3); expected KD, KH, KW >= 1",
    ),
    (
        lambda: F.conv1d(_f(1, 2, 5), _f(3, 2, 3), stride=0),
        "conv1d: stride is out of range, got (0,); expected 1 to 70368744177664",
    ),
    (
        lambda: F.conv3d(_f(1, 2, 5, 5, 5), _f(3, 2, 3, 3, 3), padding=(0, 1, -1)),
        (
            "conv3d: padding is out of range, got ((0, 0), (1, 1), (-1, -1)); expected 0 to "
            "70368744177664"
        ),
    ),
    (
        lambda: F.conv1d(_f(1, 2, 5), _f(3, 2, 3), padding=(1, 2)),
        (
            "conv1d: padding has 2 values, got (1, 2); expected an int, (int,), ((begin, end),), "
            '"valid" or "same"'
        ),
    ),
    (
        lambda: F.conv3d(_f(1, 2, 5, 5, 5), _f(3, 2, 3, 3, 3), stride=(1, 2)),
        "conv3d: stride has 2 values, got (1, 2); expected an int or a tuple of three ints",
    ),
    (
        lambda: F.conv3d_backward_input(_f(1, 3, 3, 3, 3), _f(3, 2, 3, 3, 3), (1, 2, 5, 5, 6)),
        "conv3d_backward_input: grad_output has shape (1, 3, 3, 3, 3); expected (1, 3, 3, 3, 4)",
    ),
    (
        lambda: F.conv1d_backward_weight(_f(1, 3, 3), _f(1, 2, 5), (3, 2, 3, 1)),
        "conv1d_backward_weight: weight_shape has 4 values, got (3, 2, 3, 1); expected three sizes",
    ),
]


@pytest.mark.parametrize("index", range(len(BAD)))
def test_bad_arguments_are_named(index: int) -> None:
    call, message = BAD[index]
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call()


@pytest.mark.parametrize("case", CASES[::4], ids=str)
def test_empty_batch(case: Case, isa: str, dtype: DType) -> None:
    x, w, b, g = case.floats(dtype)
    none = Case(case.name, (0, *case.input_shape[1:]), *list(vars(case).values())[2:])
    for algorithm in ALGORITHMS:
        results = none.run(F, x[:0], w, b, g[:0], algorithm=algorithm)
        assert_exact(results[0], g[:0])
        assert_exact(results[1], x[:0])
        assert_exact(results[2], np.zeros_like(w))
        assert_exact(results[3], np.zeros_like(b))


def test_agrees_with_torch() -> None:
    torch = pytest.importorskip("torch", reason="torch, an independent oracle, is not installed")
    for case in CASES:
        if isinstance(case.padding, int):
            x, w, b, _ = case.floats(np.float64)
            function = getattr(torch.nn.functional, case.stem)
            expected = function(*map(torch.from_numpy, (x, w, b)), **case.options).numpy()
            magnitude = reference.conv_nd(*map(np.abs, (x, w, b)), **case.options)
            got = getattr(F, case.stem)(x, w, b, **case.options)
            assert_within_bound(got, expected, magnitude, case.terms[0] + 1)
