# SPDX-License-Identifier: BSD-3-Clause
"""Networks built from layers, and the way back from a model file to a network.

Their first arguments are the same: ``in_channels``, ``num_classes``, ``image_size``, and by keyword
``rng`` and ``dtype``. State dicts of torchvision's networks of the same names fit; `pyconv.io`'s
``load_weights`` reads them from a safetensors file.

A model file names its architecture and the arguments it was made with; `build` looks the name up in
`ARCHITECTURES` and nowhere else, so a file cannot name code to run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pyconv.models.alexnet import AlexNet, ZFNet
from pyconv.models.base import Model
from pyconv.models.convnet import ConvNet
from pyconv.models.densenet import DenseNet121
from pyconv.models.googlenet import GoogLeNet
from pyconv.models.lenet import LeNet, LeNetBN
from pyconv.models.mobilenet import MobileNetV1, MobileNetV2
from pyconv.models.resnet import ResNet18, ResNet34, ResNet50, ResNeXt50
from pyconv.models.squeezenet import SqueezeNet
from pyconv.models.vgg import VGG11, VGG16, VGG19

__all__ = [
    "ARCHITECTURES",
    "VGG11",
    "VGG16",
    "VGG19",
    "AlexNet",
    "ConvNet",
    "DenseNet121",
    "GoogLeNet",
    "LeNet",
    "LeNetBN",
    "MobileNetV1",
    "MobileNetV2",
    "Model",
    "ResNeXt50",
    "ResNet18",
    "ResNet34",
    "ResNet50",
    "SqueezeNet",
    "ZFNet",
    "build",
]

ARCHITECTURES: dict[str, Callable[..., Model]] = {
    network.__name__: network
    for network in (
        LeNet,
        LeNetBN,
        ConvNet,
        AlexNet,
        ZFNet,
        VGG11,
        VGG16,
        VGG19,
        GoogLeNet,
        ResNet18,
        ResNet34,
        ResNet50,
        ResNeXt50,
        MobileNetV1,
        MobileNetV2,
        DenseNet121,
        SqueezeNet,
    )
}


def build(name: str, config: Mapping[str, Any], *, rng: np.random.Generator | None = None) -> Model:
    """Make the network that a file describes.

    Parameters
    ----------
    name : str
        One of `ARCHITECTURES`.
    config : mapping
        Arguments, as in `Model.config`.
    rng : numpy.random.Generator, optional

    Returns
    -------
    Model

    Raises
    ------
    ValueError
        The name is unknown or the arguments do not fit it.

    Examples
    --------
    >>> model = LeNet(1, 10, 28)
    >>> build("LeNet", model.config).config == model.config
    True
    """
    if name not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ValueError(f"build: name is unknown, got {name!r}; expected one of {known}")
    try:
        return ARCHITECTURES[name](**config, rng=rng)
    except TypeError as error:
        raise ValueError(f"build: config does not fit {name} ({error})") from None
