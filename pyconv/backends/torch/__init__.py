# SPDX-License-Identifier: BSD-3-Clause
"""pyconv as a backend of torch on CPUs.

There are three depths, all on the memory of the tensors themselves, without a copy:

- the functions of `torch.nn.functional` under the same names and with the same arguments,
- `replace_layers`, which makes the modules of a model call them,
- `enabled`, a context in which torch's own convolutions and pooling run on pyconv.

What pyconv does not compute (another device, dtype or option) and what torch refuses goes to torch
itself, and so behaves as it always does. Everything can be differentiated twice.

Examples
--------
>>> import torch
>>> from pyconv.backends.torch import replace_layers
>>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())
>>> replace_layers(model)
2
>>> model(torch.zeros(1, 3, 8, 8)).shape
torch.Size([1, 8, 6, 6])
"""

from pyconv.optional import need

need("torch", "pyconv.backends.torch", extra="torch")

from pyconv.backends.torch.convolution import (
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)
from pyconv.backends.torch.dense import (
    batch_norm,
    cross_entropy,
    linear,
    log_softmax,
    relu,
)
from pyconv.backends.torch.dispatch import enabled
from pyconv.backends.torch.modules import replace_layers
from pyconv.backends.torch.pooling import (
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
)

__all__ = [
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "batch_norm",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "cross_entropy",
    "enabled",
    "linear",
    "log_softmax",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "relu",
    "replace_layers",
]
