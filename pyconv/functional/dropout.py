# SPDX-License-Identifier: BSD-3-Clause
"""Dropout and its gradient."""

# An annotation that is evaluated would import numpy.random, for 20 ms.
from __future__ import annotations

import numpy as np

from pyconv import _core
from pyconv.functional._arguments import Array, number, require_float


def dropout(input: Array, p: float, *, rng: np.random.Generator) -> tuple[Array, Array]:
    """Drop each value with probability `p`, and scale the others up to keep the mean.

    Parameters
    ----------
    input : ndarray
        float32 or float64, any shape.
    p : float
        Probability of dropping, in [0, 1).
    rng : numpy.random.Generator
        Where the randomness comes from.

    Returns
    -------
    output : ndarray, the shape of `input`
    mask : ndarray, the same
        0, or ``1 / (1 - p)``; for `dropout_backward`.

    Raises
    ------
    ValueError
        `p` is out of range.
    TypeError
        `rng` is no Generator, or the dtype is neither float32 nor float64.

    Notes
    -----
    ``mask = (rng.random(input.shape) >= p) / (1 - p)``, ``output = input * mask``

    References
    ----------
    N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting",
    JMLR 15, 2014.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> output, mask = F.dropout(np.ones(1000), 0.5, rng=np.random.default_rng(0))
    >>> np.unique(output)
    array([0., 2.])
    """
    probability = number("dropout", "p", p)
    if not 0 <= probability < 1:
        raise ValueError(f"dropout: p is out of range, got {p}; expected 0 <= p < 1")
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"dropout: rng is no numpy.random.Generator, got {type(rng).__name__}")
    require_float("dropout", "input", input)
    draws = rng.random(input.shape, dtype=input.dtype.type)
    return _core.dropout(input, probability, draws)


def dropout_backward(grad_output: Array, mask: Array, *, out: Array | None = None) -> Array:
    """Gradient of `dropout`.

    Parameters
    ----------
    grad_output, mask : ndarray, one shape
    out : ndarray, the same shape, optional
        May be one of them.

    Returns
    -------
    ndarray, the shape of `grad_output`

    Notes
    -----
    ``grad_output * mask``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.dropout_backward(np.array([3.0, 4.0]), np.array([0.0, 2.0]))
    array([0., 8.])
    """
    return _core.dropout_backward(grad_output, mask, out)
