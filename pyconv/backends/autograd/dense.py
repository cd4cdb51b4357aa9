# SPDX-License-Identifier: BSD-3-Clause
"""Linear layers, ReLU and softmax."""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
from autograd.extend import defvjp, primitive

from pyconv import functional as F

# Boxed or plain: autograd passes its own boxes through all of these.
Array = Any


_linear = primitive(F.linear)
_linear_backward_input = primitive(F.linear_backward_input)
_linear_backward_weight = primitive(F.linear_backward_weight)

# y = x @ w.T + b, gx = g @ w and gw = g.T @ x: a trilinear form, as a convolution is.
defvjp(
    _linear,
    lambda _, x, w, b: lambda g: _linear_backward_input(g, w),
    lambda _, x, w, b: lambda g: _linear_backward_weight(g, x),
    lambda _, x, w, b: lambda g: anp.sum(g, axis=0),
)
defvjp(
    _linear_backward_input,
    lambda _, g, w: lambda h: _linear(h, w, None),
    lambda _, g, w: lambda h: _linear_backward_weight(g, h),
)
defvjp(
    _linear_backward_weight,
    lambda _, g, x: lambda h: _linear(x, h, None),
    lambda _, g, x: lambda h: _linear_backward_input(g, h),
)


def linear(input: Array, weight: Array, bias: Array | None = None) -> Array:
    """`pyconv.functional.linear`: `input` (N, in), `weight` (out, in), `bias` (out,).

    Parameters
    ----------
    input, weight, bias
        As of `pyconv.functional.linear`.

    Returns
    -------
    ndarray, shape (N, out)

    Examples
    --------
    >>> import autograd.numpy as np
    >>> linear(np.ones((1, 3)), np.ones((2, 3)))
    array([[3., 3.]])
    """
    return _linear(input, weight, bias)


_relu = primitive(F.relu)
_relu_backward = primitive(F.relu_backward)

defvjp(_relu, lambda y, x: lambda g: _relu_backward(g, y))
# Linear in g; constant in y wherever it can be differentiated.
defvjp(_relu_backward, lambda _, g, y: lambda h: _relu_backward(h, y), None)


def relu(input: Array) -> Array:
    """`pyconv.functional.relu`, of an array of any shape.

    Parameters
    ----------
    input : ndarray

    Returns
    -------
    ndarray, the shape of `input`

    Examples
    --------
    >>> import autograd
    >>> import autograd.numpy as np
    >>> autograd.elementwise_grad(relu)(np.array([-1.0, 2.0]))
    array([0., 1.])
    """
    return _relu(input)


_softmax = primitive(F.softmax)
_softmax_backward = primitive(F.softmax_backward)
_log_softmax = primitive(F.log_softmax)
_log_softmax_backward = primitive(F.log_softmax_backward)


def _along(a: Array, axis: int) -> Array:
    return anp.sum(a, axis=axis, keepdims=True)


# softmax_backward(g, y) = y * (g - sum(g * y)): symmetric in g.
defvjp(_softmax, lambda y, x, axis=-1: lambda g: _softmax_backward(g, y, axis=axis))
defvjp(
    _softmax_backward,
    lambda _, g, y, axis=-1: lambda h: _softmax_backward(h, y, axis=axis),
    lambda _, g, y, axis=-1: lambda h: h * (g - _along(g * y, axis)) - g * _along(h * y, axis),
)
# log_softmax_backward(g, y) = g - exp(y) * sum(g)
defvjp(_log_softmax, lambda y, x, axis=-1: lambda g: _log_softmax_backward(g, y, axis=axis))
defvjp(
    _log_softmax_backward,
    lambda _, g, y, axis=-1: lambda h: h - _along(h * anp.exp(y), axis),
    lambda _, g, y, axis=-1: lambda h: -h * anp.exp(y) * _along(g, axis),
)


def softmax(input: Array, *, axis: int = -1) -> Array:
    """`pyconv.functional.softmax`, along an axis of an array of any shape.

    Parameters
    ----------
    input : ndarray
    axis : int

    Returns
    -------
    ndarray, the shape of `input`

    Examples
    --------
    >>> import autograd.numpy as np
    >>> softmax(np.zeros((1, 4)))
    array([[0.25, 0.25, 0.25, 0.25]])
    """
    return _softmax(input, axis=axis)


def log_softmax(input: Array, *, axis: int = -1) -> Array:
    """`pyconv.functional.log_softmax`, along an axis of an array of any shape.

    Parameters
    ----------
    input : ndarray
    axis : int

    Returns
    -------
    ndarray, the shape of `input`

    Examples
    --------
    >>> import autograd.numpy as np
    >>> log_softmax(np.zeros((1, 1)))
    array([[0.]])
    """
    return _log_softmax(input, axis=axis)
