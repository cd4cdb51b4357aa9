# SPDX-License-Identifier: BSD-3-Clause
"""Losses: values by their definitions, gradients by central differences, one backward a call."""

import re
from typing import Any

import numpy as np
import pytest

from checks import assert_gradient
from pyconv import functional as F
from pyconv.losses import (
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    L1Loss,
    Loss,
    MSELoss,
    MultiClassHingeLoss,
    NLLLoss,
    SmoothL1Loss,
)

LOGITS = np.random.default_rng(0).standard_normal((6, 5))
CLASSES = np.array([0, 4, 2, 2, 1, 3])
WEIGHT = np.array([0.5, 1.0, 2.0, 1.5, 0.25])

CASES: dict[str, tuple[Loss, Any]] = {
    "cross_entropy": (CrossEntropyLoss(), CLASSES),
    "cross_entropy_options": (
        CrossEntropyLoss(WEIGHT, ignore_index=4, label_smoothing=0.1),
        CLASSES,
    ),
    "cross_entropy_probabilities": (
        CrossEntropyLoss(WEIGHT, label_smoothing=0.1),
        np.random.default_rng(1).dirichlet(np.ones(5), 6),
    ),
    "multiclass_hinge": (MultiClassHingeLoss(margin=0.7), CLASSES),
    "mse": (MSELoss(), np.random.default_rng(1).standard_normal((6, 5))),
    "l1": (L1Loss(), np.random.default_rng(1).standard_normal((6, 5))),
    "smooth_l1": (SmoothL1Loss(0.8), np.random.default_rng(1).standard_normal((6, 5))),
    "bce_with_logits": (BCEWithLogitsLoss(), np.random.default_rng(1).uniform(0, 1, (6, 5))),
    "nll": (NLLLoss(WEIGHT, ignore_index=4), CLASSES),
}


@pytest.mark.parametrize(("loss", "target"), CASES.values(), ids=CASES)
def test_loss_gradient_matches_central_differences(
    loss: Loss, target: Any, rng: np.random.Generator
) -> None:
    loss(LOGITS, target)
    assert_gradient(lambda x: loss.value(x, target), loss.backward(), LOGITS, rng)


@pytest.mark.parametrize(("loss", "target"), CASES.values(), ids=CASES)
def test_loss_backward_needs_a_call_each_time(loss: Loss, target: Any) -> None:
    message = re.escape(f"{type(loss).__name__}.backward called without a preceding call")
    with pytest.raises(RuntimeError, match=f"^{message}$"):
        loss.backward()
    assert isinstance(loss(LOGITS, target), float)
    loss.value(LOGITS, target)
    assert loss.backward().shape == LOGITS.shape
    with pytest.raises(RuntimeError, match=message):
        loss.backward()


def test_cross_entropy_keeps_the_gradient_of_its_call() -> None:
    """Computed with the loss: the same bits as alone, also when the arrays have changed since."""
    loss, target = CrossEntropyLoss(label_smoothing=0.1), CLASSES.copy()
    logits = LOGITS.copy()
    expected = F.cross_entropy_backward(logits, target, label_smoothing=0.1)
    assert loss(logits, target) == F.cross_entropy(logits, target, label_smoothing=0.1)
    logits[:] = 0
    np.testing.assert_array_equal(loss.backward(), expected)


def test_cross_entropy_is_the_mean_log_probability() -> None:
    probability = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
    expected = -np.log(probability[np.arange(6), CLASSES]).mean()
    np.testing.assert_allclose(CrossEntropyLoss()(LOGITS, CLASSES), expected, rtol=1e-13)


def test_multiclass_hinge_is_the_mean_margin_violation() -> None:
    expected = 0.0
    for scores, y in zip(LOGITS, CLASSES, strict=True):
        expected += sum(max(0.0, s - scores[y] + 1) for j, s in enumerate(scores) if j != y) / 6
    np.testing.assert_allclose(MultiClassHingeLoss()(LOGITS, CLASSES), expected, rtol=1e-13)


def test_mse_is_the_mean_square() -> None:
    assert MSELoss()(np.array([[1.0, 2.0]]), np.array([[0.0, 4.0]])) == 2.5


def test_loss_repr_is_its_name() -> None:
    assert repr(MSELoss()) == "MSELoss()"
