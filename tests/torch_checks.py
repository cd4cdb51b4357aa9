# SPDX-License-Identifier: BSD-3-Clause
"""What the tests of the torch backend share: where a tensor comes from, and whether two agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


def draw(rng: np.random.Generator, *shape: int) -> Any:
    return torch.from_numpy(rng.standard_normal(shape)).requires_grad_()


def first(result: Any) -> Any:
    return result[0] if isinstance(result, tuple) else result


def made_by_pyconv(output: Any) -> bool:
    """Return whether a Function of the backend is in the graph of a tensor."""
    nodes = [output.grad_fn]
    while nodes:
        node = nodes.pop()
        if getattr(node, "_forward_cls", object).__module__.startswith("pyconv."):
            return True
        nodes += [parent for parent, _ in getattr(node, "next_functions", ())]
    return False


def assert_close(ours: Any, theirs: Any, *terms: Any) -> None:
    """Check against the largest value: a sum that cancels keeps the rounding errors of its terms.

    These sums have some ten to some hundred products each, and as many roundings. `terms` are what a
    gradient is made of: that of batch norm with two values in a channel cancels altogether.
    """
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    if not theirs.is_floating_point():
        assert torch.equal(ours, theirs)
    elif theirs.numel():
        finite = [t.detach().nan_to_num(0, 0, 0).abs().max().item() for t in (theirs, *terms)]
        bound = 100 * torch.finfo(theirs.dtype).eps * max(finite)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=bound, equal_nan=True)


def assert_agrees(ours: Any, theirs: Any, inputs: list[Any], rng: np.random.Generator) -> None:
    """Check results, and gradients for random `grad_output`."""
    pairs = zip(ours, theirs, strict=True) if isinstance(theirs, tuple) else [(ours, theirs)]
    for got, expected in pairs:
        assert_close(got, expected)
    ours, theirs = first(ours), first(theirs)
    assert ours.requires_grad == theirs.requires_grad
    if theirs.requires_grad:
        grad = torch.from_numpy(rng.standard_normal(tuple(theirs.shape))).to(theirs.dtype)
        for got, expected in zip(
            torch.autograd.grad(ours, inputs, grad, allow_unused=True),
            torch.autograd.grad(theirs, inputs, grad, allow_unused=True),
            strict=True,
        ):
            assert_close(got, expected, *([grad] if grad.numel() else []))
