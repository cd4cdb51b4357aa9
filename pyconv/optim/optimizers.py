# SPDX-License-Identifier: BSD-3-Clause
"""Optimizers: SGD, Adam, AdamW and RMSprop.

An optimizer changes parameters in place from their gradients. It allocates its state when it is made,
nothing in `step`, which is one call for all parameters. With g the gradient, w the value::

    g  = grad + weight_decay * w + l1 * sign(w)     (AdamW instead shrinks w by lr * weight_decay)
    SGD      v = momentum * v + g                   w -= lr * v       (Nesterov: g + momentum * v)
    Adam     m = b1 * m + (1 - b1) * g              w -= lr * (m / (1 - b1**t))
             v = b2 * v + (1 - b2) * g**2                / (sqrt(v / (1 - b2**t)) + eps)
    RMSprop  v = alpha * v + (1 - alpha) * g**2     d = g / (sqrt(v) + eps)
             b = momentum * b + d                   w -= lr * b       (without momentum: lr * d)

References
----------
Sutskever, Martens, Dahl, Hinton: On the importance of initialization and momentum. ICML 2013.
Kingma, Ba: Adam. ICLR 2015, algorithm 1. Loshchilov, Hutter: Decoupled Weight Decay. ICLR 2019.
Tieleman, Hinton: Lecture 6.5, rmsprop. Neural Networks for Machine Learning, 2012.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyconv import _core
from pyconv.layers.base import Parameter


class Optimizer:
    """Base of all optimizers: the parameters and the saved state.

    Parameters
    ----------
    parameters : iterable of Parameter
        Usually ``model.parameters()``. One that occurs twice is stepped once. The arrays of each must
        be C-contiguous and writeable when `step` or `zero_grad` is called.
    lr : float
        Learning rate; may be assigned at any time.
    weight_decay : float
        Coefficient of the L2 penalty ``weight_decay / 2 * sum(w**2)``.
    l1 : float
        Coefficient of the L1 penalty ``l1 * sum(abs(w))``.

    Examples
    --------
    >>> from pyconv import Parameter
    >>> weight = Parameter([1.0])
    >>> optimizer = SGD([weight], lr=0.5)
    >>> weight.grad[...] = 2
    >>> optimizer.step()
    >>> optimizer.zero_grad()
    >>> weight.value, weight.grad
    (array([0.]), array([0.]))
    """

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float,
        *,
        weight_decay: float = 0.0,
        l1: float = 0.0,
        slots: tuple[str, ...] = (),
    ) -> None:
        self.parameters = list(dict.fromkeys(parameters))
        if not self.parameters:
            raise ValueError("Optimizer: parameters is empty, got 0; expected at least 1")
        name = type(self).__name__
        for argument, value in (("lr", lr), ("weight_decay", weight_decay), ("l1", l1)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{name}: {argument} is out of range, got {value}; expected >= 0")
        self.lr, self.weight_decay, self.l1 = float(lr), weight_decay, l1
        self.steps = 0
        self._slots: dict[str, list[NDArray[Any]]] = {
            slot: [np.zeros_like(p.value) for p in self.parameters] for slot in slots
        }

    def step(self) -> None:
        """Change every parameter by one step along its gradient.

        Raises
        ------
        ValueError, TypeError
            An array of a parameter has been replaced by one that cannot be changed in place. Nothing
            has been changed then.
        """
        values = [parameter.value for parameter in self.parameters]
        self._update(self.steps + 1, values, [parameter.grad for parameter in self.parameters])
        self.steps += 1
        for parameter in self.parameters:
            parameter.bump()

    def zero_grad(self) -> None:
        """Fill all gradients with 0, in place."""
        name = f"{type(self).__name__}.zero_grad"
        _core.zero_arrays(name, [parameter.grad for parameter in self.parameters])

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Return a copy of all that `step` depends on besides the parameters, as arrays."""
        state: dict[str, NDArray[Any]] = {
            "lr": np.asarray(self.lr, np.float64),
            "steps": np.asarray(self.steps, np.int64),
        }
        for slot, arrays in self._slots.items():
            state |= {f"{index}.{slot}": array.copy() for index, array in enumerate(arrays)}
        return state

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over a state that `state_dict` returned; all of it or, on error, nothing.

        Raises
        ------
        ValueError
            The state belongs to another optimizer or to other parameters.
        """
        own = self.state_dict()
        if own.keys() != state.keys():
            raise ValueError(
                f"{type(self).__name__}.load_state_dict: state has the wrong keys, "
                f"got {len(state)}; expected {len(own)} for {len(self.parameters)} parameters"
            )
        for key, array in own.items():
            if state[key].shape != array.shape or state[key].dtype != array.dtype:
                raise ValueError(
                    f"{type(self).__name__}.load_state_dict: {key} does not fit, "
                    f"got {state[key].dtype} {state[key].shape}; "
                    f"expected {array.dtype} {array.shape}"
                )
        self.lr, self.steps = float(state["lr"]), int(state["steps"])
        for slot, arrays in self._slots.items():
            for index, array in enumerate(arrays):
                array[...] = state[f"{index}.{slot}"]

    def _update(self, step: int, values: list[NDArray[Any]], grads: list[NDArray[Any]]) -> None:
        """Change all values in place; steps are counted from 1."""
        raise NotImplementedError(f"{type(self).__name__} has no _update")


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, in torch's form ``v = mu v + g; w -= lr v``.

    Parameters
    ----------
    parameters : iterable of Parameter
    lr : float
    momentum : float
        How much of the last step goes into the next.
    nesterov : bool
        Step along ``g + momentum * v`` instead of v.
    weight_decay, l1 : float
        As of every optimizer.

    Examples
    --------
    >>> from pyconv import Parameter
    >>> weight = Parameter([1.0])
    >>> optimizer = SGD([weight], lr=0.5, momentum=0.5)
    >>> for _ in range(2):
    ...     weight.grad[...] = 1
    ...     optimizer.step()
    >>> weight.value
    array([-0.25])
    """

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float,
        momentum: float = 0.0,
        *,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        l1: float = 0.0,
    ) -> None:
        if not 0 <= momentum < 1:
            raise ValueError(f"SGD: momentum is out of range, got {momentum}; expected 0 <= m < 1")
        if nesterov and not momentum:
            raise ValueError("SGD: nesterov needs momentum, got momentum=0; expected > 0")
        slots = ("velocity",) if momentum else ()
        super().__init__(parameters, lr, weight_decay=weight_decay, l1=l1, slots=slots)
        self.momentum, self.nesterov = momentum, nesterov

    def _update(self, step: int, values: list[NDArray[Any]], grads: list[NDArray[Any]]) -> None:
        _core.sgd_step(
            type(self).__name__,
            values,
            grads,
            self._slots.get("velocity", []),
            self.lr,
            self.momentum,
            self.nesterov,
            self.weight_decay,
            self.l1,
        )


class Adam(Optimizer):
    """Adam, with an optional L2 penalty in the gradient.

    Parameters
    ----------
    parameters : iterable of Parameter
    lr : float
    betas : (float, float)
        How much of the mean gradient and of the mean square is kept in each step.
    eps : float
        Added to the root of the mean square.
    weight_decay, l1 : float
        As of every optimizer.

    Examples
    --------
    >>> from pyconv import Parameter
    >>> weight = Parameter([1.0])
    >>> optimizer = Adam([weight], lr=0.1)
    >>> weight.grad[...] = 123  # the size of the first gradient does not matter
    >>> optimizer.step()
    >>> weight.value.round(6)
    array([0.9])
    """

    decoupled_weight_decay = 0.0

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        *,
        weight_decay: float = 0.0,
        l1: float = 0.0,
    ) -> None:
        for beta in betas:
            if not 0 <= beta < 1:
                raise ValueError(f"Adam: betas is out of range, got {betas}; expected 0 <= b < 1")
        super().__init__(parameters, lr, weight_decay=weight_decay, l1=l1, slots=("mean", "square"))
        self.betas, self.eps = betas, eps

    def _update(self, step: int, values: list[NDArray[Any]], grads: list[NDArray[Any]]) -> None:
        _core.adam_step(
            type(self).__name__,
            values,
            grads,
            self._slots["mean"],
            self._slots["square"],
            step,
            self.lr,
            *self.betas,
            self.eps,
            self.weight_decay,
            self.l1,
            self.decoupled_weight_decay,
        )


class AdamW(Adam):
    """Adam with decoupled weight decay: the value shrinks by ``lr * weight_decay`` each step.

    Parameters
    ----------
    parameters : iterable of Parameter
    lr, betas, eps
        As of `Adam`.
    weight_decay, l1 : float
        `l1` is a penalty in the gradient, as of `Adam`.

    Examples
    --------
    >>> from pyconv import Parameter
    >>> weight = Parameter([1.0])
    >>> AdamW([weight], lr=0.1, weight_decay=0.5).step()  # the gradient is 0
    >>> weight.value.round(6)
    array([0.95])
    """

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        *,
        weight_decay: float = 1e-2,
        l1: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr, betas, eps, weight_decay=weight_decay, l1=l1)
        # Not a penalty in the gradient, so the base class is not to see it.
        self.weight_decay, self.decoupled_weight_decay = 0.0, weight_decay


class RMSprop(Optimizer):
    """RMSprop in torch's form: eps is added outside the root.

    Parameters
    ----------
    parameters : iterable of Parameter
    lr : float
    alpha : float
        How much of the mean square is kept in each step.
    eps : float
        Added to its root.
    weight_decay, l1 : float
        As of every optimizer.
    momentum : float
        Of the scaled gradients.
    centered : bool
        Divide by the root of the variance instead of the mean square, with a mean gradient that is
        followed in the same way.

    Examples
    --------
    >>> from pyconv import Parameter
    >>> weight = Parameter([1.0])
    >>> optimizer = RMSprop([weight], lr=0.1, alpha=0.0)
    >>> weight.grad[...] = 123
    >>> optimizer.step()
    >>> weight.value.round(6)
    array([0.9])
    """

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        l1: float = 0.0,
    ) -> None:
        if not 0 <= alpha < 1:
            raise ValueError(f"RMSprop: alpha is out of range, got {alpha}; expected 0 <= a < 1")
        if not 0 <= momentum < 1:
            raise ValueError(
                f"RMSprop: momentum is out of range, got {momentum}; expected 0 <= m < 1"
            )
        slots = ("square",) + ("mean",) * bool(centered) + ("buffer",) * bool(momentum)
        super().__init__(parameters, lr, weight_decay=weight_decay, l1=l1, slots=slots)
        self.alpha, self.eps, self.momentum, self.centered = alpha, eps, momentum, centered

    def _update(self, step: int, values: list[NDArray[Any]], grads: list[NDArray[Any]]) -> None:
        _core.rmsprop_step(
            type(self).__name__,
            values,
            grads,
            self._slots["square"],
            self._slots.get("mean", []),
            self._slots.get("buffer", []),
            self.lr,
            self.alpha,
            self.eps,
            self.momentum,
            self.weight_decay,
            self.l1,
        )
