# SPDX-License-Identifier: BSD-3-Clause
"""Pooling, to be differentiated any number of times."""

from __future__ import annotations

from typing import Any

import numpy as np
from autograd.extend import defvjp, primitive
from autograd.tracer import getval

from pyconv import functional as F
from pyconv.functional._arguments import IntOrPair, Padding

# Boxed or plain: autograd passes its own boxes through all of these.
Array = Any


@primitive
def _maxima(input: Array, output: Array, indices: Array) -> Array:
    """Return `output`, the values of `input` at `indices`, which are found already."""
    return output


@primitive
def _gather(input: Array, indices: Array) -> Array:
    """Return the values of (N, C, H, W) at indices in the plane; 0 for -1, a window without pixels."""
    planes = input.reshape(*input.shape[:2], -1)
    places = indices.reshape(*indices.shape[:2], -1)
    found = np.take_along_axis(planes, np.maximum(places, 0), axis=2)
    return np.where(places < 0, 0, found).reshape(indices.shape)


_scatter = primitive(F.max_pool2d_backward)

defvjp(_maxima, lambda _, x, y, indices: lambda g: _scatter(g, indices, x.shape))
defvjp(_gather, lambda _, x, indices: lambda g: _scatter(g, indices, x.shape))
defvjp(_scatter, lambda _, g, indices, shape: lambda h: _gather(h, indices))


def max_pool2d(
    input: Array,
    kernel_size: IntOrPair,
    *,
    stride: IntOrPair | None = None,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
) -> Array:
    """`pyconv.functional.max_pool2d`: largest value of each window of `input` (N, C, H, W).

    Parameters
    ----------
    input, kernel_size, stride, padding, dilation, ceil_mode
        As of `pyconv.functional.max_pool2d`.

    Returns
    -------
    ndarray, shape (N, C, OH, OW)

    Examples
    --------
    >>> import autograd
    >>> import autograd.numpy as np
    >>> x = np.arange(4.0).reshape(1, 1, 2, 2)
    >>> autograd.grad(lambda x: np.sum(max_pool2d(x, 2)))(x)
    array([[[[0., 0.],
             [0., 1.]]]])
    """
    output, indices = F.max_pool2d(
        getval(input),
        kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
        return_indices=True,
    )
    return _maxima(input, output, indices)


_avg_pool2d = primitive(F.avg_pool2d)
_avg_pool2d_backward = primitive(F.avg_pool2d_backward)

# Linear, and each other's adjoints.
defvjp(_avg_pool2d, lambda _, x, **o: lambda g: _avg_pool2d_backward(g, x.shape, **o))
defvjp(_avg_pool2d_backward, lambda _, g, shape, **o: lambda h: _avg_pool2d(h, **o))


def avg_pool2d(
    input: Array,
    kernel_size: IntOrPair,
    *,
    stride: IntOrPair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """`pyconv.functional.avg_pool2d`: average of each window of `input` (N, C, H, W).

    Parameters
    ----------
    input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
        As of `pyconv.functional.avg_pool2d`.

    Returns
    -------
    ndarray, shape (N, C, OH, OW)

    Examples
    --------
    >>> import autograd.numpy as np
    >>> avg_pool2d(np.arange(4.0).reshape(1, 1, 2, 2), 2)
    array([[[[1.5]]]])
    """
    return _avg_pool2d(
        input,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
        divisor_override=divisor_override,
    )
