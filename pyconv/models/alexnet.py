# SPDX-License-Identifier: BSD-3-Clause
"""AlexNet and ZFNet: five convolutions, three dense layers."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from pyconv.layers import (
    AdaptiveAvgPool2d,
    Dropout,
    Flatten,
    LocalResponseNorm,
    MaxPool2d,
    ReLU,
    Sequential,
)
from pyconv.layers.convolution import Pair
from pyconv.models.base import Model, Parts, common_config, parts


class AlexNet(Model):
    """AlexNet in its one-column form, without response normalisation; torchvision's keys.

    Parameters
    ----------
    in_channels, num_classes : int
    image_size : int or (int, int)
        At least 63. Kept in `config`; any size from 63 on is taken.
    dropout : float
        Probability of dropping an input of the first two dense layers.
    rng : numpy.random.Generator, optional
        Draws the initial weights and, in training, what is dropped.
    dtype : float32 or float64

    References
    ----------
    Krizhevsky, Sutskever, Hinton: ImageNet Classification with Deep Convolutional Neural Networks.
    NIPS 2012. The widths are those of Krizhevsky: One weird trick for parallelizing convolutional
    neural networks. 2014, section 5.

    Examples
    --------
    >>> model = AlexNet(3, 10, 64, rng=np.random.default_rng(0))
    >>> model(np.zeros((2, 3, 64, 64), np.float32)).shape
    (2, 10)
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 1000,
        image_size: Pair = 224,
        *,
        dropout: float = 0.5,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        config = common_config("AlexNet", in_channels, num_classes, image_size, minimum=63)
        make = parts(rng, dtype)
        features = Sequential(
            make.conv(in_channels, 64, 11, 4, padding=2, bias=True),
            ReLU(),
            MaxPool2d(3, 2),
            make.conv(64, 192, 5, bias=True),
            ReLU(),
            MaxPool2d(3, 2),
            make.conv(192, 384, 3, bias=True),
            ReLU(),
            make.conv(384, 256, 3, bias=True),
            ReLU(),
            make.conv(256, 256, 3, bias=True),
            ReLU(),
            MaxPool2d(3, 2),
        )
        super().__init__(_with_head(make, features, num_classes, dropout))
        self.config = config | {"dropout": dropout}


class ZFNet(Model):
    """Zeiler and Fergus's AlexNet with smaller first windows, which lose less of the image.

    Parameters
    ----------
    in_channels, num_classes : int
    image_size : int or (int, int)
        At least 63. Kept in `config`; any size from 63 on is taken.
    dropout : float
        Probability of dropping an input of the first two dense layers.
    rng : numpy.random.Generator, optional
        Draws the initial weights and, in training, what is dropped.
    dtype : float32 or float64

    Notes
    -----
    The paper's contrast normalisation is `LocalResponseNorm` with the constants of AlexNet.

    References
    ----------
    Zeiler, Fergus: Visualizing and Understanding Convolutional Networks. ECCV 2014, figure 3.

    Examples
    --------
    >>> model = ZFNet(3, 10, 64, rng=np.random.default_rng(0))
    >>> model(np.zeros((2, 3, 64, 64), np.float32)).shape
    (2, 10)
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 1000,
        image_size: Pair = 224,
        *,
        dropout: float = 0.5,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        config = common_config("ZFNet", in_channels, num_classes, image_size, minimum=63)
        make = parts(rng, dtype)
        features = Sequential(
            # 224 -> 110 -> 55 -> 26 -> 13 -> 6, as in the paper.
            make.conv(in_channels, 96, 7, 2, padding=1, bias=True),
            ReLU(),
            MaxPool2d(3, 2, ceil_mode=True),
            LocalResponseNorm(5, 1e-4, 0.75, 2.0),
            make.conv(96, 256, 5, 2, padding=0, bias=True),
            ReLU(),
            MaxPool2d(3, 2, ceil_mode=True),
            LocalResponseNorm(5, 1e-4, 0.75, 2.0),
            make.conv(256, 384, 3, bias=True),
            ReLU(),
            make.conv(384, 384, 3, bias=True),
            ReLU(),
            make.conv(384, 256, 3, bias=True),
            ReLU(),
            MaxPool2d(3, 2),
        )
        super().__init__(_with_head(make, features, num_classes, dropout))
        self.config = config | {"dropout": dropout}


def _with_head(
    make: Parts, features: Sequential, num_classes: int, dropout: float
) -> dict[str, Sequential | AdaptiveAvgPool2d | Flatten]:
    """Return the network whose convolutions are `features`, with 256 channels at the end."""
    return {
        "features": features,
        "avgpool": AdaptiveAvgPool2d(6),
        "flatten": Flatten(),
        "classifier": Sequential(
            Dropout(dropout, rng=make.rng),
            make.linear(256 * 6 * 6, 4096),
            ReLU(),
            Dropout(dropout, rng=make.rng),
            make.linear(4096, 4096),
            ReLU(),
            make.linear(4096, num_classes),
        ),
    }
