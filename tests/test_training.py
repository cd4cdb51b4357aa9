# SPDX-License-Identifier: BSD-3-Clause
"""The training loop: it learns, it stops early, and it minds its options."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from checks import assert_same_bits
from pyconv import models
from pyconv.data import Dataset
from pyconv.io import write_json
from pyconv.layers import Flatten, Layer, Linear, Sequential
from pyconv.losses import CrossEntropyLoss, MSELoss
from pyconv.optim import SGD, CosineSchedule, PlateauSchedule
from pyconv.training import Callback, Context, Epoch, evaluate, fit, predict
from runs import TRAIN, VALIDATION, assert_same_run, small_network, stripes, train


def test_fit_learns_and_tells_its_history() -> None:
    model, history = train(epochs=5)
    assert [row.epoch for row in history.epochs] == [1, 2, 3, 4, 5]
    first, last = history.epochs[0], history.epochs[-1]
    assert last.train_loss < first.train_loss
    assert last.validation_accuracy == 1.0
    assert evaluate(model, CrossEntropyLoss(), VALIDATION) == (last.validation_loss, 1.0)
    assert history.seconds > 0
    assert not history.stopped_early
    assert history.as_rows()[0]["train_loss"] == first.train_loss


def test_history_is_json(tmp_path: Path) -> None:
    _, history = train(epochs=2, metrics={"zeros": lambda outputs, _: np.float32(len(outputs))})
    write_json(tmp_path / "history.json", history.as_rows())
    rows = json.loads((tmp_path / "history.json").read_text())
    assert rows == history.as_rows()
    assert [Epoch(**row) for row in rows] == history.epochs
    assert list(rows[0]) == [
        "epoch",
        "train_loss",
        "train_accuracy",
        "validation_loss",
        "validation_accuracy",
        "lr",
        "seconds",
        "metrics",
    ]


def test_fit_is_reproducible() -> None:
    assert_same_run(train(), train())
    with pytest.raises(AssertionError):
        assert_same_run(train(), train(seed=1))


def test_fit_without_validation_or_labels() -> None:
    rng = np.random.default_rng(0)
    images = rng.standard_normal((20, 1, 2, 2))
    targets = images.reshape(20, 4) @ rng.standard_normal((4, 3))
    model = Sequential(Flatten(), Linear(4, 3, rng=rng, dtype=np.float64))
    history = fit(
        model,
        MSELoss(),
        SGD(model.parameters(), 0.5),
        Dataset(images, targets),
        epochs=200,
        batch_size=7,
        rng=rng,
        progress=False,
    )
    assert history.epochs[-1].train_loss < 1e-3 * history.epochs[0].train_loss
    assert history.epochs[-1].train_accuracy is None
    assert history.epochs[-1].validation_loss is None


def test_fit_sets_the_scheduled_rate() -> None:
    _, history = train(epochs=4, schedule=lambda step: 0.001 * (step + 1))
    # 70 images make 5 batches an epoch.
    assert [row.lr for row in history.epochs] == pytest.approx([0.005, 0.01, 0.015, 0.02])


def test_fit_limits_the_norm_of_gradients() -> None:
    """With SGD at rate 1 a step is as long as the gradient."""
    model = Sequential(Flatten(), Linear(64, 2, rng=np.random.default_rng(0)))
    before = np.concatenate([parameter.value.ravel() for parameter in model.parameters()])
    fit(
        model,
        CrossEntropyLoss(),
        SGD(model.parameters(), 1.0),
        TRAIN,
        epochs=1,
        batch_size=len(TRAIN),
        rng=np.random.default_rng(0),
        max_grad_norm=1e-3,
        progress=False,
    )
    after = np.concatenate([parameter.value.ravel() for parameter in model.parameters()])
    # Less 1e-6 of the divisor, and the rounding of values near 0.1.
    assert np.linalg.norm(after - before) == pytest.approx(1e-3, rel=1e-3)


def test_fit_sees_every_image_once_an_epoch() -> None:
    seen: list[Any] = []

    def remember(images: Any, rng: np.random.Generator) -> Any:
        del rng
        seen.append(images)
        return images

    train(epochs=2, augment=remember)
    shown = np.concatenate(seen)
    assert len(shown) == 140
    for half in (shown[:70], shown[70:]):
        assert sorted(i.tobytes() for i in half) == sorted(i.tobytes() for i in TRAIN.images)
    assert (shown[:70] != shown[70:]).any()


# Metrics


def test_metrics_see_the_whole_validation_data() -> None:
    shapes: list[Any] = []

    def accuracy(outputs: Any, targets: Any) -> float:
        shapes.append((outputs.shape, targets.shape))
        return float(np.mean(outputs.argmax(axis=1) == targets))

    big = stripes(300, seed=3)  # more than one batch of the validation
    model, history = train(
        epochs=2,
        validation_data=big,
        metrics={"share": accuracy, "first": lambda outputs, _: outputs[0, 0]},
    )
    assert shapes == [((300, 2), (300,))] * 2
    for row in history.epochs:
        assert row.metrics["share"] == row.validation_accuracy
    assert history.epochs[-1].metrics["first"] == predict(model, big.images)[0, 0]


def test_metrics_of_scikit_learn_can_be_used() -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")

    def macro_f1(outputs: Any, targets: Any) -> Any:
        return metrics.f1_score(targets, outputs.argmax(axis=1), average="macro")

    model, history = train(metrics={"f1": macro_f1})
    predictions = predict(model, VALIDATION.images).argmax(axis=1)
    expected = metrics.f1_score(VALIDATION.labels, predictions, average="macro")
    assert history.epochs[-1].metrics["f1"] == expected


# Callbacks and schedules


class Log(Callback):
    """Writes down what it hears under its name; stops after an epoch if told to."""

    def __init__(self, name: str, heard: list[tuple[Any, ...]], stop: int | None = None) -> None:
        self.name, self.heard, self.stop = name, heard, stop

    def on_epoch_start(self, context: Context) -> None:
        self.heard.append((self.name, "start", context.epoch, len(context.history.epochs)))

    def on_batch_end(self, context: Context) -> None:
        assert context.model.training
        self.heard.append(
            (self.name, "batch", context.optimizer.steps, math.isfinite(context.loss))
        )

    def on_epoch_end(self, context: Context) -> bool:
        assert not context.model.training
        self.heard.append((self.name, "end", context.epoch, len(context.history.epochs)))
        return context.epoch == self.stop


def test_callbacks_are_called_in_order() -> None:
    heard: list[tuple[Any, ...]] = []
    train(epochs=2, callbacks=[Log("a", heard), Log("b", heard)])
    expected: list[tuple[Any, ...]] = []
    for epoch in (1, 2):
        expected += [(name, "start", epoch, epoch - 1) for name in "ab"]
        steps = range(5 * epoch - 4, 5 * epoch + 1)
        expected += [(name, "batch", step, True) for step in steps for name in "ab"]
        expected += [(name, "end", epoch, epoch) for name in "ab"]
    assert heard == expected


def test_callback_stops_the_training_after_all_were_called() -> None:
    heard: list[tuple[Any, ...]] = []
    _, history = train(epochs=4, callbacks=[Log("a", heard, stop=2), Log("b", heard)])
    assert history.stopped_early
    assert len(history.epochs) == 2
    assert heard[-1] == ("b", "end", 2, 2)
    _, history = train(epochs=2, callbacks=[Log("a", heard, stop=2)])
    assert not history.stopped_early


@pytest.mark.parametrize("method", ["on_epoch_start", "on_batch_end", "on_epoch_end"])
def test_what_callbacks_raise_reaches_the_caller(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    callback, error = Callback(), OSError("no room for the log")

    def fail(context: Context) -> None:
        raise error

    monkeypatch.setattr(callback, method, fail)
    with pytest.raises(OSError, match="no room") as raised:
        train(callbacks=[callback])
    assert raised.value is error


def test_plateau_schedule_hears_the_validation_loss() -> None:
    loss = Scripted([0.9, 0.5, 0.6, 0.7, 0.4])
    loss.model = model = small_network()
    history = fit(
        model,
        loss,
        SGD(model.parameters(), 0.01),
        TRAIN,
        epochs=5,
        rng=np.random.default_rng(0),
        validation_data=VALIDATION,
        schedule=PlateauSchedule(0.01, factor=0.5, patience=0),
        progress=False,
    )
    assert [row.lr for row in history.epochs] == [0.01, 0.01, 0.01, 0.005, 0.0025]


def test_plateau_schedule_hears_the_training_loss_where_there_is_no_other() -> None:
    heard: list[float] = []

    class Ear(CosineSchedule):
        def epoch_end(self, loss: float) -> None:
            heard.append(loss)

    _, history = train(validation_data=None, schedule=Ear(0.02, 20))
    assert heard == [row.train_loss for row in history.epochs]


# Early stopping


class Scripted(CrossEntropyLoss):
    """A loss that reports these values for validation, in turn."""

    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self.values = iter(values)
        self.states: list[dict[str, Any]] = []
        self.model: Layer | None = None

    def __call__(self, input: Any, target: Any) -> float:
        self._saved = (input, target)
        return super().value(input, target)

    def value(self, input: Any, target: Any) -> float:
        del input, target
        assert self.model is not None
        self.states.append(self.model.state_dict())
        return next(self.values)


def test_patience_stops_and_restores_the_best_weights() -> None:
    model = models.LeNetBN(1, 2, 8, channels=(4,), hidden=8, rng=np.random.default_rng(0))
    loss = Scripted([0.9, 0.5, 0.6, 0.5, 0.7, 0.1])
    loss.model = model
    history = fit(
        model,
        loss,
        SGD(model.parameters(), 0.01),
        TRAIN,
        epochs=20,
        rng=np.random.default_rng(0),
        validation_data=VALIDATION,
        patience=3,
        progress=False,
    )
    assert [row.validation_loss for row in history.epochs] == [0.9, 0.5, 0.6, 0.5, 0.7]
    assert history.stopped_early
    for name, array in model.state_dict().items():
        assert_same_bits(array, loss.states[1][name])
        assert name != "0.weight" or (array != loss.states[4][name]).any()


# Arguments and prediction


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "fit: epochs is not positive, got 0"),
        ({"patience": 0}, "fit: patience is not positive, got 0"),
        ({"patience": 2, "validation_data": None}, "fit: patience needs validation_data"),
        ({"max_grad_norm": 0.0}, "fit: max_grad_norm is not positive, got 0.0"),
        ({"max_grad_norm": math.nan}, "fit: max_grad_norm is not positive, got nan"),
        ({"ema_decay": 1.0}, "fit: ema_decay is out of range, got 1.0; expected between 0 and 1"),
        ({"ema_decay": math.nan}, "fit: ema_decay is out of range, got nan"),
        (
            {"metrics": {"a": max}, "validation_data": None},
            "fit: metrics needs validation_data, got validation_data=None; expected a Dataset",
        ),
        ({"batch_size": 0}, "fit: batch_size is not positive, got 0"),
        ({"resume": True}, "fit: resume needs a checkpoint, got None"),
        ({"validation_data": stripes(0)}, "fit: validation_data is empty"),
    ],
)
def test_fit_checks_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        train(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": {"f1": 3}}, "fit: metrics['f1'] is not callable, got 3"),
        (
            {"callbacks": [print]},
            "fit: callbacks has something else, got <built-in function print>",
        ),
    ],
)
def test_fit_checks_functions(options: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=re.escape(message)):
        train(**options)


def test_fit_stops_when_the_loss_explodes() -> None:
    with (
        np.errstate(all="ignore"),
        pytest.raises(FloatingPointError, match=r"fit: the loss became (nan|inf) at step"),
    ):
        train(model=models.LeNet(1, 2, 8), schedule=lambda _: 1e30)


def test_predict_returns_logits_in_eval_mode() -> None:
    model = models.LeNetBN(1, 2, 8, channels=(4,), hidden=8)
    whole = predict(model, TRAIN.images, batch_size=1000)
    parts = predict(model, TRAIN.images, batch_size=16)
    assert whole.shape == (70, 2)
    # Batches of another size may be summed in another order inside a dense layer.
    np.testing.assert_allclose(parts, whole, rtol=0, atol=70 * float(np.finfo(np.float32).eps))
    assert predict(model, TRAIN.images[:0]).shape == (0, 2)
    assert not model.training
