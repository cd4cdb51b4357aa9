# SPDX-License-Identifier: BSD-3-Clause
"""Softmax along an axis, its logarithm, and their gradients."""

from pyconv import _core
from pyconv.functional._arguments import Array, integer


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
