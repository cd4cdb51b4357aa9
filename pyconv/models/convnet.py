# SPDX-License-Identifier: BSD-3-Clause
"""The plan of most convolutional networks, with every number free."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import DTypeLike

from pyconv.layers import Flatten, Layer, MaxPool2d, ReLU
from pyconv.layers.convolution import Pair
from pyconv.models.base import Model, check_range, check_weights, common_config, parts

_MAX_DEPTH = 16


class ConvNet(Model):
    """``INPUT -> [[CONV -> RELU]*N -> POOL?]*M -> [FC -> RELU]*K -> FC``.

    Parameters
    ----------
    in_channels, num_classes : int
    image_size : int or (int, int)
        Height and width; with pooling at least 2 for each stage.
    channels : sequence of int
        Width of each of the M stages.
    depth : int
        N, the convolutions in a stage.
    hidden : sequence of int
        Width of each of the K dense layers before the last.
    kernel_size : int
        Odd; convolutions keep height and width.
    pool : bool
        End every stage with a max pooling that halves height and width.
    rng : numpy.random.Generator, optional
        Draws the initial weights.
    dtype : float32 or float64

    References
    ----------
    Stanford CS231n, notes on convolutional networks, section "ConvNet Architectures".

    Examples
    --------
    >>> model = ConvNet(1, 10, 28, channels=(8, 16), depth=2, hidden=(64,))
    >>> model(np.zeros((5, 1, 28, 28), np.float32)).shape
    (5, 10)
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        image_size: Pair = 32,
        *,
        channels: Sequence[int] = (32, 64),
        depth: int = 1,
        hidden: Sequence[int] = (128,),
        kernel_size: int = 3,
        pool: bool = True,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        halvings = len(channels) if pool else 0
        config = common_config("ConvNet", in_channels, num_classes, image_size, minimum=2**halvings)
        check_range("ConvNet", "depth", depth, 1, _MAX_DEPTH)
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(
                f"ConvNet: kernel_size is not odd and positive, got {kernel_size}; expected 1, 3, ..."
            )
        H, W = config["image_size"]
        stages: list[list[tuple[int, int]]] = []  # (C, OC) of the convolutions of each stage
        C = in_channels
        for OC in channels:
            stages.append([(C, OC), *[(OC, OC)] * (depth - 1)])
            C = OC
        widths = [C * (H >> halvings) * (W >> halvings), *hidden, num_classes]
        dense = list(pairwise(widths))
        filters = [(OC, C, kernel_size, kernel_size) for stage in stages for C, OC in stage]
        check_weights("ConvNet", *filters, *dense)

        make = parts(rng, dtype)
        layers: list[Layer] = []
        for stage in stages:
            for C, OC in stage:
                layers += [make.conv(C, OC, kernel_size, bias=True), ReLU()]
            if pool:
                layers.append(MaxPool2d(2))
        layers.append(Flatten())
        for features, width in dense[:-1]:
            layers += [make.linear(features, width), ReLU()]
        super().__init__(*layers, make.linear(*dense[-1]))
        self.config = config | {
            "channels": list(channels),
            "depth": depth,
            "hidden": list(hidden),
            "kernel_size": kernel_size,
            "pool": pool,
        }
