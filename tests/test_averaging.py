# SPDX-License-Identifier: BSD-3-Clause
"""Averaged weights: their definition, and that the training does not notice them."""

from typing import Any

import numpy as np
import pytest

from checks import assert_same_bits
from pyconv.losses import CrossEntropyLoss
from pyconv.training import Callback, Context, evaluate
from runs import VALIDATION, small_network, train


class Record(Callback):
    """Keeps the model's state after every step and at the end of every epoch."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []
        self.epochs: list[dict[str, Any]] = []

    def on_batch_end(self, context: Context) -> None:
        self.steps.append(context.model.state_dict())

    def on_epoch_end(self, context: Context) -> None:
        self.epochs.append(context.model.state_dict())


def test_ema_is_the_weighted_mean_of_all_steps() -> None:
    record, decay = Record(), 0.8
    model, _ = train(epochs=2, ema_decay=decay, callbacks=[record])
    assert len(record.steps) == 10
    for steps, averaged in ((5, record.epochs[0]), (10, record.epochs[1])):
        shares = decay ** np.arange(steps - 1, -1, -1.0)
        for name, array in averaged.items():
            values = np.stack([state[name] for state in record.steps[:steps]])
            if array.dtype.kind == "f":
                expected = np.average(values.astype(np.float64), axis=0, weights=shares)
                # Each step rounds the difference, its multiple and the sum.
                bound = 3 * steps * np.finfo(array.dtype).eps * np.abs(values).max(axis=0)
                assert (np.abs(array - expected) <= bound).all(), name
                assert (array != values[-1]).any(), name
            else:
                assert array == values[-1] == steps
    for name, array in model.state_dict().items():
        assert_same_bits(array, record.epochs[-1][name])
    assert not model.training


def test_ema_is_what_is_validated_and_does_not_disturb_the_training() -> None:
    with_average, without = Record(), Record()
    model, history = train(epochs=3, ema_decay=0.9, callbacks=[with_average])
    train(epochs=3, callbacks=[without])
    for one, other in zip(with_average.steps, without.steps, strict=True):
        for name, array in one.items():
            assert_same_bits(array, other[name])
    row = history.epochs[-1]
    assert evaluate(model, CrossEntropyLoss(), VALIDATION) == (
        row.validation_loss,
        row.validation_accuracy,
    )


def test_ema_with_patience_ends_with_the_best_average() -> None:
    record = Record()
    model, history = train(epochs=6, ema_decay=0.9, patience=6, callbacks=[record])
    losses = [row.validation_loss for row in history.epochs]
    best = record.epochs[losses.index(min(filter(None, losses)))]
    for name, array in model.state_dict().items():
        assert_same_bits(array, best[name])


def test_ema_is_taken_out_of_the_model_when_validation_fails() -> None:
    def fail(outputs: Any, targets: Any) -> float:
        raise RuntimeError("no metric today")

    model, record = small_network(), Record()
    with pytest.raises(RuntimeError, match="no metric today"):
        train(model=model, ema_decay=0.9, metrics={"fail": fail}, callbacks=[record])
    for name, array in model.state_dict().items():
        assert_same_bits(array, record.steps[-1][name])
