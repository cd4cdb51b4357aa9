# SPDX-License-Identifier: BSD-3-Clause
"""pyconv's functions as primitives of autograd (HIPS), to be differentiated any number of times.

The functions are those of `pyconv.functional`, less the options that change what a gradient is
(`activation`, `residual`) or where it is written (`out`). Gradients are primitives too, wherever pyconv
has the kernel for their own gradient.

Examples
--------
>>> import autograd
>>> import autograd.numpy as np
>>> from pyconv.backends import autograd as F
>>> x, w = np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2))
>>> autograd.grad(lambda w: np.sum(F.conv2d(x, w) ** 2))(w)
array([[[[32., 32.],
         [32., 32.]]]])
"""

from pyconv.optional import need

need("autograd", "pyconv.backends.autograd", extra="autograd")

from pyconv.backends.autograd.convolution import conv1d, conv2d, conv3d
from pyconv.backends.autograd.dense import linear, log_softmax, relu, softmax
from pyconv.backends.autograd.normalization import batch_norm
from pyconv.backends.autograd.pooling import avg_pool2d, max_pool2d

__all__ = [
    "avg_pool2d",
    "batch_norm",
    "conv1d",
    "conv2d",
    "conv3d",
    "linear",
    "log_softmax",
    "max_pool2d",
    "relu",
    "softmax",
]
