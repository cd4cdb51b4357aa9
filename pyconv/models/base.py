# SPDX-License-Identifier: BSD-3-Clause
"""What the networks share: a base class, limits on their arguments, and the making of layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from pyconv import init
from pyconv.layers import BatchNorm2d, Conv2d, Linear, Sequential
from pyconv.layers.convolution import Pair

# The largest network here, VGG-19, has 2**27.1 weights. The limits keep a hostile or mistyped
# configuration from asking for more memory than the machine has.
_MAX_WEIGHTS = 2**28
_MAX_CHANNELS = 2**10
_MAX_CLASSES = 2**16


class Model(Sequential):
    """A Sequential that knows the arguments it was made with.

    Attributes
    ----------
    config : dict
        Keyword arguments that make the same network again; plain JSON values.

    Examples
    --------
    >>> from pyconv import models
    >>> model = models.LeNet(1, 10, 28)
    >>> isinstance(model, Model), model.config
    (True, {'in_channels': 1, 'num_classes': 10, 'image_size': [28, 28]})
    """

    config: dict[str, Any]


@dataclass(frozen=True)
class Parts:
    """Makes layers of one dtype with initial weights from one generator.

    Convolutions start from He's normal distribution with biases of 0, dense layers as `Linear`
    does, batch norm as the identity.
    """

    rng: np.random.Generator
    dtype: DTypeLike

    def conv(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        *,
        padding: int | None = None,
        groups: int = 1,
        bias: bool = False,
    ) -> Conv2d:
        """Return a convolution; by default its padding is half the kernel, so stride 1 keeps H."""
        layer = Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            kernel_size // 2 if padding is None else padding,
            groups=groups,
            bias=bias,
            rng=self.rng,
            dtype=self.dtype,
        )
        weight = layer.weight.value
        weight[...] = init.he_normal(weight.shape, rng=self.rng, dtype=self.dtype)
        if layer.bias is not None:
            layer.bias.value.fill(0)
        return layer

    def norm(self, num_features: int, *, eps: float = 1e-5) -> BatchNorm2d:
        """Return a batch norm."""
        return BatchNorm2d(num_features, eps, dtype=self.dtype)

    def linear(self, in_features: int, out_features: int) -> Linear:
        """Return a dense layer."""
        return Linear(in_features, out_features, rng=self.rng, dtype=self.dtype)


def parts(rng: np.random.Generator | None, dtype: DTypeLike) -> Parts:
    """Return the maker of a network's layers; None is a fresh generator."""
    return Parts(np.random.default_rng() if rng is None else rng, dtype)


def common_config(
    model: str, in_channels: int, num_classes: int, image_size: Pair, *, minimum: int
) -> dict[str, Any]:
    """Check the arguments that every network has and return them as they go into `config`."""
    check_range(model, "in_channels", in_channels, 1, _MAX_CHANNELS)
    check_range(model, "num_classes", num_classes, 1, _MAX_CLASSES)
    H, W = check_image_size(model, image_size, minimum=minimum)
    return {"in_channels": in_channels, "num_classes": num_classes, "image_size": [H, W]}


def check_range(model: str, name: str, value: float, smallest: float, largest: float) -> None:
    """Refuse a value outside [smallest, largest]."""
    if not smallest <= value <= largest:
        raise ValueError(
            f"{model}: {name} is out of range, got {value}; expected {smallest} to {largest}"
        )


def check_image_size(model: str, image_size: Pair, *, minimum: int) -> tuple[int, int]:
    """Return height and width."""
    H, W = (image_size, image_size) if isinstance(image_size, int) else image_size
    if min(H, W) < minimum:
        raise ValueError(
            f"{model}: image_size is too small, got {(H, W)}; expected at least {minimum}"
        )
    return H, W


def check_weights(model: str, *weights: Sequence[int]) -> None:
    """Refuse weights of these shapes if they are too many."""
    count = sum(math.prod(shape) for shape in weights)
    if count > _MAX_WEIGHTS:
        raise ValueError(
            f"{model}: arguments ask for too many weights, "
            f"got {count}; expected at most {_MAX_WEIGHTS}"
        )
