# SPDX-License-Identifier: BSD-3-Clause
"""LeNet-5, and its plan with today's parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from pyconv.layers import (
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    Layer,
    Linear,
    MaxPool2d,
    ReLU,
)
from pyconv.layers.convolution import Pair
from pyconv.models.base import Model, check_image_size, check_range, check_weights

_MAX_DEPTH = 16


class LeNet(Model):
    """LeNet-5 with ReLU and max pooling: two 5x5 convolutions and three dense layers.

    Parameters
    ----------
    in_channels : int
        1 for grey images, 3 for RGB.
    num_classes : int
    image_size : int or (int, int)
        Height and width, at least 4. From 12 on, the second convolution is unpadded as in the
        original; smaller images would be used up by it.
    rng : numpy.random.Generator, optional
        Draws the initial weights.
    dtype : float32 or float64

    References
    ----------
    LeCun, Bottou, Bengio, Haffner: Gradient-Based Learning Applied to Document Recognition.
    Proceedings of the IEEE 86 (11), 1998, figure 2.

    Examples
    --------
    >>> model = LeNet(rng=np.random.default_rng(0))
    >>> model(np.zeros((5, 1, 28, 28), np.float32)).shape
    (5, 10)
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 10,
        image_size: Pair = 28,
        *,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        H, W = check_image_size("LeNet", image_size, minimum=4)
        second_padding = 0 if min(H, W) >= 12 else 2
        shrink = 4 - 2 * second_padding
        features = 16 * ((H // 2 - shrink) // 2) * ((W // 2 - shrink) // 2)
        check_weights("LeNet", (6, in_channels, 5, 5), (120, features), (num_classes, 84))
        rng = np.random.default_rng() if rng is None else rng
        super().__init__(
            Conv2d(in_channels, 6, 5, padding=2, rng=rng, dtype=dtype),
            ReLU(),
            MaxPool2d(2),
            Conv2d(6, 16, 5, padding=second_padding, rng=rng, dtype=dtype),
            ReLU(),
            MaxPool2d(2),
            Flatten(),
            Linear(features, 120, rng=rng, dtype=dtype),
            ReLU(),
            Linear(120, 84, rng=rng, dtype=dtype),
            ReLU(),
            Linear(84, num_classes, rng=rng, dtype=dtype),
        )
        self.config = {
            "in_channels": in_channels,
            "num_classes": num_classes,
            "image_size": [H, W],
        }


class LeNetBN(Model):
    """LeNet's plan with today's parts: 3x3 convolutions, batch norm, dropout.

    Every entry of `channels` is a stage: `depth` times convolution, batch norm and ReLU, then a max
    pooling that halves the image. Two dense layers follow.

    Parameters
    ----------
    in_channels, num_classes : int
    image_size : int or (int, int)
        Height and width, at least 2 for each stage.
    channels : sequence of int
        Channels of each stage.
    depth : int
        Convolutions in each stage.
    hidden : int
        Width of the first dense layer.
    dropout : float
        Probability of dropping an input of each dense layer.
    rng : numpy.random.Generator, optional
        Draws the initial weights and, in training, what is dropped.
    dtype : float32 or float64

    Examples
    --------
    >>> model = LeNetBN(3, 10, 32, channels=(16, 32), rng=np.random.default_rng(0))
    >>> model(np.zeros((5, 3, 32, 32), np.float32)).shape
    (5, 10)
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 10,
        image_size: Pair = 28,
        *,
        channels: Sequence[int] = (32, 64),
        depth: int = 1,
        hidden: int = 128,
        dropout: float = 0.3,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        check_range("LeNetBN", "depth", depth, 1, _MAX_DEPTH)
        H, W = check_image_size("LeNetBN", image_size, minimum=2 ** len(channels))
        widths = [in_channels, *channels]
        # (C, OC) of the convolutions of each stage; only the first one changes the width.
        stages = [
            [(C, OC), *[(OC, OC)] * (depth - 1)] for C, OC in zip(widths, channels, strict=False)
        ]
        features = widths[-1] * (H >> len(channels)) * (W >> len(channels))
        filters = [(OC, C, 3, 3) for stage in stages for C, OC in stage]
        check_weights("LeNetBN", *filters, (hidden, features), (num_classes, hidden))
        rng = np.random.default_rng() if rng is None else rng
        layers: list[Layer] = []
        for stage in stages:
            for C, OC in stage:
                # Batch norm subtracts the mean, and with it any bias.
                layers.append(Conv2d(C, OC, 3, padding=1, bias=False, rng=rng, dtype=dtype))
                layers += [BatchNorm2d(OC, dtype=dtype), ReLU()]
            layers.append(MaxPool2d(2))
        super().__init__(
            *layers,
            Flatten(),
            Dropout(dropout, rng=rng),
            Linear(features, hidden, rng=rng, dtype=dtype),
            ReLU(),
            Dropout(dropout, rng=rng),
            Linear(hidden, num_classes, rng=rng, dtype=dtype),
        )
        self.config = {
            "in_channels": in_channels,
            "num_classes": num_classes,
            "image_size": [H, W],
            "channels": list(channels),
            "depth": depth,
            "hidden": hidden,
            "dropout": dropout,
        }
