# SPDX-License-Identifier: BSD-3-Clause
"""SqueezeNet: AlexNet's accuracy with a fiftieth of its weights."""

from __future__ import annotations

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
from pyconv.layers.convolution import Pair
from pyconv.models.base import Model, Parts, common_config, parts

# The width and the window of the first convolution, and the fire modules between max poolings:
# (width of the squeeze layer, width of each of the two expand layers).
_PLANS = {
    "1.0": (
        (96, 7),
        [
            [(16, 64), (16, 64), (32, 128)],
            [(32, 128), (48, 192), (48, 192), (64, 256)],
            [(64, 256)],
        ],
    ),
    "1.1": (
        (64, 3),
        [
            [(16, 64), (16, 64)],
            [(32, 128), (32, 128)],
            [(48, 192), (48, 192), (64, 256), (64, 256)],
        ],
    ),
}


class SqueezeNet(Model):
    """SqueezeNet, with torchvision's state-dict keys.

    Parameters
    ----------
    in_channels, num_classes : int
    image_size : int or (int, int)
        At least 29, or 25 for version 1.1. Kept in `config`; any size from there on is taken.
    version : "1.0" or "1.1"
        That of the paper, or the authors' later one, which is as accurate with 2.4 times less work.
    dropout : float
        Probability of dropping an input of the last convolution.
    rng : numpy.random.Generator, optional
        Draws the initial weights and, in training, what is dropped.
    dtype : float32 or float64

    References
    ----------
    Iandola et al.: SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model
    size. 2016, table 1.

    Examples
    --------
    >>> model = SqueezeNet(3, 10, 64, rng=np.random.default_rng(0))
    >>> model(np.zeros((2, 3, 64, 64), np.float32)).shape
    (2, 10)
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 1000,
        image_size: Pair = 224,
        *,
        version: str = "1.1",
        dropout: float = 0.5,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        if version not in _PLANS:
            raise ValueError(f"SqueezeNet: version is unknown, got {version!r}; expected 1.0, 1.1")
        minimum = 25 if version == "1.1" else 29
        config = common_config("SqueezeNet", in_channels, num_classes, image_size, minimum=minimum)
        make = parts(rng, dtype)
        (C, kernel_size), groups = _PLANS[version]
        features: list[Layer] = [
            make.conv(in_channels, C, kernel_size, 2, padding=0, bias=True),
            ReLU(),
        ]
        for group in groups:
            features.append(MaxPool2d(3, 2, ceil_mode=True))
            for squeeze, expand in group:
                features.append(fire(make, C, squeeze, expand))
                C = 2 * expand
        last = make.conv(C, num_classes, 1, bias=True)
        # Smaller than He's weights, so that training starts from nearly equal probabilities.
        last.weight.value[...] = make.rng.normal(0.0, 0.01, last.weight.value.shape)
        super().__init__(
            {
                "features": Sequential(*features),
                "classifier": Sequential(
                    Dropout(dropout, rng=make.rng), last, ReLU(), GlobalAvgPool2d()
                ),
                "flatten": Flatten(),
            }
        )
        self.config = config | {"version": version, "dropout": dropout}


def fire(make: Parts, C: int, squeeze: int, expand: int) -> Layer:
    """Return a 1x1 convolution to few channels, then 1x1 and 3x3 convolutions side by side."""
    return Sequential(
        {
            "squeeze": make.conv(C, squeeze, 1, bias=True),
            "squeeze_activation": ReLU(),
            "": Concat(
                {
                    f"expand{size}x{size}": Sequential(
                        {"": make.conv(squeeze, expand, size, bias=True), "activation": ReLU()}
                    )
                    for size in (1, 3)
                }
            ),
        }
    )
