# SPDX-License-Identifier: BSD-3-Clause
"""Power-average pooling: the p-norm of each window."""

from pyconv import _core
from pyconv.functional._arguments import Array, IntOrPair, Padding, boolean, number
from pyconv.functional.pooling import window


def lp_pool2d(
    input: Array,
    kernel_size: IntOrPair,
    *,
    norm_type: float = 2.0,
    stride: IntOrPair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    out: Array | None = None,
) -> Array:
    """Root of the sum of powers of each window.

    Parameters
    ----------
    input : ndarray, shape (N, C, H, W)
        float32 or float64.
    kernel_size : int or (int, int)
    norm_type : float
        The power p, positive. No absolute value is taken: a negative sum has no root, and gives NaN,
        unless p is 1.
    stride, padding, ceil_mode
        As in `max_pool2d`; padding counts as zeros.
    out : ndarray, shape (N, C, OH, OW), optional

    Returns
    -------
    ndarray, shape (N, C, OH, OW)

    Raises
    ------
    ValueError
        A window does not fit, `norm_type` is not positive, or `out` cannot hold the result.
    TypeError
        The dtype is neither float32 nor float64.

    Notes
    -----
    For padding 0: ``output[n, c, oh, ow] = np.sum(input[n, c, oh*sh:oh*sh+KH, ow*sw:ow*sw+KW] ** p)
    ** (1 / p)``, after Gulcehre et al., "Learned-Norm Pooling for Deep Feedforward and Recurrent
    Neural Networks", 2014. With `ceil_mode`, torch multiplies the sum of a window that the border
    cuts off by the part of its area that is missing; here it is the sum of the pixels that are there.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.lp_pool2d(np.array([[[[3.0, 0.0], [0.0, 4.0]]]]), 2)
    array([[[[5.]]]])
    """
    function = "lp_pool2d"
    size, step, pads = window(function, kernel_size, stride, padding)
    return _core.lp_pool2d(
        input,
        size,
        number(function, "norm_type", norm_type),
        step,
        pads,
        boolean(function, "ceil_mode", ceil_mode),
        out,
    )


def lp_pool2d_backward(
    grad_output: Array,
    input: Array,
    output: Array,
    kernel_size: IntOrPair,
    *,
    norm_type: float = 2.0,
    stride: IntOrPair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    out: Array | None = None,
) -> Array:
    """Gradient of `lp_pool2d`.

    Parameters
    ----------
    grad_output : ndarray, shape (N, C, OH, OW)
    input : ndarray, shape (N, C, H, W)
    output : ndarray, shape (N, C, OH, OW)
        What `lp_pool2d` returned for `input`.
    kernel_size, norm_type, stride, padding, ceil_mode
        As in `lp_pool2d`.
    out : ndarray, shape (N, C, H, W), optional

    Returns
    -------
    ndarray, shape (N, C, H, W)

    Notes
    -----
    ``input ** (p - 1)`` times the sum of ``grad_output * output ** (1 - p)`` over the windows that
    hold the pixel. A window whose output is 0 has no gradient, as in torch.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> x = np.array([[[[3.0, 0.0], [0.0, 4.0]]]])
    >>> y = F.lp_pool2d(x, 2)
    >>> F.lp_pool2d_backward(np.ones_like(y), x, y, 2)
    array([[[[0.6, 0. ],
             [0. , 0.8]]]])
    """
    function = "lp_pool2d_backward"
    size, step, pads = window(function, kernel_size, stride, padding)
    return _core.lp_pool2d_backward(
        grad_output,
        input,
        output,
        size,
        number(function, "norm_type", norm_type),
        step,
        pads,
        boolean(function, "ceil_mode", ceil_mode),
        out,
    )
