# SPDX-License-Identifier: BSD-3-Clause
"""Trading time for memory: a block that forgets what its backward needs and computes it again."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyconv.layers.base import Array, Layer


class Checkpoint(Layer):
    """A block of which only the input is kept; `backward` runs its forward pass once more.

    A chain of n equal blocks, each in a Checkpoint, keeps n inputs and what one block saves, instead of
    what n blocks save, for the time of a second forward pass. Parameters and state-dict keys are those
    of the block. Results are the same bits: dropout draws the same numbers again, and batch norm follows
    each batch once.

    Parameters
    ----------
    block : Layer

    References
    ----------
    Chen, Xu, Zhang, Guestrin: Training Deep Nets with Sublinear Memory Cost. arXiv:1604.06174, 2016.

    Examples
    --------
    >>> from pyconv.layers import Conv2d, ReLU, Sequential
    >>> model = Sequential(Checkpoint(Sequential(Conv2d(1, 4, 3), ReLU())), Conv2d(4, 1, 3))
    """

    def __init__(self, block: Layer) -> None:
        if not isinstance(block, Layer):
            raise TypeError(f"Checkpoint: block is not a Layer, got {block!r}")
        self.block = block

    def children(self) -> dict[str, Layer]:
        """Return the block, under no name: its keys have no prefix."""
        return {"": self.block}

    def forward(self, input: Array) -> Array:
        """Return the output of the block."""
        self._save((input, self._random_states()))
        output = self.block(input)
        for _, layer in self.block.named_layers():
            layer._saved = None
        return output

    def backward(self, grad_output: Array) -> Array:
        """Return the gradient with respect to the input of the block."""
        self._recompute()
        return self.block.backward(grad_output)

    def backward_parameters(self, grad_output: Array) -> None:
        """Do what `backward` does, but for the gradient with respect to the input."""
        self._recompute()
        self.block.backward_parameters(grad_output)

    def _recompute(self) -> None:
        input, states = self._take_saved()
        layers = [layer for _, layer in self.named_layers()]
        buffers = [buffer for layer in layers for buffer in layer.own_buffers().values()]
        kept = [buffer.copy() for buffer in buffers]
        current = self._random_states()
        self._set_random_states(states)
        self.block(input)
        self._set_random_states(current)
        for buffer, value in zip(buffers, kept, strict=True):
            buffer[...] = value

    def _generators(self) -> list[np.random.Generator]:
        found = (getattr(layer, "rng", None) for _, layer in self.named_layers())
        return [rng for rng in found if isinstance(rng, np.random.Generator)]

    def _random_states(self) -> list[Any]:
        return [rng.bit_generator.state for rng in self._generators()]

    def _set_random_states(self, states: list[Any]) -> None:
        for rng, state in zip(self._generators(), states, strict=True):
            rng.bit_generator.state = state

    def __repr__(self) -> str:
        """Return the block in the call that made it."""
        return f"Checkpoint({self.block!r})"
