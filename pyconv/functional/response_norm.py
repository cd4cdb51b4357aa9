# SPDX-License-Identifier: BSD-3-Clause
"""Local response normalisation: across neighbouring channels."""

from pyconv import _core
from pyconv.functional._arguments import Array, integer, number


def local_response_norm(
    input: Array,
    size: int,
    *,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
    out: Array | None = None,
) -> Array:
    """Divide each value by a power of the mean square of the channels around it.

    Parameters
    ----------
    input : ndarray, shape (N, C, ...)
        float32 or float64.
    size : int
        Channels of a window: ``size // 2`` before and ``(size - 1) // 2`` behind the value's own.
    alpha, beta, k : float
        `beta` = 0.75 is computed with square roots, which is much faster than any other.
    out : ndarray, the shape of `input`, optional

    Returns
    -------
    ndarray, the shape of `input`

    Raises
    ------
    ValueError
        There are less than two axes, or `size` is not positive.
    TypeError
        The dtype is neither float32 nor float64.

    Notes
    -----
    Channels that do not exist count as 0, and the sum is divided by `size` all the same, as in torch (the
    paper does not divide it)::

        window = input[:, max(0, c - size // 2) : c + (size - 1) // 2 + 1]
        output[:, c] = input[:, c] / (k + alpha / size * (window**2).sum(1)) ** beta

    References
    ----------
    A. Krizhevsky, I. Sutskever and G. E. Hinton, "ImageNet classification with deep convolutional
    neural networks", NeurIPS 2012, section 3.3.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.local_response_norm(np.array([[1.0, 2.0]]), 2, alpha=1.0, beta=1.0)
    array([[0.66666667, 0.57142857]])
    """
    name = "local_response_norm"
    return _core.local_response_norm(
        input,
        integer(name, "size", size),
        number(name, "alpha", alpha),
        number(name, "beta", beta),
        number(name, "k", k),
        out,
    )


def local_response_norm_backward(
    grad_output: Array,
    input: Array,
    size: int,
    *,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
    out: Array | None = None,
) -> Array:
    """Gradient of `local_response_norm`.

    Parameters
    ----------
    grad_output, input : ndarray, shape (N, C, ...)
    size : int
    alpha, beta, k : float
    out : ndarray, the shape of `input`, optional

    Returns
    -------
    ndarray, the shape of `input`

    Raises
    ------
    ValueError
        Shapes do not fit together, or `size` is not positive.
    TypeError
        A dtype is neither float32 nor float64, or dtypes differ.

    Notes
    -----
    With scale the number that is raised to the power, for a channel c and those channels d whose windows
    hold it::

        terms = grad_output * input * scale ** (-beta - 1)
        grad_input[:, c] = grad_output[:, c] * scale[:, c] ** -beta
            - 2 * alpha * beta / size * input[:, c] * terms[:, d].sum(1)

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> x, g = np.array([[1.0, 2.0]]), np.ones((1, 2))
    >>> F.local_response_norm_backward(g, x, 1, alpha=1.0, beta=1.0)
    array([[ 0.  , -0.12]])
    """
    name = "local_response_norm_backward"
    return _core.local_response_norm_backward(
        grad_output,
        input,
        integer(name, "size", size),
        number(name, "alpha", alpha),
        number(name, "beta", beta),
        number(name, "k", k),
        out,
    )
