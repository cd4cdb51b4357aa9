# SPDX-License-Identifier: BSD-3-Clause
"""Group and instance normalisation: each image by itself."""

from pyconv import _core
from pyconv.functional._arguments import Array, integer, number


def group_norm(
    input: Array,
    num_groups: int,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    eps: float = 1e-5,
    out: Array | None = None,
) -> Array:
    """Normalise each group of channels of each image by its own mean and variance.

    Parameters
    ----------
    input : ndarray, shape (N, C, ...)
        float32 or float64; all arrays of one call share the dtype.
    num_groups : int
        Divides C.
    weight, bias : ndarray, shape (C,), optional
        1 and 0 if absent.
    eps : float
        Added to the variance.
    out : ndarray, the shape of `input`, optional

    Returns
    -------
    ndarray, the shape of `input`

    Raises
    ------
    ValueError
        `num_groups` does not divide C, shapes do not fit together, or `eps` is negative.
    TypeError
        A dtype is neither float32 nor float64, or dtypes differ.

    Notes
    -----
    With the biased variance, as ``np.var``::

        x = input.reshape(N, num_groups, -1)
        x = (x - x.mean(2, keepdims=True)) / np.sqrt(x.var(2, keepdims=True) + eps)
        output = x.reshape(input.shape) * weight + bias     # along the second axis

    References
    ----------
    Y. Wu and K. He, "Group normalization", ECCV 2018, arXiv:1803.08494.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.group_norm(np.array([[1.0, 3.0, 20.0, 40.0]]), 2, eps=0)
    array([[-1.,  1., -1.,  1.]])
    """
    groups = integer("group_norm", "num_groups", num_groups)
    return _core.group_norm(input, groups, weight, bias, number("group_norm", "eps", eps), out)


def group_norm_backward(
    grad_output: Array,
    input: Array,
    num_groups: int,
    weight: Array | None = None,
    *,
    eps: float = 1e-5,
) -> tuple[Array, Array, Array]:
    """Gradients of `group_norm`.

    Parameters
    ----------
    grad_output, input : ndarray, shape (N, C, ...)
    num_groups : int
    weight : ndarray, shape (C,), optional
    eps : float

    Returns
    -------
    grad_input : ndarray, the shape of `input`
    grad_weight, grad_bias : ndarray, shape (C,)

    Raises
    ------
    ValueError
        `num_groups` does not divide C, shapes do not fit together, or `eps` is negative.
    TypeError
        A dtype is neither float32 nor float64, or dtypes differ.

    Notes
    -----
    With r the inverse deviation of a group, xhat the normalised input, ``g = grad_output * weight`` and
    means over the group::

        grad_input = r * (g - g.mean() - xhat * (g * xhat).mean())
        grad_weight, grad_bias = (grad_output * xhat).sum(axes), grad_output.sum(axes)

    the sums over all axes but the second. Mean and variance are computed anew: a group lies in a cache
    while it is worked on, and nothing has to be kept from the forward pass.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> x, g = np.array([[1.0, 3.0, 20.0, 40.0]]), np.ones((1, 4))
    >>> F.group_norm_backward(g, x, 2, eps=0)[1]
    array([-1.,  1., -1.,  1.])
    """
    name = "group_norm_backward"
    groups = integer(name, "num_groups", num_groups)
    return _core.group_norm_backward(grad_output, input, groups, weight, number(name, "eps", eps))


def instance_norm(
    input: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    eps: float = 1e-5,
    out: Array | None = None,
) -> Array:
    """Normalise each channel of each image by its own mean and variance.

    Parameters
    ----------
    input : ndarray, shape (N, C, ...)
        float32 or float64; all arrays of one call share the dtype.
    weight, bias : ndarray, shape (C,), optional
        1 and 0 if absent.
    eps : float
        Added to the variance.
    out : ndarray, the shape of `input`, optional

    Returns
    -------
    ndarray, the shape of `input`

    Raises
    ------
    ValueError
        Shapes do not fit together, or `eps` is negative.
    TypeError
        A dtype is neither float32 nor float64, or dtypes differ.

    Notes
    -----
    `group_norm` with a group for each channel. A channel with a single value becomes 0 (torch refuses
    it).

    References
    ----------
    D. Ulyanov, A. Vedaldi and V. Lempitsky, "Instance normalization", arXiv:1607.08022, 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.instance_norm(np.array([[[1.0, 3.0], [20.0, 40.0]]]), eps=0)
    array([[[-1.,  1.],
            [-1.,  1.]]])
    """
    return _core.instance_norm(input, weight, bias, number("instance_norm", "eps", eps), out)


def instance_norm_backward(
    grad_output: Array, input: Array, weight: Array | None = None, *, eps: float = 1e-5
) -> tuple[Array, Array, Array]:
    """Gradients of `instance_norm`.

    Parameters
    ----------
    grad_output, input : ndarray, shape (N, C, ...)
    weight : ndarray, shape (C,), optional
    eps : float

    Returns
    -------
    grad_input : ndarray, the shape of `input`
    grad_weight, grad_bias : ndarray, shape (C,)

    Raises
    ------
    ValueError
        Shapes do not fit together, or `eps` is negative.
    TypeError
        A dtype is neither float32 nor float64, or dtypes differ.

    Notes
    -----
    Those of `group_norm_backward` with a group for each channel.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> x, g = np.array([[[1.0, 3.0], [20.0, 40.0]]]), np.ones((1, 2, 2))
    >>> F.instance_norm_backward(g, x, eps=0)[2]
    array([2., 2.])
    """
    eps = number("instance_norm_backward", "eps", eps)
    return _core.instance_norm_backward(grad_output, input, weight, eps)
