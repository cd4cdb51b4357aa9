# SPDX-License-Identifier: BSD-3-Clause
"""Running a model without leaving a trace, and seeing what passes through each of its layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyconv.layers.base import Layer


@dataclass
class Passage:
    """What passed through one layer in the last forward and backward."""

    layer: Layer
    input: NDArray[Any] | None = None
    output: NDArray[Any] | None = None
    grad_output: NDArray[Any] | None = None


@contextmanager
def frozen(model: Layer) -> Iterator[Callable[[], None]]:
    """Undo at the end of the block what passes do to buffers and generators of layers.

    What is yielded undoes it in between, so that every pass draws the same random numbers. In the block
    there is a backward in eval mode too.
    """
    layers = [layer for _, layer in model.named_layers()]
    modes = [(layer.training, layer._saving) for layer in layers]
    buffers = [buffer for layer in layers for buffer in layer.own_buffers().values()]
    values = [buffer.copy() for buffer in buffers]
    found = (getattr(layer, "rng", None) for layer in layers)
    generators = [rng for rng in found if isinstance(rng, np.random.Generator)]
    states = [rng.bit_generator.state for rng in generators]

    for layer in layers:
        layer._saving = True

    def rewind() -> None:
        for buffer, value in zip(buffers, values, strict=True):
            buffer[...] = value
        for rng, state in zip(generators, states, strict=True):
            rng.bit_generator.state = state

    try:
        yield rewind
    finally:
        rewind()
        for layer, (training, saving) in zip(layers, modes, strict=True):
            layer.training, layer._saving, layer._saved = training, saving, None


@contextmanager
def watched(model: Layer) -> Iterator[dict[str, Passage]]:
    """Record what passes through each layer that contains no other, by its name, in the block.

    A layer with a `forward` of its own is never run together with its neighbours (see
    `pyconv.layers.fusion`), so each output is seen as it is.
    """
    passages: dict[str, Passage] = {}
    for name, layer in model.named_layers():
        if not layer.children():
            passages[name] = Passage(layer)
            _watch(passages[name])
    try:
        yield passages
    finally:
        for passage in passages.values():
            for method in ("forward", "backward"):
                vars(passage.layer).pop(method, None)


def _watch(passage: Passage) -> None:
    forward, backward = passage.layer.forward, passage.layer.backward

    def watched_forward(input: NDArray[Any]) -> NDArray[Any]:
        passage.input, passage.output = input, forward(input)
        return passage.output

    def watched_backward(grad_output: NDArray[Any]) -> NDArray[Any]:
        passage.grad_output = grad_output
        return backward(grad_output)

    vars(passage.layer).update(forward=watched_forward, backward=watched_backward)
