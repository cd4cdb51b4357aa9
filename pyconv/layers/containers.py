# SPDX-License-Identifier: BSD-3-Clause
"""Layers made of layers. Nested, these three build LeNet to ResNet, GoogLeNet and DenseNet.

A layer object appears once in a graph: it remembers one forward only.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import overload

import numpy as np

from pyconv import functional as F
from pyconv.layers.base import Array, Layer
from pyconv.layers.fusion import Following, Shortcut, activation_of, run_chain


class Sequential(Layer):
    """Layers applied one after the other; indexing, slicing, iteration and len work as on a tuple.

    Examples
    --------
    >>> from pyconv.layers import Conv2d, ReLU
    >>> model = Sequential(Conv2d(1, 4, 3), ReLU())
    >>> model[1]
    ReLU()
    """

    def __init__(self, *layers: Layer) -> None:
        _check_layers(type(self).__name__, layers)
        self.layers = layers

    def forward(self, input: Array) -> Array:
        """Return the output of the last layer."""
        return run_chain(self.layers, input)

    def _chain(self) -> Following | None:
        return self.layers

    def backward(self, grad_output: Array) -> Array:
        """Return the gradient with respect to the input of the first layer."""
        for layer in reversed(self.layers):
            grad_output = layer.backward(grad_output)
        return grad_output

    def backward_parameters(self, grad_output: Array) -> None:
        """Do what `backward` does, but for the gradient with respect to the input."""
        for layer in reversed(self.layers[1:]):
            grad_output = layer.backward(grad_output)
        if self.layers:
            self.layers[0].backward_parameters(grad_output)

    def children(self) -> dict[str, Layer]:
        """Return the layers under the names "0", "1", ..."""
        return _numbered(self.layers)

    def __len__(self) -> int:
        """Return the number of layers."""
        return len(self.layers)

    def __iter__(self) -> Iterator[Layer]:
        """Iterate over the layers."""
        return iter(self.layers)

    @overload
    def __getitem__(self, index: int) -> Layer: ...
    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    def __getitem__(self, index: int | slice) -> Layer:
        """Return one layer, or a Sequential that shares the layers of a slice."""
        if isinstance(index, slice):
            return Sequential(*self.layers[index])
        return self.layers[index]

    def __repr__(self) -> str:
        """Return the tree of layers, one a line."""
        return _tree_repr(self)


class Residual(Layer):
    """``body(x) + shortcut(x)``; the shortcut is the identity when None.

    References
    ----------
    He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition. CVPR 2016, section 3.2.
    """

    def __init__(self, body: Layer, shortcut: Layer | None = None) -> None:
        _check_layers("Residual", (body,) if shortcut is None else (body, shortcut))
        self.body, self.shortcut = body, shortcut

    def forward(self, input: Array) -> Array:
        """Return the sum of the two paths."""
        return Residual._forward_with(self, input, ())[0]

    def _forward_with(self, input: Array, following: Following) -> tuple[Array, int]:
        shortcut = Shortcut(input if self.shortcut is None else self.shortcut(input))
        after = following[:1] if following and activation_of(following[0]) is not None else ()
        return run_chain((self.body, shortcut, *after), input), len(after)

    def backward(self, grad_output: Array) -> Array:
        """Return the sum of the gradients of the two paths."""
        grad_shortcut = (
            grad_output if self.shortcut is None else self.shortcut.backward(grad_output)
        )
        return F.add(self.body.backward(grad_output), grad_shortcut)

    def children(self) -> dict[str, Layer]:
        """Return "body" and, unless it is the identity, "shortcut"."""
        if self.shortcut is None:
            return {"body": self.body}
        return {"body": self.body, "shortcut": self.shortcut}

    def __repr__(self) -> str:
        """Return the tree of layers, one a line."""
        return _tree_repr(self)


class Concat(Layer):
    """The outputs of several branches on one input, joined along the channels (axis 1)."""

    def __init__(self, *branches: Layer) -> None:
        if not branches:
            raise ValueError("Concat: branches is empty, got 0; expected at least 1")
        _check_layers("Concat", branches)
        self.branches = branches

    def forward(self, input: Array) -> Array:
        """Return the joined outputs, channels in the order of the branches."""
        outputs = [branch(input) for branch in self.branches]
        first = outputs[0].shape
        for output in outputs[1:]:
            if output.ndim < 2 or output.shape[:1] + output.shape[2:] != first[:1] + first[2:]:
                raise ValueError(
                    "Concat: branches differ in more than their channels, got shapes "
                    + ", ".join(str(output.shape) for output in outputs)
                )
        self._save(np.cumsum([output.shape[1] for output in outputs[:-1]], dtype=np.intp))
        return np.concatenate(outputs, axis=1)

    def backward(self, grad_output: Array) -> Array:
        """Return the sum of the gradients of the branches."""
        parts = np.split(grad_output, self._take_saved(), axis=1)
        grads = [branch.backward(g) for branch, g in zip(self.branches, parts, strict=True)]
        # Not sum(): it would start from an integer 0. The first gradient may belong to a branch.
        grad_input = grads[0].copy()
        for grad in grads[1:]:
            grad_input += grad
        return grad_input

    def children(self) -> dict[str, Layer]:
        """Return the branches under the names "0", "1", ..."""
        return _numbered(self.branches)

    def __repr__(self) -> str:
        """Return the tree of layers, one a line."""
        return _tree_repr(self)


def _numbered(layers: tuple[Layer, ...]) -> dict[str, Layer]:
    return {str(index): layer for index, layer in enumerate(layers)}


def _check_layers(container: str, layers: tuple[Layer, ...]) -> None:
    for layer in layers:
        if not isinstance(layer, Layer):
            raise TypeError(f"{container}: an argument is not a Layer, got {layer!r}")


def _tree_repr(layer: Layer) -> str:
    """Return the name and, one a line and indented, the children."""
    lines = [f"({name}): {child!r}" for name, child in layer.children().items()]
    if not lines:
        return f"{type(layer).__name__}()"
    body = textwrap.indent("\n".join(lines), "  ")
    return f"{type(layer).__name__}(\n{body}\n)"
