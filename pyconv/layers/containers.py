# SPDX-License-Identifier: BSD-3-Clause
"""Layers made of layers. Nested, these three build LeNet to ResNet, GoogLeNet and DenseNet.

A layer object appears once in a graph: it remembers one forward only.

State-dict keys are made of the names of children. They are numbers unless names are given, and a
child with the empty name adds nothing to the keys below it, so that a network can be cut into
containers as its computation asks and still have the keys of a state dict from elsewhere::

    Residual(Sequential({"conv1": Conv2d(4, 4, 3, padding=1)}), names=("", "downsample"))

has the keys ``conv1.weight`` and ``conv1.bias``.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import overload

from pyconv import functional as F
from pyconv.functional._channels import join_channels, split_channels
from pyconv.layers.base import Array, Layer
from pyconv.layers.fusion import Following, Shortcut, activation_of, run_chain


class Sequential(Layer):
    """Layers applied one after the other; indexing, slicing, iteration and len work as on a tuple.

    Parameters
    ----------
    *layers : Layer, or one mapping of str to Layer
        A mapping names the layers; else they are called "0", "1", ...

    Examples
    --------
    >>> from pyconv.layers import Conv2d, ReLU
    >>> model = Sequential(Conv2d(1, 4, 3), ReLU())
    >>> model[1]
    ReLU()
    >>> list(Sequential({"stem": model}).state_dict())
    ['stem.0.weight', 'stem.0.bias']
    """

    def __init__(self, *layers: Layer | Mapping[str, Layer]) -> None:
        self._children = _named(type(self).__name__, layers)
        self.layers = tuple(self._children.values())
        _check_keys(self)

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
        """Return the layers by name."""
        return dict(self._children)

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
        """Return one layer, or a Sequential that shares the layers of a slice and their names."""
        if isinstance(index, slice):
            return Sequential(dict(list(self._children.items())[index]))
        return self.layers[index]

    def __repr__(self) -> str:
        """Return the tree of layers, one a line."""
        return _tree_repr(self)


class Residual(Layer):
    """``body(x) + shortcut(x)``; the shortcut is the identity when None.

    Parameters
    ----------
    body : Layer
    shortcut : Layer, optional
    names : (str, str)
        What the two are called in state-dict keys.

    References
    ----------
    He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition. CVPR 2016, section 3.2.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv.layers import Conv2d, ReLU
    >>> block = Sequential(Residual(Conv2d(4, 4, 3, padding=1)), ReLU())
    >>> block(np.zeros((1, 4, 8, 8), np.float32)).shape
    (1, 4, 8, 8)
    """

    def __init__(
        self,
        body: Layer,
        shortcut: Layer | None = None,
        *,
        names: tuple[str, str] = ("body", "shortcut"),
    ) -> None:
        if names[0] == names[1]:
            raise ValueError(f"Residual: names are the same, got {names!r}; expected two different")
        paths = (body,) if shortcut is None else (body, shortcut)
        self._children = _named("Residual", [dict(zip(names, paths, strict=False))])
        self.body, self.shortcut = body, shortcut
        _check_keys(self)

    def forward(self, input: Array) -> Array:
        """Return the sum of the two paths."""
        return Residual._forward_with(self, input, ())[0]

    def _forward_with(self, input: Array, following: Following) -> tuple[Array, int]:
        shortcut = Shortcut(input if self.shortcut is None else self.shortcut(input))
        after = following[:1] if following and activation_of(following[0]) is not None else ()
        return run_chain((self.body, shortcut, *after), input), len(after)

    @staticmethod
    def join(output: Array, shortcut: Array) -> Array:
        """Return the sum of what came out of the two paths."""
        return Shortcut(shortcut)(output)

    def backward(self, grad_output: Array) -> Array:
        """Return the sum of the gradients of the two paths."""
        grad_shortcut = (
            grad_output if self.shortcut is None else self.shortcut.backward(grad_output)
        )
        return F.add(self.body.backward(grad_output), grad_shortcut)

    def children(self) -> dict[str, Layer]:
        """Return the body and, unless it is the identity, the shortcut by name."""
        return dict(self._children)

    def __repr__(self) -> str:
        """Return the tree of layers, one a line."""
        return _tree_repr(self)


class Concat(Layer):
    """The outputs of several branches on one input, joined along the channels (axis 1).

    Parameters
    ----------
    *branches : Layer, or one mapping of str to Layer
        A mapping names the branches; else they are called "0", "1", ...

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv.layers import Conv2d
    >>> branches = Concat(Conv2d(4, 8, 1), Conv2d(4, 16, 3, padding=1))
    >>> branches(np.zeros((1, 4, 8, 8), np.float32)).shape
    (1, 24, 8, 8)
    """

    def __init__(self, *branches: Layer | Mapping[str, Layer]) -> None:
        self._children = _named("Concat", branches)
        if not self._children:
            raise ValueError("Concat: branches is empty, got 0; expected at least 1")
        self.branches = tuple(self._children.values())
        _check_keys(self)

    def forward(self, input: Array) -> Array:
        """Return the joined outputs, channels in the order of the branches."""
        outputs = [branch(input) for branch in self.branches]
        joined = self.join(outputs)
        self._save([output.shape[1] for output in outputs])
        return joined

    @staticmethod
    def join(outputs: Sequence[Array]) -> Array:
        """Return what came out of the branches, joined along the channels."""
        first = outputs[0].shape
        for output in outputs[1:]:
            if output.ndim < 2 or output.shape[:1] + output.shape[2:] != first[:1] + first[2:]:
                raise ValueError(
                    "Concat: branches differ in more than their channels, got shapes "
                    + ", ".join(str(output.shape) for output in outputs)
                )
        return join_channels(outputs)

    def backward(self, grad_output: Array) -> Array:
        """Return the sum of the gradients of the branches."""
        parts = split_channels(grad_output, self._take_saved())
        grads = [branch.backward(g) for branch, g in zip(self.branches, parts, strict=True)]
        grad_input = grads[0]  # which may belong to its branch: it is not written to
        for grad in grads[1:]:
            grad_input = F.add(grad_input, grad, out=None if grad_input is grads[0] else grad_input)
        return grad_input

    def children(self) -> dict[str, Layer]:
        """Return the branches by name."""
        return dict(self._children)

    def __repr__(self) -> str:
        """Return the tree of layers, one a line."""
        return _tree_repr(self)


def _named(container: str, layers: Sequence[Layer | Mapping[str, Layer]]) -> dict[str, Layer]:
    """Return the layers by name: those of the one mapping, else numbers."""
    if len(layers) == 1 and isinstance(layers[0], Mapping):
        named: dict[object, object] = dict(layers[0].items())
    else:
        named = {str(index): layer for index, layer in enumerate(layers)}
    checked = {}
    for name, layer in named.items():
        if not isinstance(layer, Layer):
            raise TypeError(f"{container}: an argument is not a Layer, got {layer!r}")
        if not isinstance(name, str) or "." in name:
            raise ValueError(
                f"{container}: a name is wrong, got {name!r}; expected a str without a dot"
            )
        checked[name] = layer
    return checked


def _check_keys(container: Layer) -> None:
    """Refuse parameters of the same key, which only an empty name can bring about."""
    if "" in container.children():
        counts = Counter(name for name, _ in container.named_parameters())
        if repeated := [name for name, count in counts.items() if count > 1]:
            raise ValueError(
                f"{type(container).__name__}: names make two parameters the same, "
                f"got {repeated[0]!r} twice; expected different keys"
            )


def _tree_repr(layer: Layer) -> str:
    """Return the name and, one a line and indented, the children."""
    lines = [f"({name}): {child!r}" for name, child in layer.children().items()]
    if not lines:
        return f"{type(layer).__name__}()"
    body = textwrap.indent("\n".join(lines), "  ")
    return f"{type(layer).__name__}(\n{body}\n)"
