# SPDX-License-Identifier: BSD-3-Clause
"""Dense layers as convolutions and convolutions as dense layers: the same function, written twice.

A dense layer over (C, H, W) is a convolution whose window is the whole image. On a larger image that
convolution gives what the layer gives at every place where its window fits, and shares the work where windows
overlap. The other way round, a convolution is a dense layer most of whose weights are 0 and the rest repeated.

References
----------
Long, Shelhamer, Darrell: Fully Convolutional Networks for Semantic Segmentation. CVPR 2015, section 3.1.
"""

from __future__ import annotations

import math

import numpy as np

from pyconv.layers import Conv2d, Linear
from pyconv.runtime import precise

__all__ = ["conv_to_linear", "linear_to_conv"]


def linear_to_conv(linear: Linear, input_shape: tuple[int, int, int]) -> Conv2d:
    """Return the convolution that does what a dense layer does behind a Flatten.

    Parameters
    ----------
    linear : Linear
        With ``C * H * W`` inputs.
    input_shape : (C, H, W)
        What was flattened; (C, 1, 1) for a dense layer that follows one already converted.

    Returns
    -------
    Conv2d
        With a window of H x W, and copies of the weights. Its output is (N, out_features, 1, 1) for
        images of this size, and larger for larger ones.

    Examples
    --------
    >>> import numpy as np
    >>> linear = Linear(3 * 4 * 4, 10)
    >>> linear_to_conv(linear, (3, 4, 4))(np.zeros((1, 3, 6, 9), np.float32)).shape
    (1, 10, 3, 6)
    """
    C, H, W = input_shape
    if linear.in_features != C * H * W:
        raise ValueError(
            f"linear_to_conv: input_shape does not fit linear, got {input_shape}; "
            f"expected {linear.in_features} values"
        )
    weight = linear.weight.value
    conv = Conv2d(C, linear.out_features, (H, W), bias=linear.bias is not None, dtype=weight.dtype)
    conv.weight.value[...] = weight.reshape(conv.weight.value.shape)
    if conv.bias is not None and linear.bias is not None:
        conv.bias.value[...] = linear.bias.value
    return conv


def conv_to_linear(conv: Conv2d, input_shape: tuple[int, int, int]) -> Linear:
    """Return the dense layer that does, between flat arrays, what a convolution does to images.

    Parameters
    ----------
    conv : Conv2d
        With any options.
    input_shape : (C, H, W)

    Returns
    -------
    Linear
        From ``C * H * W`` to ``OC * OH * OW`` values: that many weights.

    Notes
    -----
    Column i of the weight is the output for an image that is 1 at pixel i and 0 elsewhere.

    Examples
    --------
    >>> conv_to_linear(Conv2d(1, 2, 3), (1, 5, 5))
    Linear(25, 18)
    """
    if input_shape[0] != conv.in_channels:
        raise ValueError(
            f"conv_to_linear: input_shape does not fit conv, got {input_shape}; "
            f"expected {conv.in_channels} channels"
        )
    dtype, size = conv.weight.value.dtype, math.prod(input_shape)
    probe = Conv2d(
        conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding,
        conv.dilation, conv.groups, bias=False, dtype=dtype,
    )  # fmt: skip
    probe.weight.value[...] = conv.weight.value
    with precise():  # so that each weight comes out as it is
        columns = probe.eval()(np.eye(size, dtype=dtype).reshape(size, *input_shape))
    pixels = math.prod(columns.shape[2:])
    linear = Linear(size, columns[0].size, bias=conv.bias is not None, dtype=dtype)
    linear.weight.value[...] = columns.reshape(size, -1).T
    if linear.bias is not None and conv.bias is not None:
        linear.bias.value[...] = np.repeat(conv.bias.value, pixels)
    return linear
