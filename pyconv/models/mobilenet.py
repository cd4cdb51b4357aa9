# SPDX-License-Identifier: BSD-3-Clause
"""MobileNet: depthwise convolutions look at the image, 1x1 convolutions mix the channels."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from pyconv.layers import (
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Layer,
    ReLU,
    ReLU6,
    Residual,
    Sequential,
)
from pyconv.layers.convolution import Pair
from pyconv.models.base import Model, Parts, check_range, common_config, parts

_MAX_MULTIPLIER = 8.0


class MobileNetV1(Model):
    """Thirteen depthwise separable convolutions.

    Parameters
    ----------
    in_channels, num_classes : int
    image_size : int or (int, int)
        Kept in `config`; any size is taken.
    width_multiplier : float
        Factor of all widths, which are rounded to multiples of 8.
    rng : numpy.random.Generator, optional
        Draws the initial weights.
    dtype : float32 or float64

    References
    ----------
    Howard et al.: MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
    Applications. 2017, table 1.

    Examples
    --------
    >>> model = MobileNetV1(3, 10, 64, width_multiplier=0.25, rng=np.random.default_rng(0))
    >>> model(np.zeros((2, 3, 64, 64), np.float32)).shape
    (2, 10)
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 1000,
        image_size: Pair = 224,
        *,
        width_multiplier: float = 1.0,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        config = common_config("MobileNetV1", in_channels, num_classes, image_size, minimum=1)
        check_range("MobileNetV1", "width_multiplier", width_multiplier, 0.0, _MAX_MULTIPLIER)
        make = parts(rng, dtype)
        C = _rounded(32 * width_multiplier)
        features: list[Layer] = [Sequential(make.conv(in_channels, C, 3, 2), make.norm(C), ReLU())]
        plan = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5]
        for width, stride in [*plan, (1024, 2), (1024, 1)]:
            OC = _rounded(width * width_multiplier)
            features.append(separable_block(make, C, OC, stride))
            C = OC
        super().__init__(
            {
                "features": Sequential(*features),
                "avgpool": GlobalAvgPool2d(),
                "flatten": Flatten(),
                "classifier": make.linear(C, num_classes),
            }
        )
        self.config = config | {"width_multiplier": width_multiplier}


class MobileNetV2(Model):
    """Inverted residuals: blocks that are wide inside and narrow where they are added.

    The state-dict keys are torchvision's.

    Parameters
    ----------
    in_channels, num_classes : int
    image_size : int or (int, int)
        Kept in `config`; any size is taken.
    width_multiplier : float
        Factor of all widths, which are rounded to multiples of 8; the last convolution never
        becomes narrower than 1280.
    dropout : float
        Probability of dropping an input of the dense layer.
    rng : numpy.random.Generator, optional
        Draws the initial weights and, in training, what is dropped.
    dtype : float32 or float64

    References
    ----------
    Sandler, Howard, Zhu, Zhmoginov, Chen: MobileNetV2: Inverted Residuals and Linear Bottlenecks.
    CVPR 2018, table 2.

    Examples
    --------
    >>> model = MobileNetV2(3, 10, 64, width_multiplier=0.5, rng=np.random.default_rng(0))
    >>> model(np.zeros((2, 3, 64, 64), np.float32)).shape
    (2, 10)
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 1000,
        image_size: Pair = 224,
        *,
        width_multiplier: float = 1.0,
        dropout: float = 0.2,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        config = common_config("MobileNetV2", in_channels, num_classes, image_size, minimum=1)
        check_range("MobileNetV2", "width_multiplier", width_multiplier, 0.0, _MAX_MULTIPLIER)
        make = parts(rng, dtype)
        C = _rounded(32 * width_multiplier)
        features = [_conv_norm_relu6(make, in_channels, C, 3, 2)]
        for expansion, width, depth, first_stride in (
            (1, 16, 1, 1),
            (6, 24, 2, 2),
            (6, 32, 3, 2),
            (6, 64, 4, 2),
            (6, 96, 3, 1),
            (6, 160, 3, 2),
            (6, 320, 1, 1),
        ):
            OC = _rounded(width * width_multiplier)
            for index in range(depth):
                stride = first_stride if index == 0 else 1
                features.append(inverted_residual_block(make, C, OC, stride, expansion))
                C = OC
        last = _rounded(1280 * max(1.0, width_multiplier))
        features.append(_conv_norm_relu6(make, C, last, 1))
        super().__init__(
            {
                "features": Sequential(*features),
                "avgpool": GlobalAvgPool2d(),
                "flatten": Flatten(),
                "classifier": Sequential(
                    Dropout(dropout, rng=make.rng), make.linear(last, num_classes)
                ),
            }
        )
        self.config = config | {"width_multiplier": width_multiplier, "dropout": dropout}


def separable_block(make: Parts, C: int, OC: int, stride: int) -> Layer:
    """Return a depthwise and a 1x1 convolution, each with batch norm and ReLU."""
    return Sequential(
        make.conv(C, C, 3, stride, groups=C),
        make.norm(C),
        ReLU(),
        make.conv(C, OC, 1),
        make.norm(OC),
        ReLU(),
    )


def inverted_residual_block(make: Parts, C: int, OC: int, stride: int, expansion: int) -> Layer:
    """Return expansion, depthwise convolution and projection, added to the input if that fits."""
    width = expansion * C
    layers: list[Layer] = [_conv_norm_relu6(make, C, width, 1)] if expansion != 1 else []
    layers += [
        _conv_norm_relu6(make, width, width, 3, stride, groups=width),
        make.conv(width, OC, 1),
        make.norm(OC),
    ]
    if stride == 1 and C == OC:
        return Residual(Sequential(*layers), names=("conv", "shortcut"))
    return Sequential({"conv": Sequential(*layers)})


def _conv_norm_relu6(
    make: Parts, C: int, OC: int, kernel_size: int, stride: int = 1, groups: int = 1
) -> Layer:
    return Sequential(make.conv(C, OC, kernel_size, stride, groups=groups), make.norm(OC), ReLU6())


def _rounded(width: float) -> int:
    """Return the nearest multiple of 8, but at least 8 and at least 90% of `width`."""
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * width else rounded + 8
