# SPDX-License-Identifier: BSD-3-Clause
"""What a workload is: a shape, how much work it is, and the arrays to do it on.

A workload is a shape that one or several ops work on; a `Case` is one op on a workload in a dtype.
Each kind of workload tells its ops, and of an op the tensors, the result, the further arguments
and the class of cases that it is summed up in. `selection` names the workloads that are timed.

Work is counted as flops of the direct sum, ``2 * products``: taps that fall on padding count, sizes
rounded up to a register tile do not. Traffic is compulsory traffic, every input read once and the
output written once. Names do not count in comparisons: layers of one shape are the same workload.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.floating[Any]]
Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Gemm:
    """``C[M, N] = A[M, K] @ B[K, N]``; a transposed operand is stored with its axes swapped."""

    ops: ClassVar[tuple[str, ...]] = ("gemm",)
    is_memory_bound: ClassVar[bool] = False

    name: str = field(compare=False)
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
    def options(self) -> dict[str, Any]:
        return {"trans_a": self.trans_a, "trans_b": self.trans_b}

    @property
    def flops(self) -> int:
        return 2 * self.M * self.N * self.K

    def tensor_shapes(self, op: str) -> tuple[Shape, ...]:
        M, N, K = self.M, self.N, self.K
        return ((K, M) if self.trans_a else (M, K), (N, K) if self.trans_b else (K, N))

    def result_shape(self, op: str) -> Shape:
        return (self.M, self.N)

    def arguments(self, op: str) -> tuple[Any, ...]:
        return ()

    def family(self, op: str) -> str:
        if max(self.M, self.N, self.K) <= 64 or min(self.M, self.N) <= 16:
            return "small or skinny"
        return "large" if min(self.M, self.N, self.K) >= 64 else "medium"


@dataclass(frozen=True)
class Conv2d:
    """A convolution layer without bias; the same shape serves forward and both gradients."""

    ops: ClassVar[tuple[str, ...]] = ("conv2d", "conv2d_backward_input", "conv2d_backward_weight")
    is_memory_bound: ClassVar[bool] = False

    name: str = field(compare=False)
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
        """The sizes, in words; padding only where it is not half the filter."""
        words = [f"{self.N}x{self.C}x{self.H}x{self.W}->{self.OC}", f"{self.KH}x{self.KW}"]
        words += [f"s{self.stride}"] if self.stride > 1 else []
        words += [f"p{self.padding}"] if self.padding != self.KH // 2 else []
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
    def input_shape(self) -> Shape:
        return (self.N, self.C, self.H, self.W)

    @property
    def weight_shape(self) -> Shape:
        return (self.OC, self.C // self.groups, self.KH, self.KW)

    @property
    def output_shape(self) -> Shape:
        return (self.N, self.OC, self.OH, self.OW)

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments of a convolution, the same words in pyconv and torch."""
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
        }

    @property
    def flops(self) -> int:
        return 2 * self.N * self.OH * self.OW * prod(self.weight_shape)

    def tensor_shapes(self, op: str) -> tuple[Shape, ...]:
        return {
            "conv2d": (self.input_shape, self.weight_shape),
            "conv2d_backward_input": (self.output_shape, self.weight_shape),
            "conv2d_backward_weight": (self.output_shape, self.input_shape),
        }[op]

    def result_shape(self, op: str) -> Shape:
        return {
            "conv2d": self.output_shape,
            "conv2d_backward_input": self.input_shape,
            "conv2d_backward_weight": self.weight_shape,
        }[op]

    def arguments(self, op: str) -> tuple[Any, ...]:
        """Return the shape of the result, which gradients take after their tensors."""
        return () if op == "conv2d" else (self.result_shape(op),)

    def family(self, op: str) -> str:
        if self.groups > 1:
            return "depthwise" if self.groups == self.C else "grouped"
        if op != "conv2d":
            return "first layer" if self.C <= 3 else "dense"
        kernel = (self.KH, self.KW, self.stride, self.dilation)
        return "3x3 stride 1" if kernel == (3, 3, 1, 1) else "dense"


@dataclass(frozen=True)
class Pool2d:
    """A pooling layer; padding counts in the average."""

    ops: ClassVar[tuple[str, ...]] = ("max_pool2d", "avg_pool2d")
    is_memory_bound: ClassVar[bool] = True

    name: str = field(compare=False)
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
    def input_shape(self) -> Shape:
        return (self.N, self.C, self.H, self.W)

    @property
    def output_shape(self) -> Shape:
        return (self.N, self.C, self.OH, self.OW)

    @property
    def options(self) -> dict[str, Any]:
        return {"stride": self.stride, "padding": self.padding}

    @property
    def flops(self) -> int:
        """One comparison or addition a tap."""
        return prod(self.output_shape) * self.KH * self.KW

    def tensor_shapes(self, op: str) -> tuple[Shape, ...]:
        return (self.input_shape,)

    def result_shape(self, op: str) -> Shape:
        return self.output_shape

    def arguments(self, op: str) -> tuple[Any, ...]:
        """Return the size of the window, which follows the tensor."""
        return ((self.KH, self.KW),)

    def family(self, op: str) -> str:
        return "all"


Workload: TypeAlias = Gemm | Conv2d | Pool2d

OPS = (*Gemm.ops, *Conv2d.ops, *Pool2d.ops)


@dataclass(frozen=True)
class Case:
    """One op on one workload in one dtype."""

    op: str
    workload: Workload
    dtype: str = "float32"

    @property
    def label(self) -> str:
        """Name and shape, which tell the workloads of one op apart."""
        return f"{self.workload.name} {self.workload.shape}"

    @property
    def family(self) -> str:
        """The class of cases that is summed up together."""
        return self.workload.family(self.op)

    @property
    def tensor_shapes(self) -> tuple[Shape, ...]:
        """Shapes of the tensors of the op, in the order its function takes them."""
        return self.workload.tensor_shapes(self.op)

    @property
    def result_shape(self) -> Shape:
        return self.workload.result_shape(self.op)

    @property
    def arguments(self) -> tuple[Any, ...]:
        """Positional arguments of the op's function after its tensors."""
        return self.workload.arguments(self.op)

    @property
    def work(self) -> int:
        """Bytes of compulsory traffic or flops, whichever the rate counts."""
        if self.workload.is_memory_bound:
            elements = sum(prod(shape) for shape in (*self.tensor_shapes, self.result_shape))
            return elements * np.dtype(self.dtype).itemsize
        return self.workload.flops

    @property
    def unit(self) -> str:
        return "GB/s" if self.workload.is_memory_bound else "GFLOP/s"

    def arrays(self, rng: np.random.Generator) -> tuple[FloatArray, ...]:
        """Draw the tensors of the op, standard normal numbers."""
        draw: Any = rng.standard_normal  # its types know no dtype that is given by name
        return tuple(draw(shape, dtype=self.dtype) for shape in self.tensor_shapes)
