# SPDX-License-Identifier: BSD-3-Clause
"""Why a network does not learn: what passes through each layer in one step, and what is odd about it.

The limits below are rules of thumb, each with its reason; a finding is a place to look at, not a proof.

References
----------
Glorot, Bengio: Understanding the difficulty of training deep feedforward neural networks. AISTATS 2010.
Karpathy: CS231n, Neural Networks Part 3, babysitting the learning process.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyconv.inspection.table import aligned
from pyconv.inspection.watching import Passage, frozen, watched
from pyconv.layers import Hardsigmoid, ReLU, ReLU6, Sigmoid, Tanh
from pyconv.layers.base import Layer
from pyconv.losses import Loss
from pyconv.optim import SGD, Optimizer

__all__ = ["Diagnosis", "LayerStatistics", "diagnose"]

# A unit counts as saturated where its slope is less than this part of the steepest, so that a gradient leaves it
# twenty times smaller; |tanh| > 0.975, and a sigmoid within 0.013 of 0 or 1.
SATURATED_SLOPE = 0.05
# Half of a layer: what the gradient of the layers below is made of has then shrunk by about that much too.
MOST_SATURATED = 0.5
# A unit that was 0 for the whole batch got no gradient from it. In a small batch some always are: up to a quarter of
# a LeNet's at the start.
MOST_DEAD = 0.4
# The same lr serves all layers. If steps relative to the weights differ a thousandfold, either one end stands
# still or the other diverges.
GRADIENT_RATIO = 1e3
# A healthy stack keeps the spread of its outputs (He, Glorot: variance 1 in, variance 1 out).
SPREAD_RATIO = 1e3
# About 1e-3 is healthy. 1e-5 needs 100,000 steps to change a weight by its own size; above 1e-1 ten steps
# undo what all before have learned.
SMALLEST_UPDATE, LARGEST_UPDATE = 1e-5, 1e-1


@dataclass(frozen=True)
class LayerStatistics:
    """What passed through a layer; None where a number has no meaning for it.

    Attributes
    ----------
    name, kind : str
    mean, std : float
        Of its outputs.
    gradient : float
        Root mean square of the gradient of the loss with respect to its outputs.
    saturated : float or None
        Share of the values of a sigmoid or tanh where the slope is small.
    dead : float or None
        Share of the units of a ReLU, channels or features, that are 0 for the whole batch.
    weight_gradient : float or None
        Norm of the gradient of the weight over the norm of the weight.
    update : float or None
        Norm of the change of the weight in one step over the norm of the weight.
    """

    name: str
    kind: str
    mean: float
    std: float
    gradient: float
    saturated: float | None = None
    dead: float | None = None
    weight_gradient: float | None = None
    update: float | None = None


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` saw; prints as a table and the findings below it.

    Attributes
    ----------
    loss : float
    layers : list of LayerStatistics
        In the order in which they were built.
    findings : list of str
        Empty if nothing is odd.

    Examples
    --------
    >>> from pyconv import Linear
    >>> from pyconv.losses import MSELoss
    >>> x = np.random.default_rng(0).standard_normal((8, 2), np.float32)
    >>> diagnosis = diagnose(Linear(2, 2), x, x, MSELoss())
    >>> [row.kind for row in diagnosis.layers], diagnosis.findings
    (['Linear'], [])
    """

    loss: float
    layers: list[LayerStatistics]
    findings: list[str]

    def __str__(self) -> str:
        """Return the table and the findings."""
        rows: list[tuple[str, ...]] = [
            ("layer", "kind", "mean", "std", "gradient", "saturated", "dead", "grad/weight",
             "update/weight")
        ]  # fmt: skip
        for row in self.layers:
            numbers = [f"{value:.2e}" for value in (row.mean, row.std, row.gradient)]
            shares = ["" if v is None else f"{v:.0%}" for v in (row.saturated, row.dead)]
            ratios = ["" if v is None else f"{v:.1e}" for v in (row.weight_gradient, row.update)]
            rows.append((row.name, row.kind, *numbers, *shares, *ratios))
        findings = [f"- {finding}" for finding in self.findings] or ["Nothing is odd."]
        return "\n".join([f"loss {self.loss:.4g}", *aligned(rows, left=2), *findings])


def diagnose(
    model: Layer,
    x: NDArray[Any],
    y: NDArray[Any],
    loss: Loss,
    *,
    optimizer: Optimizer | None = None,
    lr: float | None = None,
) -> Diagnosis:
    """Run one step on a batch, look at every layer, and say in words what is odd.

    Parameters
    ----------
    model : Layer
        In the mode in which it is to be looked at, usually training. It is left as it was, with
        gradients of zero.
    x, y : ndarray
        One batch, of some dozens of samples at least: a ReLU is called dead if it is 0 for all of it.
    loss : Loss
    optimizer : Optimizer, optional
        That of `model`. What one step of it would change is measured, and undone.
    lr : float, optional
        Instead of an optimizer: that of plain gradient descent.

    Returns
    -------
    Diagnosis

    Examples
    --------
    >>> from pyconv import Linear, Sequential, Sigmoid
    >>> from pyconv.losses import MSELoss
    >>> rng = np.random.default_rng(0)
    >>> model = Sequential(Linear(9, 9, rng=rng), Sigmoid())
    >>> x = 1000 * rng.standard_normal((32, 9), np.float32)
    >>> for finding in diagnose(model, x, np.zeros((32, 9), np.float32), MSELoss()).findings:
    ...     print(finding.split(";")[0])
    1 (Sigmoid): 100% of its values are saturated
    """
    if optimizer is not None and lr is not None:
        raise ValueError(
            f"diagnose: optimizer and lr are both given, got lr={lr}; expected one of them or neither"
        )
    if lr is not None:
        optimizer = SGD(model.parameters(), lr)
    with frozen(model), watched(model) as passages, np.errstate(all="ignore"):
        model.zero_grad()
        value = loss(model(x), y)
        model.backward(loss.backward())
        updates = {} if optimizer is None else _updates(optimizer)
        layers = [
            _statistics(name, passage, updates)
            for name, passage in passages.items()
            if passage.output is not None
        ]
        model.zero_grad()
    return Diagnosis(value, layers, _findings(value, layers))


def _statistics(name: str, passage: Passage, updates: dict[int, float]) -> LayerStatistics:
    layer, output, grad = passage.layer, passage.output, passage.grad_output
    assert output is not None
    output = output.astype(np.float64)
    saturated = dead = weight_gradient = update = None
    slope = _relative_slope(layer, output)
    if slope is not None:
        saturated = float(np.mean(slope < SATURATED_SLOPE))
    if isinstance(layer, ReLU | ReLU6):
        over = tuple(axis for axis in range(output.ndim) if axis != 1)
        dead = float(np.mean(np.all(output <= 0, axis=over)))
    weight = layer.own_parameters().get("weight")
    if weight is not None and weight.value.ndim > 1:  # not the scale of a normalisation
        norm = max(float(np.linalg.norm(weight.value)), 1e-300)
        weight_gradient = float(np.linalg.norm(weight.grad)) / norm
        update = updates.get(id(weight))
    return LayerStatistics(
        name=name,
        kind=type(layer).__name__,
        mean=float(output.mean()),
        std=float(output.std()),
        gradient=math.nan
        if grad is None
        else float(np.sqrt(np.mean(grad.astype(np.float64) ** 2))),
        saturated=saturated,
        dead=dead,
        weight_gradient=weight_gradient,
        update=update,
    )


def _relative_slope(layer: Layer, output: NDArray[Any]) -> NDArray[Any] | None:
    """Return the slope at each value over the steepest, of activations that flatten on both sides."""
    if isinstance(layer, Sigmoid):
        slope: NDArray[Any] = 4 * output * (1 - output)
        return slope
    if isinstance(layer, Tanh):
        return 1 - output**2
    if isinstance(layer, Hardsigmoid):
        return ((output > 0) & (output < 1)).astype(np.float64)
    return None


def _updates(optimizer: Optimizer) -> dict[int, float]:
    """Return by parameter how far one step goes, relative to its norm; the step is undone."""
    before = {id(p): p.value.copy() for p in optimizer.parameters}
    state = optimizer.state_dict()
    optimizer.step()
    relative = {}
    for parameter in optimizer.parameters:
        old = before[id(parameter)]
        norm = max(float(np.linalg.norm(old)), 1e-300)
        relative[id(parameter)] = float(np.linalg.norm(parameter.value - old)) / norm
        parameter.value[...] = old
        parameter.bump()
    optimizer.load_state_dict(state)
    return relative


def _findings(loss: float, layers: list[LayerStatistics]) -> list[str]:
    if not math.isfinite(loss):
        bad = [row for row in layers if not math.isfinite(row.mean + row.std)]
        where = (
            f"the outputs of {_named(bad[0])} are the first that are"
            if bad
            else "the outputs are not"
        )
        return [f"The loss is {loss}; {where}. Look there for overflow, a log of 0 or bad input."]
    found = []
    for row in layers:
        if row.saturated is not None and row.saturated > MOST_SATURATED:
            found.append(
                f"{_named(row)}: {row.saturated:.0%} of its values are saturated; little gradient passes. "
                "Scale the input, start from smaller weights, or normalise before it."
            )
        if row.dead is not None and row.dead > MOST_DEAD:
            found.append(
                f"{_named(row)}: {row.dead:.0%} of its units are 0 for the whole batch and get no gradient. "
                "A lower lr, other initial biases or a leaky ReLU may help."
            )
    found += _findings_of_updates([row for row in layers if row.update is not None])
    return found + _findings_across([row for row in layers if row.weight_gradient is not None])


def _findings_of_updates(updated: list[LayerStatistics]) -> list[str]:
    small = [row for row in updated if (row.update or 0) < SMALLEST_UPDATE]
    large = [row for row in updated if (row.update or 0) > LARGEST_UPDATE]
    return [
        f"A step changes the weight of {', '.join(map(_named, rows))} by {comparison} of its size; about "
        f"1e-3 is healthy. A {remedy} lr may help."
        for rows, comparison, remedy in (
            (small, f"less than {SMALLEST_UPDATE:.0e}", "higher"),
            (large, f"more than {LARGEST_UPDATE:.0e}", "lower"),
        )
        if rows
    ]


def _findings_across(weighted: list[LayerStatistics]) -> list[str]:
    """Return what is odd about the first layer with a weight beside those that follow."""
    found = [
        f"{_named(row)}: its weight gets no gradient at all."
        for row in weighted
        if row.weight_gradient == 0
    ]
    if len(weighted) < 2 or found:
        return found
    first, last = weighted[0], weighted[-1]
    ratio = (first.weight_gradient or 0) / (last.weight_gradient or 1)
    spreads = [(row, max(row.std, 1e-300) / max(first.std, 1e-300)) for row in weighted]
    extreme, spread = max(spreads, key=lambda pair: abs(math.log(pair[1])))
    if ratio < 1 / GRADIENT_RATIO:
        found.append(
            f"Gradients vanish: relative to its weight, that of {_named(first)} is {ratio:.0e} times that of "
            f"{_named(last)}. Normalisation, residual blocks or He's initial weights help."
        )
    if ratio > GRADIENT_RATIO:
        found.append(
            f"Gradients explode: relative to its weight, that of {_named(first)} is {ratio:.0e} times that of "
            f"{_named(last)}. Smaller initial weights, normalisation or clipping (clip_grad_norm) help."
        )
    if not 1 / SPREAD_RATIO < spread < SPREAD_RATIO:
        found.append(
            f"Outputs {'grow' if spread > 1 else 'shrink'} from layer to layer: the spread at {_named(extreme)} is "
            f"{spread:.0e} times that at {_named(first)}. He's or Glorot's initial weights keep it."
        )
    return found


def _named(row: LayerStatistics) -> str:
    return f"{row.name} ({row.kind})" if row.name else row.kind
