# SPDX-License-Identifier: BSD-3-Clause
"""Convolution over three axes: volumes and videos, and its gradients."""

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


def conv3d(
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
    """3-D cross-correlation of a batch of volumes with a bank of filters.

    Parameters
    ----------
    input : ndarray, shape (N, C, D, H, W)
        float32 or float64; all arrays of one call share the dtype.
    weight : ndarray, shape (OC, C // groups, KD, KH, KW)
    bias : ndarray, shape (OC,), optional
    stride, dilation : int or (int, int, int)
        ``dilation=1`` is an ordinary filter.
    padding : int, (int, int, int), three pairs (begin, end), "valid" or "same"
        Zeros added around the volume. ``"same"`` makes ``OD = ceil(D / stride_d)``, with
        the odd zero at the end.
    groups : int
        Divides both C and OC; ``groups=C`` is a depthwise convolution.
    activation : {None, "relu", "relu6", "hardswish"}
        Applied to the result while it is in registers.
    residual : ndarray, shape of the output, optional
        Added before the activation, as at the end of a residual block.
    algorithm : {"auto", "winograd", "implicit_gemm", "direct", "im2col"}
        As in `conv2d`.
    weight_cache : WeightCache, optional
        Keeps the packed or transformed weight for the next call; of one weight only, and to be
        cleared when that changes. See `WeightCache`.
    out : ndarray, shape (N, OC, OD, OH, OW), optional
        C-contiguous and overlapping no other argument. Returned.

    Returns
    -------
    ndarray, shape (N, OC, OD, OH, OW)
        ``OD = (D + front + back - dilation_d * (KD - 1) - 1) // stride_d + 1``, likewise `OH`, `OW`.

    Raises
    ------
    ValueError
        Shapes do not fit together, or `out` cannot hold the result.
    TypeError
        A dtype is neither float32 nor float64, or dtypes differ.

    Notes
    -----
    For stride 1, padding 0, one group::

        output[n, oc, od, oh, ow] = bias[oc] + np.sum(
            input[n, :, od:od+KD, oh:oh+KH, ow:ow+KW] * weight[oc]
        )

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.conv3d(np.ones((1, 1, 2, 2, 2)), np.ones((1, 1, 2, 2, 2)), padding="same")
    array([[[[[8., 4.],
              [4., 2.]],
    <BLANKLINE>
             [[4., 2.],
              [2., 1.]]]]])
    """
    return _core.conv3d(
        input,
        weight,
        bias,
        residual,
        conv_options_nd("conv3d", 3, stride, padding, dilation, groups),
        text_or_none("conv3d", "activation", activation),
        text("conv3d", "algorithm", algorithm),
        cache_or_none("conv3d", weight_cache),
        out,
    )


def conv3d_backward_input(
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
    """Gradient of `conv3d` with respect to its input.

    Parameters
    ----------
    grad_output : ndarray, shape (N, OC, OD, OH, OW)
    weight : ndarray, shape (OC, C // groups, KD, KH, KW)
    input_shape : (N, C, D, H, W)
        Of the forward call: several sizes give the same output when the stride is not 1.
    stride, padding, dilation, groups, algorithm
        As in `conv3d`.
    out : ndarray, shape (N, C, D, H, W), optional

    Returns
    -------
    ndarray, shape (N, C, D, H, W)

    Notes
    -----
    The adjoint of `conv3d` in its input:
    ``np.vdot(conv3d(x, w), g) == np.vdot(x, conv3d_backward_input(g, w, x.shape))``.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> g, w = np.ones((1, 1, 1, 1, 2)), np.ones((1, 1, 1, 1, 2))
    >>> F.conv3d_backward_input(g, w, (1, 1, 1, 1, 3))
    array([[[[[1., 2., 1.]]]]])
    """
    function = "conv3d_backward_input"
    return _core.conv3d_backward_input(
        grad_output,
        weight,
        integers(function, "input_shape", input_shape, 5, "five sizes"),
        conv_options_nd(function, 3, stride, padding, dilation, groups),
        text(function, "algorithm", algorithm),
        out,
    )


def conv3d_backward_weight(
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
    """Gradient of `conv3d` with respect to its weight.

    Parameters
    ----------
    grad_output : ndarray, shape (N, OC, OD, OH, OW)
    input : ndarray, shape (N, C, D, H, W)
    weight_shape : (OC, C // groups, KD, KH, KW)
    stride, padding, dilation, groups, algorithm
        As in `conv3d`.
    out : ndarray, shape (OC, C // groups, KD, KH, KW), optional

    Returns
    -------
    ndarray, shape (OC, C // groups, KD, KH, KW)

    Notes
    -----
    The adjoint of `conv3d` in its weight:
    ``np.vdot(conv3d(x, w), g) == np.vdot(w, conv3d_backward_weight(g, x, w.shape))``.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> g, x = np.ones((1, 1, 1, 2, 2)), np.ones((1, 1, 1, 2, 3))
    >>> F.conv3d_backward_weight(g, x, (1, 1, 1, 1, 2))
    array([[[[[4., 4.]]]]])
    """
    function = "conv3d_backward_weight"
    return _core.conv3d_backward_weight(
        grad_output,
        input,
        integers(function, "weight_shape", weight_shape, 5, "five sizes"),
        conv_options_nd(function, 3, stride, padding, dilation, groups),
        text(function, "algorithm", algorithm),
        out,
    )


def conv3d_backward_bias(grad_output: Array, *, out: Array | None = None) -> Array:
    """Gradient of `conv3d` with respect to the bias.

    Parameters
    ----------
    grad_output : ndarray, shape (N, OC, OD, OH, OW)
    out : ndarray, shape (OC,), optional

    Returns
    -------
    ndarray, shape (OC,)

    Notes
    -----
    ``grad_output.sum(axis=(0, 2, 3, 4))``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.conv3d_backward_bias(np.ones((2, 1, 3, 3, 3)))
    array([54.])
    """
    return _core.conv3d_backward_bias(grad_output, out)
