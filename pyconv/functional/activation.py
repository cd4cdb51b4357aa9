# SPDX-License-Identifier: BSD-3-Clause
"""Activations that are straight lines in pieces, and their gradients; sums.

`out` may be the input, or one of the inputs, of any of these.
"""

from pyconv import _core
from pyconv.functional._arguments import Array, number, text_or_none


def relu(input: Array, *, out: Array | None = None) -> Array:
    """Rectified linear unit.

    Parameters
    ----------
    input : ndarray
        float32 or float64, any shape.
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `input`

    Notes
    -----
    ``np.where(input <= 0, 0, input)``: NaN stays NaN, -0.0 becomes 0.0.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.relu(np.array([-1.0, 0.0, 2.0]))
    array([0., 0., 2.])
    """
    return _core.relu(input, out)


def relu_backward(grad_output: Array, output: Array, *, out: Array | None = None) -> Array:
    """Gradient of `relu`, from its output (its input serves as well).

    Parameters
    ----------
    grad_output, output : ndarray, one shape
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `grad_output`

    Notes
    -----
    ``np.where(output <= 0, 0, grad_output)``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.relu_backward(np.array([5.0, 6.0]), np.array([0.0, 2.0]))
    array([0., 6.])
    """
    return _core.relu_backward(grad_output, output, out)


def leaky_relu(input: Array, *, negative_slope: float = 0.01, out: Array | None = None) -> Array:
    """Rectified linear unit that lets a part of negative values through.

    Parameters
    ----------
    input : ndarray
        float32 or float64, any shape.
    negative_slope : float
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `input`

    Notes
    -----
    ``np.where(input > 0, input, negative_slope * input)``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.leaky_relu(np.array([-1.0, 2.0]), negative_slope=0.5)
    array([-0.5,  2. ])
    """
    return _core.leaky_relu(input, number("leaky_relu", "negative_slope", negative_slope), out)


def leaky_relu_backward(
    grad_output: Array, input: Array, *, negative_slope: float = 0.01, out: Array | None = None
) -> Array:
    """Gradient of `leaky_relu`.

    Parameters
    ----------
    grad_output, input : ndarray, one shape
    negative_slope : float
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `grad_output`

    Notes
    -----
    ``np.where(input > 0, grad_output, negative_slope * grad_output)``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.leaky_relu_backward(np.ones(2), np.array([-1.0, 2.0]), negative_slope=0.5)
    array([0.5, 1. ])
    """
    slope = number("leaky_relu_backward", "negative_slope", negative_slope)
    return _core.leaky_relu_backward(grad_output, input, slope, out)


def relu6(input: Array, *, out: Array | None = None) -> Array:
    """Rectified linear unit that stops at 6.

    Parameters
    ----------
    input : ndarray
        float32 or float64, any shape.
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `input`

    Notes
    -----
    ``np.clip(input, 0, 6)``: NaN stays NaN, -0.0 becomes 0.0.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.relu6(np.array([-1.0, 2.0, 8.0]))
    array([0., 2., 6.])
    """
    return _core.relu6(input, out)


def relu6_backward(grad_output: Array, output: Array, *, out: Array | None = None) -> Array:
    """Gradient of `relu6`, from its output (its input serves as well).

    Parameters
    ----------
    grad_output, output : ndarray, one shape
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `grad_output`

    Notes
    -----
    ``np.where((output <= 0) | (output >= 6), 0, grad_output)``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.relu6_backward(np.ones(3), np.array([0.0, 2.0, 6.0]))
    array([0., 1., 0.])
    """
    return _core.relu6_backward(grad_output, output, out)


def hardsigmoid(input: Array, *, out: Array | None = None) -> Array:
    """Straight lines in place of `sigmoid`.

    Parameters
    ----------
    input : ndarray
        float32 or float64, any shape.
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `input`

    Notes
    -----
    ``np.clip(input + 3, 0, 6) / 6``

    References
    ----------
    A. Howard et al., "Searching for MobileNetV3", ICCV 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.hardsigmoid(np.array([-4.0, 0.0, 4.0]))
    array([0. , 0.5, 1. ])
    """
    return _core.hardsigmoid(input, out)


def hardsigmoid_backward(grad_output: Array, input: Array, *, out: Array | None = None) -> Array:
    """Gradient of `hardsigmoid`.

    Parameters
    ----------
    grad_output, input : ndarray, one shape
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `grad_output`

    Notes
    -----
    ``np.where((input <= -3) | (input >= 3), 0, grad_output / 6)``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.hardsigmoid_backward(np.full(2, 6.0), np.array([0.0, 4.0]))
    array([1., 0.])
    """
    return _core.hardsigmoid_backward(grad_output, input, out)


def hardswish(input: Array, *, out: Array | None = None) -> Array:
    """Straight lines and a parabola in place of `silu`.

    Parameters
    ----------
    input : ndarray
        float32 or float64, any shape.
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `input`

    Notes
    -----
    ``input * np.clip(input + 3, 0, 6) / 6``

    References
    ----------
    A. Howard et al., "Searching for MobileNetV3", ICCV 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.hardswish(np.array([-3.0, 0.0, 3.0]))
    array([-0.,  0.,  3.])
    """
    return _core.hardswish(input, out)


def hardswish_backward(grad_output: Array, input: Array, *, out: Array | None = None) -> Array:
    """Gradient of `hardswish`.

    Parameters
    ----------
    grad_output, input : ndarray, one shape
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `grad_output`

    Notes
    -----
    ``grad_output`` times 0 where ``input <= -3``, 1 where ``input >= 3``, else
    ``input / 3 + 0.5``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.hardswish_backward(np.ones(3), np.array([-4.0, 0.0, 4.0]))
    array([0. , 0.5, 1. ])
    """
    return _core.hardswish_backward(grad_output, input, out)


def add(
    input: Array, other: Array, *, activation: str | None = None, out: Array | None = None
) -> Array:
    """Sum of two arrays of one shape, as at the end of a residual block.

    The gradient with respect to both is that of the sum: `grad_output`, or `relu_backward` of it.

    Parameters
    ----------
    input, other : ndarray, one shape
        float32 or float64.
    activation : {None, "relu"}
        What the sum goes through.
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `input`

    Notes
    -----
    ``input + other``, or `relu` of it

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.add(np.array([1.0, -2.0]), np.array([3.0, 1.0]), activation="relu")
    array([4., 0.])
    """
    return _core.add(input, other, text_or_none("add", "activation", activation), out)
