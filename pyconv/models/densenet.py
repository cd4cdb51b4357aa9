# SPDX-License-Identifier: BSD-3-Clause
"""DenseNet: every layer sees the outputs of all layers before it."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from pyconv.layers import (
    AvgPool2d,
    Concat,
    Flatten,
    GlobalAvgPool2d,
    Identity,
    Layer,
    MaxPool2d,
    ReLU,
    Sequential,
)
from pyconv.layers.convolution import Pair
from pyconv.models.base import Model, Parts, common_config, parts

_DEPTHS = (6, 12, 24, 16)
_GROWTH = 32


class DenseNet121(Model):
    """DenseNet-BC with 58 dense layers, growth rate 32 and torchvision's state-dict keys.

    Parameters
    ----------
    in_channels, num_classes : int
    image_size : int or (int, int)
        At least 29. Kept in `config`; any size from 29 on is taken.
    rng : numpy.random.Generator, optional
        Draws the initial weights.
    dtype : float32 or float64

    Notes
    -----
    A dense layer joins its input and what it adds into a new array, so the memory of a block grows
    with the square of its depth.

    References
    ----------
    Huang, Liu, van der Maaten, Weinberger: Densely Connected Convolutional Networks. CVPR 2017,
    table 1.

    Examples
    --------
    >>> model = DenseNet121(3, 10, 32, rng=np.random.default_rng(0))
    >>> model(np.zeros((2, 3, 32, 32), np.float32)).shape
    (2, 10)
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 1000,
        image_size: Pair = 224,
        *,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        config = common_config("DenseNet121", in_channels, num_classes, image_size, minimum=29)
        make = parts(rng, dtype)
        features: dict[str, Layer] = {
            "conv0": make.conv(in_channels, 64, 7, 2),
            "norm0": make.norm(64),
            "relu0": ReLU(),
            "pool0": MaxPool2d(3, 2, 1),
        }
        C = 64
        for block, depth in enumerate(_DEPTHS, 1):
            dense = {
                f"denselayer{index + 1}": dense_layer(make, C + index * _GROWTH, _GROWTH)
                for index in range(depth)
            }
            features[f"denseblock{block}"] = Sequential(dense)
            C += depth * _GROWTH
            if block < len(_DEPTHS):
                features[f"transition{block}"] = transition(make, C, C // 2)
                C //= 2
        features["norm5"] = make.norm(C)
        features["relu5"] = ReLU()
        super().__init__(
            {
                "features": Sequential(features),
                "avgpool": GlobalAvgPool2d(),
                "flatten": Flatten(),
                "classifier": make.linear(C, num_classes),
            }
        )
        self.config = config


def dense_layer(make: Parts, C: int, growth: int) -> Layer:
    """Return the input joined with `growth` new channels."""
    new = Sequential(
        {
            "norm1": make.norm(C),
            "relu1": ReLU(),
            "conv1": make.conv(C, 4 * growth, 1),
            "norm2": make.norm(4 * growth),
            "relu2": ReLU(),
            "conv2": make.conv(4 * growth, growth, 3),
        }
    )
    return Concat({"identity": Identity(), "": new})


def transition(make: Parts, C: int, OC: int) -> Layer:
    """Return what narrows the channels and halves the image between two blocks."""
    return Sequential(
        {"norm": make.norm(C), "relu": ReLU(), "conv": make.conv(C, OC, 1), "pool": AvgPool2d(2)}
    )
