# SPDX-License-Identifier: BSD-3-Clause
"""The named workloads: what is computed, how much work that is, and the arrays to do it on.

A workload is a shape; a `Case` is an op on a workload in a dtype. Work is counted as flops of the
direct sum, ``2 * products``: taps that fall on padding count, sizes rounded up to a register tile
do not. Traffic is compulsory traffic, every input read once and the output written once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.floating[Any]]

CONV2D_OPS = ("conv2d", "conv2d_backward_input", "conv2d_backward_weight")
POOL2D_OPS = ("max_pool2d", "avg_pool2d")
OPS = ("gemm", *CONV2D_OPS, *POOL2D_OPS)


@dataclass(frozen=True)
class Gemm:
    """``C[M, N] = A[M, K] @ B[K, N]``; a transposed operand is stored with its axes swapped."""

    name: str
    M: int
    N: int
    K: int
    trans_a: bool = False
    trans_b: bool = False

    @property
    def shape(self) -> str:
        """The sizes, in words."""
        letters = ("T" if self.trans_a else "N") + ("T" if self.trans_b else "N")
        return f"{self.M}x{self.N}x{self.K} {letters}"

    @property
    def a_shape(self) -> tuple[int, int]:
        return (self.K, self.M) if self.trans_a else (self.M, self.K)

    @property
    def b_shape(self) -> tuple[int, int]:
        return (self.N, self.K) if self.trans_b else (self.K, self.N)

    @property
    def flops(self) -> int:
        return 2 * self.M * self.N * self.K

    @property
    def elements(self) -> int:
        """Array elements read and written."""
        return self.M * self.K + self.K * self.N + self.M * self.N


@dataclass(frozen=True)
class Conv2d:
    """A convolution layer without bias; the same shape serves forward and both gradients."""

    name: str
    N: int
    C: int
    H: int
    W: int
    OC: int
    KH: int
    KW: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1

    @property
    def shape(self) -> str:
        """The sizes, in words."""
        words = [f"{self.N}x{self.C}x{self.H}x{self.W}->{self.OC}", f"{self.KH}x{self.KW}"]
        words += [f"s{self.stride}"] if self.stride > 1 else []
        words += [f"d{self.dilation}"] if self.dilation > 1 else []
        words += [f"g{self.groups}"] if self.groups > 1 else []
        return " ".join(words)

    @property
    def OH(self) -> int:
        return (self.H + 2 * self.padding - self.dilation * (self.KH - 1) - 1) // self.stride + 1

    @property
    def OW(self) -> int:
        return (self.W + 2 * self.padding - self.dilation * (self.KW - 1) - 1) // self.stride + 1

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        return (self.N, self.C, self.H, self.W)

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        return (self.OC, self.C // self.groups, self.KH, self.KW)

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        return (self.N, self.OC, self.OH, self.OW)

    @property
    def options(self) -> dict[str, int]:
        """The keyword arguments of a convolution, the same words in pyconv and torch."""
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
        }

    @property
    def flops(self) -> int:
        return 2 * self.N * self.OH * self.OW * int(np.prod(self.weight_shape))

    @property
    def elements(self) -> int:
        """Array elements read and written."""
        return sum(
            int(np.prod(shape))
            for shape in (self.input_shape, self.weight_shape, self.output_shape)
        )


@dataclass(frozen=True)
class Pool2d:
    """A pooling layer over square windows; padding counts in the average."""

    name: str
    N: int
    C: int
    H: int
    W: int
    KH: int
    KW: int
    stride: int
    padding: int = 0
    dilation: int = 1

    @property
    def shape(self) -> str:
        """The sizes, in words."""
        return f"{self.N}x{self.C}x{self.H}x{self.W} {self.KH}x{self.KW} s{self.stride}"

    @property
    def OH(self) -> int:
        return (self.H + 2 * self.padding - self.KH) // self.stride + 1

    @property
    def OW(self) -> int:
        return (self.W + 2 * self.padding - self.KW) // self.stride + 1

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        return (self.N, self.C, self.H, self.W)

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        return (self.N, self.C, self.OH, self.OW)

    @property
    def flops(self) -> int:
        """One comparison or addition a tap."""
        return int(np.prod(self.output_shape)) * self.KH * self.KW

    @property
    def elements(self) -> int:
        """Array elements read and written."""
        return int(np.prod(self.input_shape)) + int(np.prod(self.output_shape))


Workload: TypeAlias = Gemm | Conv2d | Pool2d


@dataclass(frozen=True)
class Case:
    """One op on one workload in one dtype."""

    op: str
    workload: Workload
    dtype: str = "float32"

    @property
    def family(self) -> str:
        """The class of cases that is summed up together."""
        w = self.workload
        if isinstance(w, Gemm):
            if max(w.M, w.N, w.K) <= 64 or min(w.M, w.N) <= 16:
                return "small or skinny"
            return "large" if min(w.M, w.N, w.K) >= 64 else "medium"
        if isinstance(w, Pool2d):
            return "all"
        if w.groups > 1:
            return "depthwise" if w.groups == w.C else "grouped"
        if self.op != "conv2d":
            return "first layer" if w.C <= 3 else "dense"
        return "3x3 stride 1" if (w.KH, w.KW, w.stride, w.dilation) == (3, 3, 1, 1) else "dense"

    @property
    def is_memory_bound(self) -> bool:
        """Whether the rate is bytes a second; otherwise it is flops a second."""
        return isinstance(self.workload, Pool2d)

    @property
    def work(self) -> int:
        """Bytes of compulsory traffic or flops, whichever the rate counts."""
        if self.is_memory_bound:
            return self.workload.elements * np.dtype(self.dtype).itemsize
        return self.workload.flops

    @property
    def unit(self) -> str:
        return "GB/s" if self.is_memory_bound else "GFLOP/s"

    def arrays(self, rng: np.random.Generator) -> tuple[FloatArray, ...]:
        """Draw the tensors of the op, in the order its function takes them."""
        return tuple(
            rng.standard_normal(shape).astype(self.dtype, copy=False) for shape in self._shapes()
        )

    @property
    def shape_arguments(self) -> tuple[tuple[int, ...], ...]:
        """What a gradient's function takes after its tensors: the shape of its result."""
        w = self.workload
        if self.op == "conv2d_backward_input" and isinstance(w, Conv2d):
            return (w.input_shape,)
        if self.op == "conv2d_backward_weight" and isinstance(w, Conv2d):
            return (w.weight_shape,)
        return ()

    def _shapes(self) -> tuple[tuple[int, ...], ...]:
        w = self.workload
        if isinstance(w, Gemm):
            return (w.a_shape, w.b_shape)
        if isinstance(w, Pool2d):
            return (w.input_shape,)
        return {
            "conv2d": (w.input_shape, w.weight_shape),
            "conv2d_backward_input": (w.output_shape, w.weight_shape),
            "conv2d_backward_weight": (w.output_shape, w.input_shape),
        }[self.op]


def _layer(name: str, N: int, C: int, H: int, OC: int, k: int, s: int = 1, g: int = 1) -> Conv2d:
    """Square image and filter; padding keeps the size at stride 1, as these networks do."""
    return Conv2d(name, N, C, H, H, OC, k, k, stride=s, padding=k // 2, groups=g)


GEMM = (
    Gemm("resnet50.conv2_reduce", 64, 3136, 64),
    Gemm("resnet50.conv2_3x3", 64, 3136, 576),
    Gemm("resnet50.conv3_3x3", 128, 784, 1152),
    Gemm("resnet50.conv3_expand", 512, 784, 128),
    Gemm("resnet50.conv4_3x3", 256, 196, 2304),
    Gemm("resnet50.conv5_3x3", 512, 49, 4608),
    Gemm("resnet50.conv5_expand", 2048, 49, 512),
    Gemm("square_1024", 1024, 1024, 1024),
    Gemm("square_100", 100, 100, 100),
    Gemm("square_32", 32, 32, 32),
    Gemm("classifier", 64, 10, 1024),
    Gemm("gemv_4096", 1, 4096, 4096),
)

CONV2D = (
    _layer("resnet50.conv1", 4, 3, 224, 64, 7, s=2),
    _layer("resnet50.conv2_reduce", 4, 64, 56, 64, 1),
    _layer("resnet50.conv2_3x3", 4, 64, 56, 64, 3),
    _layer("resnet50.conv2_expand", 4, 64, 56, 256, 1),
    _layer("resnet50.conv3_down", 4, 128, 56, 128, 3, s=2),
    _layer("resnet50.conv3_3x3", 4, 128, 28, 128, 3),
    _layer("resnet50.conv4_3x3", 4, 256, 14, 256, 3),
    _layer("resnet50.conv5_3x3", 4, 512, 7, 512, 3),
    _layer("resnet50.conv5_reduce", 4, 2048, 7, 512, 1),
    _layer("resnet50.conv3_shortcut", 4, 256, 56, 512, 1, s=2),
    _layer("vgg16.conv1_2", 1, 64, 224, 64, 3),
    _layer("vgg16.conv3_2", 1, 256, 56, 256, 3),
    _layer("lenet.conv1", 64, 1, 28, 32, 5),
    _layer("cifar.conv1", 64, 3, 32, 32, 3),
    _layer("cifar.conv2", 64, 32, 16, 64, 3),
    _layer("mobilenet.depthwise1", 4, 32, 112, 32, 3, g=32),
    _layer("mobilenet.depthwise2", 4, 64, 112, 64, 3, s=2, g=64),
    _layer("mobilenet.depthwise7", 4, 512, 14, 512, 3, g=512),
    _layer("resnext50.conv2_3x3", 4, 128, 56, 128, 3, g=32),
)

POOL2D = (
    Pool2d("resnet50.pool1", 4, 64, 112, 112, 3, 3, stride=2, padding=1),
    Pool2d("cifar.pool1", 32, 64, 32, 32, 2, 2, stride=2),
)

# Ragged edges, every option, and nothing that takes a millisecond.
SMOKE_GEMM = (Gemm("odd", 7, 17, 33), Gemm("odd_transposed", 13, 18, 5, trans_a=True, trans_b=True))
SMOKE_CONV2D = (
    _layer("odd_3x3", 1, 5, 9, 7, 3),
    _layer("odd_down", 2, 3, 11, 4, 5, s=2),
    _layer("odd_depthwise", 2, 6, 8, 6, 3, g=6),
    Conv2d("odd_dilated", 2, 4, 10, 13, 6, 2, 3, padding=1, dilation=2, groups=2),
)
SMOKE_POOL2D = (Pool2d("odd", 1, 3, 9, 8, 3, 2, stride=2, padding=1),)


def cases(op: str, *, dtype: str = "float32", smoke: bool = False) -> list[Case]:
    """All cases of one op."""
    table: tuple[Workload, ...]
    if op == "gemm":
        table = SMOKE_GEMM if smoke else GEMM
    elif op in CONV2D_OPS:
        table = SMOKE_CONV2D if smoke else CONV2D
    else:
        table = SMOKE_POOL2D if smoke else POOL2D
    return [Case(op, workload, dtype) for workload in table]
