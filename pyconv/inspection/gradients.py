# SPDX-License-Identifier: BSD-3-Clause
"""Gradients against differences of the loss."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyconv.layers.base import Layer
from pyconv.losses import Loss

__all__ = ["gradient_errors"]


def gradient_errors(
    model: Layer,
    loss: Loss,
    images: NDArray[Any],
    target: NDArray[Any],
    *,
    rng: np.random.Generator,
    step: float = 1e-5,
) -> dict[str, float]:
    """Compare every parameter's gradient with a central difference along a random direction.

    Parameters
    ----------
    model : Layer
        With float64 parameters, and nothing random in its present mode: no Dropout in training.
        Its gradients are overwritten, its parameters restored.
    loss : Loss
    images, target : ndarray
        One batch.
    rng : numpy.random.Generator
        Draws the directions.
    step : float
        Length of the step in each element.

    Returns
    -------
    dict of str to float
        Relative error by parameter; for a right gradient about 1e-8, or larger where a kink
        (ReLU, max pooling) lies within the step.

    Notes
    -----
    ``(loss(w + step * d) - loss(w - step * d)) / (2 * step)`` is compared with ``sum(grad * d)``.
    """
    model.zero_grad()
    loss(model(images), target)
    model.backward(loss.backward())
    errors = {}
    for name, parameter in model.named_parameters():
        direction = rng.choice([-1.0, 1.0], parameter.value.shape)
        original = parameter.value.copy()
        values = []
        for sign in (1, -1):
            parameter.value[...] = original + sign * step * direction
            parameter.bump()
            values.append(loss.value(model(images), target))
        parameter.value[...] = original
        parameter.bump()
        slope = (values[0] - values[1]) / (2 * step)
        scale = float(np.abs(parameter.grad).sum()) + abs(values[0])
        errors[name] = abs(slope - float(np.vdot(parameter.grad, direction))) / max(scale, 1e-300)
    return errors
