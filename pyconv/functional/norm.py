# SPDX-License-Identifier: BSD-3-Clause
"""Batch normalisation: its statistics, the transformation and the gradient."""

from pyconv import _core
from pyconv.functional._arguments import Array, boolean, number, text_or_none


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
    activation: str | None = None,
    out: Array | None = None,
) -> Array:
    """Normalise each channel by a given mean and variance, then scale and shift it.

    Parameters
    ----------
    input : ndarray, shape (N, C, ...)
        float32 or float64; all arrays of one call share the dtype.
    mean, var : ndarray, shape (C,)
        The running ones in evaluation; `batch_norm_training` takes those of the batch.
    weight, bias : ndarray, shape (C,), optional
        1 and 0 if absent.
    eps : float
        Added to the variance.
    activation : None or "relu"
        Applied to the result before it is stored.
    out : ndarray, the shape of `input`, optional

    Returns
    -------
    ndarray, the shape of `input`

    Raises
    ------
    ValueError
        Shapes do not fit together, `eps` is negative, or `activation` is unknown.
    TypeError
        A dtype is neither float32 nor float64, or dtypes differ.

    Notes
    -----
    ``activation((input - mean) / np.sqrt(var + eps) * weight + bias)``, along the second axis.

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
    return _core.batch_norm(
        input,
        mean,
        var,
        weight,
        bias,
        number("batch_norm", "eps", eps),
        text_or_none("batch_norm", "activation", activation),
        out,
    )


def batch_norm_training(
    input: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    eps: float = 1e-5,
    activation: str | None = None,
    out: Array | None = None,
) -> tuple[Array, Array, Array]:
    """Normalise each channel by the mean and variance of the batch itself.

    The same, bit for bit, as `batch_norm_statistics` followed by `batch_norm`, but channel by channel,
    so that a channel that fits in a cache is read from memory once.

    Parameters
    ----------
    input : ndarray, shape (N, C, ...)
        float32 or float64; all arrays of one call share the dtype.
    weight, bias : ndarray, shape (C,), optional
        1 and 0 if absent.
    eps : float
        Added to the variance.
    activation : None or "relu"
        Applied to the result before it is stored.
    out : ndarray, the shape of `input`, optional

    Returns
    -------
    output : ndarray, the shape of `input`
    mean, var : ndarray, shape (C,)
        Of all values of the channel; the variance is the biased one. `batch_norm_backward` needs them.

    Raises
    ------
    ValueError
        There are no values, shapes do not fit together, `eps` is negative, or `activation` is
        unknown.
    TypeError
        A dtype is neither float32 nor float64, or dtypes differ.

    Notes
    -----
    The statistics take one pass: sums of deviations from a value near the mean, in chunks that are
    merged by the formula of Chan, Golub and LeVeque, so that a mean far from 0 costs no digits.

    References
    ----------
    S. Ioffe and C. Szegedy, "Batch normalization", arXiv:1502.03167, 2015.
    T. Chan, G. Golub and R. LeVeque, "Algorithms for computing the sample variance", 1983.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.batch_norm_training(np.array([[1.0], [3.0]]), eps=0, activation="relu")
    (array([[0.],
           [1.]]), array([2.]), array([1.]))
    """
    return _core.batch_norm_training(
        input,
        weight,
        bias,
        number("batch_norm_training", "eps", eps),
        text_or_none("batch_norm_training", "activation", activation),
        out,
    )


def batch_norm_backward(
    grad_output: Array,
    input: Array,
    mean: Array,
    var: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    training: bool = True,
    eps: float = 1e-5,
    activation: str | None = None,
) -> tuple[Array, Array, Array]:
    """Gradients of `batch_norm` and `batch_norm_training`.

    Parameters
    ----------
    grad_output, input : ndarray, shape (N, C, ...)
    mean, var : ndarray, shape (C,)
    weight, bias : ndarray, shape (C,), optional
        `bias` matters with an activation only: which values it let pass is computed anew from `input`,
        which is cheaper than reading the output.
    training : bool
        `mean` and `var` are those of `input` and vary with it; else they are constants.
    eps : float
    activation : None or "relu"
        That of the forward function.

    Returns
    -------
    grad_input : ndarray, the shape of `input`
    grad_weight, grad_bias : ndarray, shape (C,)

    Raises
    ------
    ValueError
        Shapes do not fit together, `eps` is negative, or `activation` is unknown.
    TypeError
        A dtype is neither float32 nor float64, or dtypes differ.

    Notes
    -----
    With ``xhat = (input - mean) / np.sqrt(var + eps)`` and sums over all axes but the second::

        g = grad_output, or 0 where the activation is ReLU and xhat * weight + bias <= 0
        grad_bias = g.sum(axes)
        grad_weight = (g * xhat).sum(axes)
        if training: g = g - (grad_bias + xhat * grad_weight) / count
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
        bias,
        boolean("batch_norm_backward", "training", training),
        number("batch_norm_backward", "eps", eps),
        text_or_none("batch_norm_backward", "activation", activation),
    )
