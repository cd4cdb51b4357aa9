# SPDX-License-Identifier: BSD-3-Clause
"""Gradients against differences of the loss, element by element."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyconv.inspection.table import aligned
from pyconv.inspection.watching import frozen
from pyconv.layers.base import Layer, Parameter
from pyconv.losses import Loss

__all__ = ["GradientCheck", "ParameterCheck", "check_gradients"]


@dataclass(frozen=True)
class ParameterCheck:
    """What the check of one parameter came to.

    Attributes
    ----------
    name : str
        "input" for the gradient with respect to x.
    shape : tuple of int
    checked : int
        Elements that were compared.
    kinks : int
        Those where the loss has a kink within every step, so that there is no derivative to compare.
    wrong : int
        Those whose gradient is not the slope of the loss.
    error : float
        The largest relative error, kinks left out.
    index : tuple of int
        Where that is.
    analytic, numeric : float
        What `backward` and what the difference gave there.
    """

    name: str
    shape: tuple[int, ...]
    checked: int
    kinks: int
    wrong: int
    error: float
    index: tuple[int, ...]
    analytic: float
    numeric: float


@dataclass(frozen=True)
class GradientCheck:
    """The rows of `check_gradients`; prints as a table.

    Attributes
    ----------
    rows : list of ParameterCheck
        One for the input and one for each parameter.
    ok : bool
        Whether no gradient is wrong.

    Examples
    --------
    >>> from pyconv import Linear
    >>> from pyconv.losses import MSELoss
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((4, 3))
    >>> check = check_gradients(Linear(3, 3, rng=rng, dtype=float), MSELoss(), x, x, rng=rng)
    >>> check.ok, [row.name for row in check.rows]
    (True, ['input', 'weight', 'bias'])
    """

    rows: list[ParameterCheck]

    @property
    def ok(self) -> bool:
        """Whether no gradient is wrong."""
        return not any(row.wrong for row in self.rows)

    def __str__(self) -> str:
        """Return a row for each parameter, and a sentence."""
        titles = "parameter shape checked kinks wrong error backward difference at"
        table = [tuple(titles.split())]
        for row in self.rows:
            at = ", ".join(map(str, row.index))
            worst = (f"{row.analytic:.6g}", f"{row.numeric:.6g}", f"[{at}]")
            counts = (str(row.checked), str(row.kinks), str(row.wrong), f"{row.error:.1e}")
            table.append((row.name, "x".join(map(str, row.shape)), *counts, *worst))
        lines = aligned(table, left=2)
        bad = [row.name for row in self.rows if row.wrong]
        lines.append(f"Wrong: {', '.join(bad)}." if bad else "All gradients agree.")
        return "\n".join(lines)


def check_gradients(
    model: Layer,
    loss: Loss,
    x: NDArray[Any],
    y: NDArray[Any],
    *,
    rng: np.random.Generator,
    elements: int = 20,
    step: float = 1e-5,
    tolerance: float = 1e-6,
) -> GradientCheck:
    """Compare gradients with differences of the loss, element by element.

    Parameters
    ----------
    model : Layer
        With float64 parameters. It is left as it was, but for its gradients, which are those of
        this batch.
    loss : Loss
    x, y : ndarray
        One batch.
    rng : numpy.random.Generator
        Chooses the elements.
    elements : int
        How many of each parameter, and of x, are compared.
    step : float
        Length of the first step.
    tolerance : float
        Largest relative error of a right gradient. That of a central difference is some 1e-9.

    Returns
    -------
    GradientCheck

    Notes
    -----
    The numeric gradient is ``(loss(w + h) - loss(w - h)) / (2 * h)``, and the error its distance to the analytic
    one over the larger of the two, or over what makes the rounding of the loss count as `tolerance` if that is
    larger still. Where it is above `tolerance`, h becomes ten and then a hundred
    times smaller, which takes a kink of ReLU or max pooling out of reach unless w lies on it. It does if the slopes to
    both sides, ``(loss(w + h) - loss(w)) / h`` and ``(loss(w) - loss(w - h)) / h``, stay as far apart as
    they were, and then backward may return anything between them.

    References
    ----------
    Karpathy: CS231n, Neural Networks Part 3, gradient checks.

    Examples
    --------
    >>> from pyconv import Linear, ReLU, Sequential
    >>> from pyconv.losses import MSELoss
    >>> rng = np.random.default_rng(0)
    >>> model = Sequential(Linear(3, 4, rng=rng, dtype=np.float64), ReLU())
    >>> check_gradients(model, MSELoss(), np.ones((2, 3)), np.zeros((2, 4)), rng=rng).ok
    True
    """
    for name, array in [("x", x), *((n, p.value) for n, p in model.named_parameters())]:
        if array.dtype != np.float64:
            raise TypeError(
                f"check_gradients: {name} has too few digits for differences, got {array.dtype}; "
                "expected float64"
            )
    if elements < 1 or not 0 < step < 1:
        raise ValueError(
            "check_gradients: elements or step is out of range, "
            f"got {elements} and {step}; expected at least 1, and between 0 and 1"
        )
    x = np.array(x)  # which is changed, and changed back
    with frozen(model) as rewind:
        model.zero_grad()
        loss(model(x), y)
        grad_x = model.backward(loss.backward())

        def value() -> float:
            rewind()
            return loss.value(model(x), y)

        arrays: list[tuple[str, NDArray[Any], NDArray[Any], Parameter | None]]
        arrays = [("input", x, grad_x, None)]
        arrays += [(n, p.value, p.grad.copy(), p) for n, p in model.named_parameters()]
        base = value()
        rows = []
        for name, array, grad, parameter in arrays:
            count = min(elements, array.size)
            chosen = np.sort(rng.choice(array.size, count, replace=False))
            results = []
            for flat in chosen:
                index = tuple(int(i) for i in np.unravel_index(flat, array.shape))
                slopes = _Slopes(value, base, array, index, parameter)
                results.append((index, *_judge(slopes, float(grad[index]), step, tolerance)))
            rows.append(_row(name, array.shape, results))
    return GradientCheck(rows)


class _Slopes:
    """Slopes of the loss to both sides of one element."""

    def __init__(
        self,
        value: Callable[[], float],
        base: float,
        array: NDArray[Any],
        index: tuple[int, ...],
        parameter: Parameter | None,
    ) -> None:
        self._value, self.base = value, base
        self._array, self._index, self._parameter = array, index, parameter

    def __call__(self, step: float) -> tuple[float, float]:
        """Return (left, right)."""
        original = self._array[self._index]
        low, high = self._at(original - step), self._at(original + step)
        self._set(original)
        return (self.base - low) / step, (high - self.base) / step

    def _at(self, value: float) -> float:
        self._set(value)
        return self._value()

    def _set(self, value: float) -> None:
        self._array[self._index] = value
        if self._parameter is not None:
            self._parameter.bump()


class _Trial(NamedTuple):
    error: float
    numeric: float
    distance: float
    jump: float


def _judge(
    slopes: _Slopes, analytic: float, step: float, tolerance: float
) -> tuple[str, float, float, float]:
    """Return a verdict ("right", "kink" or "wrong"), the error, the analytic and the numeric slope."""
    trials: list[_Trial] = []
    for h in (step, step / 10, step / 100):
        left, right = slopes(h)
        numeric = (left + right) / 2
        distance = abs(analytic - numeric)
        if not math.isfinite(distance):
            return "wrong", math.inf, analytic, numeric
        # What rounding of the two losses, sums of many terms, makes of the difference is no error.
        noise = 64 * np.finfo(np.float64).eps * abs(slopes.base) / h
        error = distance / max(abs(analytic), abs(numeric), noise / tolerance, 1e-300)
        # A kink that is out of reach now leaves nothing of the distance; a small fault could hide in the
        # noise, but leaves all.
        if error <= tolerance and (not trials or distance < trials[0].distance / 2):
            return "right", error, analytic, numeric
        trials.append(_Trial(error, numeric, distance, abs(right - left)))
    # A smooth loss has slopes that differ by h times its curvature, a hundred times less at the end.
    stays = trials[-1].jump > max(0.5 * trials[0].jump, noise)
    if stays and min(left, right) - noise <= analytic <= max(left, right) + noise:
        return "kink", 0.0, analytic, numeric
    return "wrong", trials[0].error, analytic, trials[0].numeric


def _row(name: str, shape: tuple[int, ...], results: list[Any]) -> ParameterCheck:
    verdicts = [verdict for _, verdict, *_ in results]
    index, _, error, analytic, numeric = max(results, key=lambda result: result[2])
    return ParameterCheck(
        name=name,
        shape=shape,
        checked=len(results),
        kinks=verdicts.count("kink"),
        wrong=verdicts.count("wrong"),
        error=error,
        index=index,
        analytic=analytic,
        numeric=numeric,
    )
