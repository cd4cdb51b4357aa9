# SPDX-License-Identifier: BSD-3-Clause
"""Adaptive and global pooling: as many windows as give the output size wanted, or one."""

from typing import Literal, overload

from pyconv import _core
from pyconv.functional._arguments import Array, IntOrPair, boolean, pair, shape4


def adaptive_avg_pool2d(input: Array, output_size: IntOrPair, *, out: Array | None = None) -> Array:
    """Average over as many windows as give an output of the size wanted.

    Parameters
    ----------
    input : ndarray, shape (N, C, H, W)
        float32 or float64.
    output_size : int or (int, int)
    out : ndarray, shape (N, C, OH, OW), optional

    Returns
    -------
    ndarray, shape (N, C, OH, OW)

    Notes
    -----
    ``output[n, c, i, j] = input[n, c, i*H//OH : -(-(i+1)*H//OH), j*W//OW : -(-(j+1)*W//OW)].mean()``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.adaptive_avg_pool2d(np.arange(9.0).reshape(1, 1, 3, 3), 2)
    array([[[[2., 3.],
             [5., 6.]]]])
    """
    size = pair("adaptive_avg_pool2d", "output_size", output_size)
    return _core.adaptive_avg_pool2d(input, size, out)


def adaptive_avg_pool2d_backward(
    grad_output: Array, input_shape: tuple[int, ...], *, out: Array | None = None
) -> Array:
    """Gradient of `adaptive_avg_pool2d`, whose output size is that of `grad_output`.

    Parameters
    ----------
    grad_output : ndarray, shape (N, C, OH, OW)
    input_shape : (N, C, H, W)
    out : ndarray, shape (N, C, H, W), optional

    Returns
    -------
    ndarray, shape (N, C, H, W)

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.adaptive_avg_pool2d_backward(np.ones((1, 1, 1, 1)), (1, 1, 1, 2))
    array([[[[0.5, 0.5]]]])
    """
    shape = shape4("adaptive_avg_pool2d_backward", "input_shape", input_shape)
    return _core.adaptive_avg_pool2d_backward(grad_output, shape, out)


@overload
def adaptive_max_pool2d(
    input: Array,
    output_size: IntOrPair,
    *,
    return_indices: Literal[False] = False,
    out: Array | None = None,
) -> Array: ...
@overload
def adaptive_max_pool2d(
    input: Array,
    output_size: IntOrPair,
    *,
    return_indices: Literal[True],
    out: Array | None = None,
) -> tuple[Array, Array]: ...
def adaptive_max_pool2d(
    input: Array,
    output_size: IntOrPair,
    *,
    return_indices: bool = False,
    out: Array | None = None,
) -> Array | tuple[Array, Array]:
    """Largest value of each of the windows of `adaptive_avg_pool2d`.

    Parameters
    ----------
    input : ndarray, shape (N, C, H, W)
        float32 or float64.
    output_size : int or (int, int)
    return_indices : bool
    out : ndarray, shape (N, C, OH, OW), optional

    Returns
    -------
    output : ndarray, shape (N, C, OH, OW)
    indices : ndarray of int32, shape (N, C, OH, OW)
        For `max_pool2d_backward`; only if `return_indices`.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.adaptive_max_pool2d(np.arange(9.0).reshape(1, 1, 3, 3), 2)
    array([[[[4., 5.],
             [7., 8.]]]])
    """
    function = "adaptive_max_pool2d"
    return _core.adaptive_max_pool2d(
        input,
        pair(function, "output_size", output_size),
        boolean(function, "return_indices", return_indices),
        out,
    )


def global_avg_pool2d(input: Array, *, out: Array | None = None) -> Array:
    """Average of each plane.

    Parameters
    ----------
    input : ndarray, shape (N, C, H, W)
        float32 or float64.
    out : ndarray, shape (N, C, 1, 1), optional

    Returns
    -------
    ndarray, shape (N, C, 1, 1)

    Notes
    -----
    ``input.mean(axis=(2, 3), keepdims=True)``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.global_avg_pool2d(np.arange(4.0).reshape(1, 1, 2, 2))
    array([[[[1.5]]]])
    """
    return _core.global_avg_pool2d(input, out)


def global_avg_pool2d_backward(
    grad_output: Array, input_shape: tuple[int, ...], *, out: Array | None = None
) -> Array:
    """Gradient of `global_avg_pool2d`.

    Parameters
    ----------
    grad_output : ndarray, shape (N, C, 1, 1)
    input_shape : (N, C, H, W)
    out : ndarray, shape (N, C, H, W), optional

    Returns
    -------
    ndarray, shape (N, C, H, W)

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.global_avg_pool2d_backward(np.ones((1, 1, 1, 1)), (1, 1, 1, 4))
    array([[[[0.25, 0.25, 0.25, 0.25]]]])
    """
    shape = shape4("global_avg_pool2d_backward", "input_shape", input_shape)
    return _core.global_avg_pool2d_backward(grad_output, shape, out)


@overload
def global_max_pool2d(
    input: Array, *, return_indices: Literal[False] = False, out: Array | None = None
) -> Array: ...
@overload
def global_max_pool2d(
    input: Array, *, return_indices: Literal[True], out: Array | None = None
) -> tuple[Array, Array]: ...
def global_max_pool2d(
    input: Array, *, return_indices: bool = False, out: Array | None = None
) -> Array | tuple[Array, Array]:
    """Largest value of each plane.

    Parameters
    ----------
    input : ndarray, shape (N, C, H, W)
        float32 or float64.
    return_indices : bool
    out : ndarray, shape (N, C, 1, 1), optional

    Returns
    -------
    output : ndarray, shape (N, C, 1, 1)
    indices : ndarray of int32, shape (N, C, 1, 1)
        For `max_pool2d_backward`; only if `return_indices`.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.global_max_pool2d(np.arange(4.0).reshape(1, 1, 2, 2))
    array([[[[3.]]]])
    """
    wanted = boolean("global_max_pool2d", "return_indices", return_indices)
    return _core.global_max_pool2d(input, wanted, out)
