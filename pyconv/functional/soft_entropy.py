# SPDX-License-Identifier: BSD-3-Clause
"""Cross entropy with a probability of every class as its target, in NumPy: for `cross_entropy`.

With P the targets, smoothed, times the weight of each class, over N rows::

    loss = -np.sum(P * log_softmax(logits)) / N
    grad = (softmax(logits) * np.sum(P, axis=1) - P) / N
"""

import numpy as np

from pyconv.functional._arguments import Array, require_float
from pyconv.functional.softmax import log_softmax


def soft_entropy(
    function: str,
    logits: Array,
    target: Array,
    weight: Array | None,
    ignore_index: int,
    smoothing: float,
    with_gradient: bool,
) -> tuple[float, Array | None]:
    """Return the loss and its gradient for a target of the shape and dtype of the logits."""
    require_float(function, "logits", logits)
    if logits.ndim < 2 or logits.shape[1] == 0:
        raise ValueError(
            f"{function}: logits has shape {logits.shape}; expected (N, K, ...) with K above 0"
        )
    _require_like(function, "target", target, logits, logits.shape)
    if ignore_index >= 0:
        raise ValueError(
            f"{function}: ignore_index does not go with probabilities, got {ignore_index}; "
            "expected a negative number"
        )
    K = logits.shape[1]
    # In C order, so that sums are made in one order whatever the strides of target are.
    factors = np.array(target, np.float64, order="C") * (1 - smoothing) + smoothing / K
    if weight is not None:
        _require_like(function, "weight", weight, logits, (K,))
        factors *= weight.reshape(-1, *(1,) * (logits.ndim - 2))
    rows = logits.size // K
    log_probability = log_softmax(logits, axis=1).astype(np.float64)
    # A factor of 0 takes its term out, even if that is infinite, as with classes.
    terms = np.multiply(factors, log_probability, out=np.zeros(logits.shape), where=factors != 0)
    loss = float(-terms.sum() / rows) if rows else float("nan")
    if not with_gradient:
        return loss, None
    grad = np.exp(log_probability) * factors.sum(axis=1, keepdims=True) - factors
    return loss, (grad / max(rows, 1)).astype(logits.dtype)


def _require_like(
    function: str, name: str, array: Array, logits: Array, shape: tuple[int, ...]
) -> None:
    """Raise unless `array` has this shape and the dtype of the logits."""
    require_float(function, name, array)
    if array.dtype != logits.dtype:
        raise TypeError(f"{function}: {name} is {array.dtype} but logits is {logits.dtype}")
    if array.shape != shape:
        raise ValueError(
            f"{function}: {name} has shape {array.shape}; expected {shape} for logits "
            f"{logits.shape}"
        )
