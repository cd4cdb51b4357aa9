# SPDX-License-Identifier: BSD-3-Clause
"""pyconv under the names of Stanford's CS231n, assignment 2: `fast_layers`, its Cython functions, `layers`.

A layer is a pair of functions: ``forward`` returns ``(out, cache)`` and ``backward(dout, cache)`` the
gradients of the arrays, in the order in which ``forward`` takes them. What a cache holds is pyconv's
affair. Conventions are the course's: weights of affine layers are (D, M), `p` of dropout is the
probability of *keeping* a value, running averages are ``momentum * old + (1 - momentum) * batch`` with
the biased variance. Arrays of different types are brought to NumPy's common type, float32 at least.

Examples
--------
>>> import numpy as np
>>> from pyconv.backends.cs231n import conv_backward_fast, conv_forward_fast
>>> x, w, b = np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2)), np.zeros(1)
>>> out, cache = conv_forward_fast(x, w, b, {"stride": 1, "pad": 0})
>>> out
array([[[[4., 4.],
         [4., 4.]]]])
>>> dx, dw, db = conv_backward_fast(np.ones_like(out), cache)
>>> db
array([4.])

References
----------
Stanford CS231n, "Deep learning for computer vision", https://cs231n.github.io/
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import numpy as np

from pyconv import functional as F
from pyconv.functional._arguments import Array, integer, number

__all__ = [
    "affine_backward",
    "affine_forward",
    "batchnorm_backward",
    "batchnorm_forward",
    "col2im_6d_cython",
    "col2im_cython",
    "conv_backward_fast",
    "conv_forward_fast",
    "dropout_backward",
    "dropout_forward",
    "im2col_cython",
    "layernorm_backward",
    "layernorm_forward",
    "max_pool_backward_fast",
    "max_pool_forward_fast",
    "relu_backward",
    "relu_forward",
    "softmax_loss",
    "spatial_batchnorm_backward",
    "spatial_batchnorm_forward",
    "spatial_groupnorm_backward",
    "spatial_groupnorm_forward",
    "svm_loss",
]

Cache = tuple[Any, ...]
Options = MutableMapping[str, Any]


def _common(*values: Any) -> list[Array]:
    """Return the values as arrays of their common type, float32 at least."""
    arrays = [np.asarray(value) for value in values]
    dtype = np.result_type(np.float32, *arrays)
    return [array.astype(dtype, copy=False) for array in arrays]


def _size(function: str, argument: str, options: Options, name: str) -> int:
    """Return an integer entry of an options dictionary."""
    if name not in options:
        raise ValueError(
            f"{function}: {argument} is incomplete, got {sorted(options)}; expected an entry {name!r}"
        )
    return integer(function, f"{argument}[{name!r}]", options[name])


def _is_training(function: str, argument: str, options: Options) -> bool:
    """Tell whether the mode is "train" or "test"."""
    mode = options.get("mode")
    if mode not in ("train", "test"):
        raise ValueError(
            f"{function}: {argument}['mode'] is unknown, got {mode!r}; expected 'train' or 'test'"
        )
    return bool(mode == "train")


# fast_layers -------------------------------------------------------------------------------------


def conv_forward_fast(x: Array, w: Array, b: Array, conv_param: Options) -> tuple[Array, Cache]:
    """Convolution: `pyconv.functional.conv2d`, at any stride, whether or not it divides the size.

    Parameters
    ----------
    x : ndarray, shape (N, C, H, W)
    w : ndarray, shape (F, C, HH, WW)
    b : ndarray, shape (F,)
    conv_param : dict
        ``stride`` and ``pad``, integers.

    Returns
    -------
    out : ndarray, shape (N, F, OH, OW)
        ``OH = 1 + (H + 2 * pad - HH) // stride``, likewise ``OW``.
    cache : tuple
        For `conv_backward_fast`.

    Examples
    --------
    >>> x, w, b = np.ones((1, 1, 3, 3)), np.ones((2, 1, 3, 3)), np.zeros(2)
    >>> out, cache = conv_forward_fast(x, w, b, {"stride": 1, "pad": 1})
    >>> out.shape
    (1, 2, 3, 3)
    """
    function = "conv_forward_fast"
    options: dict[str, Any] = {
        "stride": _size(function, "conv_param", conv_param, "stride"),
        "padding": _size(function, "conv_param", conv_param, "pad"),
    }
    x, w, b = _common(x, w, b)
    return F.conv2d(x, w, b, **options), (x, w, options)


def conv_backward_fast(dout: Array, cache: Cache) -> tuple[Array, Array, Array]:
    """Return the gradients ``dx, dw, db`` of `conv_forward_fast`.

    Parameters
    ----------
    dout : ndarray, shape (N, F, OH, OW)
    cache : tuple

    Returns
    -------
    dx, dw, db : ndarray

    Examples
    --------
    >>> x, w, b = np.ones((1, 1, 3, 3)), np.ones((2, 1, 3, 3)), np.zeros(2)
    >>> out, cache = conv_forward_fast(x, w, b, {"stride": 1, "pad": 0})
    >>> conv_backward_fast(np.ones_like(out), cache)[2]
    array([1., 1.])
    """
    x, w, options = cache
    dout, x, w = _common(dout, x, w)
    return (
        F.conv2d_backward_input(dout, w, x.shape, **options),
        F.conv2d_backward_weight(dout, x, w.shape, **options),
        F.conv2d_backward_bias(dout),
    )


def max_pool_forward_fast(x: Array, pool_param: Options) -> tuple[Array, Cache]:
    """Max pooling: `pyconv.functional.max_pool2d`; windows may overlap or leave a rest.

    Parameters
    ----------
    x : ndarray, shape (N, C, H, W)
    pool_param : dict
        ``pool_height``, ``pool_width`` and ``stride``, integers.

    Returns
    -------
    out : ndarray, shape (N, C, OH, OW)
        ``OH = 1 + (H - pool_height) // stride``, likewise ``OW``.
    cache : tuple
        For `max_pool_backward_fast`.

    Examples
    --------
    >>> options = {"pool_height": 2, "pool_width": 2, "stride": 2}
    >>> out, cache = max_pool_forward_fast(np.arange(4.0).reshape(1, 1, 2, 2), options)
    >>> out
    array([[[[3.]]]])
    """
    height, width, stride = (
        _size("max_pool_forward_fast", "pool_param", pool_param, name)
        for name in ("pool_height", "pool_width", "stride")
    )
    (x,) = _common(x)
    out, indices = F.max_pool2d(x, (height, width), stride=stride, return_indices=True)
    return out, (x.shape, indices)


def max_pool_backward_fast(dout: Array, cache: Cache) -> Array:
    """Return the gradient ``dx`` of `max_pool_forward_fast`.

    The first of several equal maxima gets all of it; the course's own reshaping version divides it
    among them.

    Parameters
    ----------
    dout : ndarray, shape (N, C, OH, OW)
    cache : tuple

    Returns
    -------
    ndarray, shape (N, C, H, W)

    Examples
    --------
    >>> options = {"pool_height": 2, "pool_width": 2, "stride": 2}
    >>> out, cache = max_pool_forward_fast(np.arange(4.0).reshape(1, 1, 2, 2), options)
    >>> max_pool_backward_fast(np.ones_like(out), cache)
    array([[[[0., 0.],
             [0., 1.]]]])
    """
    shape, indices = cache
    (dout,) = _common(dout)
    return F.max_pool2d_backward(dout, indices, shape)


def im2col_cython(
    x: Array, field_height: int, field_width: int, padding: int, stride: int
) -> Array:
    """Return patches of ``x`` (N, C, H, W) as columns: (C * field_height * field_width, OH * OW * N).

    Column ``(oh * OW + ow) * N + n`` is the patch of image n for output pixel (oh, ow).

    Parameters
    ----------
    x : ndarray, shape (N, C, H, W)
    field_height, field_width, padding, stride : int

    Returns
    -------
    ndarray, shape (C * field_height * field_width, OH * OW * N)

    Examples
    --------
    >>> im2col_cython(np.arange(4.0).reshape(1, 1, 2, 2), 2, 2, 0, 1)
    array([[0.],
           [1.],
           [2.],
           [3.]])
    """
    (x,) = _common(x)
    columns = F.im2col(x, (field_height, field_width), stride=stride, padding=padding)
    return columns.transpose(1, 2, 0).reshape(columns.shape[1], -1)


def col2im_cython(
    cols: Array,
    N: int,
    C: int,
    H: int,
    W: int,
    field_height: int,
    field_width: int,
    padding: int,
    stride: int,
) -> Array:
    """Add columns laid out as by `im2col_cython` to the pixels they came from: (N, C, H, W).

    Parameters
    ----------
    cols : ndarray, shape (C * field_height * field_width, OH * OW * N)
    N, C, H, W, field_height, field_width, padding, stride : int

    Returns
    -------
    ndarray, shape (N, C, H, W)

    Examples
    --------
    >>> cols = im2col_cython(np.ones((1, 1, 3, 3)), 2, 2, 0, 1)
    >>> col2im_cython(cols, 1, 1, 3, 3, 2, 2, 0, 1)  # how many windows each pixel is in
    array([[[[1., 2., 1.],
             [2., 4., 2.],
             [1., 2., 1.]]]])
    """
    (cols,) = _common(cols)
    if cols.ndim != 2 or N < 1 or cols.shape[1] % N:
        raise ValueError(
            f"col2im_cython: cols does not hold columns of N images, got shape {cols.shape}, N={N}; "
            "expected (C * field_height * field_width, OH * OW * N)"
        )
    columns = cols.reshape(len(cols), -1, N).transpose(2, 0, 1)
    kernel = (field_height, field_width)
    return F.col2im(columns, (N, C, H, W), kernel, stride=stride, padding=padding)


def col2im_6d_cython(
    cols: Array, N: int, C: int, H: int, W: int, HH: int, WW: int, pad: int, stride: int
) -> Array:
    """Add columns (C, HH, WW, N, OH, OW) to the pixels they came from: (N, C, H, W).

    Parameters
    ----------
    cols : ndarray, shape (C, HH, WW, N, OH, OW)
    N, C, H, W, HH, WW, pad, stride : int

    Returns
    -------
    ndarray, shape (N, C, H, W)

    Examples
    --------
    >>> col2im_6d_cython(np.ones((1, 2, 2, 1, 2, 2)), 1, 1, 3, 3, 2, 2, 0, 1)
    array([[[[1., 2., 1.],
             [2., 4., 2.],
             [1., 2., 1.]]]])
    """
    (cols,) = _common(cols)
    if cols.ndim != 6 or cols.shape[:4] != (C, HH, WW, N):
        raise ValueError(
            f"col2im_6d_cython: cols does not fit, got shape {cols.shape}; "
            f"expected ({C}, {HH}, {WW}, {N}, OH, OW)"
        )
    columns = cols.transpose(3, 0, 1, 2, 4, 5).reshape(N, C * HH * WW, -1)
    return F.col2im(columns, (N, C, H, W), (HH, WW), stride=stride, padding=pad)


# layers ------------------------------------------------------------------------------------------


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
    >>> out, cache = affine_forward(np.ones((1, 2, 2)), np.ones((4, 3)), np.zeros(3))
    >>> out
    array([[4., 4., 4.]])
    """
    x, w, b = _common(x, w, b)
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
    >>> out, cache = affine_forward(np.ones((1, 2, 2)), np.ones((4, 3)), np.zeros(3))
    >>> affine_backward(out, cache)[2]
    array([4., 4., 4.])
    """
    dout, x, w = _common(dout, *cache)
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
    >>> relu_forward(np.array([-1.0, 2.0]))[0]
    array([0., 2.])
    """
    (x,) = _common(x)
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
    >>> out, cache = relu_forward(np.array([-1.0, 2.0]))
    >>> relu_backward(np.array([5.0, 6.0]), cache)
    array([0., 6.])
    """
    # The sign of the input is that of the output.
    return F.relu_backward(*_common(dout, cache))


def batchnorm_forward(
    x: Array, gamma: Array, beta: Array, bn_param: Options
) -> tuple[Array, Cache]:
    """Batch normalisation of (N, D), or of the channels of (N, C, H, W).

    Parameters
    ----------
    x : ndarray, shape (N, D) or (N, C, H, W)
    gamma, beta : ndarray, shape (D,) or (C,)
    bn_param : dict
        ``mode`` ("train" or "test"), ``eps`` (1e-5), ``momentum`` (0.9), ``running_mean`` and
        ``running_var`` (zeros); training replaces the last two.

    Returns
    -------
    out : ndarray, the shape of `x`
    cache : tuple
        For `batchnorm_backward`.

    Examples
    --------
    >>> out, cache = batchnorm_forward(np.array([[1.0], [3.0]]), np.ones(1), np.zeros(1), {"mode": "train"})
    >>> out.round(3)
    array([[-1.],
           [ 1.]])
    """
    function = "batchnorm_forward"
    training = _is_training(function, "bn_param", bn_param)
    eps = number(function, "bn_param['eps']", bn_param.get("eps", 1e-5))
    momentum = number(function, "bn_param['momentum']", bn_param.get("momentum", 0.9))
    x, gamma, beta = _common(x, gamma, beta)
    running = [
        np.asarray(bn_param.get(name, np.zeros_like(gamma)), x.dtype)
        for name in ("running_mean", "running_var")
    ]
    if training:
        out, mean, var = F.batch_norm_training(x, gamma, beta, eps=eps)
        bn_param["running_mean"], bn_param["running_var"] = (
            momentum * old + (1 - momentum) * batch
            for old, batch in zip(running, (mean, var), strict=True)
        )
    else:
        mean, var = running
        out = F.batch_norm(x, mean, var, gamma, beta, eps=eps)
    return out, (x, mean, var, gamma, training, eps)


def batchnorm_backward(dout: Array, cache: Cache) -> tuple[Array, Array, Array]:
    """Return the gradients ``dx, dgamma, dbeta`` of `batchnorm_forward`, in either mode.

    Parameters
    ----------
    dout : ndarray, the shape of the input
    cache : tuple

    Returns
    -------
    dx, dgamma, dbeta : ndarray

    Examples
    --------
    >>> out, cache = batchnorm_forward(np.array([[1.0], [3.0]]), np.ones(1), np.zeros(1), {"mode": "train"})
    >>> batchnorm_backward(np.ones_like(out), cache)[2]
    array([2.])
    """
    *arrays, training, eps = cache
    return F.batch_norm_backward(*_common(dout, *arrays), training=training, eps=eps)


# F.batch_norm takes both shapes.
spatial_batchnorm_forward = batchnorm_forward
spatial_batchnorm_backward = batchnorm_backward


def layernorm_forward(
    x: Array, gamma: Array, beta: Array, ln_param: Options
) -> tuple[Array, Cache]:
    """Normalise each row of ``x`` (N, D); ``gamma``, ``beta`` (D,), ``ln_param["eps"]`` 1e-5 if absent.

    Parameters
    ----------
    x : ndarray, shape (N, D)
    gamma, beta : ndarray, shape (D,)
    ln_param : dict

    Returns
    -------
    out : ndarray, shape (N, D)
    cache : tuple

    Examples
    --------
    >>> out, cache = layernorm_forward(np.array([[1.0, 3.0]]), np.ones(2), np.zeros(2), {})
    >>> out.round(3)
    array([[-1.,  1.]])
    """
    eps = number("layernorm_forward", "ln_param['eps']", ln_param.get("eps", 1e-5))
    x, gamma, beta = _common(x, gamma, beta)
    return F.layer_norm(x, gamma.shape, gamma, beta, eps=eps), (x, gamma, eps)


def layernorm_backward(dout: Array, cache: Cache) -> tuple[Array, Array, Array]:
    """Return the gradients ``dx, dgamma, dbeta`` of `layernorm_forward`.

    Parameters
    ----------
    dout : ndarray, shape (N, D)
    cache : tuple

    Returns
    -------
    dx, dgamma, dbeta : ndarray

    Examples
    --------
    >>> out, cache = layernorm_forward(np.array([[1.0, 3.0]]), np.ones(2), np.zeros(2), {})
    >>> layernorm_backward(np.ones_like(out), cache)[2]
    array([1., 1.])
    """
    *arrays, eps = cache
    dout, x, gamma = _common(dout, *arrays)
    return F.layer_norm_backward(dout, x, gamma.shape, gamma, eps=eps)


def spatial_groupnorm_forward(
    x: Array, gamma: Array, beta: Array, G: int, gn_param: Options
) -> tuple[Array, Cache]:
    """Normalise ``G`` groups of channels of each image of ``x`` (N, C, H, W).

    ``gamma`` and ``beta`` have C values, in the shape (1, C, 1, 1) or any other; ``gn_param["eps"]`` is
    1e-5 if absent.

    Parameters
    ----------
    x : ndarray, shape (N, C, H, W)
    gamma, beta : ndarray
    G : int
    gn_param : dict

    Returns
    -------
    out : ndarray, shape (N, C, H, W)
    cache : tuple

    Examples
    --------
    >>> x = np.array([1.0, 3.0]).reshape(1, 2, 1, 1)
    >>> out, cache = spatial_groupnorm_forward(x, np.ones(2), np.zeros(2), 1, {})
    >>> out.ravel().round(3)
    array([-1.,  1.])
    """
    eps = number("spatial_groupnorm_forward", "gn_param['eps']", gn_param.get("eps", 1e-5))
    x, gamma, beta = _common(x, gamma, beta)
    out = F.group_norm(x, G, gamma.reshape(-1), beta.reshape(-1), eps=eps)
    return out, (x, gamma, G, eps)


def spatial_groupnorm_backward(dout: Array, cache: Cache) -> tuple[Array, Array, Array]:
    """Return the gradients ``dx, dgamma, dbeta`` of `spatial_groupnorm_forward`.

    Parameters
    ----------
    dout : ndarray, shape (N, C, H, W)
    cache : tuple

    Returns
    -------
    dx, dgamma, dbeta : ndarray

    Examples
    --------
    >>> x = np.array([1.0, 3.0]).reshape(1, 2, 1, 1)
    >>> out, cache = spatial_groupnorm_forward(x, np.ones(2), np.zeros(2), 1, {})
    >>> spatial_groupnorm_backward(np.ones_like(out), cache)[2].ravel()
    array([1., 1.])
    """
    *arrays, groups, eps = cache
    dout, x, gamma = _common(dout, *arrays)
    dx, dgamma, dbeta = F.group_norm_backward(dout, x, groups, gamma.reshape(-1), eps=eps)
    return dx, dgamma.reshape(gamma.shape), dbeta.reshape(gamma.shape)


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
    >>> options = {"mode": "train", "p": 0.5, "rng": np.random.default_rng(0)}
    >>> out, cache = dropout_forward(np.ones(4), options)
    >>> sorted(set(out.tolist())) == [0.0, 2.0]
    True
    """
    function = "dropout_forward"
    training = _is_training(function, "dropout_param", dropout_param)
    (x,) = _common(x)
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
    >>> options = {"mode": "train", "p": 0.5, "rng": np.random.default_rng(0)}
    >>> out, cache = dropout_forward(np.ones(4), options)
    >>> bool((dropout_backward(np.ones(4), cache) == out).all())
    True
    """
    _, mask = cache
    if mask is None:
        return _common(dout)[0].copy()
    return F.dropout_backward(*_common(dout, mask))


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
    >>> loss, dx = softmax_loss(np.zeros((1, 2)), np.array([0]))
    >>> round(loss, 4), dx
    (0.6931, array([[-0.5,  0.5]]))
    """
    (x,), y = _common(x), np.asarray(y)
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
    >>> svm_loss(np.array([[3.0, 2.5]]), np.array([0]))
    (0.5, array([[-1.,  1.]]))
    """
    (x,), y = _common(x), np.asarray(y)
    return F.multiclass_hinge(x, y), F.multiclass_hinge_backward(x, y)
