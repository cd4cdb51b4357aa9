# SPDX-License-Identifier: BSD-3-Clause
"""The normalisations of the course's `layers`."""

from __future__ import annotations

import numpy as np

from pyconv import functional as F
from pyconv.backends.cs231n.arguments import Cache, Options, common, is_training
from pyconv.functional._arguments import Array, number


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
    >>> import numpy as np
    >>> out, cache = batchnorm_forward(np.array([[1.0], [3.0]]), np.ones(1), np.zeros(1), {"mode": "train"})
    >>> out.round(3)
    array([[-1.],
           [ 1.]])
    """
    function = "batchnorm_forward"
    training = is_training(function, "bn_param", bn_param)
    eps = number(function, "bn_param['eps']", bn_param.get("eps", 1e-5))
    momentum = number(function, "bn_param['momentum']", bn_param.get("momentum", 0.9))
    x, gamma, beta = common(x, gamma, beta)
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
    >>> import numpy as np
    >>> out, cache = batchnorm_forward(np.array([[1.0], [3.0]]), np.ones(1), np.zeros(1), {"mode": "train"})
    >>> batchnorm_backward(np.ones_like(out), cache)[2]
    array([2.])
    """
    *arrays, training, eps = cache
    return F.batch_norm_backward(*common(dout, *arrays), training=training, eps=eps)


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
    >>> import numpy as np
    >>> out, cache = layernorm_forward(np.array([[1.0, 3.0]]), np.ones(2), np.zeros(2), {})
    >>> out.round(3)
    array([[-1.,  1.]])
    """
    eps = number("layernorm_forward", "ln_param['eps']", ln_param.get("eps", 1e-5))
    x, gamma, beta = common(x, gamma, beta)
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
    >>> import numpy as np
    >>> out, cache = layernorm_forward(np.array([[1.0, 3.0]]), np.ones(2), np.zeros(2), {})
    >>> layernorm_backward(np.ones_like(out), cache)[2]
    array([1., 1.])
    """
    *arrays, eps = cache
    dout, x, gamma = common(dout, *arrays)
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
    >>> import numpy as np
    >>> x = np.array([1.0, 3.0]).reshape(1, 2, 1, 1)
    >>> out, cache = spatial_groupnorm_forward(x, np.ones(2), np.zeros(2), 1, {})
    >>> out.ravel().round(3)
    array([-1.,  1.])
    """
    eps = number("spatial_groupnorm_forward", "gn_param['eps']", gn_param.get("eps", 1e-5))
    x, gamma, beta = common(x, gamma, beta)
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
    >>> import numpy as np
    >>> x = np.array([1.0, 3.0]).reshape(1, 2, 1, 1)
    >>> out, cache = spatial_groupnorm_forward(x, np.ones(2), np.zeros(2), 1, {})
    >>> spatial_groupnorm_backward(np.ones_like(out), cache)[2].ravel()
    array([1., 1.])
    """
    *arrays, groups, eps = cache
    dout, x, gamma = common(dout, *arrays)
    dx, dgamma, dbeta = F.group_norm_backward(dout, x, groups, gamma.reshape(-1), eps=eps)
    return dx, dgamma.reshape(gamma.shape), dbeta.reshape(gamma.shape)
