# SPDX-License-Identifier: BSD-3-Clause
"""Layers: objects that own parameters and remember what their gradient needs.

A layer is a thin shell over `pyconv.functional`::

    y = layer(x)                    # or layer.forward(x)
    grad_x = layer.backward(grad_y) # once for each forward; adds into every parameter's .grad

Class names, constructor order and state-dict keys are torch's.
"""

from pyconv.layers.activation import (
    ELU,
    GELU,
    SELU,
    Hardsigmoid,
    Hardswish,
    LeakyReLU,
    LogSoftmax,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from pyconv.layers.base import Layer, Parameter
from pyconv.layers.containers import Concat, Residual, Sequential
from pyconv.layers.convolution import Conv1d, Conv2d, Conv3d, ConvTranspose2d
from pyconv.layers.linear import Linear
from pyconv.layers.normalization import (
    GroupNorm,
    InstanceNorm2d,
    LayerNorm,
    LocalResponseNorm,
)
from pyconv.layers.pooling import (
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    AvgPool2d,
    GlobalAvgPool2d,
    GlobalMaxPool2d,
    LPPool2d,
    MaxPool2d,
)
from pyconv.layers.recompute import Checkpoint
from pyconv.layers.regularization import BatchNorm2d, Dropout
from pyconv.layers.shape import Flatten, Identity

__all__ = [
    "ELU",
    "GELU",
    "SELU",
    "AdaptiveAvgPool2d",
    "AdaptiveMaxPool2d",
    "AvgPool2d",
    "BatchNorm2d",
    "Checkpoint",
    "Concat",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose2d",
    "Dropout",
    "Flatten",
    "GlobalAvgPool2d",
    "GlobalMaxPool2d",
    "GroupNorm",
    "Hardsigmoid",
    "Hardswish",
    "Identity",
    "InstanceNorm2d",
    "LPPool2d",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LocalResponseNorm",
    "LogSoftmax",
    "MaxPool2d",
    "Parameter",
    "ReLU",
    "ReLU6",
    "Residual",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
]
