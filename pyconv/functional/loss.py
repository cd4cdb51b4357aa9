# SPDX-License-Identifier: BSD-3-Clause
"""Losses of classes, as one number over a batch, and their gradients.

Cross entropy of classes is a kernel; the others are a few passes over an (N, K) array, which NumPy
does well enough.
"""

import numpy as np

from pyconv import _core
from pyconv.functional._arguments import Array, integer, number, require_float
from pyconv.functional.soft_entropy import soft_entropy


def _classes(
    function: str,
    logits: Array,
    target: Array,
    ignore_index: int | None = None,
    name: str = "logits",
) -> tuple[Array, Array]:
    """Check logits (N, K, ...) and target (N, ...); return logits (rows, K) and target (rows,)."""
    require_float(function, name, logits)
    if logits.ndim < 2:
        raise ValueError(
            f"{function}: {name} has shape {logits.shape}; expected at least two axes, (N, K, ...)"
        )
    target = _integers64(function, target)
    expected = logits.shape[:1] + logits.shape[2:]
    if target.shape != expected:
        raise ValueError(
            f"{function}: target has shape {target.shape}; expected {expected} for {name} "
            f"{logits.shape}"
        )
    if logits.shape[1] == 0:
        raise ValueError(f"{function}: {name} has no classes, got shape {logits.shape}")
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


def _entropy(
    function: str,
    logits: Array,
    target: object,
    weight: Array | None,
    ignore_index: int,
    label_smoothing: float,
    with_gradient: bool,
) -> tuple[float, Array | None]:
    """Return the loss and, in the same pass, its gradient."""
    smoothing = number(function, "label_smoothing", label_smoothing)
    if not 0 <= smoothing <= 1:
        raise ValueError(
            f"{function}: label_smoothing is out of range, got {smoothing}; expected 0 to 1"
        )
    ignored = integer(function, "ignore_index", ignore_index)
    if isinstance(target, np.ndarray) and target.dtype.kind == "f":
        return soft_entropy(function, logits, target, weight, ignored, smoothing, with_gradient)
    classes = _integers64(function, target)
    return _core.cross_entropy(function, logits, classes, weight, ignored, smoothing, with_gradient)


def _integers64(function: str, target: object) -> Array:
    """Return `target` as int64, which every class fits in."""
    if not isinstance(target, np.ndarray):
        got = type(target).__name__
        raise TypeError(f"{function}: target is not an array, got {got}; expected numpy.ndarray")
    if target.dtype.kind not in "iu":
        raise TypeError(f"{function}: target has dtype {target.dtype}; expected integers")
    if target.dtype.kind == "u" and target.dtype.itemsize == 8:
        # What is too large shall not come out as a negative number, which could be ignore_index.
        target = np.minimum(target, np.uint64(2**63 - 1))
    return target.astype(np.int64, copy=False)


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
    target : ndarray of int, shape (N,) or (N, ...), or of the dtype and shape of `logits`
        Classes, 0 to K - 1; or the probability of every class.
    weight : ndarray, shape (K,), optional
        Of each class; for classes the mean is the weighted one, for probabilities the plain one.
    ignore_index : int
        Targets that do not count; negative if they are probabilities.
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
        `logits` is neither float32 nor float64, or `target` holds neither integers nor
        numbers of its dtype.

    Notes
    -----
    ``-np.mean(np.log(softmax(logits))[np.arange(N), target])``, and for probabilities
    ``-np.mean(np.sum(target * np.log(softmax(logits)), axis=1))``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> round(F.cross_entropy(np.zeros((1, 4)), np.array([2])), 6)
    1.386294
    >>> round(F.cross_entropy(np.zeros((1, 4)), np.array([[0.0, 0.5, 0.5, 0.0]])), 6)
    1.386294
    """
    loss, _ = _entropy(
        "cross_entropy", logits, target, weight, ignore_index, label_smoothing, False
    )
    return loss


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
    _, grad = _entropy(
        "cross_entropy_backward", logits, target, weight, ignore_index, label_smoothing, True
    )
    assert grad is not None
    return grad


def cross_entropy_with_gradient(
    logits: Array,
    target: Array,
    *,
    weight: Array | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> tuple[float, Array]:
    """Return `cross_entropy` and `cross_entropy_backward`, in one pass: for CrossEntropyLoss."""
    loss, grad = _entropy(
        "cross_entropy", logits, target, weight, ignore_index, label_smoothing, True
    )
    assert grad is not None
    return loss, grad


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


def _nll_terms(
    function: str, log_probability: Array, target: Array, weight: Array | None, ignore_index: int
) -> tuple[Array, Array, Array, float]:
    """Return the rows, the targets that count as (row, class), their weights and the divisor."""
    ignored = integer(function, "ignore_index", ignore_index)
    rows, labels = _classes(function, log_probability, target, ignored, "log_probability")
    kept = np.flatnonzero(labels != ignored)
    factors = np.ones(len(kept))
    if weight is not None:
        require_float(function, "weight", weight)
        if weight.dtype != rows.dtype:
            raise TypeError(
                f"{function}: weight is {weight.dtype} but log_probability is {rows.dtype}"
            )
        if weight.shape != rows.shape[1:]:
            raise ValueError(
                f"{function}: weight has shape {weight.shape}; expected {rows.shape[1:]}"
            )
        factors = weight[labels[kept]].astype(np.float64)
    return rows, np.stack([kept, labels[kept]]), factors, float(factors.sum())


def nll(
    log_probability: Array, target: Array, *, weight: Array | None = None, ignore_index: int = -100
) -> float:
    """Mean negative log-likelihood, of log-probabilities such as `log_softmax` gives.

    Parameters
    ----------
    log_probability : ndarray, shape (N, K) or (N, K, ...)
        float32 or float64.
    target : ndarray of int, shape (N,) or (N, ...)
        Classes, 0 to K - 1.
    weight : ndarray, shape (K,), optional
        Of each class; the mean is the weighted one.
    ignore_index : int
        Targets that do not count.

    Returns
    -------
    float
        NaN when no target counts.

    Raises
    ------
    ValueError
        Shapes do not fit together, or a value is out of range.
    TypeError
        `log_probability` is neither float32 nor float64, or `target` holds no integers.

    Notes
    -----
    ``-np.mean(log_probability[np.arange(N), target])``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.nll(np.array([[-0.5, -1.5]]), np.array([1]))
    1.5
    """
    rows, where, factors, total = _nll_terms("nll", log_probability, target, weight, ignore_index)
    if total == 0:
        return float("nan")
    picked = rows[where[0], where[1]].astype(np.float64)
    # A weight of 0 takes its term out, even if that is infinite.
    return float(-np.sum(factors[factors != 0] * picked[factors != 0]) / total)


def nll_backward(
    log_probability: Array, target: Array, *, weight: Array | None = None, ignore_index: int = -100
) -> Array:
    """Gradient of `nll` with respect to `log_probability`.

    Parameters
    ----------
    log_probability, target, weight, ignore_index
        As in `nll`.

    Returns
    -------
    ndarray, the shape of `log_probability`

    Notes
    -----
    Without weights ``-1 / N`` for each target, else 0.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.nll_backward(np.array([[-0.5, -1.5]]), np.array([1]))
    array([[ 0., -1.]])
    """
    rows, where, factors, total = _nll_terms(
        "nll_backward", log_probability, target, weight, ignore_index
    )
    grad = np.zeros(rows.shape) if total != 0 else np.full(rows.shape, np.nan)
    if total != 0:
        grad[where[0], where[1]] = -factors / total
    return _back_to(log_probability, grad)
