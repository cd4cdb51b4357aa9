# SPDX-License-Identifier: BSD-3-Clause
"""The layer protocol: forward, backward, parameters, state, training mode.

Nothing is registered behind the scenes. A layer that owns parameters or buffers says so in
`own_parameters` and `own_buffers`, one that contains layers in `children`; all walks over a model
are built from these three. A layer that draws random numbers keeps its Generator in an attribute
called ``rng``, where a checkpoint finds it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from pyconv.layers.summary import Summary

Array: TypeAlias = NDArray[Any]


class Parameter:
    """An array that is learned, and the gradient that `backward` adds up for it.

    Attributes
    ----------
    value : ndarray
        Changed in place by optimizers and `Layer.load_state_dict`.
    grad : ndarray
        Same shape and dtype. ``backward`` adds into it; `zero_grad` fills it with 0.
    version : int
        Grows by one whenever `value` changes, so that a layer can tell whether something it
        derived from the value (packed weights) is still good. Whoever writes into `value` by hand
        calls `bump`.

    Examples
    --------
    >>> weight = Parameter(np.ones(3))
    >>> weight.grad += 2
    >>> weight.grad
    array([2., 2., 2.])
    """

    __slots__ = ("grad", "value", "version")

    def __init__(self, value: ArrayLike) -> None:
        self.value: Array = np.ascontiguousarray(value)
        # Zeroed pages are not touched before the first backward, so inference pays nothing here.
        self.grad: Array = np.zeros(self.value.shape, self.value.dtype)
        self.version = 0

    def zero_grad(self) -> None:
        """Fill the gradient with 0, in place."""
        self.grad.fill(0)

    def bump(self) -> None:
        """Record that `value` has changed."""
        self.version += 1

    def __repr__(self) -> str:
        """Return shape and dtype, not the numbers."""
        return f"Parameter(shape={self.value.shape}, dtype={self.value.dtype})"


class Layer:
    """Base of all layers.

    A subclass writes `forward` and `backward`; in `forward` it hands what `backward` will need to
    `_save`, and `backward` takes it out, once, with `_take_saved`.

    Notes
    -----
    `forward` saves what `backward` needs, and `backward` takes it once: a second call without another `forward` is a
    RuntimeError. `backward` adds into the ``grad`` of each parameter; `zero_grad` empties it.

    Examples
    --------
    >>> class Double(Layer):
    ...     def forward(self, input):
    ...         return 2 * input
    ...     def backward(self, grad_output):
    ...         return 2 * grad_output
    >>> Double()(np.ones(2))
    array([2., 2.])
    """

    training: bool = True
    _saving: bool = True
    _saved: Any = None

    def __init_subclass__(cls) -> None:
        """Take from a subclass with a `forward` of its own the ways around it."""
        super().__init_subclass__()
        for name in ("_forward_with", "_chain"):
            if "forward" in vars(cls) and name not in vars(cls):
                setattr(cls, name, getattr(Layer, name))

    def __call__(self, input: Array) -> Array:
        """Return ``self.forward(input)``."""
        return self.forward(input)

    def forward(self, input: Array) -> Array:
        """Return the output for a batch, remembering what `backward` needs."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def backward(self, grad_output: Array) -> Array:
        """Return the gradient with respect to the input; add those of the parameters into grad.

        Raises
        ------
        RuntimeError
            There was no forward since the last backward, or it ran in eval mode.
        """
        raise NotImplementedError(f"{type(self).__name__} has no backward")

    def backward_parameters(self, grad_output: Array) -> None:
        """Do what `backward` does, but for the gradient with respect to the input.

        That of a network's first layer is a large part of its cost, and training has no use for it.
        """
        self.backward(grad_output)

    def _forward_with(self, input: Array, following: Sequence[Layer]) -> tuple[Array, int]:
        """Return the output of this layer and of as many of the next as it did in passing.

        See `pyconv.layers.fusion`.
        """
        return self.forward(input), 0

    def _chain(self) -> Sequence[Layer] | None:
        """Return the layers that `forward` is one after the other, if that is all it is."""
        return None

    # What a layer is made of.

    def own_parameters(self) -> dict[str, Parameter]:
        """Return the parameters this layer itself owns, by name, in definition order."""
        return {}

    def own_buffers(self) -> dict[str, Array]:
        """Return the arrays that are state but not learned, such as running statistics."""
        return {}

    def children(self) -> dict[str, Layer]:
        """Return the layers this one contains, by name.

        Under the empty name, the names below a child are continued from those of this layer.
        """
        return {}

    def named_layers(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """Yield this layer and everything below it, with dotted names."""
        yield prefix, self
        for name, child in self.children().items():
            yield from child.named_layers(dotted(prefix, name))

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield every parameter with its dotted name, in definition order."""
        for prefix, layer in self.named_layers():
            for name, parameter in layer.own_parameters().items():
                yield dotted(prefix, name), parameter

    def parameters(self) -> Iterator[Parameter]:
        """Yield every parameter, in definition order."""
        for _, parameter in self.named_parameters():
            yield parameter

    def zero_grad(self) -> None:
        """Fill the gradient of every parameter with 0, in place."""
        for parameter in self.parameters():
            parameter.zero_grad()

    def summary(self, input_shape: tuple[int, ...]) -> Summary:
        """Return what each layer makes of an input of this shape, and what it costs.

        Parameters
        ----------
        input_shape : tuple of int
            With the batch: (N, C, H, W), or (N, features) for a dense layer.

        Returns
        -------
        Summary
            A table when printed; its ``rows`` have the numbers.

        Examples
        --------
        >>> from pyconv.layers import Conv2d, MaxPool2d, Sequential
        >>> print(Sequential(Conv2d(1, 8, 3), MaxPool2d(2)).summary((1, 1, 28, 28)))
        layer  kind       output           parameters  multiply-adds  memory KiB  receptive field
        0      Conv2d     1 x 8 x 26 x 26          80         48,672        21.1  3 x 3
        1      MaxPool2d  1 x 8 x 13 x 13           0              0         5.3  4 x 4
        total                                      80         48,672        26.4
        """
        # Knows the layers, which know this class, so it cannot be imported before them.
        from pyconv.layers.summary import summarize  # noqa: PLC0415

        return summarize(self, input_shape)

    # Mode.

    def train(self) -> Self:
        """Switch to training: dropout drops, batch norm uses and follows the batch."""
        return self._set_mode(training=True, saving=True)

    def eval(self, *, differentiable: bool = False) -> Self:
        """Switch to inference: nothing is random and nothing is kept for `backward`.

        Parameters
        ----------
        differentiable : bool
            Keep what `backward` needs all the same, for saliency maps or for fine-tuning with
            frozen statistics.
        """
        return self._set_mode(training=False, saving=differentiable)

    def _set_mode(self, *, training: bool, saving: bool) -> Self:
        for _, layer in self.named_layers():
            layer.training = training
            layer._saving = saving
            layer._saved = None
        return self

    # State.

    def state_dict(self) -> dict[str, Array]:
        """Return a copy of every parameter and buffer under torch's key for it."""
        return {name: array.copy() for name, (array, _) in self._state().items()}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Copy `state` into the parameters and buffers, in place; all of it or, on error, nothing.

        Raises
        ------
        ValueError
            A key is missing or unknown, or a shape differs.
        TypeError
            A dtype differs.
        """
        own = self._state()
        if missing := own.keys() - state.keys():
            raise ValueError(f"load_state_dict: state lacks {_listed(missing)}")
        if unknown := state.keys() - own.keys():
            raise ValueError(f"load_state_dict: state has unknown keys {_listed(unknown)}")
        for name, (array, _) in own.items():
            if state[name].shape != array.shape:
                raise ValueError(
                    f"load_state_dict: {name} has the wrong shape, "
                    f"got {state[name].shape}; expected {array.shape}"
                )
            if state[name].dtype != array.dtype:
                raise TypeError(
                    f"load_state_dict: {name} has the wrong dtype, "
                    f"got {state[name].dtype}; expected {array.dtype}"
                )
        for name, (array, parameter) in own.items():
            array[...] = state[name]
            if parameter is not None:
                parameter.bump()

    def _state(self) -> dict[str, tuple[Array, Parameter | None]]:
        """Return the live arrays, each with the parameter it belongs to, if any."""
        state: dict[str, tuple[Array, Parameter | None]] = {}
        for prefix, layer in self.named_layers():
            for name, parameter in layer.own_parameters().items():
                state[dotted(prefix, name)] = (parameter.value, parameter)
            for name, buffer in layer.own_buffers().items():
                state[dotted(prefix, name)] = (buffer, None)
        return state

    # What backward needs.

    def _save(self, saved: Any) -> None:
        """Keep `saved` for `backward`; in eval mode keep nothing, so memory is free at once."""
        self._saved = saved if self._saving else None

    def _take_saved(self) -> Any:
        """Return what `forward` saved and forget it."""
        saved, self._saved = self._saved, None
        if saved is None:
            raise RuntimeError(f"{type(self).__name__}.backward called without a preceding forward")
        return saved

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy or a pickle has: all but what `forward` saved for `backward`."""
        state = self.__dict__.copy()
        state.pop("_saved", None)
        return state

    def _options_repr(self) -> str:
        return ""

    def __repr__(self) -> str:
        """Return the layer as a constructor call, defaults left out."""
        return f"{type(self).__name__}({self._options_repr()})"


def dotted(prefix: str, name: str) -> str:
    """Join two names; an empty one leaves no dot."""
    return f"{prefix}.{name}" if prefix and name else prefix or name


def _listed(names: set[str]) -> str:
    """Return up to five of the names, sorted, for an error message."""
    shown = ", ".join(sorted(names)[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def options_repr(*positional: object, **named: tuple[object, object]) -> str:
    """Return constructor arguments as written: `named` holds (value, default), defaults omitted."""
    parts = [repr(value) for value in positional]
    parts += [f"{name}={value!r}" for name, (value, default) in named.items() if value != default]
    return ", ".join(parts)
