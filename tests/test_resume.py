# SPDX-License-Identifier: BSD-3-Clause
"""Checkpoints: a run that was interrupted and resumed ends with the same bits."""

import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyconv import data, models
from pyconv.checkpoint import CheckpointError
from pyconv.io import load_safetensors, save_safetensors
from pyconv.layers import Layer
from pyconv.losses import CrossEntropyLoss
from pyconv.optim import (
    SGD,
    Adam,
    AdamW,
    CosineSchedule,
    OneCycleSchedule,
    Optimizer,
    PlateauSchedule,
    RMSprop,
    StepSchedule,
)
from pyconv.training import Callback, Context, History, TrainingInterrupted, fit
from runs import TRAIN, assert_same_run, train


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


def test_resumed_training_with_mixup_ends_with_the_same_bits(tmp_path: Path) -> None:
    def mix(images: Any, labels: Any, rng: np.random.Generator) -> Any:
        return data.mixup(images, labels, classes=2, rng=rng)

    path = tmp_path / "checkpoint.safetensors"
    whole = train(mix=mix)
    assert [row.train_accuracy for row in whole[1].epochs] == [None] * 4
    assert whole[1].epochs[-1].validation_accuracy == 1.0
    with pytest.raises(TrainingInterrupted):
        train(mix=mix, checkpoint=path, augment=Interrupt(12))
    assert_same_run(whole, train(seed=9, mix=mix, checkpoint=path, resume=True))


OPTIMIZERS: dict[str, Callable[[Layer], Optimizer]] = {
    "sgd": lambda model: SGD(model.parameters(), 0.02, 0.9, nesterov=True, weight_decay=1e-3),
    "adam": lambda model: Adam(model.parameters(), 0.02, l1=1e-4),
    "adamw": lambda model: AdamW(model.parameters(), 0.02),
    "rmsprop": lambda model: RMSprop(model.parameters(), 0.01, momentum=0.5, centered=True),
}
SCHEDULES: dict[str, Callable[[], Callable[[int], float] | None]] = {
    "none": lambda: None,
    "function": lambda: lambda step: 0.01 / (1 + step),
    "cosine": lambda: CosineSchedule(0.02, 20, warmup=3),
    "one_cycle": lambda: OneCycleSchedule(0.02, 20),
    # Every epoch is without the improvement that this asks for: a state that changes every time.
    "plateau": lambda: PlateauSchedule(0.02, 0.7, patience=0, threshold=1.0),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_every_optimizer_and_schedule_resumes_to_the_same_bits(
    tmp_path: Path,
    optimizer: Callable[[Layer], Optimizer],
    schedule: Callable[[], Any],
    ema_decay: float | None,
) -> None:
    """In the middle of the third epoch, with dropout, batch norm, augmentation and a patience."""
    options: dict[str, Any] = {
        "optimizer": optimizer,
        "ema_decay": ema_decay,
        "patience": 3,
        "max_grad_norm": 2.0,
    }
    whole = train(schedule=schedule(), **options)
    options["checkpoint"] = tmp_path / "checkpoint.safetensors"
    with pytest.raises(TrainingInterrupted):
        train(schedule=schedule(), augment=Interrupt(12), **options)
    assert_same_run(whole, train(seed=9, schedule=schedule(), resume=True, **options))
    rates = {row.lr for row in whole[1].epochs}
    assert len(rates) == (1 if schedule() is None else 4)


def test_the_same_objects_resume_after_an_interruption(tmp_path: Path) -> None:
    """As in a notebook: the model, the optimizer and the generator have gone on meanwhile."""
    model, rng = models.LeNetBN(1, 2, 8, rng=np.random.default_rng(5)), np.random.default_rng(6)
    optimizer, schedule = Adam(model.parameters(), 0.02), PlateauSchedule(0.02, patience=0)
    checkpoint = tmp_path / "checkpoint.safetensors"

    def go_on(augment: Any, resume: bool) -> tuple[Layer, History]:
        return model, fit(
            model,
            CrossEntropyLoss(),
            optimizer,
            TRAIN,
            epochs=3,
            batch_size=16,
            rng=rng,
            augment=augment,
            schedule=schedule,
            ema_decay=0.9,
            checkpoint=checkpoint,
            resume=resume,
            progress=False,
        )

    with pytest.raises(TrainingInterrupted):
        go_on(Interrupt(7), resume=False)
    once = checkpoint.read_bytes()
    first = go_on(Interrupt(100), resume=True)
    expected = {name: array.copy() for name, array in model.state_dict().items()}
    checkpoint.write_bytes(once)
    second = go_on(Interrupt(100), resume=True)
    assert_same_run(first, second)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, expected[name])


KILLED = """
    import os, signal, sys
    sys.path.insert(0, {tests!r})
    from pyconv import data
    from runs import train

    moment, count = {moment!r}, {count}

    def kill_at(name, call):
        def counted(*arguments, **options):
            global count
            if moment == name:
                count -= 1
                if count == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **options)
        return counted

    os.fsync = kill_at("fsync", os.fsync)
    shift = kill_at("batch", lambda images, rng: data.random_shift(images, 1, rng=rng))
    train(augment=shift, checkpoint={path!r}, ema_decay=0.9)
"""


# A checkpoint syncs its file and then, when that has its name, the folder.
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
@pytest.mark.parametrize(
    ("moment", "count", "done"),
    [("batch", 13, 2), ("fsync", 5, 1), ("fsync", 6, 2)],
    ids=["in_a_batch", "before_the_rename", "after_the_rename"],
)
def test_killed_training_resumes_to_the_same_bits(
    tmp_path: Path, moment: str, count: int, done: int
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    script = KILLED.format(
        tests=os.fspath(Path(__file__).parent), moment=moment, count=count, path=os.fspath(path)
    )
    killed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=tmp_path,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    seen: list[int] = []

    class Count(Callback):
        def on_epoch_start(self, context: Context) -> None:
            seen.append(context.epoch)

    resumed = train(seed=9, checkpoint=path, ema_decay=0.9, resume=True, callbacks=[Count()])
    assert seen == list(range(done + 1, 5))
    assert_same_run(train(ema_decay=0.9), resumed)


def test_a_run_that_a_callback_stopped_stays_stopped(tmp_path: Path) -> None:
    class Stop(Callback):
        def on_epoch_end(self, context: Context) -> bool:
            return context.epoch == 2

    path = tmp_path / "checkpoint.safetensors"
    whole = train(checkpoint=path, callbacks=[Stop()])
    resumed = train(seed=4, checkpoint=path, resume=True)
    assert resumed[1].stopped_early
    assert_same_run(whole, resumed)


COSINE = "CosineSchedule(peak=0.02, steps=20, warmup=3, final=0.0)"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            {"optimizer": lambda model: AdamW(model.parameters(), 0.02)},
            "fit.optimizer=Adam, not AdamW",
        ),
        (
            {"schedule": StepSchedule(0.02, 5)},
            f"fit.schedule={COSINE}, not StepSchedule(lr=0.02, step_size=5, gamma=0.1)",
        ),
        (
            {"schedule": CosineSchedule(0.02, 40, warmup=3)},
            f"fit.schedule={COSINE}, not {COSINE.replace('20', '40')}",
        ),
        ({"schedule": None}, "fit.schedule=CosineSchedule"),
        ({"ema_decay": 0.9}, "fit.ema_decay=None, not 0.9"),
        ({"patience": 2}, "fit.patience=None, not 2"),
        ({"max_grad_norm": 1.0}, "fit.max_grad_norm=None, not 1.0"),
        ({"batch_size": 8}, "fit.batch_size=16, not 8"),
    ],
)
def test_checkpoint_refuses_other_arguments(
    tmp_path: Path, option: dict[str, Any], message: str
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    train(epochs=1, checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match=re.escape(f"it was made with {message}")):
        train(checkpoint=path, resume=True, **option)
    assert path.read_bytes() == before


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
    save_safetensors(path, tensors, metadata)
    for history in ('[{"year": 1}]', '{"epochs": [{"year": 1}], "stopped_early": false}', "{}"):
        save_safetensors(path, tensors, metadata | {"history": history})
        with pytest.raises(CheckpointError, match="has a damaged history"):
            train(checkpoint=path, resume=True)
    for damaged in (
        {name: array for name, array in tensors.items() if name != "average.steps"},
        tensors | {"average.average.0.weight": np.zeros(3, np.float32)},
        tensors | {"other.steps": np.zeros(3)},
    ):
        save_safetensors(path, damaged, metadata)
        with pytest.raises(CheckpointError, match="cannot resume from it"):
            train(checkpoint=path, resume=True, ema_decay=0.9)
    for key, value in (("rng", "{}"), ("history", "no json"), ("run", "[1]")):
        save_safetensors(path, tensors, metadata | {key: value})
        with pytest.raises(CheckpointError, match="cannot resume from it"):
            train(checkpoint=path, resume=True)
