# SPDX-License-Identifier: BSD-3-Clause
"""VGG: nothing but 3x3 convolutions, in five stages that halve the image and widen it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import DTypeLike

from pyconv.layers import AdaptiveAvgPool2d, Dropout, Flatten, Layer, MaxPool2d, ReLU, Sequential
from pyconv.layers.convolution import Pair
from pyconv.models.base import Model, common_config, parts

_WIDTHS = (64, 128, 256, 512, 512)


class VGG(Model):
    """The networks of Simonyan and Zisserman, with torchvision's state-dict keys.

    Parameters
    ----------
    in_channels, num_classes : int
    image_size : int or (int, int)
        At least 32. Kept in `config`; any size from 32 on is taken.
    batch_norm : bool
        Batch norm after every convolution, torchvision's ``vgg16_bn`` and its kin.
    dropout : float
        Probability of dropping an input of the last two dense layers.
    rng : numpy.random.Generator, optional
        Draws the initial weights and, in training, what is dropped.
    dtype : float32 or float64

    References
    ----------
    Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition. ICLR
    2015, table 1.
    """

    _depths: ClassVar[tuple[int, ...]]  # convolutions in each stage

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 1000,
        image_size: Pair = 224,
        *,
        batch_norm: bool = False,
        dropout: float = 0.5,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        name = type(self).__name__
        config = common_config(name, in_channels, num_classes, image_size, minimum=32)
        make = parts(rng, dtype)
        features: list[Layer] = []
        C = in_channels
        for depth, OC in zip(self._depths, _WIDTHS, strict=True):
            for _ in range(depth):
                features.append(make.conv(C, OC, 3, bias=True))
                if batch_norm:
                    features.append(make.norm(OC))
                features.append(ReLU())
                C = OC
            features.append(MaxPool2d(2))
        super().__init__(
            {
                "features": Sequential(*features),
                "avgpool": AdaptiveAvgPool2d(7),
                "flatten": Flatten(),
                "classifier": Sequential(
                    make.linear(512 * 7 * 7, 4096),
                    ReLU(),
                    Dropout(dropout, rng=make.rng),
                    make.linear(4096, 4096),
                    ReLU(),
                    Dropout(dropout, rng=make.rng),
                    make.linear(4096, num_classes),
                ),
            }
        )
        self.config = config | {"batch_norm": batch_norm, "dropout": dropout}


class VGG11(VGG):
    """VGG with 8 convolutions and 3 dense layers, configuration A of the paper.

    Parameters
    ----------
    in_channels, num_classes, image_size, batch_norm, dropout, rng, dtype
        As of every VGG: at least 32 pixels; batch norm behind each convolution if wanted.

    Examples
    --------
    >>> model = VGG11(3, 10, 32, rng=np.random.default_rng(0))
    >>> len([row for row in model.summary((1, 3, 32, 32)).rows if row.kind == "Conv2d"])
    8
    """

    _depths = (1, 1, 2, 2, 2)


class VGG16(VGG):
    """VGG with 13 convolutions and 3 dense layers, configuration D of the paper.

    Parameters
    ----------
    in_channels, num_classes, image_size, batch_norm, dropout, rng, dtype
        As of `VGG11`.

    Examples
    --------
    >>> model = VGG16(3, 10, 32, batch_norm=True, rng=np.random.default_rng(0))
    >>> len([row for row in model.summary((1, 3, 32, 32)).rows if row.kind == "Conv2d"])
    13
    """

    _depths = (2, 2, 3, 3, 3)


class VGG19(VGG):
    """VGG with 16 convolutions and 3 dense layers, configuration E of the paper.

    Parameters
    ----------
    in_channels, num_classes, image_size, batch_norm, dropout, rng, dtype
        As of `VGG11`.

    Examples
    --------
    >>> model = VGG19(3, 10, 32, rng=np.random.default_rng(0))
    >>> len([row for row in model.summary((1, 3, 32, 32)).rows if row.kind == "Conv2d"])
    16
    """

    _depths = (2, 2, 4, 4, 4)
