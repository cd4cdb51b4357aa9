# SPDX-License-Identifier: BSD-3-Clause
"""Tensors as arrays and back, and which tensors pyconv computes with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

_DTYPES = (torch.float32, torch.float64)
_TYPES = (torch.Tensor, torch.nn.Parameter)


def covers(*tensors: torch.Tensor | None) -> bool:
    """Return whether pyconv computes with these tensors (or None); else torch shall.

    They are plain tensors in CPU memory with one floating dtype of pyconv, and nothing looks for torch's
    own operations in what is called: autocast, a compiler, a tracer, or a transform of `torch.func`.
    """
    if (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch.is_autocast_enabled("cpu")
        or torch._C._are_functorch_transforms_active()
    ):
        return False
    present = [tensor for tensor in tensors if tensor is not None]
    return all(
        type(tensor) in _TYPES
        and tensor.device.type == "cpu"
        and tensor.layout is torch.strided
        and tensor.dtype in _DTYPES
        and tensor.dtype == present[0].dtype
        for tensor in present
    )


def run(function: Callable[..., Any], *arguments: Any, **options: Any) -> torch.Tensor:
    """Call a function of pyconv on the memory of tensors; return its array as a tensor."""
    return torch.from_numpy(function(*map(array, arguments), **options))


def array(argument: Any) -> Any:
    """Return a tensor as an array on the same memory, anything else as it is."""
    return argument.numpy(force=True) if isinstance(argument, torch.Tensor) else argument


def each(value: Any, axes: int) -> tuple[Any, ...]:
    """Return an option with a value for each axis, as torch reads a single one."""
    values = tuple(value) if isinstance(value, tuple | list) else (value,)
    return values * axes if len(values) == 1 else values


def gradients_through(
    function: Callable[..., torch.Tensor],
    inputs: tuple[torch.Tensor | None, ...],
    grad_output: torch.Tensor,
) -> tuple[torch.Tensor | None, ...]:
    """Gradients of a function of torch, as a graph that can be differentiated again.

    Where the gradient of a gradient has no kernel in pyconv, the first one is made of torch's own
    operations when it is asked for with ``create_graph=True``.
    """
    # Views, so that the gradients stop here even if one input was computed from another.
    views = [None if tensor is None else tensor.view_as(tensor) for tensor in inputs]
    wanted = [view for view in views if view is not None and view.requires_grad]
    found = iter(
        torch.autograd.grad(function(*views), wanted, grad_output, create_graph=True)
        if wanted
        else ()
    )
    return tuple(next(found) if view is not None and view.requires_grad else None for view in views)
