# SPDX-License-Identifier: BSD-3-Clause
"""Layers as ONNX nodes: one function for each kind adds the nodes and returns the output's name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from pyconv import layers as L
from pyconv.backends.onnx.operators.windows import same_padding
from pyconv.backends.onnx.recorder import Call
from pyconv.functional._arguments import each, sides
from pyconv.layers.base import Array, Layer

Writer: TypeAlias = Callable[[Call], str]


def _conv(call: Call) -> str:
    layer, sizes = call.layer, call.input.shape[2:]
    strides, dilations = _each(layer.stride, len(sizes)), _each(layer.dilation, len(sizes))
    pads = _pads(layer.padding, sizes, layer.kernel_size, strides, dilations)
    return call.node(
        "Conv",
        call.input.name,
        *call.weights(),
        kernel_shape=layer.kernel_size,
        strides=strides,
        pads=pads,
        dilations=dilations,
        group=layer.groups,
    )


def _conv_transpose(call: Call) -> str:
    layer = call.layer
    strides, dilations = _each(layer.stride, 2), _each(layer.dilation, 2)
    extra = list(_each(layer.output_padding, 2))
    pads = sides("export", layer.padding, 2)
    if pads is None:  # "same": the output is `stride` times the input, and the output padding more
        both = []
        for d in range(2):
            surplus = dilations[d] * (layer.kernel_size[d] - 1) + 1 - strides[d]
            both.append((max(surplus, 0) // 2, max(surplus, 0) - max(surplus, 0) // 2))
            extra[d] += max(-surplus, 0)
        pads = tuple(both)
    return call.node(
        "ConvTranspose",
        call.input.name,
        *call.weights(),
        kernel_shape=layer.kernel_size,
        strides=strides,
        pads=_begins_then_ends(pads),
        output_padding=extra,
        dilations=dilations,
        group=layer.groups,
    )


def _linear(call: Call) -> str:
    return call.node("Gemm", call.input.name, *call.weights(), transB=1)


def _batch_norm(call: Call) -> str:
    layer = call.layer
    return call.node(
        "BatchNormalization",
        call.input.name,
        *call.weights(),
        call.constant("running_mean", layer.running_mean),
        call.constant("running_var", layer.running_var),
        epsilon=layer.eps,
    )


def _layer_norm(call: Call) -> str:
    shape = call.layer.normalized_shape
    return call.node(
        "LayerNormalization",
        call.input.name,
        *call.affine(shape),
        axis=-len(shape),
        epsilon=call.layer.eps,
    )


def _group_norm(call: Call) -> str:
    layer = call.layer
    weights = call.affine((layer.num_channels,))
    return call.node(
        "GroupNormalization",
        call.input.name,
        *weights,
        num_groups=layer.num_groups,
        epsilon=layer.eps,
    )


def _instance_norm(call: Call) -> str:
    weights = call.affine((call.layer.num_features,))
    return call.node("InstanceNormalization", call.input.name, *weights, epsilon=call.layer.eps)


def _response_norm(call: Call) -> str:
    layer = call.layer
    if layer.size % 2 == 0:
        raise call.unsupported("windows of even size reach further forward there")
    return call.node("LRN", size=layer.size, alpha=layer.alpha, beta=layer.beta, bias=layer.k)


def _window(call: Call, padding: Any, dilation: Any = 1) -> dict[str, Any]:
    """Return the attributes that all pools have.

    A window that `ceil_mode` adds becomes padding: readers of ONNX do not agree on which ones
    there are. Padding is what the pixels that such a window lacks are anyway, except in an average.
    """
    layer, sizes = call.layer, call.input.shape[2:]
    kernel, dilations = _each(layer.kernel_size, 2), _each(dilation, 2)
    strides = kernel if layer.stride is None else _each(layer.stride, 2)
    pads = sides("export", padding, 2) or same_padding(sizes, kernel, strides, dilations)
    ends = [
        max(end, (outputs - 1) * stride + step * (k - 1) + 1 - size - begin)
        for outputs, stride, step, k, size, (begin, end) in zip(
            call.output.shape[2:], strides, dilations, kernel, sizes, pads, strict=True
        )
    ]
    begins = [begin for begin, _ in pads]
    return {"kernel_shape": kernel, "strides": strides, "pads": begins + ends}


def _max_pool(call: Call) -> str:
    layer = call.layer
    window = _window(call, layer.padding, layer.dilation)
    return call.node("MaxPool", **window, dilations=_each(layer.dilation, 2))


def _avg_pool(call: Call) -> str:
    """Write the mean over whole windows, and scale it where pyconv divides by something else."""
    layer, sizes = call.layer, call.input.shape[2:]
    window, divisor = _window(call, layer.padding), layer.divisor_override
    counted = layer.count_include_pad or divisor is not None
    mean = call.node("AveragePool", **window, count_include_pad=int(counted))
    kernel, strides, pads = window["kernel_shape"], window["strides"], window["pads"]
    if divisor is not None:
        return call.node("Mul", mean, call.constant("scale", math.prod(kernel) / divisor))
    declared = sides("export", layer.padding, 2)
    if not counted or declared is None or pads[2:] == [end for _, end in declared]:
        return mean
    # The part of a window beyond the declared padding does not count.
    rows, columns = (
        np.minimum(k, begin + size + end - stride * np.arange(outputs)) / k
        for k, size, (begin, end), stride, outputs in zip(
            kernel, sizes, declared, strides, call.output.shape[2:], strict=True
        )
    )
    scale = (1 / np.outer(rows, columns)).astype(call.input.array.dtype)
    return call.node("Mul", mean, call.constant("scale", scale))


def _lp_pool(call: Call) -> str:
    p = call.layer.norm_type
    if p % 2 != 0:
        raise call.unsupported("without absolute values, only even powers are the same there")
    return call.node("LpPool", **_window(call, 0), p=int(p))


def _adaptive_avg_pool(call: Call) -> str:
    """Write the mean over each axis as a product with a matrix, if the windows are not equal."""
    sizes, wanted = call.input.shape[2:], _each(call.layer.output_size, 2)
    if wanted == (1, 1):
        return call.node("GlobalAveragePool")
    if not any(size % output for size, output in zip(sizes, wanted, strict=True)):
        kernel = [size // output for size, output in zip(sizes, wanted, strict=True)]
        return call.node("AveragePool", kernel_shape=kernel, strides=kernel)
    rows, columns = (
        _mean_matrix(size, output).astype(call.input.array.dtype)
        for size, output in zip(sizes, wanted, strict=True)
    )
    means = call.node("MatMul", call.constant("rows", rows), call.input.name)
    return call.node("MatMul", means, call.constant("columns", np.ascontiguousarray(columns.T)))


def _mean_matrix(size: int, output: int) -> Array:
    """Return the matrix whose product with a line is its means over an adaptive pool's windows."""
    matrix = np.zeros((output, size))
    for i in range(output):
        begin, end = i * size // output, -(-(i + 1) * size // output)
        matrix[i, begin:end] = 1 / (end - begin)
    return matrix


def _adaptive_max_pool(call: Call) -> str:
    sizes, wanted = call.input.shape[2:], _each(call.layer.output_size, 2)
    if wanted == (1, 1):
        return call.node("GlobalMaxPool")
    if any(size % output for size, output in zip(sizes, wanted, strict=True)):
        raise call.unsupported(f"its windows on {sizes[0]} x {sizes[1]} pixels differ in size")
    kernel = [size // output for size, output in zip(sizes, wanted, strict=True)]
    return call.node("MaxPool", kernel_shape=kernel, strides=kernel)


def _relu6(call: Call) -> str:
    bounds = call.constant("min", 0.0), call.constant("max", 6.0)
    return call.node("Clip", call.input.name, *bounds)


def _silu(call: Call) -> str:
    return call.node("Mul", call.input.name, call.node("Sigmoid"))


def _softplus(call: Call) -> str:
    layer, x = call.layer, call.input.name
    beta = call.constant("beta", layer.beta)
    scaled = call.node("Mul", x, beta)
    above = call.node("Greater", scaled, call.constant("threshold", layer.threshold))
    return call.node("Where", above, x, call.node("Div", call.node("Softplus", scaled), beta))


def _plain(op_type: str, **attributes: Any) -> Writer:
    """Return the writer of one node whose attributes are always the same."""
    return lambda call: call.node(op_type, **attributes)


def _nothing(call: Call) -> str:
    return call.input.name


WRITERS: Mapping[type[Layer], Writer] = {
    L.Conv1d: _conv,
    L.Conv2d: _conv,
    L.Conv3d: _conv,
    L.ConvTranspose2d: _conv_transpose,
    L.Linear: _linear,
    L.BatchNorm2d: _batch_norm,
    L.LayerNorm: _layer_norm,
    L.GroupNorm: _group_norm,
    L.InstanceNorm2d: _instance_norm,
    L.LocalResponseNorm: _response_norm,
    L.MaxPool2d: _max_pool,
    L.AvgPool2d: _avg_pool,
    L.LPPool2d: _lp_pool,
    L.AdaptiveAvgPool2d: _adaptive_avg_pool,
    L.AdaptiveMaxPool2d: _adaptive_max_pool,
    L.GlobalAvgPool2d: _plain("GlobalAveragePool"),
    L.GlobalMaxPool2d: _plain("GlobalMaxPool"),
    L.ReLU: _plain("Relu"),
    L.ReLU6: _relu6,
    L.LeakyReLU: lambda call: call.node("LeakyRelu", alpha=call.layer.negative_slope),
    L.ELU: lambda call: call.node("Elu", alpha=call.layer.alpha),
    L.SELU: _plain("Selu"),
    L.GELU: lambda call: call.node("Gelu", approximate=call.layer.approximate),
    L.SiLU: _silu,
    L.Sigmoid: _plain("Sigmoid"),
    L.Tanh: _plain("Tanh"),
    L.Hardsigmoid: _plain("HardSigmoid", alpha=1 / 6, beta=0.5),
    L.Hardswish: _plain("HardSwish"),
    L.Softplus: _softplus,
    L.Softmax: lambda call: call.node("Softmax", axis=call.layer.axis),
    L.LogSoftmax: lambda call: call.node("LogSoftmax", axis=call.layer.axis),
    L.Flatten: _plain("Flatten", axis=1),
    L.Dropout: _nothing,
    L.Identity: _nothing,
}


def _each(value: Any, axes: int) -> tuple[int, ...]:
    return each("export", "argument", value, axes)


def _pads(
    padding: Any,
    sizes: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
) -> list[int]:
    both = sides("export", padding, len(sizes))
    return _begins_then_ends(both or same_padding(sizes, kernel, strides, dilations))


def _begins_then_ends(pads: tuple[tuple[int, int], ...]) -> list[int]:
    return [begin for begin, _ in pads] + [end for _, end in pads]
