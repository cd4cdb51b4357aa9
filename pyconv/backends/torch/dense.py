# SPDX-License-Identifier: BSD-3-Clause
"""Linear layers, batch norm, ReLU and losses of torch tensors."""

from __future__ import annotations

from functools import partial
from typing import Any, TypeAlias

import torch

from pyconv import functional as F
from pyconv.backends.torch.tensors import array, covers, gradients_through, run
from pyconv.functional.loss import cross_entropy_with_gradient

__all__ = ["batch_norm", "cross_entropy", "linear", "log_softmax", "relu"]

Grads: TypeAlias = "tuple[torch.Tensor | None, ...]"


class _Linear(torch.autograd.Function):
    """``input @ weight.T + bias``."""

    @staticmethod
    def forward(
        ctx: Any, input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        ctx.save_for_backward(input, weight)
        return run(F.linear, input, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad_output: torch.Tensor) -> Grads:
        input, weight = ctx.saved_tensors
        to_input, to_weight, to_bias = ctx.needs_input_grad
        return (
            _Product.apply(grad_output, weight, False, False) if to_input else None,
            _Product.apply(grad_output, input, True, False) if to_weight else None,
            grad_output.sum(0) if to_bias else None,
        )


class _Product(torch.autograd.Function):
    """The product of two matrices, each as it is or transposed; its gradients are two more."""

    @staticmethod
    def forward(
        ctx: Any, a: torch.Tensor, b: torch.Tensor, trans_a: bool, trans_b: bool
    ) -> torch.Tensor:
        ctx.save_for_backward(a, b)
        ctx.transposed = trans_a, trans_b
        return run(F.gemm, a, b, trans_a=trans_a, trans_b=trans_b)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Grads:
        a, b = ctx.saved_tensors
        trans_a, trans_b = ctx.transposed
        to_a, to_b, _, _ = ctx.needs_input_grad
        grad_a = grad_b = None
        if to_a and trans_a:
            grad_a = _Product.apply(b, grad, trans_b, True)
        elif to_a:
            grad_a = _Product.apply(grad, b, False, not trans_b)
        if to_b and trans_b:
            grad_b = _Product.apply(grad, a, True, trans_a)
        elif to_b:
            grad_b = _Product.apply(a, grad, not trans_a, False)
        return grad_a, grad_b, None, None


class _ReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: torch.Tensor) -> torch.Tensor:
        output = run(F.relu, input)
        ctx.save_for_backward(output)
        return output

    @staticmethod
    def backward(ctx: Any, grad_output: torch.Tensor) -> torch.Tensor:
        return _ReLUGradient.apply(grad_output, ctx.saved_tensors[0].detach())


class _ReLUGradient(torch.autograd.Function):
    """Linear in `grad_output`, and constant in `output` wherever it can be differentiated."""

    @staticmethod
    def forward(ctx: Any, grad_output: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(output)
        return run(F.relu_backward, grad_output, output)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Grads:
        return _ReLUGradient.apply(grad, *ctx.saved_tensors), None


class _LogSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: torch.Tensor, axis: int) -> torch.Tensor:
        output = run(F.log_softmax, input, axis=axis)
        ctx.save_for_backward(output)
        ctx.axis = axis
        return output

    @staticmethod
    def backward(ctx: Any, grad_output: torch.Tensor) -> Grads:
        (output,) = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True: in operations that torch differentiates
            return grad_output - output.exp() * grad_output.sum(ctx.axis, keepdim=True), None
        return run(F.log_softmax_backward, grad_output, output, axis=ctx.axis), None


class _BatchNorm(torch.autograd.Function):
    """Output, mean and variance; with the statistics of the batch if `mean` is None."""

    @staticmethod
    def forward(
        ctx: Any,
        input: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        mean: torch.Tensor | None,
        var: torch.Tensor | None,
        eps: float,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        ctx.training, ctx.eps = mean is None, eps
        if mean is None or var is None:
            arrays = F.batch_norm_training(*map(array, (input, weight, bias)), eps=eps)
            output, mean, var = map(torch.from_numpy, arrays)
        else:
            output = run(F.batch_norm, input, mean, var, weight, bias, eps=eps)
            mean, var = mean.clone(), var.clone()  # the owner may go on to change them in place
        ctx.save_for_backward(input, weight, bias, mean, var)
        ctx.mark_non_differentiable(mean, var)
        return output, mean, var

    @staticmethod
    def backward(ctx: Any, grad_output: torch.Tensor, *_: torch.Tensor) -> Grads:
        input, weight, bias, mean, var = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True
            theirs = partial(_their_batch_norm, None if ctx.training else (mean, var), ctx.eps)
            return *gradients_through(theirs, (input, weight, bias), grad_output), None, None, None
        arrays = F.batch_norm_backward(
            *map(array, (grad_output, input, mean, var, weight)), training=ctx.training, eps=ctx.eps
        )
        grads = zip(arrays, ctx.needs_input_grad, strict=False)
        return *(torch.from_numpy(g) if wanted else None for g, wanted in grads), None, None, None


def _their_batch_norm(
    statistics: tuple[torch.Tensor, torch.Tensor] | None,
    eps: float,
    input: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
) -> torch.Tensor:
    mean, var = statistics or (None, None)
    theirs = torch.nn.functional.batch_norm
    return theirs(input, mean, var, weight, bias, training=statistics is None, eps=eps)


class _CrossEntropy(torch.autograd.Function):
    """Loss of logits (N, K, ...); its gradient is made in the same pass."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: torch.Tensor,
        target: torch.Tensor,
        weight: torch.Tensor | None,
        ignore_index: int,
        label_smoothing: float,
    ) -> torch.Tensor:
        ctx.options = {"ignore_index": ignore_index, "label_smoothing": label_smoothing}
        loss, grad = cross_entropy_with_gradient(
            array(logits), array(target), weight=array(weight), **ctx.options
        )
        ctx.save_for_backward(logits, target, weight, torch.from_numpy(grad))
        return torch.tensor(loss, dtype=logits.dtype)

    @staticmethod
    def backward(ctx: Any, grad_output: torch.Tensor) -> Grads:
        logits, target, weight, grad = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True
            theirs = partial(
                torch.nn.functional.cross_entropy, target=target, weight=weight, **ctx.options
            )
            return *gradients_through(theirs, (logits,), grad_output), None, None, None, None
        return grad * grad_output, None, None, None, None


def linear(
    input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """`torch.nn.functional.linear`: `input` (..., in), `weight` (out, in), `bias` (out,).

    Parameters
    ----------
    input, weight, bias
        As of torch's function.

    Returns
    -------
    Tensor, shape (..., out)

    Examples
    --------
    >>> linear(torch.ones(1, 3), torch.ones(2, 3))
    tensor([[3., 3.]])
    """
    if (
        not covers(input, weight, bias)
        or weight.dim() != 2
        or input.dim() < 1
        or input.shape[-1] != weight.shape[1]
        or (bias is not None and bias.dim() != 1)
    ):
        return torch.nn.functional.linear(input, weight, bias)
    rows = input.reshape(input.shape[:-1].numel(), input.shape[-1])
    return _Linear.apply(rows, weight, bias).view(*input.shape[:-1], weight.shape[0])


def relu(input: torch.Tensor, inplace: bool = False) -> torch.Tensor:
    """`torch.nn.functional.relu`; in place it is torch's own.

    Parameters
    ----------
    input : Tensor
    inplace : bool

    Returns
    -------
    Tensor

    Examples
    --------
    >>> relu(torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    if inplace or not covers(input):
        return torch.nn.functional.relu(input, inplace)
    return _ReLU.apply(input)


def log_softmax(
    input: torch.Tensor,
    dim: int | None = None,
    _stacklevel: int = 3,
    dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """`torch.nn.functional.log_softmax`: along `dim`; torch's own if `dtype` asks for another.

    Parameters
    ----------
    input, dim, dtype
        As of torch's function.

    Returns
    -------
    Tensor, the shape of `input`

    Examples
    --------
    >>> log_softmax(torch.zeros(1, 1), dim=1)
    tensor([[0.]])
    """
    if dim is None or not covers(input) or dtype not in (None, input.dtype) or input.dim() == 0:
        return torch.nn.functional.log_softmax(input, dim, _stacklevel, dtype)
    if not -input.dim() <= dim < input.dim():
        return torch.nn.functional.log_softmax(input, dim)
    return _LogSoftmax.apply(input, dim)


def batch_norm(
    input: torch.Tensor,
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> torch.Tensor:
    """Normalise each channel: `torch.nn.functional.batch_norm`.

    Parameters
    ----------
    input : Tensor, shape (N, C, ...)
    running_mean, running_var : Tensor, shape (C,), or None
        Followed in place if `training`, used if not.
    weight, bias : Tensor, shape (C,), optional
    training, momentum, eps
        As in torch.

    Returns
    -------
    Tensor, the shape of `input`

    Examples
    --------
    >>> import torch
    >>> from pyconv.backends.torch import batch_norm
    >>> batch_norm(torch.tensor([[1.0], [3.0]]), None, None, training=True, eps=1e-12)
    tensor([[-1.],
            [ 1.]])
    """
    per_channel = (running_mean, running_var, weight, bias)
    if (
        not covers(input, *per_channel)
        or input.dim() < 2
        or (running_mean is None) is not (running_var is None)
        or (running_mean is None and not training)
        or any(t is not None and t.shape != input.shape[1:2] for t in per_channel)
        or (training and (eps <= 0 or input.numel() <= input.shape[1]))
        or eps < 0
    ):
        theirs = torch.nn.functional.batch_norm
        return theirs(input, running_mean, running_var, weight, bias, training, momentum, eps)
    if not training:
        return _BatchNorm.apply(input, weight, bias, running_mean, running_var, eps)[0]
    output, mean, var = _BatchNorm.apply(input, weight, bias, None, None, eps)
    if running_mean is not None and running_var is not None:
        count = input.numel() // input.shape[1]
        with torch.no_grad():
            running_mean.lerp_(mean, momentum)
            running_var.lerp_(var * (count / (count - 1)), momentum)
    return output


def cross_entropy(
    input: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """Mean negative log-likelihood of classes: `torch.nn.functional.cross_entropy`.

    Parameters
    ----------
    input : Tensor, shape (N, K), (N, K, ...) or (K,)
        Logits.
    target : Tensor of int64, shape (N,), (N, ...) or ()
        Classes. Probabilities go to torch, as do reductions other than the mean.
    weight : Tensor, shape (K,), optional
    size_average, ignore_index, reduce, reduction, label_smoothing
        As in torch.

    Returns
    -------
    Tensor, shape ()

    Examples
    --------
    >>> import torch
    >>> from pyconv.backends.torch import cross_entropy
    >>> cross_entropy(torch.zeros(1, 4), torch.tensor([2]))
    tensor(1.3863)
    """
    if (
        reduction != "mean"
        or size_average is not None
        or reduce is not None
        or not covers(input, weight)
        or not (isinstance(target, torch.Tensor) and target.dtype == torch.int64)
        or target.device.type != "cpu"
        or input.dim() == 0
        or target.shape != (input.shape[:1] + input.shape[2:] if input.dim() > 1 else ())
        or not 0 <= label_smoothing <= 1
    ):
        theirs = torch.nn.functional.cross_entropy
        return theirs(
            input,
            target,
            weight,
            size_average,
            ignore_index,
            reduce,
            reduction,
            label_smoothing,
        )
    if input.dim() == 1:
        input, target = input.unsqueeze(0), target.unsqueeze(0)
    return _CrossEntropy.apply(input, target, weight, ignore_index, label_smoothing)
