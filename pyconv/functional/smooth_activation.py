# SPDX-License-Identifier: BSD-3-Clause
"""Smooth forms of relu, ELU, SELU and softplus, and their gradients.

`out` may be the input, or one of the inputs, of any of these.
"""

from pyconv import _core
from pyconv.functional._arguments import Array, number

# The constants of self-normalising networks.
_SELU_SCALE = 1.0507009873554804934193349852946
_SELU_ALPHA = 1.6732632423543772848170429916717


def elu(input: Array, *, alpha: float = 1.0, out: Array | None = None) -> Array:
    """Exponential linear unit.

    Parameters
    ----------
    input : ndarray
        float32 or float64, any shape.
    alpha : float
        Minus the limit for negative arguments.
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `input`

    Notes
    -----
    ``np.where(input > 0, input, alpha * np.expm1(input))``

    References
    ----------
    D. Clevert, T. Unterthiner and S. Hochreiter, "Fast and accurate deep network learning by
    exponential linear units", ICLR 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.elu(np.array([-1000.0, 0.0, 2.0]))
    array([-1.,  0.,  2.])
    """
    return _core.elu(input, number("elu", "alpha", alpha), out)


def elu_backward(
    grad_output: Array, input: Array, *, alpha: float = 1.0, out: Array | None = None
) -> Array:
    """Gradient of `elu`.

    Parameters
    ----------
    grad_output, input : ndarray, one shape
    alpha : float
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `grad_output`

    Notes
    -----
    ``grad_output * np.where(input > 0, 1, alpha * np.exp(input))``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.elu_backward(np.ones(2), np.array([0.0, 2.0]), alpha=0.5)
    array([0.5, 1. ])
    """
    return _core.elu_backward(grad_output, input, number("elu_backward", "alpha", alpha), out)


def selu(input: Array, *, out: Array | None = None) -> Array:
    """Scaled exponential linear unit, which keeps mean 0 and variance 1.

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
    ``scale * elu(input, alpha=alpha)`` with ``scale = 1.0507009873554805`` and
    ``alpha = 1.6732632423543772``

    References
    ----------
    G. Klambauer et al., "Self-normalizing neural networks", NeurIPS 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.selu(np.array([0.0, 1.0])).round(4)
    array([0.    , 1.0507])
    """
    return _core.selu(input, _SELU_SCALE * _SELU_ALPHA, _SELU_SCALE, out)


def selu_backward(grad_output: Array, input: Array, *, out: Array | None = None) -> Array:
    """Gradient of `selu`.

    Parameters
    ----------
    grad_output, input : ndarray, one shape
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `grad_output`

    Notes
    -----
    ``scale * elu_backward(grad_output, input, alpha=alpha)``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.selu_backward(np.ones(2), np.array([0.0, 1.0])).round(4)
    array([1.7581, 1.0507])
    """
    return _core.selu_backward(grad_output, input, _SELU_SCALE * _SELU_ALPHA, _SELU_SCALE, out)


def softplus(
    input: Array, *, beta: float = 1.0, threshold: float = 20.0, out: Array | None = None
) -> Array:
    """Smooth form of `relu`.

    Parameters
    ----------
    input : ndarray
        float32 or float64, any shape.
    beta : float
        Not 0; the larger, the nearer to `relu`.
    threshold : float
        Where ``beta * input`` is larger, the result is `input`.
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `input`

    Notes
    -----
    ``np.where(beta * input > threshold, input, np.log1p(np.exp(beta * input)) / beta)``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.softplus(np.array([-1000.0, 0.0, 1000.0])).round(4)
    array([0.000e+00, 6.931e-01, 1.000e+03])
    """
    return _core.softplus(input, *_softplus_options("softplus", beta, threshold), out)


def softplus_backward(
    grad_output: Array,
    input: Array,
    *,
    beta: float = 1.0,
    threshold: float = 20.0,
    out: Array | None = None,
) -> Array:
    """Gradient of `softplus`.

    Parameters
    ----------
    grad_output, input : ndarray, one shape
    beta, threshold : float
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `grad_output`

    Notes
    -----
    ``grad_output * np.where(beta * input > threshold, 1, sigmoid(beta * input))``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.softplus_backward(np.ones(2), np.array([0.0, 1000.0]))
    array([0.5, 1. ])
    """
    options = _softplus_options("softplus_backward", beta, threshold)
    return _core.softplus_backward(grad_output, input, *options, out)


def _softplus_options(function: str, beta: object, threshold: object) -> tuple[float, float]:
    factor = number(function, "beta", beta)
    if factor == 0:
        raise ValueError(f"{function}: beta is out of range, got {beta}; expected a number but 0")
    return factor, number(function, "threshold", threshold)
