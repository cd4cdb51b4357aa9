# SPDX-License-Identifier: BSD-3-Clause
"""Kernels for ONNX's operators. Importing a module enters what it has into the table `OPERATORS`."""

from pyconv.backends.onnx.operators import (
    convolution,
    elementwise,
    normalization,
    pooling,
    reduction,
    resize,
    shape,
)
from pyconv.backends.onnx.operators.node import OPERATORS, Kernel, Node, is_float, kernel_of

__all__ = [
    "OPERATORS",
    "Kernel",
    "Node",
    "convolution",
    "elementwise",
    "is_float",
    "kernel_of",
    "normalization",
    "pooling",
    "reduction",
    "resize",
    "shape",
]
