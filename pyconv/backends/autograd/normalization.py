# SPDX-License-Identifier: BSD-3-Clause
"""Batch norm with the statistics of the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import autograd.numpy as anp
from autograd.extend import defvjp_argnums, primitive
from autograd.tracer import isbox

from pyconv import functional as F

# Boxed or plain: autograd passes its own boxes through all of these.
Array = Any
Function = Callable[..., Any]


@primitive
def _batch_norm(input: Array, weight: Array, bias: Array, eps: float) -> Array:
    return F.batch_norm_training(input, weight, bias, eps=eps)[0]


def _batch_norm_gradients(
    argnums: tuple[int, ...], output: Array, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Function:
    """Return all gradients at once, in one pass over the batch."""
    input, weight, _, eps = args

    def gradients(grad_output: Array) -> tuple[Array, ...]:
        arrays = (grad_output, input, weight)
        if any(map(isbox, arrays)):  # to be differentiated again: in operations of autograd
            found = _traced_gradients(*arrays, eps)
        else:
            statistics = F.batch_norm_statistics(input)
            found = F.batch_norm_backward(grad_output, input, *statistics, weight, eps=eps)
        return tuple(found[argnum] for argnum in argnums)

    return gradients


def _traced_gradients(
    grad_output: Array, input: Array, weight: Array | None, eps: float
) -> tuple[Array, Array, Array]:
    """Return what `pyconv.functional.batch_norm_backward` does, by its formula."""
    axes = (0, *range(2, input.ndim))
    scale = (-1, *(1,) * (input.ndim - 2))
    deviation = input - anp.mean(input, axis=axes, keepdims=True)
    std = anp.sqrt(anp.mean(deviation**2, axis=axes, keepdims=True) + eps)
    normal = deviation / std
    projected = anp.mean(grad_output * normal, axis=axes, keepdims=True) * normal
    centred = grad_output - anp.mean(grad_output, axis=axes, keepdims=True) - projected
    factor = 1 if weight is None else anp.reshape(weight, scale)
    grad_weight = anp.sum(grad_output * normal, axis=axes)
    return centred / std * factor, grad_weight, anp.sum(grad_output, axis=axes)


defvjp_argnums(_batch_norm, _batch_norm_gradients)


def batch_norm(
    input: Array, weight: Array | None = None, bias: Array | None = None, *, eps: float = 1e-5
) -> Array:
    """Normalise each channel of (N, C, ...) by the mean and variance of the batch, as in training.

    Parameters
    ----------
    input : ndarray, shape (N, C, ...)
        float32 or float64; all arrays of one call share the dtype.
    weight, bias : ndarray, shape (C,), optional
    eps : float
        Added to the variance.

    Returns
    -------
    ndarray, the shape of `input`
        The first result of `pyconv.functional.batch_norm_training`.

    Examples
    --------
    >>> import autograd
    >>> import autograd.numpy as np
    >>> from pyconv.backends import autograd as F
    >>> x = np.array([[1.0], [3.0]])
    >>> autograd.grad(lambda bias: np.sum(F.batch_norm(x, None, bias)))(np.zeros(1))
    array([2.])
    """
    return _batch_norm(input, weight, bias, eps)
