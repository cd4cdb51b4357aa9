# SPDX-License-Identifier: BSD-3-Clause
"""Named cases and hypothesis strategies for convolution and pooling.

Sizes come from the kernel table: a register tile of MR x NR and cache blocks MC, KC, NC have their
ragged edges one below, at and one above their size, whatever the ISA.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from pyconv import runtime
from reference import Array, Window

ALGORITHMS = (
    "im2col",
    "implicit_gemm",
    "direct",
    "depthwise",
    "auto",
)  # winograd: test_winograd.py
INTEGER_LIMIT = 31
# 31 * 31 * 16384 stays below 2**24, up to which float32 has every integer.
EXACT_TERMS = 16384


def block_sizes(key: str) -> list[int]:
    """Every value of a column (MR, NR, MC, KC or NC) of the kernel table."""
    return sorted({row[key] for row in runtime.kernels() if row.get(key)})


def around(size: int) -> tuple[int, ...]:
    """One below, at, one above, and one more than two of them."""
    return tuple(n for n in (size - 1, size, size + 1, 2 * size + 1) if n > 0)


def integers(rng: np.random.Generator, shape: Any, dtype: npt.DTypeLike, terms: int = 1) -> Array:
    """Nonzero integers, with zeros between them once a sum of `terms` products might not be exact.

    At most EXACT_TERMS of the terms are then expected to be nonzero (benchdnn's density rule).
    """
    values = rng.integers(1, INTEGER_LIMIT + 1, shape) * rng.choice([-1, 1], shape)
    if terms > EXACT_TERMS:
        values *= rng.random(shape) < EXACT_TERMS / terms
    return np.asarray(values, dtype)


def distinct(rng: np.random.Generator, shape: Any, dtype: npt.DTypeLike = np.float64) -> Array:
    """Values in (-1, 1), no two closer than 1 / size and none that close to zero."""
    size = int(np.prod(shape))
    values: Array = (2 * rng.permutation(size) + 1.0 - size + (size % 2) * 0.5) / size
    return np.asarray(values.reshape(shape), dtype)


@dataclass(frozen=True)
class Conv2dCase:
    """One convolution: shapes, options, and the seed of its data."""

    N: int
    C: int
    H: int
    W: int
    OC: int
    KH: int
    KW: int
    stride: Any = 1
    padding: Any = 0
    dilation: Any = 1
    groups: int = 1
    name: str = field(default="", compare=False, repr=False)
    seed: int = 0

    def __str__(self) -> str:
        return self.name

    @property
    def options(self) -> dict[str, Any]:
        names = ("stride", "padding", "dilation", "groups")
        return {name: getattr(self, name) for name in names}

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.N, self.C, self.H, self.W

    @property
    def weight_shape(self) -> tuple[int, ...]:
        return self.OC, self.C // self.groups, self.KH, self.KW

    @cached_property
    def output_shape(self) -> tuple[int, ...]:
        window = Window(
            (self.H, self.W), (self.KH, self.KW), self.stride, self.padding, self.dilation
        )
        return self.N, self.OC, window.OH, window.OW

    @property
    def terms(self) -> tuple[int, int, int]:
        """Products summed for one element of output, grad_input and grad_weight."""
        N, _, OH, OW = self.output_shape
        taps = self.KH * self.KW
        return self.C // self.groups * taps, self.OC // self.groups * taps, N * OH * OW

    def rng(self) -> np.random.Generator:
        """Make the generator of this case's data; equal cases have equal data."""
        return np.random.default_rng(zlib.crc32(repr(self).encode()))

    def floats(self, dtype: npt.DTypeLike) -> tuple[Array, Array, Array, Array]:
        """Return normally distributed input, weight, bias and grad_output."""
        rng = self.rng()
        shapes = (self.input_shape, self.weight_shape, (self.OC,), self.output_shape)
        x, w, b, g = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
        return x, w, b, g

    def integers(self, dtype: npt.DTypeLike) -> tuple[Array, Array, Array, Array]:
        """Return input, weight, bias and grad_output on which all three directions are exact."""
        rng = self.rng()
        forward, backward, pixels = self.terms
        return (
            integers(rng, self.input_shape, dtype),
            integers(rng, self.weight_shape, dtype, max(forward, backward) + 1),
            integers(rng, (self.OC,), dtype),
            integers(rng, self.output_shape, dtype, pixels),
        )


BASE = Conv2dCase(N=2, C=4, H=9, W=10, OC=6, KH=3, KW=3, padding=1)
KERNELS = ((1, 1), (3, 3), (5, 5), (7, 7), (1, 3), (3, 1), (2, 2), (4, 3))
PADDINGS = (0, 1, 2, (2, 1), (0, 3), ((1, 0), (0, 2)), ((0, 2), (1, 1)), "same", "valid")


def _named(name: str, base: Conv2dCase = BASE, **changes: Any) -> Conv2dCase:
    return replace(base, name=name, **changes)


def _grid() -> Iterator[Conv2dCase]:
    """Kernel sizes, strides, dilations, paddings and groups on a small odd-shaped image."""
    for KH, KW in KERNELS:
        for step in (1, 2, 3):
            half = (KH // 2, KW // 2)
            yield _named(f"{KH}x{KW}_stride{step}", KH=KH, KW=KW, stride=step, padding=half)
    for dilation in (1, 2, 3, (1, 2), (3, 1)):
        for stride in (1, 2, 3):
            yield _named(f"dilation{dilation}_stride{stride}", dilation=dilation, stride=stride)
    for strides in ((1, 2), (2, 1), (3, 2)):
        yield _named(f"stride{strides}", stride=strides)
        yield _named(f"stride{strides}_dilation2", stride=strides, dilation=2, padding=2)
    for padding in PADDINGS:
        for stride in (1, 2, 3):
            yield _named(f"padding{padding}_stride{stride}", padding=padding, stride=stride)
    for KH, KW in ((2, 2), (4, 3)):
        for dilation in (1, 2):
            name = f"same_{KH}x{KW}_dilation{dilation}"
            yield _named(name, KH=KH, KW=KW, padding="same", stride=2, dilation=dilation)
    for C, OC, groups in ((4, 6, 2), (4, 4, 4), (4, 8, 4), (4, 12, 4), (6, 3, 3), (1, 5, 1)):
        for stride in (1, 2):
            name = f"C{C}_OC{OC}_groups{groups}_stride{stride}"
            yield _named(name, C=C, OC=OC, groups=groups, stride=stride)
    yield _named("groups4_5x5_dilation2", groups=4, OC=8, KH=5, KW=5, padding=4, dilation=2)
    yield _named("stride_beyond_kernel", KH=1, KW=2, stride=3, padding=0)
    yield _named("padding_beyond_kernel", KH=2, KW=2, padding=((2, 0), (0, 3)))
    yield _named("kernel_covers_image", H=3, W=3, padding=0)
    yield _named("kernel_larger_than_image", H=2, W=3, KH=5, KW=5, padding=2)
    yield _named("1x1_many_tiles", KH=1, KW=1, padding=0, C=3, OC=40, H=9, W=11)
    yield _named("3x3_many_tiles", C=3, OC=40, H=9, W=11)
    # The weight gradient sums so many pixels in several chunks, each a part of its own.
    yield _named("many_pixels", N=9, C=2, OC=5, H=33, W=33)
    yield _named("one_pixel", N=1, C=1, H=1, W=1, OC=1, KH=1, KW=1, padding=0)
    yield _named("images5", N=5, H=6, W=5)


def _edges() -> Iterator[Conv2dCase]:
    """Sizes around the register tile and the cache blocks."""
    for NR in block_sizes("NR"):
        for pixels in around(NR):
            yield _named(f"pixels{pixels}", H=1, W=pixels, KH=1, KW=1, padding=0)
            yield _named(f"pixels{pixels}_1x3", H=1, W=pixels, KH=1, padding=(0, 1))
    for MR in block_sizes("MR"):
        for OC in around(MR):
            yield _named(f"OC{OC}", OC=OC, C=3, H=4, W=5)
    flat = _named("", N=1, C=3, H=2, W=3, KH=1, KW=1, padding=0)
    for MC in block_sizes("MC"):
        for OC in around(MC)[:3]:
            yield _named(f"OC{OC}_1x1", flat, OC=OC)
    for KC in block_sizes("KC"):
        for C in around(KC)[:3]:
            yield _named(f"C{C}_1x1", flat, C=C, OC=3)
        yield _named(f"C{KC // 9 + 1}_3x3", C=KC // 9 + 1, OC=3, H=4, W=5)
    for NC in block_sizes("NC"):
        for W in (NC - 1, NC + 1):
            yield _named(f"pixels{W}", flat, H=1, W=W)
    for W in range(1, 41):
        yield _named(f"W{W}", N=1, C=2, OC=3, H=3, W=W)
        yield _named(f"W{W}_stride2", N=1, C=1, OC=2, H=2, W=W, stride=(1, 2))


def _unique(cases: list[Conv2dCase]) -> list[Conv2dCase]:
    """Drop repeated shapes: block sizes of different kernels coincide."""
    return list({case: case for case in reversed(cases)}.values())[::-1]


CONV2D_GRID = _unique(list(_grid()))
CONV2D = _unique([*_grid(), *_edges()])


def pads(limit: int) -> st.SearchStrategy[Any]:
    """Every form of padding but the two words, at most `limit` on a side."""
    side = st.integers(0, limit)
    return st.one_of(side, st.tuples(side, side), st.tuples(*[st.tuples(side, side)] * 2))


@st.composite
def conv2d_cases(draw: st.DrawFn) -> Conv2dCase:
    """Legal convolutions with at least one output pixel."""
    small, pair = st.integers(1, 3), st.tuples(st.integers(1, 3), st.integers(1, 3))
    groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
    case = Conv2dCase(
        N=draw(st.integers(1, 3)),
        C=groups * draw(st.integers(1, 5)),
        H=draw(st.integers(1, 12)),
        W=draw(st.integers(1, 40)),
        OC=groups * draw(st.integers(1, 9)),
        KH=draw(st.integers(1, 5)),
        KW=draw(st.integers(1, 5)),
        stride=draw(st.one_of(small, pair)),
        padding=draw(st.one_of(pads(3), st.sampled_from(["same", "valid"]))),
        dilation=draw(st.one_of(small, pair)),
        groups=groups,
        seed=draw(st.integers(0, 2**16)),
    )
    window = Window((case.H, case.W), (case.KH, case.KW), 1, case.padding, case.dilation)
    # Grow the image until the kernel fits; padding "same" always fits.
    short_h, short_w = max(0, 1 - window.OH), max(0, 1 - window.OW)
    return replace(case, H=case.H + short_h, W=case.W + short_w)


@dataclass(frozen=True)
class Pool2dCase:
    """One pooling: the shape of the input and the options."""

    shape: tuple[int, int, int, int]
    kernel_size: Any
    options: dict[str, Any] = field(hash=False)
    name: str = field(default="", repr=False)
    seed: int = 0

    def __str__(self) -> str:
        return self.name

    def window(self) -> Window:
        options: dict[str, Any] = {"stride": None, **self.options}
        return Window(self.shape[2:], self.kernel_size, **options)

    def rng(self) -> np.random.Generator:
        return np.random.default_rng(zlib.crc32(repr(self).encode()))


def _pool2d(*, dilated: bool) -> Iterator[Pool2dCase]:
    for kernel, stride, padding in (
        (2, None, 0),
        (2, 1, 0),
        (3, 2, 1),
        (3, 1, 1),
        (3, 3, 0),
        (2, 3, 1),
        ((3, 2), (2, 1), (1, 0)),
        ((1, 3), (1, 2), (0, 1)),
        (5, 2, 2),
        (7, 7, 0),
        (3, 2, ((0, 1), (1, 2))),
    ):
        for ceil_mode in (False, True):
            for dilation in (1, 2) if dilated else (1,):
                options = {"stride": stride, "padding": padding, "ceil_mode": ceil_mode}
                name = f"k{kernel}_s{stride}_p{padding}_ceil{ceil_mode:d}_d{dilation}"
                if dilated:
                    options["dilation"] = dilation
                yield Pool2dCase((2, 3, 14, 15), kernel, options, name)
    for W in (*range(2, 41), 70):
        yield Pool2dCase((1, 2, 4, W), 2, {"stride": 2}, f"W{W}_k2_s2")
        yield Pool2dCase((1, 2, 4, W), 3, {"stride": 1, "padding": 1}, f"W{W}_k3_s1_p1")
        yield Pool2dCase((1, 1, 3, W), 3, {"stride": 2, "padding": 1}, f"W{W}_k3_s2_p1")


MAX_POOL2D = list(_pool2d(dilated=True))
AVG_POOL2D = list(_pool2d(dilated=False))


@st.composite
def pool2d_cases(draw: st.DrawFn, *, dilated: bool) -> Pool2dCase:
    """Legal poolings: padding below the kernel's extent on every side, at least one window."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    dilation = draw(st.tuples(st.integers(1, 3), st.integers(1, 3))) if dilated else (1, 1)
    span = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    sides = [st.tuples(st.integers(0, s - 1), st.integers(0, s - 1)) for s in span]
    options: dict[str, Any] = {
        "stride": draw(st.one_of(st.none(), st.integers(1, 4))),
        "padding": draw(st.tuples(*sides)),
        "ceil_mode": draw(st.booleans()),
    }
    if dilated:
        options["dilation"] = dilation
    size = tuple(draw(st.integers(s, s + 12)) for s in span)
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 3)), *size)
    return Pool2dCase(shape, kernel, options, seed=draw(st.integers(0, 2**16)))  # type: ignore[arg-type]
