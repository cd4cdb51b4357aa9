# SPDX-License-Identifier: BSD-3-Clause
"""Optimizers and a learning-rate schedule.

An optimizer changes parameters in place from their gradients. It allocates its state and one scratch
buffer when it is made, nothing in `step`. With g the gradient, w the value::

    g  = grad + weight_decay * w + l1 * sign(w)     (AdamW instead shrinks w by lr * weight_decay)
    SGD    v = momentum * v + g                     w -= lr * v       (Nesterov: g + momentum * v)
    Adam   m = b1 * m + (1 - b1) * g                w -= lr * (m / (1 - b1**t))
           v = b2 * v + (1 - b2) * g**2                  / (sqrt(v / (1 - b2**t)) + eps)

References
----------
Sutskever, Martens, Dahl, Hinton: On the importance of initialization and momentum. ICML 2013.
Kingma, Ba: Adam. ICLR 2015, algorithm 1. Loshchilov, Hutter: Decoupled Weight Decay. ICLR 2019.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyconv.layers.base import Parameter

__all__ = ["SGD", "Adam", "AdamW", "CosineSchedule", "Optimizer"]


class Optimizer:
    """Base of all optimizers: the parameters, the regularised gradient, and the saved state.

    Parameters
    ----------
    parameters : iterable of Parameter
        Usually ``model.parameters()``.
    lr : float
        Learning rate; may be assigned at any time.
    weight_decay : float
        Coefficient of the L2 penalty ``weight_decay / 2 * sum(w**2)``.
    l1 : float
        Coefficient of the L1 penalty ``l1 * sum(abs(w))``.
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
        self.parameters = list(parameters)
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
        # Two scratch arrays per dtype, as large as the largest parameter, shared by all.
        self._scratch: dict[np.dtype[Any], NDArray[Any]] = {}
        for dtype in {p.value.dtype for p in self.parameters}:
            size = max(p.value.size for p in self.parameters if p.value.dtype == dtype)
            self._scratch[dtype] = np.empty((2, size), dtype)

    def step(self) -> None:
        """Change every parameter by one step along its gradient."""
        self.steps += 1
        for index, parameter in enumerate(self.parameters):
            self._update(index, parameter)
            parameter.bump()

    def zero_grad(self) -> None:
        """Fill all gradients with 0, in place."""
        for parameter in self.parameters:
            parameter.zero_grad()

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

    def _update(self, index: int, parameter: Parameter) -> None:
        """Change one parameter in place."""
        raise NotImplementedError(f"{type(self).__name__} has no _update")

    def _regularized(self, parameter: Parameter) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the gradient with the penalties added, and a scratch array of its shape.

        Without penalties the gradient is ``parameter.grad`` itself: it is not to be written to.
        """
        value, gradient = parameter.value, parameter.grad
        penalized, scratch = (
            row.reshape(value.shape) for row in self._scratch[value.dtype][:, : value.size]
        )
        if self.weight_decay:
            np.multiply(value, self.weight_decay, out=scratch)
            gradient = np.add(gradient, scratch, out=penalized)
        if self.l1:
            np.sign(value, out=scratch)
            scratch *= self.l1
            gradient = np.add(gradient, scratch, out=penalized)
        return gradient, scratch


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, in torch's form ``v = mu v + g; w -= lr v``."""

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

    def _update(self, index: int, parameter: Parameter) -> None:
        gradient, step = self._regularized(parameter)
        if not self.momentum:
            direction = gradient
        else:
            velocity = self._slots["velocity"][index]
            velocity *= self.momentum
            velocity += gradient
            direction = velocity
            if self.nesterov:
                np.multiply(velocity, self.momentum, out=step)
                direction = np.add(gradient, step, out=step)
        parameter.value -= np.multiply(direction, self.lr, out=step)


class Adam(Optimizer):
    """Adam, with an optional L2 penalty in the gradient."""

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

    def _update(self, index: int, parameter: Parameter) -> None:
        gradient, step = self._regularized(parameter)
        mean, square = self._slots["mean"][index], self._slots["square"][index]
        beta1, beta2 = self.betas

        mean *= beta1
        mean += np.multiply(gradient, 1 - beta1, out=step)
        np.multiply(gradient, gradient, out=step)
        step *= 1 - beta2
        square *= beta2
        square += step

        # step = lr * mean_hat / (sqrt(square_hat) + eps), the bias corrections taken out as scalars
        np.sqrt(square, out=step)
        step /= math.sqrt(1 - beta2**self.steps)
        step += self.eps
        np.divide(mean, step, out=step)
        step *= self.lr / (1 - beta1**self.steps)
        parameter.value -= step


class AdamW(Adam):
    """Adam with decoupled weight decay: the value shrinks by ``lr * weight_decay`` each step."""

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        *,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(parameters, lr, betas, eps, weight_decay=weight_decay)
        # Not a penalty in the gradient, so the base class is not to see it.
        self.weight_decay, self.decoupled_weight_decay = 0.0, weight_decay

    def _update(self, index: int, parameter: Parameter) -> None:
        parameter.value *= 1 - self.lr * self.decoupled_weight_decay
        super()._update(index, parameter)


class CosineSchedule:
    """Learning rate that rises linearly for `warmup` steps, then falls along half a cosine.

    ``lr = schedule(step)`` depends on the step only, so a resumed run needs no state of it.

    Parameters
    ----------
    peak : float
        The largest rate.
    steps : int
        Length of the training in optimizer steps.
    warmup : int
        Steps of linear rise from 0.
    final : float
        The rate at the end.

    References
    ----------
    Loshchilov, Hutter: SGDR: Stochastic Gradient Descent with Warm Restarts. ICLR 2017, equation 5.
    """

    def __init__(self, peak: float, steps: int, *, warmup: int = 0, final: float = 0.0) -> None:
        if not 0 <= warmup <= steps:
            raise ValueError(
                f"CosineSchedule: warmup is out of range, got {warmup}; expected 0 to {steps}"
            )
        self.peak, self.steps, self.warmup, self.final = peak, steps, warmup, final

    def __call__(self, step: int) -> float:
        """Return the rate for the given step, counted from 0."""
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        progress = min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup))
        return self.final + 0.5 * (self.peak - self.final) * (1 + math.cos(math.pi * progress))
