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
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pyconv import functional as F
from pyconv.backends.torch.convolution import (
    BACKWARD_BIAS,
    BACKWARD_INPUT,
    BACKWARD_WEIGHT,
    FORWARD,
    Options,
    transposable,
    transposed_shape,
)
from pyconv.backends.torch.pooling import images, poolable, pooled
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


def _max_pool(
    input: torch.Tensor,
    kernel_size: list[int],
    stride: Sequence[int] = (),
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Any:
    if not poolable(input, 2, kernel_size, padding):
        return NotImplemented
    output, indices = F.max_pool2d(
        array(images(input, 2)),
        each(kernel_size, 2),
        stride=each(stride, 2) if stride else None,
        padding=each(padding, 2),
        dilation=each(dilation, 2),
        ceil_mode=ceil_mode,
        return_indices=True,
    )
    results = map(torch.from_numpy, (output, indices.astype("int64")))
    return tuple(pooled(result, input, 2) for result in results)


def _max_pool_backward(
    grad_output: torch.Tensor,
    input: torch.Tensor,
    kernel_size: list[int],
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    ceil_mode: bool,
    indices: torch.Tensor,
) -> Any:
    if not covers(grad_output, input) or input.numel() == 0:
        return NotImplemented
    grad, where = images(grad_output, 2), images(indices, 2).int()
    return pooled(run(F.max_pool2d_backward, grad, where, _shape(input)), input, 2)


def _avg_pool(input: torch.Tensor, kernel_size: list[int], *window: Any, **named: Any) -> Any:
    options = _avg_window(kernel_size, *window, **named)
    if not poolable(input, 2, kernel_size, options["padding"]):
        return NotImplemented
    return pooled(run(F.avg_pool2d, images(input, 2), **options), input, 2)


def _avg_pool_backward(
    grad_output: torch.Tensor, input: torch.Tensor, kernel_size: list[int], *window: Any
) -> Any:
    options = _avg_window(kernel_size, *window)
    if not covers(grad_output, input) or not poolable(input, 2, kernel_size, options["padding"]):
        return NotImplemented
    grad = run(F.avg_pool2d_backward, images(grad_output, 2), _shape(input), **options)
    return pooled(grad, input, 2)


def _avg_window(
    kernel_size: list[int],
    stride: Sequence[int] = (),
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> dict[str, Any]:
    return {
        "kernel_size": each(kernel_size, 2),
        "stride": each(stride, 2) if stride else None,
        "padding": each(padding, 2),
        "ceil_mode": ceil_mode,
        "count_include_pad": count_include_pad,
        "divisor_override": divisor_override,
    }


def _shape(input: torch.Tensor) -> tuple[int, ...]:
    return tuple(images(input, 2).shape)


# Each returns NotImplemented where torch shall do it.
_KERNELS: dict[Any, Callable[..., Any]] = {
    aten.convolution.default: _convolution,
    aten.convolution_backward.default: _convolution_backward,
    aten.max_pool2d_with_indices.default: _max_pool,
    aten.max_pool2d_with_indices_backward.default: _max_pool_backward,
    aten.avg_pool2d.default: _avg_pool,
    aten.avg_pool2d_backward.default: _avg_pool_backward,
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
    """Run torch's convolutions and 2-D pools on pyconv within the context, in this thread.

    It replaces ``aten::convolution``, ``aten::max_pool2d_with_indices``, ``aten::avg_pool2d`` and the
    gradient of each, and so works for any model, under `torch.no_grad` and `torch.inference_mode`
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
