# SPDX-License-Identifier: BSD-3-Clause
"""ResNet and ResNeXt: blocks that learn what to add to their input."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import DTypeLike

from pyconv.layers import Flatten, GlobalAvgPool2d, Layer, MaxPool2d, ReLU, Residual, Sequential
from pyconv.layers.convolution import Pair
from pyconv.models.base import Model, Parts, common_config, parts

_WIDTHS = (64, 128, 256, 512)


class ResNet(Model):
    """The residual networks of He et al., with torchvision's state-dict keys.

    Parameters
    ----------
    in_channels, num_classes : int
    image_size : int or (int, int), optional
        Kept in `config`; any size is taken. By default 224, with the CIFAR stem 32.
    stem : "imagenet" or "cifar"
        What comes first: a 7x7 convolution with stride 2 and a max pooling, or, for small images,
        a 3x3 convolution with stride 1.
    rng : numpy.random.Generator, optional
        Draws the initial weights.
    dtype : float32 or float64

    Notes
    -----
    In blocks of three convolutions the stride is that of the 3x3 one ("v1.5"), as in torchvision.

    References
    ----------
    He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition. CVPR 2016, table 1. ResNeXt:
    Xie, Girshick, Dollar, Tu, He: Aggregated Residual Transformations for Deep Neural Networks.
    CVPR 2017, table 1.
    """

    _depths: ClassVar[tuple[int, ...]]  # blocks in each stage
    _bottleneck: ClassVar[bool] = False
    _groups: ClassVar[int] = 1
    _group_width: ClassVar[int] = 64  # channels of a group in the first stage

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 1000,
        image_size: Pair | None = None,
        *,
        stem: str = "imagenet",
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        name = type(self).__name__
        if stem not in {"imagenet", "cifar"}:
            raise ValueError(f"{name}: stem is unknown, got {stem!r}; expected 'imagenet', 'cifar'")
        if image_size is None:
            image_size = 224 if stem == "imagenet" else 32
        config = common_config(name, in_channels, num_classes, image_size, minimum=1)
        make = parts(rng, dtype)
        layers: dict[str, Layer] = {}
        if stem == "imagenet":
            layers["conv1"] = make.conv(in_channels, 64, 7, 2)
            layers["bn1"] = make.norm(64)
            layers["relu1"] = ReLU()
            layers["maxpool"] = MaxPool2d(3, 2, 1)
        else:
            layers["conv1"] = make.conv(in_channels, 64, 3)
            layers["bn1"] = make.norm(64)
            layers["relu1"] = ReLU()
        C = 64
        for stage, (depth, width) in enumerate(zip(self._depths, _WIDTHS, strict=True), 1):
            blocks: list[Layer] = []
            for index in range(depth):
                stride = 2 if stage > 1 and index == 0 else 1
                if self._bottleneck:
                    inner = self._groups * self._group_width * width // 64
                    blocks.append(bottleneck_block(make, C, inner, 4 * width, stride, self._groups))
                    C = 4 * width
                else:
                    blocks.append(basic_block(make, C, width, stride))
                    C = width
            layers[f"layer{stage}"] = Sequential(*blocks)
        layers["avgpool"] = GlobalAvgPool2d()
        layers["flatten"] = Flatten()
        layers["fc"] = make.linear(C, num_classes)
        super().__init__(layers)
        self.config = config | {"stem": stem}


class ResNet18(ResNet):
    """ResNet with 8 blocks of two convolutions.

    Parameters
    ----------
    in_channels, num_classes, image_size, stem, rng, dtype
        As of every ResNet: ``stem="cifar"`` starts with a 3 x 3 convolution, for small images.

    Examples
    --------
    >>> model = ResNet18(3, 10, 32, stem="cifar", rng=np.random.default_rng(0))
    >>> model(np.zeros((2, 3, 32, 32), np.float32)).shape
    (2, 10)
    """

    _depths = (2, 2, 2, 2)


class ResNet34(ResNet):
    """ResNet with 16 blocks of two convolutions.

    Parameters
    ----------
    in_channels, num_classes, image_size, stem, rng, dtype
        As of `ResNet18`.

    Examples
    --------
    >>> model = ResNet34(3, 10, 64, rng=np.random.default_rng(0))
    >>> model(np.zeros((2, 3, 64, 64), np.float32)).shape
    (2, 10)
    """

    _depths = (3, 4, 6, 3)


class ResNet50(ResNet):
    """ResNet with 16 blocks of three convolutions.

    Parameters
    ----------
    in_channels, num_classes, image_size, stem, rng, dtype
        As of `ResNet18`.

    Examples
    --------
    >>> model = ResNet50(3, 10, 64, rng=np.random.default_rng(0))
    >>> model(np.zeros((2, 3, 64, 64), np.float32)).shape
    (2, 10)
    """

    _depths = (3, 4, 6, 3)
    _bottleneck = True


class ResNeXt50(ResNet50):
    """ResNeXt-50 (32x4d): ResNet-50 whose 3x3 convolutions have 32 groups.

    Parameters
    ----------
    in_channels, num_classes, image_size, stem, rng, dtype
        As of `ResNet18`.

    Examples
    --------
    >>> model = ResNeXt50(3, 10, 64, rng=np.random.default_rng(0))
    >>> model(np.zeros((2, 3, 64, 64), np.float32)).shape
    (2, 10)
    """

    _groups = 32
    _group_width = 4


def basic_block(make: Parts, C: int, OC: int, stride: int) -> Layer:
    """Return a block of two 3x3 convolutions."""
    body = Sequential(
        {
            "conv1": make.conv(C, OC, 3, stride),
            "bn1": make.norm(OC),
            "relu1": ReLU(),
            "conv2": make.conv(OC, OC, 3),
            "bn2": make.norm(OC),
        }
    )
    return _residual_block(make, body, C, OC, stride)


def bottleneck_block(make: Parts, C: int, width: int, OC: int, stride: int, groups: int) -> Layer:
    """Return a block of 1x1, 3x3 and 1x1 convolutions, `width` wide between them."""
    body = Sequential(
        {
            "conv1": make.conv(C, width, 1),
            "bn1": make.norm(width),
            "relu1": ReLU(),
            "conv2": make.conv(width, width, 3, stride, groups=groups),
            "bn2": make.norm(width),
            "relu2": ReLU(),
            "conv3": make.conv(width, OC, 1),
            "bn3": make.norm(OC),
        }
    )
    return _residual_block(make, body, C, OC, stride)


def _residual_block(make: Parts, body: Layer, C: int, OC: int, stride: int) -> Layer:
    """Return ``relu(body(x) + x)``, with x brought to the shape of the sum where that differs."""
    shortcut = None
    if stride != 1 or C != OC:
        shortcut = Sequential(make.conv(C, OC, 1, stride), make.norm(OC))
    return Sequential({"": Residual(body, shortcut, names=("", "downsample")), "relu": ReLU()})
