# SPDX-License-Identifier: BSD-3-Clause
"""Convolution and transposed convolution, and their gradients."""

from pyconv import _core
from pyconv._core import WeightCache
from pyconv.functional._arguments import (
    Array,
    IntOrPair,
    Padding,
    cache_or_none,
    conv_options,
    pair,
    shape4,
    text,
    text_or_none,
)


def conv2d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    activation: str | None = None,
    residual: Array | None = None,
    algorithm: str = "auto",
    weight_cache: WeightCache | None = None,
    out: Array | None = None,
) -> Array:
    """2-D cross-correlation of a batch of images with a bank of filters.

    Parameters
    ----------
    input : ndarray, shape (N, C, H, W)
        float32 or float64; all arrays of one call share the dtype.
    weight : ndarray, shape (OC, C // groups, KH, KW)
    bias : ndarray, shape (OC,), optional
    stride, dilation : int or (int, int)
        Vertical and horizontal. ``dilation=1`` is an ordinary filter (oneDNN writes 0).
    padding : int, (int, int), ((top, bottom), (left, right)), "valid" or "same"
        Zeros added around the image. ``"same"`` makes ``OH = ceil(H / stride)``, with the odd zero
        at the end.
    groups : int
        Divides both C and OC; ``groups=C`` is a depthwise convolution.
    activation : {None, "relu", "relu6", "hardswish"}
        Applied to the result while it is in registers.
    residual : ndarray, shape of the output, optional
        Added before the activation, as at the end of a residual block.
    algorithm : {"auto", "winograd", "implicit_gemm", "direct", "depthwise", "im2col"}
        ``"implicit_gemm"`` packs the pixels tap by tap, ``"direct"`` reads padded image rows,
        ``"depthwise"`` does so a few filters at a time, for groups of few channels,
        ``"winograd"`` saves products of 3 x 3 windows with stride 1 or 2 and of 5 x 5 with stride 1,
        ``"im2col"`` holds the im2col matrix of one image in memory: the textbook path.
    weight_cache : WeightCache, optional
        Keeps the packed or transformed weight for the next call; of one weight only, and to be
        cleared when that changes. See `WeightCache`.
    out : ndarray, shape (N, OC, OH, OW), optional
        C-contiguous and overlapping no other argument. Returned.

    Returns
    -------
    ndarray, shape (N, OC, OH, OW)
        ``OH = (H + top + bottom - dilation_h * (KH - 1) - 1) // stride_h + 1``, likewise ``OW``.

    Raises
    ------
    ValueError
        Shapes do not fit together, or `out` cannot hold the result.
    TypeError
        A dtype is neither float32 nor float64, or dtypes differ.

    Notes
    -----
    For stride 1, padding 0, one group::

        output[n, oc, oh, ow] = bias[oc] + np.sum(input[n, :, oh:oh+KH, ow:ow+KW] * weight[oc])

    Padding is zeros, exactly as if ``np.pad`` had run first: an infinite weight makes NaN of it.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.conv2d(np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2)), padding="same")
    array([[[[4., 4., 2.],
             [4., 4., 2.],
             [2., 2., 1.]]]])
    """
    return _core.conv2d(
        input,
        weight,
        bias,
        residual,
        conv_options("conv2d", stride, padding, dilation, groups),
        text_or_none("conv2d", "activation", activation),
        text("conv2d", "algorithm", algorithm),
        cache_or_none("conv2d", weight_cache),
        out,
    )


def conv2d_backward_input(
    grad_output: Array,
    weight: Array,
    input_shape: tuple[int, ...],
    *,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    """Gradient of `conv2d` with respect to its input.

    Parameters
    ----------
    grad_output : ndarray, shape (N, OC, OH, OW)
    weight : ndarray, shape (OC, C // groups, KH, KW)
    input_shape : (N, C, H, W)
        Of the forward call: several H give the same OH when the stride is not 1.
    stride, padding, dilation, groups, algorithm
        As in `conv2d`.
    out : ndarray, shape (N, C, H, W), optional

    Returns
    -------
    ndarray, shape (N, C, H, W)

    Notes
    -----
    The adjoint of `conv2d` in its input:
    ``np.vdot(conv2d(x, w), g) == np.vdot(x, conv2d_backward_input(g, w, x.shape))``.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.conv2d_backward_input(np.ones((1, 1, 2, 2)), np.ones((1, 1, 2, 2)), (1, 1, 3, 3))
    array([[[[1., 2., 1.],
             [2., 4., 2.],
             [1., 2., 1.]]]])
    """
    function = "conv2d_backward_input"
    return _core.conv2d_backward_input(
        grad_output,
        weight,
        shape4(function, "input_shape", input_shape),
        conv_options(function, stride, padding, dilation, groups),
        text(function, "algorithm", algorithm),
        out,
    )


def conv2d_backward_weight(
    grad_output: Array,
    input: Array,
    weight_shape: tuple[int, ...],
    *,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    """Gradient of `conv2d` with respect to its weight.

    Parameters
    ----------
    grad_output : ndarray, shape (N, OC, OH, OW)
    input : ndarray, shape (N, C, H, W)
    weight_shape : (OC, C // groups, KH, KW)
    stride, padding, dilation, groups, algorithm
        As in `conv2d`.
    out : ndarray, shape (OC, C // groups, KH, KW), optional

    Returns
    -------
    ndarray, shape (OC, C // groups, KH, KW)

    Notes
    -----
    The adjoint of `conv2d` in its weight:
    ``np.vdot(conv2d(x, w), g) == np.vdot(w, conv2d_backward_weight(g, x, w.shape))``.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.conv2d_backward_weight(np.ones((1, 1, 2, 2)), np.ones((1, 1, 3, 3)), (1, 1, 2, 2))
    array([[[[4., 4.],
             [4., 4.]]]])
    """
    function = "conv2d_backward_weight"
    return _core.conv2d_backward_weight(
        grad_output,
        input,
        shape4(function, "weight_shape", weight_shape),
        conv_options(function, stride, padding, dilation, groups),
        text(function, "algorithm", algorithm),
        out,
    )


def conv2d_backward_bias(grad_output: Array, *, out: Array | None = None) -> Array:
    """Gradient of `conv2d`, and of `conv_transpose2d`, with respect to the bias.

    Parameters
    ----------
    grad_output : ndarray, shape (N, OC, OH, OW)
    out : ndarray, shape (OC,), optional

    Returns
    -------
    ndarray, shape (OC,)

    Notes
    -----
    ``grad_output.sum(axis=(0, 2, 3))``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.conv2d_backward_bias(np.ones((2, 1, 3, 3)))
    array([18.])
    """
    return _core.conv2d_backward_bias(grad_output, out)


def conv_transpose2d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    output_padding: IntOrPair = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    activation: str | None = None,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    """Transposed convolution: the input gradient of `conv2d`, used as a layer.

    Parameters
    ----------
    input : ndarray, shape (N, C, H, W)
        float32 or float64; all arrays of one call share the dtype.
    weight : ndarray, shape (C, OC // groups, KH, KW)
    bias : ndarray, shape (OC,), optional
    stride, padding, dilation, groups, activation, algorithm
        As in `conv2d`; `padding` is that of the convolution that this one transposes, and so
        shrinks the output. ``"same"`` makes ``OH = H * stride``.
    output_padding : int or (int, int)
        Rows and columns added at the end of the output; less than the stride or the dilation.
    out : ndarray, shape (N, OC, OH, OW), optional

    Returns
    -------
    ndarray, shape (N, OC, OH, OW)
        ``OH = (H - 1) * stride_h - top - bottom + dilation_h * (KH - 1) + output_padding_h + 1``.

    Raises
    ------
    ValueError
        Shapes do not fit together, or `out` cannot hold the result.
    TypeError
        A dtype is neither float32 nor float64, or dtypes differ.

    Notes
    -----
    ``conv2d_backward_input(input, weight, output_shape) + bias[:, None, None]``

    References
    ----------
    V. Dumoulin and F. Visin, "A guide to convolution arithmetic for deep learning",
    arXiv:1603.07285, 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.conv_transpose2d(np.ones((1, 1, 2, 2)), np.ones((1, 1, 2, 2)), stride=2)
    array([[[[1., 1., 1., 1.],
             [1., 1., 1., 1.],
             [1., 1., 1., 1.],
             [1., 1., 1., 1.]]]])
    """
    function = "conv_transpose2d"
    return _core.conv_transpose2d(
        input,
        weight,
        bias,
        conv_options(function, stride, padding, dilation, groups),
        pair(function, "output_padding", output_padding),
        text_or_none(function, "activation", activation),
        text(function, "algorithm", algorithm),
        out,
    )


def conv_transpose2d_backward_input(
    grad_output: Array,
    weight: Array,
    *,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    output_padding: IntOrPair = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    """Gradient of `conv_transpose2d` with respect to its input.

    Parameters
    ----------
    grad_output : ndarray, shape (N, OC, OH, OW)
    weight : ndarray, shape (C, OC // groups, KH, KW)
    stride, padding, output_padding, dilation, groups, algorithm
        As in `conv_transpose2d`.
    out : ndarray, shape (N, C, H, W), optional

    Returns
    -------
    ndarray, shape (N, C, H, W)

    Notes
    -----
    ``conv2d(grad_output, weight)``, with the same options.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> grad = np.ones((1, 1, 4, 4))
    >>> F.conv_transpose2d_backward_input(grad, np.ones((1, 1, 2, 2)), stride=2)
    array([[[[4., 4.],
             [4., 4.]]]])
    """
    function = "conv_transpose2d_backward_input"
    return _core.conv_transpose2d_backward_input(
        grad_output,
        weight,
        conv_options(function, stride, padding, dilation, groups),
        pair(function, "output_padding", output_padding),
        text(function, "algorithm", algorithm),
        out,
    )


def conv_transpose2d_backward_weight(
    grad_output: Array,
    input: Array,
    weight_shape: tuple[int, ...],
    *,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    output_padding: IntOrPair = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    """Gradient of `conv_transpose2d` with respect to its weight.

    Parameters
    ----------
    grad_output : ndarray, shape (N, OC, OH, OW)
    input : ndarray, shape (N, C, H, W)
    weight_shape : (C, OC // groups, KH, KW)
    stride, padding, output_padding, dilation, groups, algorithm
        As in `conv_transpose2d`.
    out : ndarray, shape (C, OC // groups, KH, KW), optional

    Returns
    -------
    ndarray, shape (C, OC // groups, KH, KW)

    Notes
    -----
    ``conv2d_backward_weight(input, grad_output, weight_shape)``: the two tensors change places.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> grad, x = np.ones((1, 1, 4, 4)), np.ones((1, 1, 2, 2))
    >>> F.conv_transpose2d_backward_weight(grad, x, (1, 1, 2, 2), stride=2)
    array([[[[4., 4.],
             [4., 4.]]]])
    """
    function = "conv_transpose2d_backward_weight"
    return _core.conv_transpose2d_backward_weight(
        grad_output,
        input,
        shape4(function, "weight_shape", weight_shape),
        conv_options(function, stride, padding, dilation, groups),
        pair(function, "output_padding", output_padding),
        text(function, "algorithm", algorithm),
        out,
    )
