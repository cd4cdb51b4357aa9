# SPDX-License-Identifier: BSD-3-Clause
"""Learning-rate schedules: ``lr = schedule(step)`` for the steps of an optimizer, counted from 0.

All but `PlateauSchedule` depend on the step alone, so a resumed run needs no state of theirs. They
count steps, not epochs: an epoch is ``math.ceil(images / batch_size)`` of them. What they give after
the last step that they were made for is what they gave there. Any other callable will do as well;
`fit` then knows it by its name only when it resumes.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Schedule:
    """Base of all schedules. Its ``repr`` has all arguments: by it `fit` tells one from another.

    Notes
    -----
    A schedule of one's own is a function of the step: ``schedule(step)`` is the rate. One that depends on more also
    overrides `epoch_end`, `state_dict` and `load_state_dict`.

    Examples
    --------
    >>> class Constant(Schedule):
    ...     def __call__(self, step):
    ...         return 0.1
    >>> Constant()(1000)
    0.1
    """

    def __call__(self, step: int) -> float:
        """Return the learning rate of the given step, counted from 0."""
        raise NotImplementedError(f"{type(self).__name__} has no __call__")

    def epoch_end(self, loss: float) -> None:
        """Hear what an epoch came to; most schedules do not care."""

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Return a copy of what the rate depends on besides the step, as arrays."""
        return {}

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over a state that `state_dict` returned.

        Raises
        ------
        ValueError
            The state belongs to another schedule.
        """
        own = self.state_dict().keys()
        if own != state.keys():
            raise ValueError(
                f"{type(self).__name__}.load_state_dict: state has the wrong keys, "
                f"got {sorted(state)}; expected {sorted(own)}"
            )


@dataclass(frozen=True)
class StepSchedule(Schedule):
    """``lr * gamma ** (step // step_size)``.

    Parameters
    ----------
    lr : float
        The first rate.
    step_size : int
        Steps between two changes.
    gamma : float
        What the rate is multiplied by.

    Examples
    --------
    >>> from pyconv.optim import StepSchedule
    >>> schedule = StepSchedule(0.5, step_size=2, gamma=0.5)
    >>> [schedule(step) for step in range(5)]
    [0.5, 0.5, 0.25, 0.25, 0.125]
    """

    lr: float
    step_size: int
    gamma: float = 0.1

    def __post_init__(self) -> None:
        """Check the arguments."""
        _check_not_negative(self, "lr", "gamma")
        _check_positive(self, "step_size")

    def __call__(self, step: int) -> float:
        """Return the learning rate of the given step, counted from 0."""
        return self.lr * self.gamma ** (step // self.step_size)


@dataclass(frozen=True)
class MultiStepSchedule(Schedule):
    """``lr * gamma ** n``, with n the number of milestones that are not above the step.

    Parameters
    ----------
    lr : float
        The first rate.
    milestones : sequence of int
        Steps from which on the rate is another, in ascending order.
    gamma : float
        What the rate is multiplied by.

    References
    ----------
    He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition. CVPR 2016, section 3.4.

    Examples
    --------
    >>> schedule = MultiStepSchedule(1.0, (10, 20), gamma=0.5)
    >>> [schedule(step) for step in (9, 10, 20)]
    [1.0, 0.5, 0.25]
    """

    lr: float
    milestones: tuple[int, ...]
    gamma: float = 0.1

    def __post_init__(self) -> None:
        """Check the arguments."""
        _check_not_negative(self, "lr", "gamma")
        if list(self.milestones) != sorted(self.milestones):
            raise ValueError(
                f"MultiStepSchedule: milestones are not in order, got {self.milestones}; "
                "expected ascending steps"
            )

    def __call__(self, step: int) -> float:
        """Return the learning rate of the given step, counted from 0."""
        return self.lr * self.gamma ** bisect_right(self.milestones, step)


@dataclass(frozen=True)
class ExponentialSchedule(Schedule):
    """``lr * gamma ** step``.

    Parameters
    ----------
    lr : float
        The first rate.
    gamma : float
        What the rate is multiplied by in every step; for a factor of f an epoch,
        ``f ** (1 / steps_per_epoch)``.

    Examples
    --------
    >>> schedule = ExponentialSchedule(1.0, 0.5)
    >>> [schedule(step) for step in range(3)]
    [1.0, 0.5, 0.25]
    """

    lr: float
    gamma: float

    def __post_init__(self) -> None:
        """Check the arguments."""
        _check_not_negative(self, "lr", "gamma")

    def __call__(self, step: int) -> float:
        """Return the learning rate of the given step, counted from 0."""
        return self.lr * self.gamma**step


@dataclass(frozen=True)
class CosineSchedule(Schedule):
    """Learning rate that rises linearly for `warmup` steps, then falls along half a cosine.

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

    Notes
    -----
    ``peak * (step + 1) / warmup`` in the first `warmup` steps, then
    ``final + (peak - final) / 2 * (1 + cos(pi * t))`` with t from 0 at the first of the remaining
    steps to 1 after the last.

    References
    ----------
    Loshchilov, Hutter: SGDR: Stochastic Gradient Descent with Warm Restarts. ICLR 2017, equation 5.
    Goyal et al.: Accurate, Large Minibatch SGD. arXiv:1706.02677, 2017, section 2.2 (warm-up).

    Examples
    --------
    >>> schedule = CosineSchedule(0.1, 104, warmup=4)
    >>> [round(schedule(step), 3) for step in (0, 3, 54, 104)]
    [0.025, 0.1, 0.05, 0.0]
    """

    peak: float
    steps: int
    warmup: int = field(default=0, kw_only=True)
    final: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        """Check the arguments."""
        _check_not_negative(self, "peak", "final")
        if not 0 <= self.warmup <= self.steps:
            raise ValueError(
                f"CosineSchedule: warmup is out of range, got {self.warmup}; "
                f"expected 0 to {self.steps}"
            )

    def __call__(self, step: int) -> float:
        """Return the learning rate of the given step, counted from 0."""
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        progress = min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup))
        return _half_cosine(self.peak, self.final, progress)


@dataclass(frozen=True)
class OneCycleSchedule(Schedule):
    """Half a cosine up from a small rate to the peak, then half a cosine down to nearly nothing.

    Parameters
    ----------
    peak : float
        The largest rate.
    steps : int
        Length of the training in optimizer steps.
    pct_start : float
        Share of the steps that the rise takes, 0 to 1.
    div_factor : float
        The first rate is ``peak / div_factor``.
    final_div_factor : float
        The last rate is ``peak / div_factor / final_div_factor``.

    Notes
    -----
    The peak is at step ``pct_start * steps - 1``, as in torch's OneCycleLR with two phases; torch
    would also move the momentum the other way, which this does not.

    References
    ----------
    Smith, Topin: Super-Convergence: Very Fast Training of Neural Networks Using Large Learning
    Rates. arXiv:1708.07120, 2017.

    Examples
    --------
    >>> from pyconv.optim import OneCycleSchedule
    >>> schedule = OneCycleSchedule(1.0, steps=10, pct_start=0.5)
    >>> [round(schedule(step), 2) for step in (0, 2, 4, 7, 9)]
    [0.04, 0.52, 1.0, 0.35, 0.0]
    """

    peak: float
    steps: int
    pct_start: float = field(default=0.3, kw_only=True)
    div_factor: float = field(default=25.0, kw_only=True)
    final_div_factor: float = field(default=1e4, kw_only=True)

    def __post_init__(self) -> None:
        """Check the arguments."""
        _check_not_negative(self, "peak")
        _check_positive(self, "steps", "div_factor", "final_div_factor")
        if not 0 <= self.pct_start <= 1:
            raise ValueError(
                f"OneCycleSchedule: pct_start is out of range, got {self.pct_start}; "
                "expected 0 to 1"
            )

    def __call__(self, step: int) -> float:
        """Return the learning rate of the given step, counted from 0."""
        first = self.peak / self.div_factor
        top = max(0.0, self.pct_start * self.steps - 1)
        if step < top:
            return _half_cosine(first, self.peak, step / top)
        fall = self.steps - 1 - top
        progress = min(1.0, (step - top) / fall) if fall > 0 else float(step > top)
        return _half_cosine(self.peak, first / self.final_div_factor, progress)


@dataclass
class PlateauSchedule(Schedule):
    """A rate that is reduced whenever the loss has stopped falling.

    It hears the validation loss after every epoch, or without validation data the training loss.

    Parameters
    ----------
    lr : float
        The first rate.
    factor : float
        What the rate is multiplied by, below 1.
    patience : int
        Epochs without improvement that are borne before it is.
    threshold : float
        An improvement is a loss below ``best * (1 - threshold)``.
    cooldown : int
        Epochs after a reduction that do not count.
    min_lr : float
        No rate is below this.

    Notes
    -----
    The rules of torch's ReduceLROnPlateau in its relative mode with ``eps=0``: no reduction is too small.

    Examples
    --------
    >>> schedule = PlateauSchedule(0.1, patience=1)
    >>> for loss in (1.0, 1.0, 1.0):
    ...     schedule.epoch_end(loss)
    >>> round(schedule(0), 3)
    0.01
    """

    lr: float
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    cooldown: int = 0
    min_lr: float = 0.0

    def __post_init__(self) -> None:
        """Check the arguments."""
        _check_not_negative(self, "lr", "patience", "threshold", "cooldown", "min_lr")
        if not 0 < self.factor < 1:
            raise ValueError(
                f"PlateauSchedule: factor is out of range, got {self.factor}; "
                "expected between 0 and 1"
            )
        self._rate, self._best = float(self.lr), math.inf
        self._waited, self._cooling = 0, 0

    def __call__(self, step: int) -> float:
        """Return the present rate, whatever the step."""
        del step
        return self._rate

    def epoch_end(self, loss: float) -> None:
        """Reduce the rate if the loss has not fallen for too long."""
        if loss < self._best * (1 - self.threshold):
            self._best, self._waited = loss, 0
        else:
            self._waited += 1
        if self._cooling > 0:
            self._cooling -= 1
            self._waited = 0
        if self._waited > self.patience:
            self._rate = max(self._rate * self.factor, self.min_lr)
            self._cooling, self._waited = self.cooldown, 0

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Return the rate, the best loss, and the epochs waited and cooled down, as arrays."""
        return {
            "rate": np.asarray(self._rate, np.float64),
            "best": np.asarray(self._best, np.float64),
            "waited": np.asarray(self._waited, np.int64),
            "cooling": np.asarray(self._cooling, np.int64),
        }

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over a state that `state_dict` returned."""
        super().load_state_dict(state)
        self._rate, self._best = float(state["rate"]), float(state["best"])
        self._waited, self._cooling = int(state["waited"]), int(state["cooling"])


def _half_cosine(start: float, end: float, progress: float) -> float:
    """Return what lies between start (progress 0) and end (progress 1), level at both."""
    return end + 0.5 * (start - end) * (1 + math.cos(math.pi * progress))


def _check_not_negative(schedule: Schedule, *names: str) -> None:
    for name in names:
        value = getattr(schedule, name)
        if not 0 <= value < math.inf:
            raise ValueError(
                f"{type(schedule).__name__}: {name} is out of range, got {value}; expected >= 0"
            )


def _check_positive(schedule: Schedule, *names: str) -> None:
    for name in names:
        value = getattr(schedule, name)
        if not 0 < value < math.inf:
            raise ValueError(
                f"{type(schedule).__name__}: {name} is not positive, got {value}; expected > 0"
            )
