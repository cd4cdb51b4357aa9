# SPDX-License-Identifier: BSD-3-Clause
"""What is done to gradients before a step.

References
----------
Pascanu, Mikolov, Bengio: On the difficulty of training recurrent neural networks. ICML 2013.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from pyconv import _core
from pyconv.layers.base import Parameter


def clip_grad_norm(parameters: Iterable[Parameter], max_norm: float) -> float:
    """Scale all gradients, in place, so that their common norm is at most `max_norm`.

    Parameters
    ----------
    parameters : iterable of Parameter
    max_norm : float
        Not negative.

    Returns
    -------
    float
        The norm before: the root of the sum of all squares, summed in float64.

    Notes
    -----
    ``grad *= min(1, max_norm / (norm + 1e-6))``, as torch does. If a gradient holds a NaN the norm is
    NaN, and so are all gradients afterwards. If one holds an infinity the norm is infinite, and all
    gradients become 0, but for the infinite ones, which become NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import Parameter
    >>> weight = Parameter(np.zeros(2))
    >>> weight.grad[...] = [3, 4]
    >>> clip_grad_norm([weight], 1.0)
    5.0
    >>> weight.grad.round(4)
    array([0.6, 0.8])
    """
    if not max_norm >= 0:
        raise ValueError(f"clip_grad_norm: max_norm is out of range, got {max_norm}; expected >= 0")
    grads = [parameter.grad for parameter in dict.fromkeys(parameters)]
    norm = math.sqrt(_core.sum_of_squares("clip_grad_norm", grads))
    factor = max_norm / (norm + 1e-6)
    if not factor >= 1:
        _core.scale_arrays("clip_grad_norm", grads, factor)
    return norm


def clip_grad_value(parameters: Iterable[Parameter], clip_value: float) -> None:
    """Bring every value of every gradient into [-clip_value, clip_value], in place; NaN stays.

    Parameters
    ----------
    parameters : iterable of Parameter
    clip_value : float
        Not negative.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import Parameter
    >>> weight = Parameter(np.zeros(2))
    >>> weight.grad[...] = [-3, 0.5]
    >>> clip_grad_value([weight], 1.0)
    >>> weight.grad
    array([-1. ,  0.5])
    """
    if not clip_value >= 0:
        raise ValueError(
            f"clip_grad_value: clip_value is out of range, got {clip_value}; expected >= 0"
        )
    _core.clip_arrays("clip_grad_value", [parameter.grad for parameter in parameters], clip_value)
