# SPDX-License-Identifier: BSD-3-Clause
"""Convolution over one axis: signals, and its gradients."""

from pyconv import _core
from pyconv._core import WeightCache
from pyconv.functional._arguments import (
    Array,
    IntOrInts,
    Padding,
    cache_or_none,
    conv_options_nd,
    integers,
    text,
    text_or_none,
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
    activation: str | None = None,
    residual: Array | None = None,
    algorithm: str = "auto",
    weight_cache: WeightCache | None = None,
    out: Array | None = None,
) -> Array:
    """1-D cross-correlation of a batch of signals with a bank of filters.

    Parameters
    ----------
    input : ndarray, shape (N, C, L)
        float32 or float64; all arrays of one call share the dtype.
    weight : ndarray, shape (OC, C // groups, KL)
    bias : ndarray, shape (OC,), optional
    stride, dilation : int or (int,)
        ``dilation=1`` is an ordinary filter.
    padding : int, (int,), ((begin, end),), "valid" or "same"
        Zeros added around the signal. ``"same"`` makes ``OL = ceil(L / stride)``, with
        the odd zero at the end.
    groups : int
        Divides both C and OC; ``groups=C`` is a depthwise convolution.
    activation : {None, "relu", "relu6", "hardswish"}
        Applied to the result while it is in registers.
    residual : ndarray, shape of the output, optional
        Added before the activation, as at the end of a residual block.
    algorithm : {"auto", "winograd", "implicit_gemm", "direct", "depthwise", "im2col"}
        As in `conv2d`.
    weight_cache : WeightCache, optional
        Keeps the packed or transformed weight for the next call; of one weight only, and to be
        cleared when that changes. See `WeightCache`.
    out : ndarray, shape (N, OC, OL), optional
        C-contiguous and overlapping no other argument. Returned.

    Returns
    -------
    ndarray, shape (N, OC, OL)
        ``OL = (L + begin + end - dilation * (KL - 1) - 1) // stride + 1``.

    Raises
    ------
    ValueError
        Shapes do not fit together, or `out` cannot hold the result.
    TypeError
        A dtype is neither float32 nor float64, or dtypes differ.

    Notes
    -----
    For stride 1, padding 0, one group::

        output[n, oc, ol] = bias[oc] + np.sum(input[n, :, ol:ol+KL] * weight[oc])

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.conv1d(np.ones((1, 1, 4)), np.ones((1, 1, 3)), padding="same")
    array([[[2., 3., 3., 2.]]])
    """
    return _core.conv1d(
        input,
        weight,
        bias,
        residual,
        conv_options_nd("conv1d", 1, stride, padding, dilation, groups),
        text_or_none("conv1d", "activation", activation),
        text("conv1d", "algorithm", algorithm),
        cache_or_none("conv1d", weight_cache),
        out,
    )


def conv1d_backward_input(
    grad_output: Array,
    weight: Array,
    input_shape: tuple[int, ...],
    *,
    stride: IntOrInts = 1,
    padding: Padding = 0,
    dilation: IntOrInts = 1,
    groups: int = 1,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    """Gradient of `conv1d` with respect to its input.

    Parameters
    ----------
    grad_output : ndarray, shape (N, OC, OL)
    weight : ndarray, shape (OC, C // groups, KL)
    input_shape : (N, C, L)
        Of the forward call: several sizes give the same output when the stride is not 1.
    stride, padding, dilation, groups, algorithm
        As in `conv1d`.
    out : ndarray, shape (N, C, L), optional

    Returns
    -------
    ndarray, shape (N, C, L)

    Notes
    -----
    The adjoint of `conv1d` in its input:
    ``np.vdot(conv1d(x, w), g) == np.vdot(x, conv1d_backward_input(g, w, x.shape))``.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.conv1d_backward_input(np.ones((1, 1, 3)), np.ones((1, 1, 2)), (1, 1, 4))
    array([[[1., 2., 2., 1.]]])
    """
    function = "conv1d_backward_input"
    return _core.conv1d_backward_input(
        grad_output,
        weight,
        integers(function, "input_shape", input_shape, 3, "three sizes"),
        conv_options_nd(function, 1, stride, padding, dilation, groups),
        text(function, "algorithm", algorithm),
        out,
    )


def conv1d_backward_weight(
    grad_output: Array,
    input: Array,
    weight_shape: tuple[int, ...],
    *,
    stride: IntOrInts = 1,
    padding: Padding = 0,
    dilation: IntOrInts = 1,
    groups: int = 1,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    """Gradient of `conv1d` with respect to its weight.

    Parameters
    ----------
    grad_output : ndarray, shape (N, OC, OL)
    input : ndarray, shape (N, C, L)
    weight_shape : (OC, C // groups, KL)
    stride, padding, dilation, groups, algorithm
        As in `conv1d`.
    out : ndarray, shape (OC, C // groups, KL), optional

    Returns
    -------
    ndarray, shape (OC, C // groups, KL)

    Notes
    -----
    The adjoint of `conv1d` in its weight:
    ``np.vdot(conv1d(x, w), g) == np.vdot(w, conv1d_backward_weight(g, x, w.shape))``.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.conv1d_backward_weight(np.ones((1, 1, 3)), np.ones((1, 1, 4)), (1, 1, 2))
    array([[[3., 3.]]])
    """
    function = "conv1d_backward_weight"
    return _core.conv1d_backward_weight(
        grad_output,
        input,
        integers(function, "weight_shape", weight_shape, 3, "three sizes"),
        conv_options_nd(function, 1, stride, padding, dilation, groups),
        text(function, "algorithm", algorithm),
        out,
    )


def conv1d_backward_bias(grad_output: Array, *, out: Array | None = None) -> Array:
    """Gradient of `conv1d` with respect to the bias.

    Parameters
    ----------
    grad_output : ndarray, shape (N, OC, OL)
    out : ndarray, shape (OC,), optional

    Returns
    -------
    ndarray, shape (OC,)

    Notes
    -----
    ``grad_output.sum(axis=(0, 2))``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.conv1d_backward_bias(np.ones((2, 1, 3)))
    array([6.])
    """
    return _core.conv1d_backward_bias(grad_output, out)
