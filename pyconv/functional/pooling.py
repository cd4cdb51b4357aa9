# SPDX-License-Identifier: BSD-3-Clause
"""Pooling over sliding windows of each plane: maximum and average."""

from typing import Literal, overload

from pyconv import _core
from pyconv.functional._arguments import (
    Array,
    IntOrPair,
    Padding,
    Pair,
    boolean,
    integer,
    pair,
    shape4,
)
from pyconv.functional._arguments import (
    padding as padding_form,
)


def window(
    function: str, kernel_size: object, stride: object, padding: object
) -> tuple[Pair, Pair, tuple[Pair, Pair] | None]:
    """Return size, stride and padding in the form that the extension takes."""
    size = pair(function, "kernel_size", kernel_size)
    step = size if stride is None else pair(function, "stride", stride)
    return size, step, padding_form(function, padding)


def _divisor(function: str, value: object) -> int | None:
    return None if value is None else integer(function, "divisor_override", value)


@overload
def max_pool2d(
    input: Array,
    kernel_size: IntOrPair,
    *,
    stride: IntOrPair | None = None,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
    return_indices: Literal[False] = False,
    out: Array | None = None,
) -> Array: ...
@overload
def max_pool2d(
    input: Array,
    kernel_size: IntOrPair,
    *,
    stride: IntOrPair | None = None,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
    return_indices: Literal[True],
    out: Array | None = None,
) -> tuple[Array, Array]: ...
def max_pool2d(
    input: Array,
    kernel_size: IntOrPair,
    *,
    stride: IntOrPair | None = None,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    out: Array | None = None,
) -> Array | tuple[Array, Array]:
    """Largest value of each window.

    Parameters
    ----------
    input : ndarray, shape (N, C, H, W)
        float32 or float64.
    kernel_size : int or (int, int)
    stride : int or (int, int), optional
        By default `kernel_size`: windows side by side.
    padding : int, (int, int), ((top, bottom), (left, right)), "valid" or "same"
        Less than the extent of the kernel. Padding is absent: it is never chosen.
    dilation : int or (int, int)
    ceil_mode : bool
        Round the number of windows up; the last one must begin inside the input or the leading
        padding.
    return_indices : bool
        Also return where the maxima are.
    out : ndarray, shape (N, C, OH, OW), optional

    Returns
    -------
    output : ndarray, shape (N, C, OH, OW)
    indices : ndarray of int32, shape (N, C, OH, OW)
        ``h * W + w`` of each maximum, -1 for a window without a pixel; only if `return_indices`.

    Raises
    ------
    ValueError
        A window does not fit, or `out` cannot hold the result.
    TypeError
        The dtype is neither float32 nor float64.

    Notes
    -----
    For padding 0: ``output[n, c, oh, ow] = np.max(input[n, c, oh*sh:oh*sh+KH, ow*sw:ow*sw+KW])``.
    The first of equal maxima, in row order, is chosen; a NaN in the window wins (of several, the
    last).

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.max_pool2d(np.arange(16.0).reshape(1, 1, 4, 4), 2)
    array([[[[ 5.,  7.],
             [13., 15.]]]])
    """
    function = "max_pool2d"
    return _core.max_pool2d(
        input,
        *window(function, kernel_size, stride, padding),
        pair(function, "dilation", dilation),
        boolean(function, "ceil_mode", ceil_mode),
        boolean(function, "return_indices", return_indices),
        out,
    )


def max_pool2d_backward(
    grad_output: Array, indices: Array, input_shape: tuple[int, ...], *, out: Array | None = None
) -> Array:
    """Gradient of `max_pool2d`, `adaptive_max_pool2d` and `global_max_pool2d`.

    Parameters
    ----------
    grad_output : ndarray, shape (N, C, OH, OW)
    indices : ndarray of int32, shape (N, C, OH, OW)
        As the forward call returned them.
    input_shape : (N, C, H, W)
    out : ndarray, shape (N, C, H, W), optional

    Returns
    -------
    ndarray, shape (N, C, H, W)
        Each gradient added to the pixel that its index names.

    Raises
    ------
    ValueError
        An index is not in -1 .. H * W - 1, or shapes do not fit together.

    Notes
    -----
    ``np.add.at(grad_input[n, c].ravel(), indices[n, c].ravel(), grad_output[n, c].ravel())``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> x = np.arange(4.0).reshape(1, 1, 2, 2)
    >>> y, indices = F.max_pool2d(x, 2, return_indices=True)
    >>> F.max_pool2d_backward(np.ones_like(y), indices, x.shape)
    array([[[[0., 0.],
             [0., 1.]]]])
    """
    shape = shape4("max_pool2d_backward", "input_shape", input_shape)
    return _core.max_pool2d_backward(grad_output, indices, shape, out)


def avg_pool2d(
    input: Array,
    kernel_size: IntOrPair,
    *,
    stride: IntOrPair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    out: Array | None = None,
) -> Array:
    """Average of each window.

    Parameters
    ----------
    input : ndarray, shape (N, C, H, W)
        float32 or float64.
    kernel_size, stride, padding, ceil_mode
        As in `max_pool2d`; padding counts as zeros.
    count_include_pad : bool
        Divide by the number of values in the window with its padding, or by that of pixels only.
    divisor_override : int, optional
        Divide by this instead; not 0.
    out : ndarray, shape (N, C, OH, OW), optional

    Returns
    -------
    ndarray, shape (N, C, OH, OW)

    Raises
    ------
    ValueError
        A window does not fit, or `out` cannot hold the result.
    TypeError
        The dtype is neither float32 nor float64.

    Notes
    -----
    For padding 0: ``output[n, c, oh, ow] = np.mean(input[n, c, oh*sh:oh*sh+KH, ow*sw:ow*sw+KW])``.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.avg_pool2d(np.arange(16.0).reshape(1, 1, 4, 4), 2)
    array([[[[ 2.5,  4.5],
             [10.5, 12.5]]]])
    """
    function = "avg_pool2d"
    return _core.avg_pool2d(
        input,
        *window(function, kernel_size, stride, padding),
        boolean(function, "ceil_mode", ceil_mode),
        boolean(function, "count_include_pad", count_include_pad),
        _divisor(function, divisor_override),
        out,
    )


def avg_pool2d_backward(
    grad_output: Array,
    input_shape: tuple[int, ...],
    kernel_size: IntOrPair,
    *,
    stride: IntOrPair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    out: Array | None = None,
) -> Array:
    """Gradient of `avg_pool2d`: each gradient, divided as the average was, added to its window.

    Parameters
    ----------
    grad_output : ndarray, shape (N, C, OH, OW)
    input_shape : (N, C, H, W)
    kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
        As in `avg_pool2d`.
    out : ndarray, shape (N, C, H, W), optional

    Returns
    -------
    ndarray, shape (N, C, H, W)

    Notes
    -----
    ``np.vdot(avg_pool2d(x, k), g) == np.vdot(x, avg_pool2d_backward(g, x.shape, k))``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.avg_pool2d_backward(np.ones((1, 1, 1, 1)), (1, 1, 2, 2), 2)
    array([[[[0.25, 0.25],
             [0.25, 0.25]]]])
    """
    function = "avg_pool2d_backward"
    return _core.avg_pool2d_backward(
        grad_output,
        shape4(function, "input_shape", input_shape),
        *window(function, kernel_size, stride, padding),
        boolean(function, "ceil_mode", ceil_mode),
        boolean(function, "count_include_pad", count_include_pad),
        _divisor(function, divisor_override),
        out,
    )
