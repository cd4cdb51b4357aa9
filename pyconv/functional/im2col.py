# SPDX-License-Identifier: BSD-3-Clause
"""The im2col matrix and its adjoint."""

from pyconv import _core
from pyconv.functional._arguments import (
    Array,
    IntOrPair,
    Padding,
    conv_options,
    pair,
    shape4,
)


def im2col(
    input: Array,
    kernel_size: IntOrPair,
    *,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    out: Array | None = None,
) -> Array:
    """Lay out the patches of each image as the columns of a matrix.

    Parameters
    ----------
    input : ndarray, shape (N, C, H, W)
        float32 or float64.
    kernel_size : int or (int, int)
    stride, padding, dilation
        As in `conv2d`.
    out : ndarray, shape (N, C * KH * KW, OH * OW), optional

    Returns
    -------
    ndarray, shape (N, C * KH * KW, OH * OW)

    Notes
    -----
    For stride 1, padding 0, with ``c, kh, kw = np.unravel_index(k, (C, KH, KW))``::

        columns[n, k, oh * OW + ow] = input[n, c, oh + kh, ow + kw]

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.im2col(np.arange(9.0).reshape(1, 1, 3, 3), 2)[0]
    array([[0., 1., 3., 4.],
           [1., 2., 4., 5.],
           [3., 4., 6., 7.],
           [4., 5., 7., 8.]])
    """
    return _core.im2col(
        input,
        pair("im2col", "kernel_size", kernel_size),
        conv_options("im2col", stride, padding, dilation, 1),
        out,
    )


def col2im(
    columns: Array,
    input_shape: tuple[int, ...],
    kernel_size: IntOrPair,
    *,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    out: Array | None = None,
) -> Array:
    """Add each element of an im2col matrix to the pixel it came from: the adjoint of `im2col`.

    Parameters
    ----------
    columns : ndarray, shape (N, C * KH * KW, OH * OW)
        float32 or float64.
    input_shape : (N, C, H, W)
    kernel_size, stride, padding, dilation
        As in `im2col`.
    out : ndarray, shape (N, C, H, W), optional

    Returns
    -------
    ndarray, shape (N, C, H, W)

    Notes
    -----
    ``np.vdot(im2col(x, k), g) == np.vdot(x, col2im(g, x.shape, k))``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.col2im(np.ones((1, 4, 4)), (1, 1, 3, 3), 2)
    array([[[[1., 2., 1.],
             [2., 4., 2.],
             [1., 2., 1.]]]])
    """
    return _core.col2im(
        columns,
        shape4("col2im", "input_shape", input_shape),
        pair("col2im", "kernel_size", kernel_size),
        conv_options("col2im", stride, padding, dilation, 1),
        out,
    )
