# SPDX-License-Identifier: BSD-3-Clause
"""torch's own convolutions and pools on pyconv, wherever a model calls them.

A dispatch mode sees every operation of its thread below autograd, and hands back to torch what is not
its business. Registering kernels with `torch.library` instead would be for the whole process, warns
for operations that have a CPU kernel, and leaves nothing to fall back to: the kernel that was there
is invalid once it is replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pyconv.backends.torch.convolution import (
    BACKWARD_BIAS,
    BACKWARD_INPUT,
    BACKWARD_WEIGHT,
    FORWARD,
    Options,
    transposable,
    transposed_shape,
)
from pyconv.backends.torch.pooling import (
    AVG,
    AVG_BACKWARD,
    MAX,
    MAX_BACKWARD,
    images,
    poolable,
    pooled,
)
from pyconv.backends.torch.tensors import array, covers, each, run

__all__ = ["enabled"]

aten = torch.ops.aten


def _convolution(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    output_padding: list[int],
    groups: int,
) -> Any:
    axes = input.dim() - 2
    options = _options(axes, stride, padding, dilation, groups)
    if not covers(input, weight, bias) or axes not in FORWARD or weight.dim() != input.dim():
        return NotImplemented
    if not transposed:
        return run(FORWARD[axes], input, weight, bias, **options._asdict())
    more = each(output_padding, axes)
    if not transposable(weight, bias, options, more):
        return NotImplemented
    shape = transposed_shape(input, weight, options, more)
    output = run(BACKWARD_INPUT[axes], input, weight, shape, **options._asdict())
    return output if bias is None else output.add_(bias.view(-1, *(1,) * axes))


def _convolution_backward(
    grad_output: torch.Tensor,
    input: torch.Tensor,
    weight: torch.Tensor,
    bias_sizes: list[int] | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    output_padding: list[int],
    groups: int,
    output_mask: list[bool],
) -> Any:
    axes = input.dim() - 2
    options = _options(axes, stride, padding, dilation, groups)
    if not covers(grad_output, input, weight) or axes not in FORWARD:
        return NotImplemented
    if transposed and not transposable(weight, None, options, each(output_padding, axes)):
        return NotImplemented
    words = options._asdict()
    grad_input = grad_weight = grad_bias = None
    if output_mask[0] and transposed:
        grad_input = run(FORWARD[axes], grad_output, weight, **words)
    elif output_mask[0]:
        grad_input = run(BACKWARD_INPUT[axes], grad_output, weight, tuple(input.shape), **words)
    if output_mask[1]:
        # The transposed convolution's input is the output of the convolution that it transposes.
        outer, inner = (input, grad_output) if transposed else (grad_output, input)
        grad_weight = run(BACKWARD_WEIGHT[axes], outer, inner, tuple(weight.shape), **words)
    if output_mask[2]:
        grad_bias = run(BACKWARD_BIAS[axes], grad_output)
    return grad_input, grad_weight, grad_bias


def _options(
    axes: int, stride: list[int], padding: list[int], dilation: list[int], groups: int
) -> Options:
    return Options(each(stride, axes), each(padding, axes), each(dilation, axes), groups)


def _step(stride: Sequence[int], kernel_size: list[int], axes: int) -> tuple[Any, ...]:
    """Return the stride, which is that of windows side by side if it is empty."""
    return each(stride or kernel_size, axes)


def _max_pool(
    axes: int,
    input: torch.Tensor,
    kernel_size: list[int],
    stride: Sequence[int] = (),
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Any:
    if not poolable(input, axes, kernel_size, padding, dilation):
        return NotImplemented
    output, indices = MAX[axes](
        array(images(input, axes)),
        each(kernel_size, axes),
        stride=_step(stride, kernel_size, axes),
        padding=each(padding, axes),
        dilation=each(dilation, axes),
        ceil_mode=ceil_mode,
        return_indices=True,
    )
    results = map(torch.from_numpy, (output, indices.astype("int64")))
    return tuple(pooled(result, input, axes) for result in results)


def _max_pool_backward(
    axes: int,
    grad_output: torch.Tensor,
    input: torch.Tensor,
    kernel_size: list[int],
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    ceil_mode: bool,
    indices: torch.Tensor,
) -> Any:
    # Where the windows were not pyconv's, neither are the indices.
    if not covers(grad_output) or not poolable(input, axes, kernel_size, padding, dilation):
        return NotImplemented
    grad, where = images(grad_output, axes), images(indices, axes).int()
    return pooled(run(MAX_BACKWARD[axes], grad, where, _shape(input, axes)), input, axes)


def _avg_pool(
    axes: int, input: torch.Tensor, kernel_size: list[int], *window: Any, **named: Any
) -> Any:
    options = _avg_window(axes, kernel_size, *window, **named)
    if not poolable(input, axes, kernel_size, options["padding"]):
        return NotImplemented
    return pooled(run(AVG[axes], images(input, axes), **options), input, axes)


def _avg_pool_backward(
    axes: int,
    grad_output: torch.Tensor,
    input: torch.Tensor,
    kernel_size: list[int],
    *window: Any,
) -> Any:
    options = _avg_window(axes, kernel_size, *window)
    if not covers(grad_output, input) or not poolable(input, axes, kernel_size, options["padding"]):
        return NotImplemented
    grad = run(AVG_BACKWARD[axes], images(grad_output, axes), _shape(input, axes), **options)
    return pooled(grad, input, axes)


def _avg_window(
    axes: int,
    kernel_size: list[int],
    stride: Sequence[int] = (),
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> dict[str, Any]:
    return {
        "kernel_size": each(kernel_size, axes),
        "stride": _step(stride, kernel_size, axes),
        "padding": each(padding, axes),
        "ceil_mode": ceil_mode,
        "count_include_pad": count_include_pad,
        "divisor_override": divisor_override,
    }


def _shape(input: torch.Tensor, axes: int) -> tuple[int, ...]:
    return tuple(images(input, axes).shape)


# Each returns NotImplemented where torch shall do it.
_KERNELS: dict[Any, Callable[..., Any]] = {
    aten.convolution.default: _convolution,
    aten.convolution_backward.default: _convolution_backward,
    aten.max_pool2d_with_indices.default: partial(_max_pool, 2),
    aten.max_pool2d_with_indices_backward.default: partial(_max_pool_backward, 2),
    aten.max_pool3d_with_indices.default: partial(_max_pool, 3),
    aten.max_pool3d_with_indices_backward.default: partial(_max_pool_backward, 3),
    aten.avg_pool2d.default: partial(_avg_pool, 2),
    aten.avg_pool2d_backward.default: partial(_avg_pool_backward, 2),
    aten.avg_pool3d.default: partial(_avg_pool, 3),
    aten.avg_pool3d_backward.default: partial(_avg_pool_backward, 3),
}

# In inference mode torch does not take these apart before the mode sees them.
_COMPOSITES = {
    *(getattr(aten, f"conv{axes}d").default for axes in (1, 2, 3)),
    *(getattr(aten, f"conv{axes}d").padding for axes in (1, 2, 3)),
    aten.conv_transpose1d.default,
    aten.conv_transpose2d.input,
    aten.conv_transpose3d.input,
    aten.max_pool1d_with_indices.default,
    aten.max_pool2d.default,
    aten.max_pool3d.default,
    aten.avg_pool1d.default,
}


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if func in _COMPOSITES:
            with self:
                return func.decompose(*args, **named)
        kernel = _KERNELS.get(func)
        result = NotImplemented if kernel is None else kernel(*args, **named)
        return func(*args, **named) if result is NotImplemented else result


@contextmanager
def enabled() -> Iterator[None]:
    """Run torch's convolutions and pools on pyconv within the context, in this thread.

    It replaces ``aten::convolution``, ``aten::max_pool2d_with_indices``, ``aten::avg_pool2d``, their
    like for volumes and the gradient of each, and so works for any model, under `torch.no_grad` and `torch.inference_mode`
    too. What pyconv does not compute goes to torch. A backward pass runs on pyconv if it is itself
    within a context, wherever the forward pass ran.

    Yields
    ------
    None

    Examples
    --------
    >>> import torch
    >>> from pyconv.backends.torch import enabled
    >>> layer = torch.nn.Conv2d(1, 2, 3)
    >>> with enabled():
    ...     layer(torch.zeros(1, 1, 5, 5)).sum().backward()
    >>> layer.bias.grad
    tensor([9., 9.])
    """
    with _Mode():
        yield
