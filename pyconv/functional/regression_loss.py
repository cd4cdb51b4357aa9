# SPDX-License-Identifier: BSD-3-Clause
"""Losses of numbers, as one number over all elements, and their gradients: a few passes of NumPy."""

import numpy as np

from pyconv.functional._arguments import Array, number, require_float
from pyconv.functional.sigmoid_activation import sigmoid


def _wide(function: str, input: Array, target: Array, name: str = "logits") -> Array:
    """Check both arrays; return `input` as a float64 array in C order.

    In one order, so that sums are made in one, whatever the strides are.
    """
    require_float(function, name, input)
    require_float(function, "target", target)
    if input.shape != target.shape:
        raise ValueError(f"{function}: target has shape {target.shape}; expected {input.shape}")
    if input.dtype != target.dtype:
        raise TypeError(f"{function}: target is {target.dtype} but {name} is {input.dtype}")
    return np.ascontiguousarray(input, np.float64).reshape(input.shape)


def _difference(function: str, input: Array, target: Array) -> Array:
    difference: Array = np.subtract(_wide(function, input, target, "input"), target, order="C")
    return difference


def mse(input: Array, target: Array) -> float:
    """Mean squared error over all elements.

    Parameters
    ----------
    input, target : ndarray, one shape
        float32 or float64.

    Returns
    -------
    float
        NaN for empty arrays.

    Notes
    -----
    ``np.mean((input - target) ** 2)``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.mse(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
    2.0
    """
    difference = _difference("mse", input, target)
    return float(np.square(difference).mean()) if difference.size else float("nan")


def mse_backward(input: Array, target: Array) -> Array:
    """Gradient of `mse` with respect to `input`.

    Parameters
    ----------
    input, target : ndarray, one shape

    Returns
    -------
    ndarray, the shape of `input`

    Notes
    -----
    ``2 * (input - target) / input.size``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.mse_backward(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
    array([ 0., -2.])
    """
    difference = _difference("mse_backward", input, target)
    return (difference * (2 / max(difference.size, 1))).astype(input.dtype)


def l1(input: Array, target: Array) -> float:
    """Mean absolute error over all elements.

    Parameters
    ----------
    input, target : ndarray, one shape
        float32 or float64.

    Returns
    -------
    float
        NaN for empty arrays.

    Notes
    -----
    ``np.mean(np.abs(input - target))``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.l1(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
    1.0
    """
    difference = _difference("l1", input, target)
    return float(np.abs(difference).mean()) if difference.size else float("nan")


def l1_backward(input: Array, target: Array) -> Array:
    """Gradient of `l1` with respect to `input`.

    Parameters
    ----------
    input, target : ndarray, one shape

    Returns
    -------
    ndarray, the shape of `input`

    Notes
    -----
    ``np.sign(input - target) / input.size``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.l1_backward(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
    array([ 0. , -0.5])
    """
    difference = _difference("l1_backward", input, target)
    return (np.sign(difference) / max(difference.size, 1)).astype(input.dtype)


def _beta(function: str, beta: float) -> float:
    value = number(function, "beta", beta)
    if not 0 <= value < np.inf:
        raise ValueError(f"{function}: beta is out of range, got {beta}; expected >= 0, and finite")
    return value


def smooth_l1(input: Array, target: Array, *, beta: float = 1.0) -> float:
    """Absolute error with a parabola about 0, over all elements.

    Parameters
    ----------
    input, target : ndarray, one shape
        float32 or float64.
    beta : float
        Where the parabola ends; with 0 there is none.

    Returns
    -------
    float
        NaN for empty arrays.

    Notes
    -----
    Mean of ``0.5 * d**2 / beta`` where ``d < beta``, else of ``d - 0.5 * beta``, with
    ``d = np.abs(input - target)``.

    References
    ----------
    R. Girshick, "Fast R-CNN", ICCV 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.smooth_l1(np.array([0.0, 0.0]), np.array([1.0, 3.0]), beta=2.0)
    1.125
    """
    width = _beta("smooth_l1", beta)
    distance = np.abs(_difference("smooth_l1", input, target))
    inside = distance < width
    terms = distance - 0.5 * width
    terms[inside] = 0.5 * np.square(distance[inside]) / (width or 1)
    return float(terms.mean()) if terms.size else float("nan")


def smooth_l1_backward(input: Array, target: Array, *, beta: float = 1.0) -> Array:
    """Gradient of `smooth_l1` with respect to `input`.

    Parameters
    ----------
    input, target : ndarray, one shape
    beta : float

    Returns
    -------
    ndarray, the shape of `input`

    Notes
    -----
    ``np.clip((input - target) / beta, -1, 1) / input.size``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.smooth_l1_backward(np.zeros(2), np.array([1.0, 3.0]), beta=2.0)
    array([-0.25, -0.5 ])
    """
    width = _beta("smooth_l1_backward", beta)
    difference = _difference("smooth_l1_backward", input, target)
    slope = np.sign(difference) if width == 0 else np.clip(difference / width, -1, 1)
    return (slope / max(difference.size, 1)).astype(input.dtype)


def bce_with_logits(logits: Array, target: Array) -> float:
    """Mean binary cross entropy of `sigmoid` of `logits`, over all elements.

    Parameters
    ----------
    logits : ndarray
        float32 or float64.
    target : ndarray, the same shape
        Probabilities, usually 0 or 1.

    Returns
    -------
    float
        NaN for empty arrays.

    Notes
    -----
    Mean of ``-target * np.log(p) - (1 - target) * np.log(1 - p)`` with ``p = sigmoid(logits)``,
    computed as ``np.maximum(x, 0) - x * target + np.log1p(np.exp(-np.abs(x)))``.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> round(F.bce_with_logits(np.zeros(2), np.array([0.0, 1.0])), 6)
    0.693147
    """
    x = _wide("bce_with_logits", logits, target)
    terms = np.maximum(x, 0) - np.multiply(x, target, order="C") + np.log1p(np.exp(-np.abs(x)))
    return float(terms.mean()) if terms.size else float("nan")


def bce_with_logits_backward(logits: Array, target: Array) -> Array:
    """Gradient of `bce_with_logits` with respect to `logits`.

    Parameters
    ----------
    logits, target : ndarray, one shape

    Returns
    -------
    ndarray, the shape of `logits`

    Notes
    -----
    ``(sigmoid(logits) - target) / logits.size``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.bce_with_logits_backward(np.zeros(2), np.array([0.0, 1.0]))
    array([ 0.25, -0.25])
    """
    x = _wide("bce_with_logits_backward", logits, target)
    grad: Array = (sigmoid(x) - target) / max(x.size, 1)
    return grad.astype(logits.dtype)
