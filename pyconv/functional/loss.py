# SPDX-License-Identifier: BSD-3-Clause
"""Losses, as one number over a batch, and their gradients.

These are a few passes over an (N, K) array; NumPy does them well enough, on top of `log_softmax`.
"""

import numpy as np

from pyconv.functional._arguments import Array, integer, number, require_float
from pyconv.functional.activation import log_softmax


def _classes(
    function: str, logits: Array, target: Array, ignore_index: int | None = None
) -> tuple[Array, Array]:
    """Check logits (N, K, ...) and target (N, ...); return logits (rows, K) and target (rows,)."""
    require_float(function, "logits", logits)
    if logits.ndim < 2:
        raise ValueError(
            f"{function}: logits has shape {logits.shape}; expected at least two axes, (N, K, ...)"
        )
    if not isinstance(target, np.ndarray):
        got = type(target).__name__
        raise TypeError(f"{function}: target is not an array, got {got}; expected numpy.ndarray")
    if target.dtype.kind not in "iu":
        raise TypeError(f"{function}: target has dtype {target.dtype}; expected integers")
    expected = logits.shape[:1] + logits.shape[2:]
    if target.shape != expected:
        raise ValueError(
            f"{function}: target has shape {target.shape}; expected {expected} for logits "
            f"{logits.shape}"
        )
    if logits.shape[1] == 0:
        raise ValueError(f"{function}: logits has no classes, got shape {logits.shape}")
    # Contiguous, so that sums are made in one order whatever the strides of logits are.
    rows = np.ascontiguousarray(np.moveaxis(logits, 1, -1).reshape(-1, logits.shape[1]))
    labels = target.reshape(-1)
    wrong = (labels < 0) | (labels >= logits.shape[1])
    if ignore_index is not None:
        wrong &= labels != ignore_index
    if wrong.any():
        raise ValueError(
            f"{function}: target holds a class out of range, got {labels[wrong][0]}; expected 0 to "
            f"{logits.shape[1] - 1}"
        )
    return rows, labels


def _smoothed(
    function: str,
    logits: Array,
    target: Array,
    weight: Array | None,
    ignore_index: int,
    label_smoothing: float,
) -> tuple[Array, Array, float]:
    """Return the rows of logits, the factor of each -log p in the sum, and what divides the sum."""
    ignored_class = integer(function, "ignore_index", ignore_index)
    rows, labels = _classes(function, logits, target, ignored_class)
    classes = rows.shape[1]
    smoothing = number(function, "label_smoothing", label_smoothing)
    if not 0 <= smoothing <= 1:
        raise ValueError(
            f"{function}: label_smoothing is out of range, got {smoothing}; expected 0 to 1"
        )
    if weight is None:
        weight = np.ones(classes, rows.dtype)
    require_float(function, "weight", weight)
    if weight.dtype != rows.dtype:
        raise TypeError(f"{function}: weight is {weight.dtype} but logits is {rows.dtype}")
    if weight.shape != (classes,):
        raise ValueError(f"{function}: weight has shape {weight.shape}; expected ({classes},)")
    kept = np.flatnonzero(labels != ignored_class)
    # torch's rule: the smoothed part weighs each class by its own weight, the mean divides by the
    # weights of the targets.
    factors = np.zeros(rows.shape)
    factors[kept] = weight * (smoothing / classes)
    factors[kept, labels[kept]] += weight[labels[kept]] * (1 - smoothing)
    return rows, factors, float(weight[labels[kept]].sum(dtype=np.float64))


def cross_entropy(
    logits: Array,
    target: Array,
    *,
    weight: Array | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> float:
    """Mean negative log-likelihood of the target classes under the softmax of `logits`.

    Parameters
    ----------
    logits : ndarray, shape (N, K) or (N, K, ...)
        float32 or float64.
    target : ndarray of int, shape (N,) or (N, ...)
        Classes, 0 to K - 1.
    weight : ndarray, shape (K,), optional
        Of each class; the mean is the weighted one.
    ignore_index : int
        Targets that do not count.
    label_smoothing : float
        In [0, 1]: how much of each target is spread evenly over all classes.

    Returns
    -------
    float
        NaN when no target counts.

    Raises
    ------
    ValueError
        Shapes do not fit together, or a value is out of range.
    TypeError
        `logits` is neither float32 nor float64, or `target` holds no integers.

    Notes
    -----
    ``-np.mean(np.log(softmax(logits))[np.arange(N), target])``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> round(F.cross_entropy(np.zeros((1, 4)), np.array([2])), 6)
    1.386294
    """
    rows, factors, total = _smoothed(
        "cross_entropy", logits, target, weight, ignore_index, label_smoothing
    )
    log_probability = log_softmax(rows).astype(np.float64, copy=False)
    # A factor of 0 takes its term out, even if the probability is 0 and its logarithm infinite.
    terms = np.multiply(factors, log_probability, where=factors != 0, out=np.zeros_like(factors))
    return float(-terms.sum() / total) if total != 0 else float("nan")


def cross_entropy_backward(
    logits: Array,
    target: Array,
    *,
    weight: Array | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Array:
    """Gradient of `cross_entropy` with respect to `logits`.

    Parameters
    ----------
    logits, target, weight, ignore_index, label_smoothing
        As in `cross_entropy`.

    Returns
    -------
    ndarray, the shape of `logits`

    Notes
    -----
    Without weights and smoothing ``(softmax(logits) - one_hot(target)) / N``.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.cross_entropy_backward(np.zeros((1, 4)), np.array([2]))
    array([[ 0.25,  0.25, -0.75,  0.25]])
    """
    rows, factors, total = _smoothed(
        "cross_entropy_backward", logits, target, weight, ignore_index, label_smoothing
    )
    probability = np.exp(log_softmax(rows).astype(np.float64, copy=False))
    grad = probability * factors.sum(axis=1, keepdims=True) - factors
    grad = grad / total if total != 0 else np.full_like(grad, np.nan)
    return _back_to(logits, grad)


def _back_to(logits: Array, grad_rows: Array) -> Array:
    """Return (rows, K) gradients in the shape and dtype of logits (N, K, ...)."""
    shape = (logits.shape[0], *logits.shape[2:], logits.shape[1])
    grad = np.moveaxis(grad_rows.reshape(shape), -1, 1)
    return np.ascontiguousarray(grad, dtype=logits.dtype)


def _margins(function: str, logits: Array, target: Array, margin: float) -> tuple[Array, Array]:
    """Return max(0, s_j - s_y + margin), 0 for j = y, in float64; and the targets."""
    rows, labels = _classes(function, logits, target)
    scores = rows.astype(np.float64)
    index = np.arange(len(labels))
    wanted = scores[index, labels][:, None]
    margins = np.maximum(scores - wanted + number(function, "margin", margin), 0)
    margins[index, labels] = 0
    return margins, labels


def multiclass_hinge(logits: Array, target: Array, *, margin: float = 1.0) -> float:
    """Multiclass support-vector loss (Weston and Watkins).

    Parameters
    ----------
    logits : ndarray, shape (N, K) or (N, K, ...)
        Scores; float32 or float64.
    target : ndarray of int, shape (N,) or (N, ...)
        Classes, 0 to K - 1.
    margin : float
        By how much the score of the target should lead.

    Returns
    -------
    float
        NaN for an empty batch.

    Notes
    -----
    Mean over n of the sum over ``j != target[n]`` of
    ``max(0, logits[n, j] - logits[n, target[n]] + margin)``.

    References
    ----------
    J. Weston and C. Watkins, "Support vector machines for multi-class pattern recognition",
    ESANN 1999.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.multiclass_hinge(np.array([[3.0, 2.5, -1.0]]), np.array([0]))
    0.5
    """
    margins, labels = _margins("multiclass_hinge", logits, target, margin)
    return float(margins.sum() / len(labels)) if len(labels) else float("nan")


def multiclass_hinge_backward(logits: Array, target: Array, *, margin: float = 1.0) -> Array:
    """Gradient of `multiclass_hinge` with respect to `logits`.

    Parameters
    ----------
    logits, target, margin
        As in `multiclass_hinge`.

    Returns
    -------
    ndarray, the shape of `logits`

    Notes
    -----
    ``1 / N`` for each class within the margin, and minus their number for the target.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.multiclass_hinge_backward(np.array([[3.0, 2.5, -1.0]]), np.array([0]))
    array([[-1.,  1.,  0.]])
    """
    margins, labels = _margins("multiclass_hinge_backward", logits, target, margin)
    grad = (margins > 0).astype(np.float64)
    grad[np.arange(len(labels)), labels] = -grad.sum(axis=1)
    return _back_to(logits, grad / max(len(labels), 1))


def _difference(function: str, input: Array, target: Array) -> Array:
    require_float(function, "input", input)
    require_float(function, "target", target)
    if input.shape != target.shape:
        raise ValueError(f"{function}: target has shape {target.shape}; expected {input.shape}")
    if input.dtype != target.dtype:
        raise TypeError(f"{function}: target is {target.dtype} but input is {input.dtype}")
    difference: Array = input.astype(np.float64) - target
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
