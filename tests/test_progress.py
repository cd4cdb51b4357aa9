# SPDX-License-Identifier: BSD-3-Clause
"""What is shown of a training run: a bar, lines, or nothing."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from pyconv.progress import open_progress
from runs import train

METRICS = {"zeros": lambda outputs, targets: float(np.mean(targets == 0))}


def test_progress_bar_shows_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm", reason="tqdm is not installed")
    _, history = train(epochs=2, progress=True, metrics=METRICS)
    shown = capsys.readouterr().err.splitlines()[-1].split("\r")[-1]
    first, last = history.epochs
    # Validation is that of the epoch before, as the last redraw is that of the last batch.
    assert re.fullmatch(
        r"epoch 2/2: 100%\|.+\| 140/140 "
        r"\[\d+:\d+<\d+:\d+, +\d+\.\d+ images/s, "
        rf"loss {last.train_loss:.3f}, accuracy {last.train_accuracy:.3f}, "
        rf"validation {first.validation_accuracy:.3f}, zeros {first.metrics['zeros']:.3f}\]",
        shown,
    )


def test_progress_bar_of_a_resumed_run_starts_where_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tqdm", reason="tqdm is not installed")
    path = tmp_path / "checkpoint.safetensors"
    train(epochs=1, checkpoint=path)
    capsys.readouterr()
    train(epochs=2, checkpoint=path, resume=True, progress=True)
    shown = capsys.readouterr().err
    assert "| 70/140 [" in shown
    assert "| 140/140 [" in shown


def test_progress_is_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    _, history = train(epochs=2, progress=None, metrics=METRICS)
    lines = capsys.readouterr().err.splitlines()
    for line, row in zip(lines, history.epochs, strict=True):
        assert re.fullmatch(
            rf"epoch {row.epoch}/2  \d+\.\d s  [\d,]+ images/s  \d+:\d\d left"
            rf"  train loss {row.train_loss:.4f}  train accuracy {row.train_accuracy:.4f}"
            rf"  validation loss {row.validation_loss:.4f}"
            rf"  validation accuracy {row.validation_accuracy:.4f}"
            rf"  zeros {row.metrics['zeros']:.4f}",
            line,
        )


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ([30.0], "epoch 1/5  30.0 s  2,000 images/s  2:00 left  train loss 0.5000"),
        ([30.0, 32.0], "epoch 2/5  32.0 s  1,875 images/s  1:33 left  train loss 0.5000"),
        ([3000.0], "epoch 1/5  3000.0 s  20 images/s  3:20:00 left  train loss 0.5000"),
    ],
)
def test_lines_tell_the_time_left(
    seconds: list[float], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_progress(None, 5, 60_000) as progress:
        for epoch, duration in enumerate(seconds, 1):
            names = ("train_accuracy", "validation_loss", "validation_accuracy")
            row = dict.fromkeys(names) | {"epoch": epoch, "seconds": duration}
            progress.epoch(row | {"train_loss": 0.5, "metrics": {}})
    assert capsys.readouterr().err.splitlines()[-1] == expected


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
