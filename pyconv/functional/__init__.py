# SPDX-License-Identifier: BSD-3-Clause
"""Pure functions on NumPy arrays, forward and backward.

Every function takes float32 or float64 arrays (one dtype a call) of any strides, never writes to
them, keeps no state, and releases the GIL while it computes. Tensors are positional, options
keyword-only. `out`, where there is one, is a C-contiguous array that receives the result and
overlaps no other argument, except that it may be an input of an elementwise function or softmax. An activation or layer ``f`` has its gradient in ``f_backward`` or, where
there are several, in ``f_backward_input`` and so on.
"""

from pyconv._core import WeightCache
from pyconv.functional.activation import (
    add,
    hardsigmoid,
    hardsigmoid_backward,
    hardswish,
    hardswish_backward,
    leaky_relu,
    leaky_relu_backward,
    relu,
    relu6,
    relu6_backward,
    relu_backward,
)
from pyconv.functional.adaptive_pooling import (
    adaptive_avg_pool2d,
    adaptive_avg_pool2d_backward,
    adaptive_max_pool2d,
    global_avg_pool2d,
    global_avg_pool2d_backward,
    global_max_pool2d,
)
from pyconv.functional.conv import (
    conv2d,
    conv2d_backward_bias,
    conv2d_backward_input,
    conv2d_backward_weight,
    conv_transpose2d,
    conv_transpose2d_backward_input,
    conv_transpose2d_backward_weight,
)
from pyconv.functional.conv1d import (
    conv1d,
    conv1d_backward_bias,
    conv1d_backward_input,
    conv1d_backward_weight,
)
from pyconv.functional.conv3d import (
    conv3d,
    conv3d_backward_bias,
    conv3d_backward_input,
    conv3d_backward_weight,
)
from pyconv.functional.dropout import dropout, dropout_backward
from pyconv.functional.gemm import (
    gemm,
    linear,
    linear_backward_bias,
    linear_backward_input,
    linear_backward_weight,
)
from pyconv.functional.group_norm import (
    group_norm,
    group_norm_backward,
    instance_norm,
    instance_norm_backward,
)
from pyconv.functional.im2col import col2im, im2col
from pyconv.functional.layer_norm import layer_norm, layer_norm_backward
from pyconv.functional.loss import (
    cross_entropy,
    cross_entropy_backward,
    multiclass_hinge,
    multiclass_hinge_backward,
    nll,
    nll_backward,
)
from pyconv.functional.lp_pooling import lp_pool2d, lp_pool2d_backward
from pyconv.functional.norm import (
    batch_norm,
    batch_norm_backward,
    batch_norm_statistics,
    batch_norm_training,
)
from pyconv.functional.pooling import (
    avg_pool2d,
    avg_pool2d_backward,
    max_pool2d,
    max_pool2d_backward,
)
from pyconv.functional.regression_loss import (
    bce_with_logits,
    bce_with_logits_backward,
    l1,
    l1_backward,
    mse,
    mse_backward,
    smooth_l1,
    smooth_l1_backward,
)
from pyconv.functional.response_norm import local_response_norm, local_response_norm_backward
from pyconv.functional.sigmoid_activation import (
    gelu,
    gelu_backward,
    sigmoid,
    sigmoid_backward,
    silu,
    silu_backward,
    tanh,
    tanh_backward,
)
from pyconv.functional.smooth_activation import (
    elu,
    elu_backward,
    selu,
    selu_backward,
    softplus,
    softplus_backward,
)
from pyconv.functional.softmax import (
    log_softmax,
    log_softmax_backward,
    softmax,
    softmax_backward,
)
from pyconv.functional.unpooling import max_unpool2d, max_unpool2d_backward

__all__ = [
    "WeightCache",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool2d_backward",
    "adaptive_max_pool2d",
    "add",
    "avg_pool2d",
    "avg_pool2d_backward",
    "batch_norm",
    "batch_norm_backward",
    "batch_norm_statistics",
    "batch_norm_training",
    "bce_with_logits",
    "bce_with_logits_backward",
    "col2im",
    "conv1d",
    "conv1d_backward_bias",
    "conv1d_backward_input",
    "conv1d_backward_weight",
    "conv2d",
    "conv2d_backward_bias",
    "conv2d_backward_input",
    "conv2d_backward_weight",
    "conv3d",
    "conv3d_backward_bias",
    "conv3d_backward_input",
    "conv3d_backward_weight",
    "conv_transpose2d",
    "conv_transpose2d_backward_input",
    "conv_transpose2d_backward_weight",
    "cross_entropy",
    "cross_entropy_backward",
    "dropout",
    "dropout_backward",
    "elu",
    "elu_backward",
    "gelu",
    "gelu_backward",
    "gemm",
    "global_avg_pool2d",
    "global_avg_pool2d_backward",
    "global_max_pool2d",
    "group_norm",
    "group_norm_backward",
    "hardsigmoid",
    "hardsigmoid_backward",
    "hardswish",
    "hardswish_backward",
    "im2col",
    "instance_norm",
    "instance_norm_backward",
    "l1",
    "l1_backward",
    "layer_norm",
    "layer_norm_backward",
    "leaky_relu",
    "leaky_relu_backward",
    "linear",
    "linear_backward_bias",
    "linear_backward_input",
    "linear_backward_weight",
    "local_response_norm",
    "local_response_norm_backward",
    "log_softmax",
    "log_softmax_backward",
    "lp_pool2d",
    "lp_pool2d_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "max_unpool2d",
    "max_unpool2d_backward",
    "mse",
    "mse_backward",
    "multiclass_hinge",
    "multiclass_hinge_backward",
    "nll",
    "nll_backward",
    "relu",
    "relu6",
    "relu6_backward",
    "relu_backward",
    "selu",
    "selu_backward",
    "sigmoid",
    "sigmoid_backward",
    "silu",
    "silu_backward",
    "smooth_l1",
    "smooth_l1_backward",
    "softmax",
    "softmax_backward",
    "softplus",
    "softplus_backward",
    "tanh",
    "tanh_backward",
]
