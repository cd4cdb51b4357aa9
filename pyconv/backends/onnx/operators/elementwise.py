# SPDX-License-Identifier: BSD-3-Clause
"""Operators on each value by itself: activations by pyconv's kernels, the rest by NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from pyconv import functional as F
from pyconv.backends.onnx.operators.node import Kernel, Node, is_float, is_number, operator
from pyconv.layers.base import Array

_Function: TypeAlias = Callable[..., Any]


def _on_floats(function: Callable[[Array], Array]) -> Kernel:
    """Return the kernel of a function that pyconv has for float32 and float64."""

    def run(x: Array) -> Any:
        return function(x) if is_float(x) else NotImplemented

    return run


def _on_numbers(function: _Function) -> Kernel:
    """Return the kernel of a function that NumPy has for all numbers."""

    def run(*arrays: Array) -> Any:
        if not all(is_number(array) for array in arrays):
            return NotImplemented
        return np.asarray(function(*arrays))  # NumPy makes scalars of arrays without axes

    return run


# Activations -------------------------------------------------------------------------------------

_ACTIVATIONS: dict[str, Callable[[Node], Callable[[Array], Array]]] = {
    "Sigmoid": lambda _: F.sigmoid,
    "Tanh": lambda _: F.tanh,
    "Softplus": lambda _: F.softplus,
    "HardSwish": lambda _: F.hardswish,
    "Softsign": lambda _: lambda x: x / (1 + np.abs(x)),
    "Mish": lambda _: lambda x: x * F.tanh(F.softplus(x)),
    "Elu": lambda node: _with(F.elu, alpha=node.get("alpha", 1.0)),
    "LeakyRelu": lambda node: _with(F.leaky_relu, negative_slope=node.get("alpha", 0.01)),
    "Gelu": lambda node: _with(F.gelu, approximate=node.get("approximate", "none")),
    "Selu": lambda node: _selu(
        node.get("alpha", 1.67326319217681884765625), node.get("gamma", 1.05070102214813232421875)
    ),
    "Celu": lambda node: _celu(node.get("alpha", 1.0)),
    "HardSigmoid": lambda node: _hard_sigmoid(node.get("alpha", 0.2), node.get("beta", 0.5)),
    "Swish": lambda node: _swish(node.get("alpha", 1.0)),
    "ThresholdedRelu": lambda node: _thresholded_relu(node.get("alpha", 1.0)),
}


def _with(function: Callable[..., Array], **options: Any) -> Callable[[Array], Array]:
    return lambda x: function(x, **options)


def _selu(alpha: float, gamma: float) -> Callable[[Array], Array]:
    return lambda x: F.elu(x, alpha=alpha) * x.dtype.type(gamma)


def _celu(alpha: float) -> Callable[[Array], Array]:
    return lambda x: np.maximum(x, 0) + np.minimum(alpha * np.expm1(np.minimum(x, 0) / alpha), 0)


def _hard_sigmoid(alpha: float, beta: float) -> Callable[[Array], Array]:
    if beta == 0.5 and math.isclose(alpha, 1 / 6, rel_tol=1e-6):
        return F.hardsigmoid
    return lambda x: np.clip(x * x.dtype.type(alpha) + x.dtype.type(beta), 0, 1)


def _swish(alpha: float) -> Callable[[Array], Array]:
    return F.silu if alpha == 1 else lambda x: x * F.sigmoid(x * x.dtype.type(alpha))


def _thresholded_relu(alpha: float) -> Callable[[Array], Array]:
    return lambda x: np.where(x > alpha, x, x.dtype.type(0))


def _activation(node: Node) -> Kernel:
    return _on_floats(_ACTIVATIONS[node.op_type](node))


operator(*_ACTIVATIONS)(_activation)


@operator("Relu")
def relu(node: Node) -> Kernel:
    """max(x, 0), of integers too."""
    del node

    def run(x: Array) -> Any:
        if is_float(x):
            return F.relu(x)
        return np.maximum(x, x.dtype.type(0)) if is_number(x) else NotImplemented

    return run


@operator("PRelu")
def prelu(node: Node) -> Kernel:
    """Leaky ReLU with a slope for each channel, or whatever broadcasts."""

    def run(x: Array, slope: Array) -> Any:
        if not is_float(x, slope):
            return NotImplemented
        if node.version < 7 and slope.ndim == 1 and x.ndim > 1:
            slope = slope.reshape(-1, *[1] * (x.ndim - 2))
        return np.where(x < 0, x * slope, x)

    return run


@operator("Clip")
def clip(node: Node) -> Kernel:
    """Bounds are attributes until version 11, then inputs."""
    low, high = node.get("min"), node.get("max")
    if node.version >= 11:
        low, high = (node.constants.get(i) for i in (1, 2))
    six = low is not None and high is not None and low == 0 and high == 6

    def run(x: Array, low_input: Array | None = None, high_input: Array | None = None) -> Any:
        if not is_number(x):
            return NotImplemented
        if six and is_float(x):
            return F.relu6(x)
        bounds = (low_input, high_input) if node.version >= 11 else (low, high)
        for bound, limit in zip(bounds, (np.maximum, np.minimum), strict=True):
            if bound is not None:
                x = np.asarray(limit(x, np.asarray(bound, x.dtype)))
        return x

    return run


# One array ---------------------------------------------------------------------------------------

_UNARY: dict[str, _Function] = {
    "Abs": np.abs,
    "Acos": np.arccos,
    "Acosh": np.arccosh,
    "Asin": np.arcsin,
    "Asinh": np.arcsinh,
    "Atan": np.arctan,
    "Atanh": np.arctanh,
    "BitwiseNot": np.bitwise_not,
    "Ceil": np.ceil,
    "Cos": np.cos,
    "Cosh": np.cosh,
    "Exp": np.exp,
    "Floor": np.floor,
    "IsNaN": np.isnan,
    "Log": np.log,
    "Neg": np.negative,
    "Not": np.logical_not,
    "Reciprocal": lambda x: 1 / x,
    "Round": np.rint,
    "Sign": np.sign,
    "Sin": np.sin,
    "Sinh": np.sinh,
    "Sqrt": np.sqrt,
    "Tan": np.tan,
}


def _unary(node: Node) -> Kernel:
    return _on_numbers(_UNARY[node.op_type])


operator(*_UNARY)(_unary)

# Two arrays --------------------------------------------------------------------------------------


def _div(a: Array, b: Array) -> Any:
    """Divide; quotients of integers are cut off towards 0."""
    if a.dtype.kind == "f":
        return np.divide(a, b)
    quotient = np.floor_divide(a, b)
    return quotient + ((quotient < 0) & (quotient * b != a)).astype(a.dtype)


def _pow(a: Array, b: Array) -> Any:
    return np.power(a, b).astype(a.dtype, copy=False)


_BINARY: dict[str, _Function] = {
    "Add": np.add,
    "And": np.logical_and,
    "BitwiseAnd": np.bitwise_and,
    "BitwiseOr": np.bitwise_or,
    "BitwiseXor": np.bitwise_xor,
    "Div": _div,
    "Equal": np.equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Mul": np.multiply,
    "Or": np.logical_or,
    "Pow": _pow,
    "Sub": np.subtract,
    "Xor": np.logical_xor,
}


def _binary(node: Node) -> Kernel:
    kernel = _on_numbers(_BINARY[node.op_type])
    if node.version >= 7:
        return kernel
    axis = node.get("axis")

    def run(a: Array, b: Array) -> Any:
        # The second array was aligned with the first at `axis`, at the end if it is not given.
        if axis is not None and 0 < b.ndim <= a.ndim:
            b = b.reshape(*b.shape, *[1] * (a.ndim - axis % a.ndim - b.ndim))
        return kernel(a, b)

    return run


operator(*_BINARY)(_binary)


@operator("Add")
def add(node: Node) -> Kernel:
    """Sum of two arrays; of equal ones, and with a ReLU behind, in one pass."""
    general, activation = _binary(node), node.activation

    def run(a: Array, b: Array) -> Any:
        if a.shape == b.shape and is_float(a, b):
            return F.add(a, b, activation=activation)
        output = general(a, b)
        if activation is None or output is NotImplemented:
            return output
        return np.maximum(output, output.dtype.type(0))

    return run


@operator("Mod")
def mod(node: Node) -> Kernel:
    """Remainder with the sign of the divisor, or with `fmod` that of the dividend."""
    return _on_numbers(np.fmod if node.get("fmod", 0) else np.mod)


# Any number of arrays ----------------------------------------------------------------------------


def _fold(function: _Function) -> _Function:
    def run(*arrays: Array) -> Any:
        result = arrays[0]
        for array in arrays[1:]:
            result = function(result, array)
        return result

    return run


_VARIADIC: dict[str, _Function] = {
    "Max": _fold(np.maximum),
    "Mean": lambda *arrays: _fold(np.add)(*arrays) / arrays[0].dtype.type(len(arrays)),
    "Min": _fold(np.minimum),
    "Sum": _fold(np.add),
}


def _variadic(node: Node) -> Kernel:
    return _on_numbers(_VARIADIC[node.op_type])


operator(*_VARIADIC)(_variadic)


@operator("Where")
def where(node: Node) -> Kernel:
    """One array or the other."""
    del node
    return _on_numbers(np.where)
