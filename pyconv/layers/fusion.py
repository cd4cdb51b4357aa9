# SPDX-License-Identifier: BSD-3-Clause
"""Neighbouring layers in one call: what follows a convolution is done while its output is in cache.

`run_chain` offers each layer those that follow it, and a layer takes over as many of them as its
function can do in the same pass: bias and activation after a convolution, the shortcut of a residual
block, ReLU after batch norm, and in eval mode batch norm itself, folded into the weights. Only the
forward pass knows of this. A layer that was taken over still saves what its own `backward` needs, so
the gradient is computed layer by layer, as if nothing had happened.

A subclass with a `forward` of its own, or a layer whose `forward` was replaced (to watch it, say), is
always called.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias, TypeGuard, TypeVar

from pyconv import functional as F
from pyconv.layers.activation import Hardswish, ReLU, ReLU6
from pyconv.layers.base import Array, Layer

Following: TypeAlias = Sequence[Layer]
Kind = TypeVar("Kind", bound=Layer)

_MOST_TAKEN = 3  # batch norm, shortcut, activation
_ACTIVATIONS: dict[type[Layer], str] = {ReLU: "relu", ReLU6: "relu6", Hardswish: "hardswish"}


class Shortcut(Layer):
    """The addition at the end of a residual block, as a layer of a chain; it has no backward."""

    def __init__(self, addend: Array) -> None:
        self.addend = addend

    def forward(self, input: Array) -> Array:
        """Return the sum."""
        return Shortcut._forward_with(self, input, ())[0]

    def _forward_with(self, input: Array, following: Following) -> tuple[Array, int]:
        if input.shape != self.addend.shape:
            raise ValueError(
                f"Residual: body and shortcut differ in shape, got {input.shape} and "
                f"{self.addend.shape}; expected the same"
            )
        if not following or not is_plain(following[0], ReLU):
            return F.add(input, self.addend), 0
        output = F.add(input, self.addend, activation="relu")
        following[0]._save(output)
        return output, 1


def run_chain(layers: Following, input: Array) -> Array:
    """Return the output of layers applied one after the other, chains among them laid out flat."""
    pending = list(reversed(layers))
    while pending:
        layer = pending.pop()
        chain = layer._chain()
        if "forward" in vars(layer):
            input = layer(input)
        elif chain is not None:
            pending.extend(reversed(chain))
        else:
            input, taken = layer._forward_with(input, pending[: -_MOST_TAKEN - 1 : -1])
            if taken:
                del pending[-taken:]
    return input


def is_plain(layer: Layer, kind: type[Kind]) -> TypeGuard[Kind]:
    """Return whether the layer does what its class says."""
    return type(layer) is kind and "forward" not in vars(layer)


def activation_of(layer: Layer) -> str | None:
    """Return the name of an activation that a convolution can apply to its output in passing.

    Its gradient has to be a function of its output, which is all there will be, unless there will
    be no gradient.
    """
    if not is_plain(layer, type(layer)) or (layer._saving and type(layer) is Hardswish):
        return None
    return _ACTIVATIONS.get(type(layer))
