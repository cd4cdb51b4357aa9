# SPDX-License-Identifier: BSD-3-Clause
"""Batch normalisation: its statistics, the transformation and the gradient."""

from pyconv import _core
from pyconv.functional._arguments import Array, boolean, number


def batch_norm_statistics(input: Array) -> tuple[Array, Array]:
    """Mean and variance of each channel of a batch.

    Parameters
    ----------
    input : ndarray, shape (N, C, ...)
        float32 or float64.

    Returns
    -------
    mean, var : ndarray, shape (C,)
        Of all values of the channel; the variance is the biased one (divided by their number).

    Raises
    ------
    ValueError
        There are less than two axes, or no values.
    TypeError
        The dtype is neither float32 nor float64.

    Notes
    -----
    ``input.mean(axes), input.var(axes)`` with all axes but the second.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.batch_norm_statistics(np.array([[1.0, 10.0], [3.0, 10.0]]))
    (array([ 2., 10.]), array([1., 0.]))
    """
    return _core.batch_norm_statistics(input)


def batch_norm(
    input: Array,
    mean: Array,
    var: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    eps: float = 1e-5,
    out: Array | None = None,
) -> Array:
    """Normalise each channel by a given mean and variance, then scale and shift it.

    Parameters
    ----------
    input : ndarray, shape (N, C, ...)
        float32 or float64; all arrays of one call share the dtype.
    mean, var : ndarray, shape (C,)
        Those of the batch (`batch_norm_statistics`) in training, the running ones in evaluation.
    weight, bias : ndarray, shape (C,), optional
        1 and 0 if absent.
    eps : float
        Added to the variance.
    out : ndarray, the shape of `input`, optional

    Returns
    -------
    ndarray, the shape of `input`

    Notes
    -----
    ``(input - mean) / np.sqrt(var + eps) * weight + bias``, along the second axis.

    References
    ----------
    S. Ioffe and C. Szegedy, "Batch normalization", arXiv:1502.03167, 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> x = np.array([[1.0], [3.0]])
    >>> F.batch_norm(x, *F.batch_norm_statistics(x), eps=0)
    array([[-1.],
           [ 1.]])
    """
    return _core.batch_norm(input, mean, var, weight, bias, number("batch_norm", "eps", eps), out)


def batch_norm_backward(
    grad_output: Array,
    input: Array,
    mean: Array,
    var: Array,
    weight: Array | None = None,
    *,
    training: bool = True,
    eps: float = 1e-5,
) -> tuple[Array, Array, Array]:
    """Gradients of `batch_norm`.

    Parameters
    ----------
    grad_output, input : ndarray, shape (N, C, ...)
    mean, var : ndarray, shape (C,)
    weight : ndarray, shape (C,), optional
    training : bool
        `mean` and `var` are those of `input` and vary with it; else they are constants.
    eps : float

    Returns
    -------
    grad_input : ndarray, the shape of `input`
    grad_weight, grad_bias : ndarray, shape (C,)

    Notes
    -----
    With ``xhat = (input - mean) / np.sqrt(var + eps)`` and sums over all axes but the second::

        grad_bias = grad_output.sum(axes)
        grad_weight = (grad_output * xhat).sum(axes)
        g = grad_output - (grad_bias + xhat * grad_weight) / count if training else grad_output
        grad_input = weight / np.sqrt(var + eps) * g

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> x = np.array([[1.0], [3.0]])
    >>> mean, var = F.batch_norm_statistics(x)
    >>> F.batch_norm_backward(np.array([[1.0], [0.0]]), x, mean, var, eps=0)[2]
    array([1.])
    """
    return _core.batch_norm_backward(
        grad_output,
        input,
        mean,
        var,
        weight,
        boolean("batch_norm_backward", "training", training),
        number("batch_norm_backward", "eps", eps),
    )
