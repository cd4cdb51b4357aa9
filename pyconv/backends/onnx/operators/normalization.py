# SPDX-License-Identifier: BSD-3-Clause
"""Normalisation, softmax, dropout and the losses."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from pyconv import functional as F
from pyconv.backends.onnx.operators.node import Kernel, Node, is_float, operator
from pyconv.layers.base import Array


@operator("BatchNormalization")
def batch_normalization(node: Node) -> Kernel | None:
    """Batch norm; in training mode it also returns the statistics that it moved on."""
    eps, momentum = node.get("epsilon", 1e-5), node.get("momentum", 0.9)
    activation = node.activation
    training = bool(node.get("training_mode", 0))
    if node.get("spatial", 1) == 0 or (node.version < 14 and len(node.outputs) > 1):
        return None
    if node.version < 7 and not node.get("is_test", 0):
        return None

    def run(x: Array, weight: Array, bias: Array, mean: Array, var: Array) -> Any:
        arrays = (weight, bias, mean, var)
        if x.ndim < 2 or not is_float(x) or any(array.dtype != x.dtype for array in arrays):
            return NotImplemented
        if not training:
            return F.batch_norm(x, mean, var, weight, bias, eps=eps, activation=activation)
        output, batch_mean, batch_var = F.batch_norm_training(
            x, weight, bias, eps=eps, activation=activation
        )
        moved = [
            (momentum * old + (1 - momentum) * new).astype(x.dtype)
            for old, new in ((mean, batch_mean), (var, batch_var))
        ]
        return output, *moved

    return run


@operator("InstanceNormalization")
def instance_normalization(node: Node) -> Kernel:
    """Each channel of each image by itself."""
    eps = node.get("epsilon", 1e-5)

    def run(x: Array, weight: Array, bias: Array) -> Any:
        if x.ndim < 3 or not is_float(x, weight, bias):
            return NotImplemented
        return F.instance_norm(x, weight, bias, eps=eps)

    return run


@operator("GroupNormalization")
def group_normalization(node: Node) -> Kernel:
    """Normalise groups of channels; before version 21 there is one weight a group."""
    eps, groups = node.get("epsilon", 1e-5), node.get("num_groups")

    def run(x: Array, weight: Array, bias: Array) -> Any:
        if x.ndim < 3 or not is_float(x, weight, bias):
            return NotImplemented
        if node.version < 21:
            weight, bias = (np.repeat(array, x.shape[1] // groups) for array in (weight, bias))
        return F.group_norm(x, groups, weight, bias, eps=eps)

    return run


@operator("LayerNormalization")
def layer_normalization(node: Node) -> Kernel:
    """Normalise the axes from `axis` on; mean and 1 / deviation are outputs on demand."""
    eps, axis = node.get("epsilon", 1e-5), node.get("axis", -1)
    statistics = node.wants(1) or node.wants(2)

    def run(x: Array, weight: Array, bias: Array | None = None) -> Any:
        if not is_float(x, weight, bias):
            return NotImplemented
        first = axis % x.ndim
        shape = x.shape[first:]
        weight = np.broadcast_to(weight, shape)
        bias = None if bias is None else np.broadcast_to(bias, shape)
        output = F.layer_norm(x, shape, weight, bias, eps=eps)
        if not statistics:
            return output
        axes = tuple(range(first, x.ndim))
        mean = x.mean(axes, keepdims=True)
        return output, mean, 1 / np.sqrt(x.var(axes, keepdims=True) + x.dtype.type(eps))

    return run


@operator("LRN")
def lrn(node: Node) -> Kernel:
    """Local response norm; windows of even size reach further forward here, backward in pyconv."""
    size = node.get("size")
    options = {
        "alpha": node.get("alpha", 1e-4), "beta": node.get("beta", 0.75), "k": node.get("bias", 1.0)
    }  # fmt: skip

    def run(x: Array) -> Any:
        if x.ndim < 2 or not is_float(x):
            return NotImplemented
        if size % 2 == 1:
            return F.local_response_norm(x, size, **options)
        return F.local_response_norm(x[:, ::-1], size, **options)[:, ::-1]

    return run


def _softmax(function: Callable[..., Array]) -> Callable[[Node], Kernel]:
    def build(node: Node) -> Kernel:
        axis = node.get("axis", 1 if node.version < 13 else -1)

        def run(x: Array) -> Any:
            if x.ndim == 0 or not is_float(x):
                return NotImplemented
            if node.version >= 13:
                return function(x, axis=axis)
            # It was over all axes from `axis` on.
            rows = math.prod(x.shape[: axis % x.ndim])
            return function(x.reshape(rows, -1), axis=1).reshape(x.shape)

        return run

    return build


operator("Softmax")(_softmax(F.softmax))
operator("LogSoftmax")(_softmax(F.log_softmax))


@operator("Dropout")
def dropout(node: Node) -> Kernel | None:
    """Nothing, except where a node asks for dropping in earnest, whose random numbers are ONNX's."""
    masked = node.wants(1)
    if (masked and node.version < 10) or (node.version < 7 and not node.get("is_test", 0)):
        return None

    def run(x: Array, ratio: Array | None = None, training_mode: Array | None = None) -> Any:
        if training_mode is not None and training_mode and (ratio is None or ratio != 0):
            return NotImplemented
        return (x, np.ones(x.shape, np.bool)) if masked else x

    return run


@operator("NegativeLogLikelihoodLoss")
def negative_log_likelihood_loss(node: Node) -> Kernel:
    """Minus the log-probability of the target classes, weighted, and summed or averaged."""
    return _loss(node, logits=False)


@operator("SoftmaxCrossEntropyLoss")
def softmax_cross_entropy_loss(node: Node) -> Kernel:
    """Do the same to the log-softmax of logits, which is an output on demand."""
    return _loss(node, logits=True)


def _loss(node: Node, *, logits: bool) -> Kernel:
    reduction, ignored = node.get("reduction", "mean"), node.get("ignore_index")
    both = node.wants(1)

    def run(x: Array, target: Array, weight: Array | None = None) -> Any:
        if not is_float(x, weight):
            return NotImplemented
        log_probability = F.log_softmax(x, axis=1) if logits else x
        counts = np.ones(target.shape, np.bool) if ignored is None else target != ignored
        classes = np.where(counts, target, 0)
        picked = np.take_along_axis(log_probability, classes[:, None], axis=1)[:, 0]
        ones = np.ones(x.shape[1], x.dtype)
        weights = np.where(counts, (ones if weight is None else weight)[classes], 0)
        loss = np.where(counts, -picked * weights, 0).astype(x.dtype)
        if reduction != "none":
            total = loss.sum(dtype=np.float64)
            divisor = weights.sum(dtype=np.float64) if reduction == "mean" else 1
            loss = np.asarray(total / divisor, x.dtype)
        return (loss, log_probability) if both else loss

    return run
