# SPDX-License-Identifier: BSD-3-Clause
"""What max pooling kept, back where it came from."""

from pyconv import _core
from pyconv.functional._arguments import Array, shape4


def max_unpool2d(
    input: Array, indices: Array, output_shape: tuple[int, ...], *, out: Array | None = None
) -> Array:
    """Put each value where its index says, between zeros.

    Parameters
    ----------
    input : ndarray, shape (N, C, OH, OW)
        float32 or float64.
    indices : ndarray of int32, shape (N, C, OH, OW)
        As `max_pool2d` returned them; -1 is nowhere. Of values with the same index the last is kept.
    output_shape : (N, C, H, W)
    out : ndarray, shape (N, C, H, W), optional

    Returns
    -------
    ndarray, shape (N, C, H, W)

    Raises
    ------
    ValueError
        An index is not in -1 .. H * W - 1, or shapes do not fit together.
    TypeError
        The dtype is neither float32 nor float64, or `indices` are no int32.

    Notes
    -----
    ``output[n, c].ravel()[indices[n, c].ravel()] = input[n, c].ravel()``; Zeiler and Fergus,
    "Visualizing and Understanding Convolutional Networks", 2014.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> x = np.array([[[[1.0, 4.0], [3.0, 2.0]]]])
    >>> y, indices = F.max_pool2d(x, 2, return_indices=True)
    >>> F.max_unpool2d(y, indices, x.shape)
    array([[[[0., 4.],
             [0., 0.]]]])
    """
    shape = shape4("max_unpool2d", "output_shape", output_shape)
    return _core.max_unpool2d(input, indices, shape, out)


def max_unpool2d_backward(grad_output: Array, indices: Array, *, out: Array | None = None) -> Array:
    """Gradient of `max_unpool2d`: each is fetched from where its index says.

    Parameters
    ----------
    grad_output : ndarray, shape (N, C, H, W)
    indices : ndarray of int32, shape (N, C, OH, OW)
        As in the forward call. All values with the same index receive its gradient.
    out : ndarray, shape (N, C, OH, OW), optional

    Returns
    -------
    ndarray, shape (N, C, OH, OW)
        0 where the index is -1.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> indices = np.array([[[[3]]]], np.int32)
    >>> F.max_unpool2d_backward(np.arange(4.0).reshape(1, 1, 2, 2), indices)
    array([[[[3.]]]])
    """
    return _core.max_unpool2d_backward(grad_output, indices, out)
