# SPDX-License-Identifier: BSD-3-Clause
"""Layer normalisation: over the last axes, with a weight for each value."""

from collections.abc import Sequence

import numpy as np

from pyconv import _core
from pyconv.functional._arguments import Array, integer, integers, number


def layer_norm(
    input: Array,
    normalized_shape: int | Sequence[int],
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    eps: float = 1e-5,
    out: Array | None = None,
) -> Array:
    """Normalise the last axes by their own mean and variance.

    Parameters
    ----------
    input : ndarray, shape ``(..., *normalized_shape)``
        float32 or float64; all arrays of one call share the dtype.
    normalized_shape : int or sequence of int
        The sizes of the axes that are normalised together; an int is the last one.
    weight, bias : ndarray, shape `normalized_shape`, optional
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
        `input` does not end in `normalized_shape`, shapes do not fit together, or `eps` is negative.
    TypeError
        A dtype is neither float32 nor float64, or dtypes differ.

    Notes
    -----
    With the biased variance, as ``np.var``, over the last axes::

        (input - input.mean(axes)) / np.sqrt(input.var(axes) + eps) * weight + bias

    References
    ----------
    J. L. Ba, J. R. Kiros and G. E. Hinton, "Layer normalization", arXiv:1607.06450, 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.layer_norm(np.array([[1.0, 3.0], [20.0, 40.0]]), 2, bias=np.array([0.0, 5.0]), eps=0)
    array([[-1.,  6.],
           [-1.,  6.]])
    """
    shape = _sizes("layer_norm", normalized_shape)
    return _core.layer_norm(input, shape, weight, bias, number("layer_norm", "eps", eps), out)


def layer_norm_backward(
    grad_output: Array,
    input: Array,
    normalized_shape: int | Sequence[int],
    weight: Array | None = None,
    *,
    eps: float = 1e-5,
) -> tuple[Array, Array, Array]:
    """Gradients of `layer_norm`.

    Parameters
    ----------
    grad_output, input : ndarray, shape ``(..., *normalized_shape)``
    normalized_shape : int or sequence of int
    weight : ndarray, shape `normalized_shape`, optional
    eps : float

    Returns
    -------
    grad_input : ndarray, the shape of `input`
    grad_weight, grad_bias : ndarray, shape `normalized_shape`

    Raises
    ------
    ValueError
        `input` does not end in `normalized_shape`, shapes do not fit together, or `eps` is negative.
    TypeError
        A dtype is neither float32 nor float64, or dtypes differ.

    Notes
    -----
    With r the inverse deviation, xhat the normalised input, ``g = grad_output * weight`` and means over
    the last axes::

        grad_input = r * (g - g.mean() - xhat * (g * xhat).mean())
        grad_weight, grad_bias = (grad_output * xhat).sum(axes), grad_output.sum(axes)

    the sums over the other axes. Mean and variance are computed anew.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> x, g = np.array([[1.0, 3.0], [20.0, 40.0]]), np.ones((2, 2))
    >>> F.layer_norm_backward(g, x, 2, eps=0)[1]
    array([-2.,  2.])
    """
    name = "layer_norm_backward"
    shape = _sizes(name, normalized_shape)
    return _core.layer_norm_backward(grad_output, input, shape, weight, number(name, "eps", eps))


def _sizes(function: str, shape: object) -> tuple[int, ...]:
    """Return an int or a sequence of ints as a tuple."""
    expected = "an int or a sequence of ints"
    if isinstance(shape, Sequence | np.ndarray) and not isinstance(shape, str | bytes):
        return integers(function, "normalized_shape", shape, len(shape), expected)
    return (integer(function, "normalized_shape", shape, expected),)
