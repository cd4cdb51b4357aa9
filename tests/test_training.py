# SPDX-License-Identifier: BSD-3-Clause
"""The training loop: it learns, it stops early, and it resumes to the same bits."""

import math
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from checks import assert_same_bits
from pyconv import data, models
from pyconv.checkpoint import CheckpointError
from pyconv.data import Dataset
from pyconv.io import load_safetensors, save_safetensors
from pyconv.layers import Flatten, Layer, Linear, Sequential
from pyconv.losses import CrossEntropyLoss, MSELoss
from pyconv.optim import SGD, Adam, CosineSchedule
from pyconv.training import History, TrainingInterrupted, evaluate, fit, predict


def stripes(count: int, seed: int = 0) -> Dataset:
    """Return noisy 8 x 8 images of horizontal (0) or vertical (1) stripes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    images = rng.integers(0, 120, (count, 1, 8, 8))
    images[labels == 0, :, ::2] += 100
    images[labels == 1, :, :, ::2] += 100
    return Dataset(images.astype(np.uint8), labels, ("horizontal", "vertical"))


TRAIN, VALIDATION = stripes(70), stripes(30, seed=1)


def train(
    *, epochs: int = 4, seed: int = 0, model: Layer | None = None, **options: Any
) -> tuple[Layer, History]:
    """Train a small network with everything random there is: dropout, augmentation, order."""
    rng = np.random.default_rng(seed)
    if model is None:
        model = models.LeNetBN(
            1, 2, 8, channels=(4,), hidden=8, rng=np.random.default_rng(seed + 100)
        )
    arguments: dict[str, Any] = {
        "validation_data": VALIDATION,
        "augment": lambda images, rng: data.random_shift(images, 1, rng=rng),
        "schedule": CosineSchedule(0.02, 20, warmup=3),
        "progress": False,
    } | options
    optimizer = Adam(model.parameters(), 0.02)
    loss = CrossEntropyLoss()
    history = fit(model, loss, optimizer, TRAIN, epochs=epochs, batch_size=16, rng=rng, **arguments)
    return model, history


def assert_same_run(one: tuple[Layer, History], two: tuple[Layer, History]) -> None:
    """Compare two runs bit by bit, their durations apart."""
    assert [replace(row, seconds=0) for row in one[1].epochs] == [
        replace(row, seconds=0) for row in two[1].epochs
    ]
    other = two[0].state_dict()
    for name, array in one[0].state_dict().items():
        assert_same_bits(array, other[name])


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


# Checkpoints


class Interrupt:
    """An augmentation that presses Ctrl-C before a certain batch."""

    def __init__(self, batch: int) -> None:
        self.batch = batch

    def __call__(self, images: Any, rng: np.random.Generator) -> Any:
        if self.batch == 0:
            raise KeyboardInterrupt
        self.batch -= 1
        return data.random_shift(images, 1, rng=rng)


@pytest.mark.parametrize("batch", [0, 3, 5, 12, 19])
@pytest.mark.parametrize("patience", [None, 2])
def test_resumed_training_ends_with_the_same_bits(
    tmp_path: Path, batch: int, patience: int | None
) -> None:
    whole = train(epochs=4, patience=patience)
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(TrainingInterrupted) as interrupted:
        train(epochs=4, patience=patience, checkpoint=path, augment=Interrupt(batch))
    done = batch // 5
    assert len(interrupted.value.history.epochs) == done
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    # Another seed: all that is random has to come out of the checkpoint.
    resumed = train(epochs=4, seed=9, patience=patience, checkpoint=path, resume=True)
    assert_same_run(whole, resumed)


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    whole = train(checkpoint=path)
    before = path.read_bytes()
    assert_same_run(whole, train(seed=3, checkpoint=path, resume=True))
    assert path.read_bytes() == before


@pytest.mark.parametrize("bits", [np.random.MT19937, np.random.Philox, np.random.SFC64])
def test_checkpoint_takes_any_bit_generator(tmp_path: Path, bits: Any) -> None:
    path = tmp_path / "checkpoint.safetensors"

    def run(epochs: int, seed: int, **options: Any) -> tuple[Layer, History]:
        rng = np.random.Generator(bits(seed))
        model = models.LeNetBN(1, 2, 8, channels=(4,), hidden=8, rng=rng)
        history = fit(
            model,
            CrossEntropyLoss(),
            SGD(model.parameters(), 0.01, 0.9),
            TRAIN,
            epochs=epochs,
            rng=rng,
            progress=False,
            **options,
        )
        return model, history

    run(2, seed=0, checkpoint=path)
    assert_same_run(run(4, seed=0), run(4, seed=1, checkpoint=path, resume=True))


def test_checkpoint_refuses_another_run(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    train(epochs=1, checkpoint=path, run={"seed": "0"})
    message = f"{path}: cannot resume from it (it was made with seed=0, not 1)"
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        train(checkpoint=path, resume=True, run={"seed": "1"})
    with pytest.raises(CheckpointError, match="other random generators"):
        train(
            model=models.LeNet(1, 2, 8),
            checkpoint=path,
            resume=True,
            run={"seed": "0"},
        )


def test_checkpoint_refuses_damage(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(CheckpointError, match="no checkpoint to resume from"):
        train(checkpoint=path, resume=True)
    train(epochs=1, checkpoint=path)
    content = path.read_bytes()
    path.write_bytes(content[:-10])
    with pytest.raises(CheckpointError, match="not a valid safetensors file"):
        train(checkpoint=path, resume=True)
    save_safetensors(path, {"a": np.zeros(3)})
    with pytest.raises(CheckpointError, match="not a checkpoint of this version"):
        train(checkpoint=path, resume=True)
    path.write_bytes(content)
    tensors, metadata = load_safetensors(path)
    save_safetensors(path, tensors, metadata | {"history": '[{"year": 1}]'})
    with pytest.raises(CheckpointError, match="has a damaged history"):
        train(checkpoint=path, resume=True)
    for key, value in (("rng", "{}"), ("history", "no json"), ("run", "[1]")):
        save_safetensors(path, tensors, metadata | {key: value})
        with pytest.raises(CheckpointError, match="cannot resume from it"):
            train(checkpoint=path, resume=True)


# Arguments, progress, prediction


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "fit: epochs is not positive, got 0"),
        ({"patience": 0}, "fit: patience is not positive, got 0"),
        ({"patience": 2, "validation_data": None}, "fit: patience needs validation_data"),
        ({"max_grad_norm": 0.0}, "fit: max_grad_norm is not positive, got 0.0"),
        ({"max_grad_norm": math.nan}, "fit: max_grad_norm is not positive, got nan"),
        ({"resume": True}, "fit: resume needs a checkpoint, got None"),
        ({"validation_data": stripes(0)}, "fit: validation_data is empty"),
    ],
)
def test_fit_checks_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        train(**options)


def test_fit_stops_when_the_loss_explodes() -> None:
    with (
        np.errstate(all="ignore"),
        pytest.raises(FloatingPointError, match=r"fit: the loss became (nan|inf) at step"),
    ):
        train(model=models.LeNet(1, 2, 8), schedule=lambda _: 1e30)


def test_progress_bar_shows_epochs(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm", reason="tqdm is not installed")
    train(epochs=2, progress=True)
    shown = capsys.readouterr().err
    assert "epoch 2/2" in shown
    assert "10/10" in shown
    assert "accuracy" in shown


def test_progress_is_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    train(epochs=2, progress=None)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    assert "validation accuracy" in lines[1]


def test_progress_can_be_silent(capsys: pytest.CaptureFixture[str]) -> None:
    train(epochs=1, progress=False)
    assert capsys.readouterr() == ("", "")


def test_missing_tqdm_matters_only_if_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(ImportError, match=r"a progress bar needs tqdm.*pyconv-nn\[train\]"):
        train(epochs=1, progress=True)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    train(epochs=1, progress=None)
    assert capsys.readouterr().err.startswith("epoch 1/1")


def test_predict_returns_logits_in_eval_mode() -> None:
    model = models.LeNetBN(1, 2, 8, channels=(4,), hidden=8)
    whole = predict(model, TRAIN.images, batch_size=1000)
    parts = predict(model, TRAIN.images, batch_size=16)
    assert whole.shape == (70, 2)
    # Batches of another size may be summed in another order inside a dense layer.
    np.testing.assert_allclose(parts, whole, rtol=0, atol=70 * float(np.finfo(np.float32).eps))
    assert predict(model, TRAIN.images[:0]).shape == (0, 2)
    assert not model.training
