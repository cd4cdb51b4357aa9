# SPDX-License-Identifier: BSD-3-Clause
"""Dense layers, ReLU, dropout and losses, as in the course's `layers`."""

from __future__ import annotations

import numpy as np

from pyconv import functional as F
from pyconv.backends.cs231n.arguments import Cache, Options, common, is_training
from pyconv.functional._arguments import Array, number


def affine_forward(x: Array, w: Array, b: Array) -> tuple[Array, Cache]:
    """Return ``x.reshape(N, D) @ w + b``: ``x`` (N, ...), ``w`` (D, M), ``b`` (M,).

    Parameters
    ----------
    x : ndarray, shape (N, ...)
    w : ndarray, shape (D, M)
    b : ndarray, shape (M,)

    Returns
    -------
    out : ndarray, shape (N, M)
    cache : tuple

    Examples
    --------
    >>> import numpy as np
    >>> out, cache = affine_forward(np.ones((1, 2, 2)), np.ones((4, 3)), np.zeros(3))
    >>> out
    array([[4., 4., 4.]])
    """
    x, w, b = common(x, w, b)
    return F.linear(x.reshape(len(x), -1), w.T, b), (x, w)


def affine_backward(dout: Array, cache: Cache) -> tuple[Array, Array, Array]:
    """Return the gradients ``dx, dw, db`` of `affine_forward`.

    Parameters
    ----------
    dout : ndarray, shape (N, M)
    cache : tuple

    Returns
    -------
    dx, dw, db : ndarray

    Examples
    --------
    >>> import numpy as np
    >>> out, cache = affine_forward(np.ones((1, 2, 2)), np.ones((4, 3)), np.zeros(3))
    >>> affine_backward(out, cache)[2]
    array([4., 4., 4.])
    """
    dout, x, w = common(dout, *cache)
    dx = F.linear_backward_input(dout, w.T).reshape(x.shape)
    dw = F.gemm(x.reshape(len(x), -1), dout, trans_a=True)
    return dx, dw, dout.sum(axis=0)


def relu_forward(x: Array) -> tuple[Array, Array]:
    """Return ``max(x, 0)``, for ``x`` of any shape.

    Parameters
    ----------
    x : ndarray

    Returns
    -------
    out, cache : ndarray, the shape of `x`

    Examples
    --------
    >>> import numpy as np
    >>> relu_forward(np.array([-1.0, 2.0]))[0]
    array([0., 2.])
    """
    (x,) = common(x)
    return F.relu(x), x


def relu_backward(dout: Array, cache: Array) -> Array:
    """Return the gradient ``dx`` of `relu_forward`.

    Parameters
    ----------
    dout : ndarray
    cache : ndarray, the same shape

    Returns
    -------
    ndarray, the same shape

    Examples
    --------
    >>> import numpy as np
    >>> out, cache = relu_forward(np.array([-1.0, 2.0]))
    >>> relu_backward(np.array([5.0, 6.0]), cache)
    array([0., 6.])
    """
    # The sign of the input is that of the output.
    return F.relu_backward(*common(dout, cache))


def dropout_forward(x: Array, dropout_param: Options) -> tuple[Array, Cache]:
    """Keep each value with probability ``p``, and divide it by ``p``; nothing happens in mode "test".

    Parameters
    ----------
    x : ndarray
    dropout_param : dict
        ``mode`` ("train" or "test"), ``p`` in (0, 1], and for training either ``rng``, a
        numpy.random.Generator, or ``seed``, with which every call drops the same values.

    Returns
    -------
    out : ndarray, the shape of `x`
    cache : tuple
        ``(dropout_param, mask)``, for `dropout_backward`.

    Examples
    --------
    >>> import numpy as np
    >>> options = {"mode": "train", "p": 0.5, "rng": np.random.default_rng(0)}
    >>> out, cache = dropout_forward(np.ones(4), options)
    >>> sorted(set(out.tolist())) == [0.0, 2.0]
    True
    """
    function = "dropout_forward"
    training = is_training(function, "dropout_param", dropout_param)
    (x,) = common(x)
    if not training:
        return x.copy(), (dropout_param, None)
    keep = number(function, "dropout_param['p']", dropout_param.get("p"))
    if not 0 < keep <= 1:
        raise ValueError(
            f"{function}: dropout_param['p'] is out of range, got {keep}; expected 0 < p <= 1, "
            "the probability of keeping a value"
        )
    rng = dropout_param.get("rng")
    if rng is None:
        if dropout_param.get("seed") is None:
            raise ValueError(
                f"{function}: dropout_param has no source of randomness, got {sorted(dropout_param)}; "
                "expected an entry 'rng' or 'seed'"
            )
        rng = np.random.default_rng(dropout_param["seed"])
    out, mask = F.dropout(x, 1 - keep, rng=rng)
    return out, (dropout_param, mask)


def dropout_backward(dout: Array, cache: Cache) -> Array:
    """Return the gradient ``dx`` of `dropout_forward`.

    Parameters
    ----------
    dout : ndarray
    cache : tuple

    Returns
    -------
    ndarray, the shape of `dout`

    Examples
    --------
    >>> import numpy as np
    >>> options = {"mode": "train", "p": 0.5, "rng": np.random.default_rng(0)}
    >>> out, cache = dropout_forward(np.ones(4), options)
    >>> bool((dropout_backward(np.ones(4), cache) == out).all())
    True
    """
    _, mask = cache
    if mask is None:
        return common(dout)[0].copy()
    return F.dropout_backward(*common(dout, mask))


def softmax_loss(x: Array, y: Array) -> tuple[float, Array]:
    """Return the mean cross entropy of scores ``x`` (N, C) with classes ``y`` (N,), and ``dx``.

    Parameters
    ----------
    x : ndarray, shape (N, C)
    y : ndarray of int, shape (N,)

    Returns
    -------
    loss : float
    dx : ndarray, shape (N, C)

    Examples
    --------
    >>> import numpy as np
    >>> loss, dx = softmax_loss(np.zeros((1, 2)), np.array([0]))
    >>> round(loss, 4), dx
    (0.6931, array([[-0.5,  0.5]]))
    """
    (x,), y = common(x), np.asarray(y)
    return F.cross_entropy(x, y), F.cross_entropy_backward(x, y)


def svm_loss(x: Array, y: Array) -> tuple[float, Array]:
    """Return the mean multiclass hinge loss of scores ``x`` (N, C) with classes ``y`` (N,), and ``dx``.

    Parameters
    ----------
    x : ndarray, shape (N, C)
    y : ndarray of int, shape (N,)

    Returns
    -------
    loss : float
    dx : ndarray, shape (N, C)

    Examples
    --------
    >>> import numpy as np
    >>> svm_loss(np.array([[3.0, 2.5]]), np.array([0]))
    (0.5, array([[-1.,  1.]]))
    """
    (x,), y = common(x), np.asarray(y)
    return F.multiclass_hinge(x, y), F.multiclass_hinge_backward(x, y)
