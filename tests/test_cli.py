# SPDX-License-Identifier: BSD-3-Clause
"""The command line: both jobs end to end, one clear line for every mistake, Ctrl-C."""

import gzip
import json
import os
import signal
import struct
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyconv import cli, data, io
from pyconv.workflow import JOBS

for package in ("matplotlib", "safetensors", "sklearn", "tqdm"):
    pytest.importorskip(package, reason=f"{package} is not installed")
PIL_Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")

RESULTS = ["confusion_matrix.png", "learning_curve.png", "model.safetensors", "report.json"]


def contents(folder: Path) -> list[str]:
    """Return the names of all files in a folder, hidden ones too."""
    return sorted(entry.name for entry in folder.iterdir())


def error_line(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    """Run a command that must fail with one line and status 2, and return the line."""
    try:
        status = cli.main(arguments)
    except SystemExit as stop:  # argparse
        status = int(stop.code or 0)
    output = capsys.readouterr()
    assert status == 2
    assert output.out == ""
    assert output.err.endswith("\n")
    assert output.err.count("\n") == 1
    assert output.err.startswith("pyconv: error: ")
    return output.err


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the results of a short training on the digits."""
    out = tmp_path_factory.mktemp("digits") / "new" / "folder"
    assert cli.main(["train", "digits", "--out", str(out), "--epochs", "3", "--seed", "1"]) == 0
    return out


# train


def test_train_digits_writes_its_results(digits: Path) -> None:
    assert contents(digits) == RESULTS
    report = json.loads((digits / "report.json").read_text())
    assert report["dataset"] == "digits"
    assert report["epochs"] == 3
    assert report["seed"] == 1
    assert report["test_images"] == 360
    assert report["test_accuracy"] > 0.9  # far more after all epochs; see the README
    assert report["seconds"] > 0
    assert report["samples_per_second"] > 0
    assert report["threads"] >= 1
    assert report["isa"]
    assert report["version"]
    assert len(report["history"]) == 3
    confusion = np.array(report["confusion_matrix"])
    assert confusion.sum() == 360
    assert np.trace(confusion) / 360 == report["test_accuracy"]
    np.testing.assert_allclose(
        report["scores"]["recall"], np.diag(confusion) / confusion.sum(axis=1)
    )
    for name in ("learning_curve.png", "confusion_matrix.png"):
        with PIL_Image.open(digits / name) as picture:
            assert picture.format == "PNG"
            assert min(picture.size) > 400
            assert len(picture.convert("RGB").getcolors(2**24)) > 50


def test_train_scores_are_those_of_sklearn(digits: Path) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    report = json.loads((digits / "report.json").read_text())
    confusion = np.array(report["confusion_matrix"])
    true, predicted = np.repeat(np.argwhere(confusion >= 0), confusion.ravel(), axis=0).T
    expected = metrics.precision_recall_fscore_support(true, predicted)
    for key, values in zip(("precision", "recall", "f1"), expected, strict=False):
        np.testing.assert_allclose(report["scores"][key], values)


def test_train_shows_progress_and_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["train", "digits", "--out", str(tmp_path), "--epochs", "1"]) == 0
    output = capsys.readouterr()
    assert "epoch 1/1" in output.err
    lines = output.out.splitlines()
    assert lines[0].split() == ["class", "precision", "recall", "F1", "images"]
    assert [line.split()[0] for line in lines[2:12]] == list("0123456789")
    assert any(line.startswith("test accuracy 0.") for line in lines)


def test_train_is_reproducible(digits: Path, tmp_path: Path) -> None:
    assert (
        cli.main(["train", "digits", "--out", str(tmp_path), "--epochs", "3", "--seed", "1"]) == 0
    )
    assert (tmp_path / "model.safetensors").read_bytes() == (
        digits / "model.safetensors"
    ).read_bytes()


def write_fashion(folder: Path, train: int = 240, test: int = 60) -> None:
    """Write four IDX files that look like Fashion-MNIST: bars whose place is the class."""
    rng = np.random.default_rng(0)
    for part, count in (("train", train), ("t10k", test)):
        labels = np.arange(count) % 10
        images = rng.integers(0, 60, (count, 28, 28))
        for image, label in zip(images, labels, strict=True):
            image[4 + 2 * label : 6 + 2 * label] += 180
        for kind, array in (("images", images), ("labels", labels)):
            header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            path = folder / f"{part}-{kind}-idx{array.ndim}-ubyte.gz"
            path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))


def test_train_fashion_mnist_writes_its_results(tmp_path: Path) -> None:
    write_fashion(tmp_path)
    out = tmp_path / "out"
    arguments = ["train", "fashion-mnist", "--data-dir", str(tmp_path), "--out", str(out)]
    assert cli.main([*arguments, "--epochs", "1", "--batch-size", "20", "--threads", "1"]) == 0
    assert contents(out) == RESULTS
    report = json.loads((out / "report.json").read_text())
    assert report["dataset"] == "fashion-mnist"
    assert report["threads"] == 1
    assert report["class_names"][0] == "T-shirt/top"
    assert report["test_images"] == 60


# predict


def test_predict_names_the_class_of_pictures(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = data.load_digits()
    paths, inverted = [], []
    for index in range(20):
        paths.append(str(tmp_path / f"{index}.png"))
        inverted.append(str(tmp_path / f"{index}-inverted.png"))
        PIL_Image.fromarray(images.images[index, 0]).save(paths[-1])
        PIL_Image.fromarray(255 - images.images[index, 0]).resize((64, 64)).save(inverted[-1])
    for arguments in ([str(digits), *paths], [str(digits), "--invert", *inverted]):
        assert cli.main(["predict", *arguments]) == 0
        rows = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert [row[0] for row in rows] == arguments[-20:]
        right = sum(int(row[1]) == label for row, label in zip(rows, images.labels, strict=False))
        assert right >= 18
        assert all(row[2].endswith("%") for row in rows)


def test_predict_refuses_bad_models(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture, model = tmp_path / "digit.png", tmp_path / "model.safetensors"
    PIL_Image.new("L", (8, 8)).save(picture)
    command = ["predict", str(tmp_path), str(picture)]
    assert "model.safetensors: No such file" in error_line(capsys, command)

    content = (digits / "model.safetensors").read_bytes()
    for length in (0, 7, 100, len(content) // 2, len(content) - 1):
        model.write_bytes(content[:length])
        assert "not a valid safetensors file" in error_line(capsys, command)
    model.write_bytes(content[:-1] + b"\0")
    assert "damaged" in error_line(capsys, command)

    tensors, metadata = io.load_safetensors(digits / "model.safetensors")
    config = json.loads(metadata["config"])
    for changed, message in (
        ({"format": "torch"}, "not a classifier"),
        ({"architecture": "os.system"}, "name is unknown, got 'os.system'"),
        ({"config": "__import__('os')"}, "does not describe a classifier"),
        ({"config": json.dumps(config | {"hidden": 10**12})}, "too many weights"),
        ({"config": json.dumps(config | {"hidden": 64})}, "wrong shape"),
        ({"class_names": '["a"]'}, "1 names for 10 classes"),
    ):
        io.save_safetensors(model, tensors, metadata | changed)
        assert message in error_line(capsys, command)
    io.save_safetensors(model, tensors | {"extra": np.zeros(3)}, metadata)
    assert "unknown keys extra" in error_line(capsys, command)


def test_predict_refuses_bad_pictures(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    PIL_Image.new("L", (8, 8)).save(good)
    bad.write_bytes(good.read_bytes()[:40])
    line = error_line(capsys, ["predict", str(digits), str(good), str(bad)])
    assert f"{bad}: cannot be read as a picture" in line
    line = error_line(capsys, ["predict", str(digits), str(tmp_path / "none.png")])
    assert "none.png: No such file or directory" in line
    assert "directory" in error_line(capsys, ["predict", str(digits), str(tmp_path)])


# info


def test_info_describes_the_build(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info"]) == 0
    rows = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines())
    for name in ("version", "compiler", "flags", "isas compiled", "isa", "threads"):
        assert rows[name].strip()


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: COMMAND"),
        (["fly"], "invalid choice: 'fly'"),
        (["train"], "required: dataset, --out"),
        (["train", "cifar", "--out", "OUT"], "invalid choice: 'cifar'"),
        (["train", "digits"], "required: --out"),
        (["train", "digits", "--out", "OUT", "--epochs", "0"], "0 is not at least 1"),
        (["train", "digits", "--out", "OUT", "--epochs", "many"], "'many' is not a whole number"),
        (["train", "digits", "--out", "OUT", "--seed", "-1"], "-1 is negative"),
        (["train", "digits", "--out", "OUT", "--batch-size", "1.5"], "'1.5' is not a whole"),
        (["train", "digits", "--out", "OUT", "--threads", "0"], "0 is not at least 1"),
        (["train", "digits", "--out", "OUT", "--threads", "9999999"], "n is out of range"),
        (["train", "digits", "--out", "OUT", "--fast"], "unrecognized arguments: --fast"),
        (["train", "digits", "--out", "OUT", "--data-dir", "."], "leave out --data-dir"),
        (["train", "digits", "--out", "OUT", "--resume"], "no checkpoint to resume from"),
        (["train", "fashion-mnist", "--out", "OUT"], "needs --data-dir"),
        (["train", "fashion-mnist", "--out", "OUT", "--data-dir", "OUT/x"], "no such folder"),
        (["predict", "OUT"], "required: IMAGE"),
    ],
)
def test_bad_usage_is_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in error_line(capsys, arguments)
    assert not (tmp_path / "OUT").exists() or contents(tmp_path / "OUT") == []


def test_damaged_data_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    command = ["train", "fashion-mnist", "--data-dir", str(tmp_path), "--out", str(out)]
    assert "train-images-idx3-ubyte[.gz]: no such file" in error_line(capsys, command)
    write_fashion(tmp_path)
    for path in sorted(tmp_path.glob("*.gz")):
        content = path.read_bytes()
        for damaged in (content[: len(content) // 2], b"", b"hello", content[:-5] + b"\1" * 5):
            path.write_bytes(damaged)
            assert path.name in error_line(capsys, command)
        path.write_bytes(content)
    assert not out.exists()


@pytest.mark.parametrize("out", ["file", "file/below", "/proc/pyconv"])
def test_unwritable_out_is_one_line(
    out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    line = error_line(capsys, ["train", "digits", "--out", str(tmp_path / out)])
    assert str(Path(out).name) in line
    assert contents(tmp_path) == ["file"]


@pytest.mark.parametrize("package", ["matplotlib", "safetensors", "sklearn", "tqdm"])
def test_missing_package_is_one_line(
    package: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in list(sys.modules):
        if name.partition(".")[0] == package:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    line = error_line(capsys, ["train", "digits", "--out", str(tmp_path / "out")])
    assert "pyconv-nn[train]" in line
    assert not (tmp_path / "out").exists()


def test_full_disk_is_one_line_and_keeps_old_results(
    digits: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in RESULTS:
        (tmp_path / name).write_bytes((digits / name).read_bytes())

    def no_space(descriptor: int) -> None:
        del descriptor
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    command = ["train", "digits", "--out", str(tmp_path), "--epochs", "1"]
    assert "No space left on device" in error_line(capsys, command)
    assert contents(tmp_path) == RESULTS
    for name in RESULTS:
        assert (tmp_path / name).read_bytes() == (digits / name).read_bytes()


# Ctrl-C


def test_interrupted_training_resumes_to_the_same_model(
    digits: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = ["train", "digits", "--out", str(tmp_path), "--epochs", "3", "--seed", "1"]
    job, calls = JOBS["digits"], iter(range(10**6))

    def interrupt(images: Any, rng: np.random.Generator) -> Any:
        if next(calls) == 60:
            raise KeyboardInterrupt
        return job.augment(images, rng)

    monkeypatch.setitem(JOBS, "digits", replace(job, augment=interrupt))
    assert cli.main(command) == 130
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == (
        "pyconv: interrupted after epoch 1; continue with: "
        f"pyconv train digits --out {tmp_path} --epochs 3 --seed 1 --resume"
    )
    assert contents(tmp_path) == ["checkpoint.safetensors"]

    monkeypatch.setitem(JOBS, "digits", job)
    other = [*command[:-1], "2", "--resume"]
    assert "it was made with seed=1, not 2" in error_line(capsys, other)
    assert cli.main([*command, "--resume"]) == 0
    assert contents(tmp_path) == RESULTS
    assert (tmp_path / "model.safetensors").read_bytes() == (
        digits / "model.safetensors"
    ).read_bytes()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send to one process")
def test_sigint_stops_the_command_with_status_130(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pyconv", "train", "digits", "--out", str(tmp_path)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=tmp_path.parent)
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "checkpoint.safetensors").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert out == ""
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("pyconv: interrupted after epoch ")
    assert contents(tmp_path) == ["checkpoint.safetensors"]


def test_import_of_the_command_line_is_light(tmp_path: Path) -> None:
    code = (
        "import sys, pyconv.cli; "
        "print([m for m in ('matplotlib', 'sklearn', 'tqdm', 'safetensors', 'PIL') "
        "if m in sys.modules])"
    )
    # From elsewhere, so that the installed package is imported and not the source tree.
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert run.stdout == "[]\n"
