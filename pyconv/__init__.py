# SPDX-License-Identifier: BSD-3-Clause
"""Convolutional networks for NumPy: fast on CPUs, forward and backward, and small.

Layers and the switches of the runtime are here; everything else is in its module::

    import pyconv
    from pyconv import functional as F

    model = pyconv.Sequential(pyconv.Conv2d(1, 8, 3), pyconv.ReLU(), pyconv.Flatten())
    y = model(x)                      # x: (N, 1, H, W), float32
    grad_x = model.backward(grad_y)   # adds into every parameter's .grad
"""

from pyconv._core import __version__
from pyconv.layers import (
    ELU,
    GELU,
    SELU,
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    AvgPool2d,
    BatchNorm2d,
    Concat,
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    GlobalMaxPool2d,
    GroupNorm,
    Hardsigmoid,
    Hardswish,
    InstanceNorm2d,
    Layer,
    LayerNorm,
    LeakyReLU,
    Linear,
    LocalResponseNorm,
    LogSoftmax,
    LPPool2d,
    MaxPool2d,
    Parameter,
    ReLU,
    ReLU6,
    Residual,
    Sequential,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from pyconv.runtime import (
    get_num_threads,
    num_threads,
    precise,
    release_memory,
    set_num_threads,
)

__all__ = [
    "ELU",
    "GELU",
    "SELU",
    "AdaptiveAvgPool2d",
    "AdaptiveMaxPool2d",
    "AvgPool2d",
    "BatchNorm2d",
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
    "__version__",
    "get_num_threads",
    "num_threads",
    "precise",
    "release_memory",
    "set_num_threads",
]
