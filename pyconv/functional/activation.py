# SPDX-License-Identifier: BSD-3-Clause
"""Activations and softmax, and their gradients."""

from pyconv import _core
from pyconv.functional._arguments import Array, integer, number


def relu(input: Array, *, out: Array | None = None) -> Array:
    """Rectified linear unit.

    Parameters
    ----------
    input : ndarray
        float32 or float64, any shape.
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `input`

    Notes
    -----
    ``np.where(input <= 0, 0, input)``: NaN stays NaN, -0.0 becomes 0.0.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.relu(np.array([-1.0, 0.0, 2.0]))
    array([0., 0., 2.])
    """
    return _core.relu(input, out)


def relu_backward(grad_output: Array, output: Array, *, out: Array | None = None) -> Array:
    """Gradient of `relu`, from its output (its input serves as well).

    Parameters
    ----------
    grad_output, output : ndarray, one shape
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `grad_output`

    Notes
    -----
    ``np.where(output <= 0, 0, grad_output)``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.relu_backward(np.array([5.0, 6.0]), np.array([0.0, 2.0]))
    array([0., 6.])
    """
    return _core.relu_backward(grad_output, output, out)


def leaky_relu(input: Array, *, negative_slope: float = 0.01, out: Array | None = None) -> Array:
    """Rectified linear unit that lets a part of negative values through.

    Parameters
    ----------
    input : ndarray
        float32 or float64, any shape.
    negative_slope : float
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `input`

    Notes
    -----
    ``np.where(input > 0, input, negative_slope * input)``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.leaky_relu(np.array([-1.0, 2.0]), negative_slope=0.5)
    array([-0.5,  2. ])
    """
    return _core.leaky_relu(input, number("leaky_relu", "negative_slope", negative_slope), out)


def leaky_relu_backward(
    grad_output: Array, input: Array, *, negative_slope: float = 0.01, out: Array | None = None
) -> Array:
    """Gradient of `leaky_relu`.

    Parameters
    ----------
    grad_output, input : ndarray, one shape
    negative_slope : float
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `grad_output`

    Notes
    -----
    ``np.where(input > 0, grad_output, negative_slope * grad_output)``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.leaky_relu_backward(np.ones(2), np.array([-1.0, 2.0]), negative_slope=0.5)
    array([0.5, 1. ])
    """
    slope = number("leaky_relu_backward", "negative_slope", negative_slope)
    return _core.leaky_relu_backward(grad_output, input, slope, out)


def sigmoid(input: Array, *, out: Array | None = None) -> Array:
    """Logistic function.

    Parameters
    ----------
    input : ndarray
        float32 or float64, any shape.
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `input`

    Notes
    -----
    ``1 / (1 + np.exp(-input))``, computed so that nothing overflows.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.sigmoid(np.array([0.0, -1000.0]))
    array([0.5, 0. ])
    """
    return _core.sigmoid(input, out)


def sigmoid_backward(grad_output: Array, output: Array, *, out: Array | None = None) -> Array:
    """Gradient of `sigmoid`, from its output.

    Parameters
    ----------
    grad_output, output : ndarray, one shape
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `grad_output`

    Notes
    -----
    ``grad_output * output * (1 - output)``: at most 1/4 of what came in, and next to nothing where
    the unit is saturated.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.sigmoid_backward(np.ones(1), np.array([0.5]))
    array([0.25])
    """
    return _core.sigmoid_backward(grad_output, output, out)


def tanh(input: Array, *, out: Array | None = None) -> Array:
    """Hyperbolic tangent.

    Parameters
    ----------
    input : ndarray
        float32 or float64, any shape.
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `input`

    Notes
    -----
    ``np.tanh(input)``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.tanh(np.array([0.0, 100.0]))
    array([0., 1.])
    """
    return _core.tanh(input, out)


def tanh_backward(grad_output: Array, output: Array, *, out: Array | None = None) -> Array:
    """Gradient of `tanh`, from its output.

    Parameters
    ----------
    grad_output, output : ndarray, one shape
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `grad_output`

    Notes
    -----
    ``grad_output * (1 - output) * (1 + output)``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.tanh_backward(np.ones(1), np.array([0.5]))
    array([0.75])
    """
    return _core.tanh_backward(grad_output, output, out)


def softmax(input: Array, *, axis: int = -1, out: Array | None = None) -> Array:
    """Exponentials along an axis, divided by their sum.

    Parameters
    ----------
    input : ndarray
        float32 or float64.
    axis : int
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `input`

    Raises
    ------
    ValueError
        `axis` is out of range, or `out` cannot hold the result.
    TypeError
        The dtype is neither float32 nor float64.

    Notes
    -----
    ``e / e.sum(axis, keepdims=True)`` with ``e = np.exp(input - input.max(axis, keepdims=True))``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.softmax(np.array([[0.0, 0.0], [1000.0, 0.0]]))
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    return _core.softmax(input, integer("softmax", "axis", axis), out)


def softmax_backward(
    grad_output: Array, output: Array, *, axis: int = -1, out: Array | None = None
) -> Array:
    """Gradient of `softmax`, from its output.

    Parameters
    ----------
    grad_output, output : ndarray, one shape
    axis : int
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `grad_output`

    Notes
    -----
    ``output * (grad_output - (grad_output * output).sum(axis, keepdims=True))``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.softmax_backward(np.array([1.0, 0.0]), np.array([0.5, 0.5]))
    array([ 0.25, -0.25])
    """
    return _core.softmax_backward(
        grad_output, output, integer("softmax_backward", "axis", axis), out
    )


def log_softmax(input: Array, *, axis: int = -1, out: Array | None = None) -> Array:
    """Logarithm of `softmax`, without its loss of small probabilities.

    Parameters
    ----------
    input : ndarray
        float32 or float64.
    axis : int
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `input`

    Notes
    -----
    ``z - np.log(np.exp(z).sum(axis, keepdims=True))`` with
    ``z = input - input.max(axis, keepdims=True)``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.log_softmax(np.array([1000.0, 0.0]))
    array([    0., -1000.])
    """
    return _core.log_softmax(input, integer("log_softmax", "axis", axis), out)


def log_softmax_backward(
    grad_output: Array, output: Array, *, axis: int = -1, out: Array | None = None
) -> Array:
    """Gradient of `log_softmax`, from its output.

    Parameters
    ----------
    grad_output, output : ndarray, one shape
    axis : int
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `grad_output`

    Notes
    -----
    ``grad_output - np.exp(output) * grad_output.sum(axis, keepdims=True)``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.log_softmax_backward(np.array([1.0, 0.0]), np.log([0.5, 0.5]))
    array([ 0.5, -0.5])
    """
    return _core.log_softmax_backward(
        grad_output, output, integer("log_softmax_backward", "axis", axis), out
    )
