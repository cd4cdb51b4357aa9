# SPDX-License-Identifier: BSD-3-Clause
"""Convolutions of torch tensors.

A convolution and its two gradients are one trilinear form seen from three sides, so that the gradient
of each is made of the other two: that is all that derivatives of any order need. A transposed
convolution is the input gradient.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import torch

from pyconv import functional as F
from pyconv.backends.torch.tensors import covers, each, run

__all__ = [
    "BACKWARD_BIAS",
    "BACKWARD_INPUT",
    "BACKWARD_WEIGHT",
    "FORWARD",
    "Options",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "transposable",
    "transposed_shape",
]

# By the number of spatial axes.
FORWARD = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
BACKWARD_INPUT = {
    1: F.conv1d_backward_input,
    2: F.conv2d_backward_input,
    3: F.conv3d_backward_input,
}
BACKWARD_WEIGHT = {
    1: F.conv1d_backward_weight,
    2: F.conv2d_backward_weight,
    3: F.conv3d_backward_weight,
}
BACKWARD_BIAS = {1: F.conv1d_backward_bias, 2: F.conv2d_backward_bias, 3: F.conv3d_backward_bias}

Grads: TypeAlias = "tuple[torch.Tensor | None, ...]"


class Options(NamedTuple):
    """What all functions of one convolution are called with."""

    stride: tuple[int, ...]
    padding: str | tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


class _Convolution(torch.autograd.Function):
    """``output = conv(input, weight) + bias``."""

    @staticmethod
    def forward(
        ctx: Any,
        input: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        options: Options,
    ) -> torch.Tensor:
        ctx.save_for_backward(input, weight)
        ctx.options = options
        return run(FORWARD[input.dim() - 2], input, weight, bias, **options._asdict())

    @staticmethod
    def backward(ctx: Any, grad_output: torch.Tensor) -> Grads:
        input, weight = ctx.saved_tensors
        to_input, to_weight, to_bias, _ = ctx.needs_input_grad
        return (
            _InputGradient.apply(grad_output, weight, input.shape, ctx.options)
            if to_input
            else None,
            _WeightGradient.apply(grad_output, input, weight.shape, ctx.options)
            if to_weight
            else None,
            _BiasGradient.apply(grad_output) if to_bias else None,
            None,
        )


class _InputGradient(torch.autograd.Function):
    """``grad_input`` of `_Convolution`, linear in `grad_output` and in `weight`."""

    @staticmethod
    def forward(
        ctx: Any,
        grad_output: torch.Tensor,
        weight: torch.Tensor,
        shape: tuple[int, ...],
        options: Options,
    ) -> torch.Tensor:
        ctx.save_for_backward(grad_output, weight)
        ctx.options = options
        function = BACKWARD_INPUT[weight.dim() - 2]
        return run(function, grad_output, weight, tuple(shape), **options._asdict())

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Grads:
        grad_output, weight = ctx.saved_tensors
        to_grad_output, to_weight, _, _ = ctx.needs_input_grad
        return (
            _Convolution.apply(grad, weight, None, ctx.options) if to_grad_output else None,
            _WeightGradient.apply(grad_output, grad, weight.shape, ctx.options)
            if to_weight
            else None,
            None,
            None,
        )


class _WeightGradient(torch.autograd.Function):
    """``grad_weight`` of `_Convolution`, linear in `grad_output` and in `input`."""

    @staticmethod
    def forward(
        ctx: Any,
        grad_output: torch.Tensor,
        input: torch.Tensor,
        shape: tuple[int, ...],
        options: Options,
    ) -> torch.Tensor:
        ctx.save_for_backward(grad_output, input)
        ctx.options = options
        function = BACKWARD_WEIGHT[input.dim() - 2]
        return run(function, grad_output, input, tuple(shape), **options._asdict())

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Grads:
        grad_output, input = ctx.saved_tensors
        to_grad_output, to_input, _, _ = ctx.needs_input_grad
        return (
            _Convolution.apply(input, grad, None, ctx.options) if to_grad_output else None,
            _InputGradient.apply(grad_output, grad, input.shape, ctx.options) if to_input else None,
            None,
            None,
        )


class _BiasGradient(torch.autograd.Function):
    """``grad_bias`` of `_Convolution`: the sum over images and pixels."""

    @staticmethod
    def forward(ctx: Any, grad_output: torch.Tensor) -> torch.Tensor:
        ctx.shape = grad_output.shape
        return run(BACKWARD_BIAS[grad_output.dim() - 2], grad_output)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        return grad.view(-1, *(1,) * (len(ctx.shape) - 2)).expand(ctx.shape)


def transposed_shape(
    input: torch.Tensor, weight: torch.Tensor, options: Options, output_padding: tuple[int, ...]
) -> tuple[int, ...]:
    """Shape of the transposed convolution of a batch: `input` is what a convolution makes of it."""
    sizes = zip(
        input.shape[2:],
        weight.shape[2:],
        options.stride,
        options.padding,
        options.dilation,
        output_padding,
        strict=True,
    )
    return (
        input.shape[0],
        weight.shape[1] * options.groups,
        *(
            (size - 1) * step - 2 * int(zeros) + spread * (kernel - 1) + more + 1
            for size, kernel, step, zeros, spread, more in sizes
        ),
    )


def transposable(
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    options: Options,
    output_padding: tuple[int, ...],
) -> bool:
    """Return whether `_InputGradient`, and then a sum, makes the transposed convolution.

    The output padding has to be less than the stride: the convolution drops it. With dilation torch
    allows more, and the output is then no input of the convolution.
    """
    return (
        len(output_padding) == len(options.stride)
        and all(0 <= more < step for more, step in zip(output_padding, options.stride, strict=True))
        # Otherwise torch's error: a bias of one value would fit every sum.
        and (bias is None or bias.shape == (weight.shape[1] * options.groups,))
    )


def _convolve(
    axes: int,
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> torch.Tensor:
    if (
        not covers(input, weight, bias)
        or weight.dim() != axes + 2
        or input.dim() not in (axes + 1, axes + 2)
        or (padding == "same" and any(step != 1 for step in each(stride, axes)))
    ):
        theirs = getattr(torch.nn.functional, f"conv{axes}d")
        return theirs(input, weight, bias, stride, padding, dilation, groups)
    zeros = padding if isinstance(padding, str) else each(padding, axes)
    options = Options(each(stride, axes), zeros, each(dilation, axes), groups)
    batch = input if input.dim() == axes + 2 else input.unsqueeze(0)
    output = _Convolution.apply(batch, weight, bias, options)
    return output if batch is input else output.squeeze(0)


def _convolve_transposed(
    axes: int,
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
) -> torch.Tensor:
    options = Options(each(stride, axes), each(padding, axes), each(dilation, axes), groups)
    more = each(output_padding, axes)
    if (
        not covers(input, weight, bias)
        or weight.dim() != axes + 2
        or input.dim() not in (axes + 1, axes + 2)
        or not transposable(weight, bias, options, more)
    ):
        theirs = getattr(torch.nn.functional, f"conv_transpose{axes}d")
        return theirs(input, weight, bias, stride, padding, output_padding, groups, dilation)
    batch = input if input.dim() == axes + 2 else input.unsqueeze(0)
    shape = transposed_shape(batch, weight, options, more)
    output = _InputGradient.apply(batch, weight, shape, options)
    if bias is not None:
        output = output + bias.view(-1, *(1,) * axes)
    return output if batch is input else output.squeeze(0)


def conv1d(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> torch.Tensor:
    """`torch.nn.functional.conv1d`: `input` (N, C, L) or (C, L), `weight` (OC, C // groups, KL).

    Parameters
    ----------
    input, weight, bias, stride, padding, dilation, groups
        As of torch's function.

    Returns
    -------
    Tensor, shape (N, OC, OL)

    Examples
    --------
    >>> conv1d(torch.ones(1, 1, 4), torch.ones(1, 1, 3))
    tensor([[[3., 3.]]])
    """
    return _convolve(1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> torch.Tensor:
    """2-D convolution of tensors: `torch.nn.functional.conv2d`.

    Parameters
    ----------
    input : Tensor, shape (N, C, H, W) or (C, H, W)
    weight : Tensor, shape (OC, C // groups, KH, KW)
    bias : Tensor, shape (OC,), optional
    stride, padding, dilation, groups
        As in torch.

    Returns
    -------
    Tensor, shape (N, OC, OH, OW) or (OC, OH, OW)
        Contiguous, whatever the memory format of `input`.

    Examples
    --------
    >>> import torch
    >>> from pyconv.backends.torch import conv2d
    >>> conv2d(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 2, 2))
    tensor([[[[4., 4.],
              [4., 4.]]]])
    """
    return _convolve(2, input, weight, bias, stride, padding, dilation, groups)


def conv3d(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> torch.Tensor:
    """`torch.nn.functional.conv3d`: `conv2d` with axes (D, H, W).

    Parameters
    ----------
    input, weight, bias, stride, padding, dilation, groups
        As of torch's function.

    Returns
    -------
    Tensor, shape (N, OC, OD, OH, OW)

    Examples
    --------
    >>> conv3d(torch.ones(1, 1, 3, 3, 3), torch.ones(1, 1, 3, 3, 3)).item()
    27.0
    """
    return _convolve(3, input, weight, bias, stride, padding, dilation, groups)


def conv_transpose1d(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> torch.Tensor:
    """`torch.nn.functional.conv_transpose1d`: the input gradient of `conv1d`.

    Parameters
    ----------
    input, weight, bias, stride, padding, output_padding, groups, dilation
        As of torch's function.

    Returns
    -------
    Tensor, shape (N, OC, OL)

    Examples
    --------
    >>> conv_transpose1d(torch.ones(1, 1, 2), torch.ones(1, 1, 2), stride=2)
    tensor([[[1., 1., 1., 1.]]])
    """
    return _convolve_transposed(
        1, input, weight, bias, stride, padding, output_padding, groups, dilation
    )


def conv_transpose2d(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> torch.Tensor:
    """`torch.nn.functional.conv_transpose2d`: `weight` has shape (C, OC // groups, KH, KW).

    Parameters
    ----------
    input, weight, bias, stride, padding, output_padding, groups, dilation
        As of torch's function.

    Returns
    -------
    Tensor, shape (N, OC, OH, OW)

    Examples
    --------
    >>> conv_transpose2d(torch.ones(1, 3, 4, 4), torch.ones(3, 2, 2, 2), stride=2).shape
    torch.Size([1, 2, 8, 8])
    """
    return _convolve_transposed(
        2, input, weight, bias, stride, padding, output_padding, groups, dilation
    )


def conv_transpose3d(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> torch.Tensor:
    """`torch.nn.functional.conv_transpose3d`: the input gradient of `conv3d`.

    Parameters
    ----------
    input, weight, bias, stride, padding, output_padding, groups, dilation
        As of torch's function.

    Returns
    -------
    Tensor, shape (N, OC, OD, OH, OW)

    Examples
    --------
    >>> conv_transpose3d(torch.ones(1, 1, 2, 2, 2), torch.ones(1, 1, 2, 2, 2)).shape
    torch.Size([1, 1, 3, 3, 3])
    """
    return _convolve_transposed(
        3, input, weight, bias, stride, padding, output_padding, groups, dilation
    )
