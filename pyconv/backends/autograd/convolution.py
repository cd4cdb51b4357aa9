# SPDX-License-Identifier: BSD-3-Clause
"""Convolutions, to be differentiated any number of times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.extend import defvjp, primitive

from pyconv import functional as F
from pyconv.functional._arguments import IntOrInts, IntOrPair, Padding

# Boxed or plain: autograd passes its own boxes through all of these.
Array = Any
Function = Callable[..., Any]


def _convolution(
    forward: Function, to_input: Function, to_weight: Function, to_bias: Function
) -> Function:
    """Return a convolution as a primitive.

    It and its two gradients are one trilinear form seen from three sides, so that the gradient of each
    is made of the other two.
    """
    conv, grad_input, grad_weight, grad_bias = map(
        primitive, (forward, to_input, to_weight, to_bias)
    )
    defvjp(
        conv,
        lambda _, x, w, b, **o: lambda g: grad_input(g, w, x.shape, **o),
        lambda _, x, w, b, **o: lambda g: grad_weight(g, x, w.shape, **o),
        lambda _, x, w, b, **o: grad_bias,
    )
    defvjp(
        grad_input,
        lambda _, g, w, shape, **o: lambda h: conv(h, w, None, **o),
        lambda _, g, w, shape, **o: lambda h: grad_weight(g, h, w.shape, **o),
    )
    defvjp(
        grad_weight,
        lambda _, g, x, shape, **o: lambda h: conv(x, h, None, **o),
        lambda _, g, x, shape, **o: lambda h: grad_input(g, h, x.shape, **o),
    )
    defvjp(
        grad_bias,
        lambda _, g: (
            lambda h: anp.reshape(h, (-1, *(1,) * (g.ndim - 2))) * np.ones(g.shape, g.dtype)
        ),
    )
    return conv  # type: ignore[no-any-return]


_conv1d = _convolution(
    F.conv1d, F.conv1d_backward_input, F.conv1d_backward_weight, F.conv1d_backward_bias
)
_conv2d = _convolution(
    F.conv2d, F.conv2d_backward_input, F.conv2d_backward_weight, F.conv2d_backward_bias
)
_conv3d = _convolution(
    F.conv3d, F.conv3d_backward_input, F.conv3d_backward_weight, F.conv3d_backward_bias
)


def conv1d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: IntOrInts = 1,
    padding: Padding = 0,
    dilation: IntOrInts = 1,
    groups: int = 1,
) -> Array:
    """`pyconv.functional.conv1d`: `input` (N, C, L), `weight` (OC, C // groups, KL).

    Parameters
    ----------
    input, weight, bias, stride, padding, dilation, groups
        As of `pyconv.functional.conv1d`.

    Returns
    -------
    ndarray, shape (N, OC, OL)

    Examples
    --------
    >>> import autograd
    >>> import autograd.numpy as np
    >>> x, w = np.ones((1, 1, 5)), np.ones((1, 1, 3))
    >>> autograd.grad(lambda w: np.sum(conv1d(x, w)))(w)
    array([[[3., 3., 3.]]])
    """
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return _conv1d(input, weight, bias, **options)


def conv2d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
) -> Array:
    """2-D convolution, differentiable in its three arrays: `pyconv.functional.conv2d`.

    Parameters
    ----------
    input : ndarray, shape (N, C, H, W)
        float32 or float64; all arrays of one call share the dtype.
    weight : ndarray, shape (OC, C // groups, KH, KW)
    bias : ndarray, shape (OC,), optional
    stride, padding, dilation, groups
        As in `pyconv.functional.conv2d`.

    Returns
    -------
    ndarray, shape (N, OC, OH, OW)

    Examples
    --------
    >>> import autograd
    >>> import autograd.numpy as np
    >>> from pyconv.backends import autograd as F
    >>> x, w = np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2))
    >>> autograd.grad(lambda x: np.sum(F.conv2d(x, w)))(x)
    array([[[[1., 2., 1.],
             [2., 4., 2.],
             [1., 2., 1.]]]])
    """
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return _conv2d(input, weight, bias, **options)


def conv3d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: IntOrInts = 1,
    padding: Padding = 0,
    dilation: IntOrInts = 1,
    groups: int = 1,
) -> Array:
    """`pyconv.functional.conv3d`: `conv2d` with axes (D, H, W).

    Parameters
    ----------
    input, weight, bias, stride, padding, dilation, groups
        As of `pyconv.functional.conv3d`.

    Returns
    -------
    ndarray, shape (N, OC, OD, OH, OW)

    Examples
    --------
    >>> import autograd.numpy as np
    >>> conv3d(np.ones((1, 1, 3, 3, 3)), np.ones((1, 1, 3, 3, 3))).ravel()
    array([27.])
    """
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return _conv3d(input, weight, bias, **options)
