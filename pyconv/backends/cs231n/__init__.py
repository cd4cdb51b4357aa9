# SPDX-License-Identifier: BSD-3-Clause
"""pyconv under the names of Stanford's CS231n, assignment 2: `fast_layers`, its Cython functions, `layers`.

A layer is a pair of functions: ``forward`` returns ``(out, cache)`` and ``backward(dout, cache)`` the
gradients of the arrays, in the order in which ``forward`` takes them. What a cache holds is pyconv's
affair. Conventions are the course's: weights of affine layers are (D, M), `p` of dropout is the
probability of *keeping* a value, running averages are ``momentum * old + (1 - momentum) * batch`` with
the biased variance. Arrays of different types are brought to NumPy's common type, float32 at least.

Examples
--------
>>> import numpy as np
>>> from pyconv.backends.cs231n import conv_backward_fast, conv_forward_fast
>>> x, w, b = np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2)), np.zeros(1)
>>> out, cache = conv_forward_fast(x, w, b, {"stride": 1, "pad": 0})
>>> out
array([[[[4., 4.],
         [4., 4.]]]])
>>> dx, dw, db = conv_backward_fast(np.ones_like(out), cache)
>>> db
array([4.])

References
----------
Stanford CS231n, "Deep learning for computer vision", https://cs231n.github.io/
"""

from pyconv.backends.cs231n.fast_layers import (
    col2im_6d_cython,
    col2im_cython,
    conv_backward_fast,
    conv_forward_fast,
    im2col_cython,
    max_pool_backward_fast,
    max_pool_forward_fast,
)
from pyconv.backends.cs231n.layers import (
    affine_backward,
    affine_forward,
    dropout_backward,
    dropout_forward,
    relu_backward,
    relu_forward,
    softmax_loss,
    svm_loss,
)
from pyconv.backends.cs231n.normalization import (
    batchnorm_backward,
    batchnorm_forward,
    layernorm_backward,
    layernorm_forward,
    spatial_batchnorm_backward,
    spatial_batchnorm_forward,
    spatial_groupnorm_backward,
    spatial_groupnorm_forward,
)

__all__ = [
    "affine_backward",
    "affine_forward",
    "batchnorm_backward",
    "batchnorm_forward",
    "col2im_6d_cython",
    "col2im_cython",
    "conv_backward_fast",
    "conv_forward_fast",
    "dropout_backward",
    "dropout_forward",
    "im2col_cython",
    "layernorm_backward",
    "layernorm_forward",
    "max_pool_backward_fast",
    "max_pool_forward_fast",
    "relu_backward",
    "relu_forward",
    "softmax_loss",
    "spatial_batchnorm_backward",
    "spatial_batchnorm_forward",
    "spatial_groupnorm_backward",
    "spatial_groupnorm_forward",
    "svm_loss",
]
