# SPDX-License-Identifier: BSD-3-Clause
"""The functions of the course's `fast_layers`, and of its Cython module."""

from __future__ import annotations

from typing import Any

from pyconv import functional as F
from pyconv.backends.cs231n.arguments import Cache, Options, common, size_of
from pyconv.functional._arguments import Array


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
    >>> import numpy as np
    >>> x, w, b = np.ones((1, 1, 3, 3)), np.ones((2, 1, 3, 3)), np.zeros(2)
    >>> out, cache = conv_forward_fast(x, w, b, {"stride": 1, "pad": 1})
    >>> out.shape
    (1, 2, 3, 3)
    """
    function = "conv_forward_fast"
    options: dict[str, Any] = {
        "stride": size_of(function, "conv_param", conv_param, "stride"),
        "padding": size_of(function, "conv_param", conv_param, "pad"),
    }
    x, w, b = common(x, w, b)
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
    >>> import numpy as np
    >>> x, w, b = np.ones((1, 1, 3, 3)), np.ones((2, 1, 3, 3)), np.zeros(2)
    >>> out, cache = conv_forward_fast(x, w, b, {"stride": 1, "pad": 0})
    >>> conv_backward_fast(np.ones_like(out), cache)[2]
    array([1., 1.])
    """
    x, w, options = cache
    dout, x, w = common(dout, x, w)
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
    >>> import numpy as np
    >>> options = {"pool_height": 2, "pool_width": 2, "stride": 2}
    >>> out, cache = max_pool_forward_fast(np.arange(4.0).reshape(1, 1, 2, 2), options)
    >>> out
    array([[[[3.]]]])
    """
    height, width, stride = (
        size_of("max_pool_forward_fast", "pool_param", pool_param, name)
        for name in ("pool_height", "pool_width", "stride")
    )
    (x,) = common(x)
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
    >>> import numpy as np
    >>> options = {"pool_height": 2, "pool_width": 2, "stride": 2}
    >>> out, cache = max_pool_forward_fast(np.arange(4.0).reshape(1, 1, 2, 2), options)
    >>> max_pool_backward_fast(np.ones_like(out), cache)
    array([[[[0., 0.],
             [0., 1.]]]])
    """
    shape, indices = cache
    (dout,) = common(dout)
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
    >>> import numpy as np
    >>> im2col_cython(np.arange(4.0).reshape(1, 1, 2, 2), 2, 2, 0, 1)
    array([[0.],
           [1.],
           [2.],
           [3.]])
    """
    (x,) = common(x)
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
    >>> import numpy as np
    >>> cols = im2col_cython(np.ones((1, 1, 3, 3)), 2, 2, 0, 1)
    >>> col2im_cython(cols, 1, 1, 3, 3, 2, 2, 0, 1)  # how many windows each pixel is in
    array([[[[1., 2., 1.],
             [2., 4., 2.],
             [1., 2., 1.]]]])
    """
    (cols,) = common(cols)
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
    >>> import numpy as np
    >>> col2im_6d_cython(np.ones((1, 2, 2, 1, 2, 2)), 1, 1, 3, 3, 2, 2, 0, 1)
    array([[[[1., 2., 1.],
             [2., 4., 2.],
             [1., 2., 1.]]]])
    """
    (cols,) = common(cols)
    if cols.ndim != 6 or cols.shape[:4] != (C, HH, WW, N):
        raise ValueError(
            f"col2im_6d_cython: cols does not fit, got shape {cols.shape}; "
            f"expected ({C}, {HH}, {WW}, {N}, OH, OW)"
        )
    columns = cols.transpose(3, 0, 1, 2, 4, 5).reshape(N, C * HH * WW, -1)
    return F.col2im(columns, (N, C, H, W), (HH, WW), stride=stride, padding=pad)
