# SPDX-License-Identifier: BSD-3-Clause
"""Pooling of torch tensors. Both gradients are linear in `grad_output` and each other's adjoints."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from pyconv import functional as F
from pyconv.backends.torch import volumes
from pyconv.backends.torch.tensors import array, covers, each, run

__all__ = [
    "AVG",
    "AVG_BACKWARD",
    "MAX",
    "MAX_BACKWARD",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "images",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "poolable",
    "pooled",
]

# By the number of axes that a window has.
MAX: dict[int, Callable[..., Any]] = {2: F.max_pool2d, 3: volumes.max_pool3d}
MAX_BACKWARD = {2: F.max_pool2d_backward, 3: volumes.max_pool3d_backward}
AVG = {2: F.avg_pool2d, 3: volumes.avg_pool3d}
AVG_BACKWARD = {2: F.avg_pool2d_backward, 3: volumes.avg_pool3d_backward}


class _MaxWindow(NamedTuple):
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    ceil_mode: bool


class _AvgWindow(NamedTuple):
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    ceil_mode: bool
    count_include_pad: bool
    divisor_override: int | None


class _MaxPool(torch.autograd.Function):
    """The maxima and their indices, in int32 as pyconv makes them."""

    @staticmethod
    def forward(
        ctx: Any, input: torch.Tensor, window: _MaxWindow
    ) -> tuple[torch.Tensor, torch.Tensor]:
        pool = MAX[len(window.kernel_size)]
        output, where = pool(array(input), **window._asdict(), return_indices=True)
        indices = torch.from_numpy(where)
        ctx.save_for_backward(indices)
        ctx.shape = input.shape
        ctx.mark_non_differentiable(indices)
        return torch.from_numpy(output), indices

    @staticmethod
    def backward(ctx: Any, grad_output: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _Scatter.apply(grad_output, *ctx.saved_tensors, ctx.shape), None


class _Scatter(torch.autograd.Function):
    """Each gradient added to the pixel that its index names."""

    @staticmethod
    def forward(
        ctx: Any, grad_output: torch.Tensor, indices: torch.Tensor, shape: tuple[int, ...]
    ) -> torch.Tensor:
        ctx.save_for_backward(indices)
        return run(MAX_BACKWARD[len(shape) - 2], grad_output, indices, tuple(shape))

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (indices,) = ctx.saved_tensors
        places = indices.flatten(2)
        # -1 names no pixel: the window held none.
        picked = grad.flatten(2).gather(2, places.clamp(min=0).long())
        return torch.where(places < 0, 0.0, picked).view(indices.shape), None, None


class _AvgPool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: torch.Tensor, window: _AvgWindow) -> torch.Tensor:
        ctx.shape, ctx.window = input.shape, window
        return run(AVG[len(window.kernel_size)], input, **window._asdict())

    @staticmethod
    def backward(ctx: Any, grad_output: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _AvgPoolGradient.apply(grad_output, ctx.shape, ctx.window), None


class _AvgPoolGradient(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, grad_output: torch.Tensor, shape: tuple[int, ...], window: _AvgWindow
    ) -> torch.Tensor:
        ctx.window = window
        gradient = AVG_BACKWARD[len(window.kernel_size)]
        return run(gradient, grad_output, tuple(shape), **window._asdict())

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return _AvgPool.apply(grad, ctx.window), None, None


def images(input: torch.Tensor, axes: int) -> torch.Tensor:
    """Return (N, C, H, W), with the axes that are not there of size 1, or (N, C, D, H, W)."""
    batch = input if input.dim() == axes + 2 else input.unsqueeze(0)
    return batch.unsqueeze(2) if axes == 1 else batch


def pooled(result: torch.Tensor, input: torch.Tensor, axes: int) -> torch.Tensor:
    """Return a result for `images` with the axes of `input`."""
    batch = result.squeeze(2) if axes == 1 else result
    return batch if input.dim() == axes + 2 else batch.squeeze(0)


def _spread(value: Any, axes: int, absent: int) -> tuple[int, ...]:
    """Return an option of `axes` axes for (H, W) or, of three, (D, H, W)."""
    return (absent,) * (2 - axes) + each(value, axes)


def _step(stride: Any, kernel_size: Any) -> Any:
    """Return the stride, which is that of windows side by side if it is None or empty."""
    absent = stride is None or (not isinstance(stride, int) and len(stride) == 0)
    return kernel_size if absent else stride


def poolable(
    input: torch.Tensor, axes: int, kernel_size: Any, padding: Any, dilation: Any = 1
) -> bool:
    """Return whether both libraries pool this.

    torch refuses empty images, and padding of more than half of the kernel. pyconv refuses kernels larger
    than the padded image, which torch takes with `ceil_mode`, and planes of which int32 has not enough
    indices; those of the maxima of a volume's planes, D * OH * OW, count too.
    """
    options = (each(kernel_size, axes), each(padding, axes), each(dilation, axes))
    if (
        not covers(input)
        or input.dim() not in (axes + 1, axes + 2)
        or 0 in input.shape[input.dim() - axes - 1 :]
        or any(len(option) != axes for option in options)
    ):
        return False
    padded = [size + 2 * zero for size, zero in zip(input.shape[-axes:], options[1], strict=True)]
    return math.prod(padded) < 2**31 and all(
        2 * zero <= kernel and step * (kernel - 1) < size
        for kernel, zero, step, size in zip(*options, padded, strict=True)
    )


def _max_pool(
    axes: int,
    input: torch.Tensor,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
    return_indices: bool,
) -> Any:
    step = _step(stride, kernel_size)
    if not poolable(input, axes, kernel_size, padding, dilation):
        theirs = getattr(torch.nn.functional, f"max_pool{axes}d")
        return theirs(input, kernel_size, step, padding, dilation, ceil_mode, return_indices)
    window = _MaxWindow(
        _spread(kernel_size, axes, 1),
        _spread(step, axes, 1),
        _spread(padding, axes, 0),
        _spread(dilation, axes, 1),
        ceil_mode,
    )
    planes = images(input, axes)
    if not return_indices and not (torch.is_grad_enabled() and input.requires_grad):
        return pooled(run(MAX[max(axes, 2)], planes, **window._asdict()), input, axes)
    output, indices = _MaxPool.apply(planes, window)
    if return_indices:
        return pooled(output, input, axes), pooled(indices.long(), input, axes)
    return pooled(output, input, axes)


def max_pool1d(
    input: torch.Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """`torch.nn.functional.max_pool1d`: `max_pool2d` of one row.

    Parameters
    ----------
    input, kernel_size, stride, padding, dilation, ceil_mode, return_indices
        As of torch's function.

    Returns
    -------
    Tensor, shape (N, C, OL)

    Examples
    --------
    >>> max_pool1d(torch.tensor([[[1.0, 3.0]]]), 2)
    tensor([[[3.]]])
    """
    return _max_pool(1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d(
    input: torch.Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Largest value of each window: `torch.nn.functional.max_pool2d`.

    Parameters
    ----------
    input : Tensor, shape (N, C, H, W) or (C, H, W)
    kernel_size, stride, padding, dilation, ceil_mode, return_indices
        As in torch.

    Returns
    -------
    output : Tensor, shape (N, C, OH, OW) or (C, OH, OW)
    indices : Tensor of int64, the same shape
        ``h * W + w`` of each maximum; only if `return_indices`.

    Examples
    --------
    >>> import torch
    >>> from pyconv.backends.torch import max_pool2d
    >>> max_pool2d(torch.arange(16.0).view(1, 4, 4), 2)
    tensor([[[ 5.,  7.],
             [13., 15.]]])
    """
    return _max_pool(2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool3d(
    input: torch.Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Largest value of each window: `torch.nn.functional.max_pool3d`.

    Parameters
    ----------
    input : Tensor, shape (N, C, D, H, W) or (C, D, H, W)
    kernel_size, stride, padding, dilation, ceil_mode, return_indices
        As in torch.

    Returns
    -------
    output : Tensor, shape (N, C, OD, OH, OW) or (C, OD, OH, OW)
    indices : Tensor of int64, the same shape
        ``(d * H + h) * W + w`` of each maximum; only if `return_indices`.

    Notes
    -----
    `max_pool2d` of the planes, then of what it leaves along D.

    Examples
    --------
    >>> import torch
    >>> from pyconv.backends.torch import max_pool3d
    >>> max_pool3d(torch.arange(8.0).view(1, 2, 2, 2), 2)
    tensor([[[[7.]]]])
    """
    return _max_pool(3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def _avg_pool(
    axes: int,
    input: torch.Tensor,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    *divisor_override: int | None,
) -> torch.Tensor:
    step = _step(stride, kernel_size)
    if not poolable(input, axes, kernel_size, padding):
        theirs = getattr(torch.nn.functional, f"avg_pool{axes}d")
        return theirs(
            input, kernel_size, step, padding, ceil_mode, count_include_pad, *divisor_override
        )
    window = _AvgWindow(
        _spread(kernel_size, axes, 1),
        _spread(step, axes, 1),
        _spread(padding, axes, 0),
        ceil_mode,
        count_include_pad,
        divisor_override[0] if divisor_override else None,
    )
    return pooled(_AvgPool.apply(images(input, axes), window), input, axes)


def avg_pool1d(
    input: torch.Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> torch.Tensor:
    """`torch.nn.functional.avg_pool1d`: `avg_pool2d` of one row.

    Parameters
    ----------
    input, kernel_size, stride, padding, ceil_mode, count_include_pad
        As of torch's function.

    Returns
    -------
    Tensor, shape (N, C, OL)

    Examples
    --------
    >>> avg_pool1d(torch.tensor([[[1.0, 3.0]]]), 2)
    tensor([[[2.]]])
    """
    return _avg_pool(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad)


def avg_pool2d(
    input: torch.Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> torch.Tensor:
    """Average of each window: `torch.nn.functional.avg_pool2d`.

    Parameters
    ----------
    input : Tensor, shape (N, C, H, W) or (C, H, W)
    kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
        As in torch.

    Returns
    -------
    Tensor, shape (N, C, OH, OW) or (C, OH, OW)

    Examples
    --------
    >>> import torch
    >>> from pyconv.backends.torch import avg_pool2d
    >>> avg_pool2d(torch.arange(16.0).view(1, 4, 4), 2)
    tensor([[[ 2.5000,  4.5000],
             [10.5000, 12.5000]]])
    """
    return _avg_pool(
        2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )


def avg_pool3d(
    input: torch.Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> torch.Tensor:
    """Average of each window: `torch.nn.functional.avg_pool3d`.

    Parameters
    ----------
    input : Tensor, shape (N, C, D, H, W) or (C, D, H, W)
    kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
        As in torch.

    Returns
    -------
    Tensor, shape (N, C, OD, OH, OW) or (C, OD, OH, OW)

    Notes
    -----
    `avg_pool2d` of the planes, then of what it leaves along D.

    Examples
    --------
    >>> import torch
    >>> from pyconv.backends.torch import avg_pool3d
    >>> avg_pool3d(torch.arange(8.0).view(1, 2, 2, 2), 2)
    tensor([[[[3.5000]]]])
    """
    return _avg_pool(
        3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )
