# SPDX-License-Identifier: BSD-3-Clause
"""GoogLeNet: windows of several sizes side by side, made cheap by 1x1 convolutions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import DTypeLike

from pyconv.layers import (
    Concat,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Layer,
    MaxPool2d,
    ReLU,
    Sequential,
)
from pyconv.layers.base import Array
from pyconv.layers.convolution import Pair
from pyconv.models.base import Model, Parts, common_config, parts


class GoogLeNet(Model):
    """Inception v1 with batch norm, as torchvision has it, without the auxiliary classifiers.

    Parameters
    ----------
    in_channels, num_classes : int
    image_size : int or (int, int)
        At least 31. Kept in `config`; any size from 31 on is taken.
    dropout : float
        Probability of dropping an input of the dense layer.
    rng : numpy.random.Generator, optional
        Draws the initial weights and, in training, what is dropped.
    dtype : float32 or float64

    Notes
    -----
    As in torchvision, and unlike the paper, the third branch of an inception module has 3x3
    windows, not 5x5. The weights that torchvision publishes expect images in [-1, 1], to which
    it brings those that were normalised for its other networks (``transform_input``).

    References
    ----------
    Szegedy et al.: Going Deeper with Convolutions. CVPR 2015, table 1. Batch norm: Ioffe, Szegedy:
    Batch Normalization. ICML 2015, section 4.2.

    Examples
    --------
    >>> model = GoogLeNet(3, 10, 64, rng=np.random.default_rng(0))
    >>> model(np.zeros((2, 3, 64, 64), np.float32)).shape
    (2, 10)
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 1000,
        image_size: Pair = 224,
        *,
        dropout: float = 0.2,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        config = common_config("GoogLeNet", in_channels, num_classes, image_size, minimum=31)
        make = parts(rng, dtype)
        super().__init__(
            {
                "conv1": conv_block(make, in_channels, 64, 7, 2),
                "maxpool1": MaxPool2d(3, 2, ceil_mode=True),
                "conv2": conv_block(make, 64, 64, 1),
                "conv3": conv_block(make, 64, 192, 3),
                "maxpool2": MaxPool2d(3, 2, ceil_mode=True),
                "inception3a": inception(make, 192, 64, (96, 128), (16, 32), 32),
                "inception3b": inception(make, 256, 128, (128, 192), (32, 96), 64),
                "maxpool3": MaxPool2d(3, 2, ceil_mode=True),
                "inception4a": inception(make, 480, 192, (96, 208), (16, 48), 64),
                "inception4b": inception(make, 512, 160, (112, 224), (24, 64), 64),
                "inception4c": inception(make, 512, 128, (128, 256), (24, 64), 64),
                "inception4d": inception(make, 512, 112, (144, 288), (32, 64), 64),
                "inception4e": inception(make, 528, 256, (160, 320), (32, 128), 128),
                "maxpool4": MaxPool2d(2, 2, ceil_mode=True),
                "inception5a": inception(make, 832, 256, (160, 320), (32, 128), 128),
                "inception5b": inception(make, 832, 384, (192, 384), (48, 128), 128),
                "avgpool": GlobalAvgPool2d(),
                "flatten": Flatten(),
                "dropout": Dropout(dropout, rng=make.rng),
                "fc": make.linear(1024, num_classes),
            }
        )
        self.config = config | {"dropout": dropout}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Copy `state` into the network, leaving out torchvision's auxiliary classifiers."""
        auxiliary = ("aux1.", "aux2.")
        super().load_state_dict(
            {key: array for key, array in state.items() if not key.startswith(auxiliary)}
        )


def conv_block(make: Parts, C: int, OC: int, kernel_size: int, stride: int = 1) -> Sequential:
    """Return convolution, batch norm and ReLU."""
    return Sequential(
        {
            "conv": make.conv(C, OC, kernel_size, stride),
            "bn": make.norm(OC, eps=1e-3),
            "relu": ReLU(),
        }
    )


def inception(
    make: Parts, C: int, one: int, three: tuple[int, int], five: tuple[int, int], pool: int
) -> Layer:
    """Return an inception module; the pairs are widths before and after the larger window."""
    return Concat(
        {
            "branch1": conv_block(make, C, one, 1),
            "branch2": Sequential(conv_block(make, C, three[0], 1), conv_block(make, *three, 3)),
            "branch3": Sequential(conv_block(make, C, five[0], 1), conv_block(make, *five, 3)),
            "branch4": Sequential(MaxPool2d(3, 1, 1), conv_block(make, C, pool, 1)),
        }
    )
