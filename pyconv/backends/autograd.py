# SPDX-License-Identifier: BSD-3-Clause
"""pyconv's functions as primitives of autograd (HIPS), to be differentiated any number of times.

The functions are those of `pyconv.functional`, less the options that change what a gradient is
(`activation`, `residual`) or where it is written (`out`). Gradients are primitives too, wherever pyconv
has the kernel for their own gradient.

Examples
--------
>>> import autograd
>>> import autograd.numpy as np
>>> from pyconv.backends import autograd as F
>>> x, w = np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2))
>>> autograd.grad(lambda w: np.sum(F.conv2d(x, w) ** 2))(w)
array([[[[32., 32.],
         [32., 32.]]]])
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pyconv import functional as F
from pyconv.functional._arguments import IntOrInts, IntOrPair, Padding
from pyconv.optional import need

need("autograd", "pyconv.backends.autograd", extra="autograd")

import autograd.numpy as anp
from autograd.extend import defvjp, defvjp_argnums, primitive
from autograd.tracer import getval, isbox

__all__ = [
    "avg_pool2d",
    "batch_norm",
    "conv1d",
    "conv2d",
    "conv3d",
    "linear",
    "log_softmax",
    "max_pool2d",
    "relu",
    "softmax",
]

# Boxed or plain: autograd passes its own boxes through all of these.
Array = Any
Function = Callable[..., Any]


# Convolution -------------------------------------------------------------------------------------


def _convolution(
    forward: Function, to_input: Function, to_weight: Function, to_bias: Function
) -> Function:
    """Return a convolution as a primitive.

    It and its two gradients are one trilinear form seen from three sides, so that the gradient of each
    is made of the other two.
    """
    conv, grad_input, grad_weight, grad_bias = map(
        primitive, (forward, to_input, to_weight, to_bias)
    )
    defvjp(
        conv,
        lambda _, x, w, b, **o: lambda g: grad_input(g, w, x.shape, **o),
        lambda _, x, w, b, **o: lambda g: grad_weight(g, x, w.shape, **o),
        lambda _, x, w, b, **o: grad_bias,
    )
    defvjp(
        grad_input,
        lambda _, g, w, shape, **o: lambda h: conv(h, w, None, **o),
        lambda _, g, w, shape, **o: lambda h: grad_weight(g, h, w.shape, **o),
    )
    defvjp(
        grad_weight,
        lambda _, g, x, shape, **o: lambda h: conv(x, h, None, **o),
        lambda _, g, x, shape, **o: lambda h: grad_input(g, h, x.shape, **o),
    )
    defvjp(
        grad_bias,
        lambda _, g: (
            lambda h: anp.reshape(h, (-1, *(1,) * (g.ndim - 2))) * np.ones(g.shape, g.dtype)
        ),
    )
    return conv  # type: ignore[no-any-return]


_conv1d = _convolution(
    F.conv1d, F.conv1d_backward_input, F.conv1d_backward_weight, F.conv1d_backward_bias
)
_conv2d = _convolution(
    F.conv2d, F.conv2d_backward_input, F.conv2d_backward_weight, F.conv2d_backward_bias
)
_conv3d = _convolution(
    F.conv3d, F.conv3d_backward_input, F.conv3d_backward_weight, F.conv3d_backward_bias
)


def conv1d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: IntOrInts = 1,
    padding: Padding = 0,
    dilation: IntOrInts = 1,
    groups: int = 1,
) -> Array:
    """`pyconv.functional.conv1d`: `input` (N, C, L), `weight` (OC, C // groups, KL).

    Parameters
    ----------
    input, weight, bias, stride, padding, dilation, groups
        As of `pyconv.functional.conv1d`.

    Returns
    -------
    ndarray, shape (N, OC, OL)

    Examples
    --------
    >>> import autograd
    >>> x, w = np.ones((1, 1, 5)), np.ones((1, 1, 3))
    >>> autograd.grad(lambda w: np.sum(conv1d(x, w)))(w)
    array([[[3., 3., 3.]]])
    """
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return _conv1d(input, weight, bias, **options)


def conv2d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
) -> Array:
    """2-D convolution, differentiable in its three arrays: `pyconv.functional.conv2d`.

    Parameters
    ----------
    input : ndarray, shape (N, C, H, W)
        float32 or float64; all arrays of one call share the dtype.
    weight : ndarray, shape (OC, C // groups, KH, KW)
    bias : ndarray, shape (OC,), optional
    stride, padding, dilation, groups
        As in `pyconv.functional.conv2d`.

    Returns
    -------
    ndarray, shape (N, OC, OH, OW)

    Examples
    --------
    >>> import autograd
    >>> import autograd.numpy as np
    >>> from pyconv.backends import autograd as F
    >>> x, w = np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2))
    >>> autograd.grad(lambda x: np.sum(F.conv2d(x, w)))(x)
    array([[[[1., 2., 1.],
             [2., 4., 2.],
             [1., 2., 1.]]]])
    """
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return _conv2d(input, weight, bias, **options)


def conv3d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: IntOrInts = 1,
    padding: Padding = 0,
    dilation: IntOrInts = 1,
    groups: int = 1,
) -> Array:
    """`pyconv.functional.conv3d`: `conv2d` with axes (D, H, W).

    Parameters
    ----------
    input, weight, bias, stride, padding, dilation, groups
        As of `pyconv.functional.conv3d`.

    Returns
    -------
    ndarray, shape (N, OC, OD, OH, OW)

    Examples
    --------
    >>> conv3d(np.ones((1, 1, 3, 3, 3)), np.ones((1, 1, 3, 3, 3))).ravel()
    array([27.])
    """
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return _conv3d(input, weight, bias, **options)


# Pooling -----------------------------------------------------------------------------------------


@primitive
def _maxima(input: Array, output: Array, indices: Array) -> Array:
    """Return `output`, the values of `input` at `indices`, which are found already."""
    return output


@primitive
def _gather(input: Array, indices: Array) -> Array:
    """Return the values of (N, C, H, W) at indices in the plane; 0 for -1, a window without pixels."""
    planes = input.reshape(*input.shape[:2], -1)
    places = indices.reshape(*indices.shape[:2], -1)
    found = np.take_along_axis(planes, np.maximum(places, 0), axis=2)
    return np.where(places < 0, 0, found).reshape(indices.shape)


_scatter = primitive(F.max_pool2d_backward)

defvjp(_maxima, lambda _, x, y, indices: lambda g: _scatter(g, indices, x.shape))
defvjp(_gather, lambda _, x, indices: lambda g: _scatter(g, indices, x.shape))
defvjp(_scatter, lambda _, g, indices, shape: lambda h: _gather(h, indices))


def max_pool2d(
    input: Array,
    kernel_size: IntOrPair,
    *,
    stride: IntOrPair | None = None,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
) -> Array:
    """`pyconv.functional.max_pool2d`: largest value of each window of `input` (N, C, H, W).

    Parameters
    ----------
    input, kernel_size, stride, padding, dilation, ceil_mode
        As of `pyconv.functional.max_pool2d`.

    Returns
    -------
    ndarray, shape (N, C, OH, OW)

    Examples
    --------
    >>> import autograd
    >>> x = np.arange(4.0).reshape(1, 1, 2, 2)
    >>> autograd.grad(lambda x: np.sum(max_pool2d(x, 2)))(x)
    array([[[[0., 0.],
             [0., 1.]]]])
    """
    output, indices = F.max_pool2d(
        getval(input),
        kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
        return_indices=True,
    )
    return _maxima(input, output, indices)


_avg_pool2d = primitive(F.avg_pool2d)
_avg_pool2d_backward = primitive(F.avg_pool2d_backward)

# Linear, and each other's adjoints.
defvjp(_avg_pool2d, lambda _, x, **o: lambda g: _avg_pool2d_backward(g, x.shape, **o))
defvjp(_avg_pool2d_backward, lambda _, g, shape, **o: lambda h: _avg_pool2d(h, **o))


def avg_pool2d(
    input: Array,
    kernel_size: IntOrPair,
    *,
    stride: IntOrPair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """`pyconv.functional.avg_pool2d`: average of each window of `input` (N, C, H, W).

    Parameters
    ----------
    input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
        As of `pyconv.functional.avg_pool2d`.

    Returns
    -------
    ndarray, shape (N, C, OH, OW)

    Examples
    --------
    >>> avg_pool2d(np.arange(4.0).reshape(1, 1, 2, 2), 2)
    array([[[[1.5]]]])
    """
    return _avg_pool2d(
        input,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
        divisor_override=divisor_override,
    )


# Dense layers and activations --------------------------------------------------------------------

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
    >>> log_softmax(np.zeros((1, 1)))
    array([[0.]])
    """
    return _log_softmax(input, axis=axis)


# Batch norm --------------------------------------------------------------------------------------


@primitive
def _batch_norm(input: Array, weight: Array, bias: Array, eps: float) -> Array:
    return F.batch_norm_training(input, weight, bias, eps=eps)[0]


def _batch_norm_gradients(
    argnums: tuple[int, ...], output: Array, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Function:
    """Return all gradients at once, in one pass over the batch."""
    input, weight, _, eps = args

    def gradients(grad_output: Array) -> tuple[Array, ...]:
        arrays = (grad_output, input, weight)
        if any(map(isbox, arrays)):  # to be differentiated again: in operations of autograd
            found = _traced_gradients(*arrays, eps)
        else:
            statistics = F.batch_norm_statistics(input)
            found = F.batch_norm_backward(grad_output, input, *statistics, weight, eps=eps)
        return tuple(found[argnum] for argnum in argnums)

    return gradients


def _traced_gradients(
    grad_output: Array, input: Array, weight: Array | None, eps: float
) -> tuple[Array, Array, Array]:
    """Return what `pyconv.functional.batch_norm_backward` does, by its formula."""
    axes = (0, *range(2, input.ndim))
    scale = (-1, *(1,) * (input.ndim - 2))
    deviation = input - anp.mean(input, axis=axes, keepdims=True)
    std = anp.sqrt(anp.mean(deviation**2, axis=axes, keepdims=True) + eps)
    normal = deviation / std
    projected = anp.mean(grad_output * normal, axis=axes, keepdims=True) * normal
    centred = grad_output - anp.mean(grad_output, axis=axes, keepdims=True) - projected
    factor = 1 if weight is None else anp.reshape(weight, scale)
    grad_weight = anp.sum(grad_output * normal, axis=axes)
    return centred / std * factor, grad_weight, anp.sum(grad_output, axis=axes)


defvjp_argnums(_batch_norm, _batch_norm_gradients)


def batch_norm(
    input: Array, weight: Array | None = None, bias: Array | None = None, *, eps: float = 1e-5
) -> Array:
    """Normalise each channel of (N, C, ...) by the mean and variance of the batch, as in training.

    Parameters
    ----------
    input : ndarray, shape (N, C, ...)
        float32 or float64; all arrays of one call share the dtype.
    weight, bias : ndarray, shape (C,), optional
    eps : float
        Added to the variance.

    Returns
    -------
    ndarray, the shape of `input`
        The first result of `pyconv.functional.batch_norm_training`.

    Examples
    --------
    >>> import autograd
    >>> import autograd.numpy as np
    >>> from pyconv.backends import autograd as F
    >>> x = np.array([[1.0], [3.0]])
    >>> autograd.grad(lambda bias: np.sum(F.batch_norm(x, None, bias)))(np.zeros(1))
    array([2.])
    """
    return _batch_norm(input, weight, bias, eps)
