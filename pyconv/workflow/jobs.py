# SPDX-License-Identifier: BSD-3-Clause
"""The short form: load, split, train a network that is known to do, test, write the results.

A training job is a row of `JOBS`; its results are a folder with
``model.safetensors``, ``report.json``, ``learning_curve.png`` and ``confusion_matrix.png``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pyconv
from pyconv import data, inspection, models, runtime
from pyconv.checkpoint import CheckpointError
from pyconv.data import Dataset
from pyconv.io import atomic_write, write_json
from pyconv.losses import CrossEntropyLoss
from pyconv.optim import AdamW, CosineSchedule
from pyconv.training import History, fit, predict
from pyconv.workflow.classifier import MODEL_FILE, Classifier, save_classifier
from pyconv.workflow.errors import UsageError, check_packages, check_writable, usage_errors
from pyconv.workflow.networks import distort, shift_and_flip
from pyconv.workflow.problem import Data
from pyconv.workflow.sources import SOURCES

CHECKPOINT_FILE = "checkpoint.safetensors"


@dataclass(frozen=True)
class Job:
    """Everything that defines a training run except its seed, length and batch size.

    Attributes
    ----------
    config : dict
        Arguments of `models.LeNetBN` beside those that follow from the data.
    augment : callable
        See `training.fit`.
    epochs, batch_size : int
        Defaults.
    lr : float
        Peak of the cosine schedule of AdamW.
    validation : float
        Share of the training images that is held out to watch the training.

    Examples
    --------
    >>> JOBS["digits"].epochs, JOBS["digits"].config["channels"]
    (40, (32, 64))
    """

    config: Mapping[str, Any]
    augment: Callable[[NDArray[Any], np.random.Generator], NDArray[Any]]
    epochs: int
    batch_size: int
    lr: float
    validation: float


JOBS = {
    "digits": Job(
        config={"channels": (32, 64), "depth": 2, "hidden": 128, "dropout": 0.3},
        augment=distort,
        epochs=40,
        batch_size=32,
        lr=3e-3,
        validation=0.1,
    ),
    "fashion-mnist": Job(
        config={"channels": (16, 32), "hidden": 128, "dropout": 0.25},
        augment=shift_and_flip,
        epochs=10,
        batch_size=128,
        lr=3e-3,
        validation=1 / 12,
    ),
}


def train_job(
    name: str,
    out: Path,
    *,
    data_dir: Path | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    resume: bool = False,
    progress: bool | None = None,
) -> dict[str, Any]:
    """Run a job of `JOBS` and write its results into the folder `out`.

    Parameters
    ----------
    name : str
        One of `JOBS`.
    out : Path
    data_dir : Path, optional
        Of the data that need one.
    epochs, batch_size : int, optional
        Those of the job if omitted.
    seed : int
    resume : bool
        Go on from the checkpoint in `out`.
    progress : bool, optional
        As of `pyconv.training.fit`.

    Returns
    -------
    dict
        What is written to ``report.json``.

    Raises
    ------
    UsageError
        Data, output folder or checkpoint are missing, damaged or not writable, or a package is
        missing. Files of an earlier run in `out` are then as they were.
    TrainingInterrupted
        Ctrl-C; call again with ``resume=True``.

    Examples
    --------
    >>> report = train_job("digits", Path("runs"), epochs=1, progress=False)
    >>> sorted(path.name for path in Path("runs").iterdir())
    ['confusion_matrix.png', 'learning_curve.png', 'model.safetensors', 'report.json']
    """
    job = JOBS[name]
    epochs = job.epochs if epochs is None else epochs
    batch_size = job.batch_size if batch_size is None else batch_size
    rng = np.random.default_rng(seed)
    with usage_errors():
        check_packages()
        source = SOURCES[name].load(data_dir)
        train, test = _train_and_test(source, rng)
        train, validation = data.split(train, job.validation, rng=rng)
        _, C, H, W = train.images.shape
        model = models.LeNetBN(C, len(train.class_names), (H, W), **job.config, rng=rng)
        check_writable(out)
    optimizer = AdamW(model.parameters(), job.lr, weight_decay=1e-2)
    steps = epochs * -(-len(train) // batch_size)
    checkpoint = out / CHECKPOINT_FILE
    run = {"dataset": name, "seed": seed, "epochs": epochs, "batch_size": batch_size}
    try:
        history = fit(
            model,
            CrossEntropyLoss(label_smoothing=0.05),
            optimizer,
            train,
            epochs=epochs,
            batch_size=batch_size,
            rng=rng,
            validation_data=validation,
            augment=job.augment,
            schedule=CosineSchedule(job.lr, steps, warmup=steps // 20),
            checkpoint=checkpoint,
            resume=resume,
            run={key: str(value) for key, value in run.items()},
            progress=progress,
        )
    except CheckpointError as error:
        raise UsageError(str(error)) from error

    # The only look at the test images.
    predictions = predict(model, test.images).argmax(axis=1)
    confusion = inspection.confusion_matrix(test.labels, predictions, len(test.class_names))
    report = run | _report(model, history, len(train), confusion, test.class_names)
    _write_results(out, source.name, model, history, report)
    checkpoint.unlink(missing_ok=True)
    return report


def _train_and_test(source: Data, rng: np.random.Generator) -> tuple[Dataset, Dataset]:
    whole = Dataset(source.inputs, source.targets, tuple(source.class_names))
    if source.test is None:
        return data.split(whole, 0.2, rng=rng)
    return whole, Dataset(*source.test, whole.class_names)


def _report(
    model: models.Model,
    history: History,
    train_images: int,
    confusion: NDArray[np.int64],
    class_names: Sequence[str],
) -> dict[str, Any]:
    seconds = history.seconds
    return {
        "test_accuracy": float(np.trace(confusion) / confusion.sum()),
        "test_images": int(confusion.sum()),
        "train_images": train_images,
        "seconds": round(seconds, 3),
        "samples_per_second": round(train_images * len(history.epochs) / seconds, 1),
        "threads": runtime.get_num_threads(),
        "isa": runtime.get_isa(),
        "version": pyconv.__version__,
        "architecture": type(model).__name__,
        "config": model.config,
        "parameters": sum(parameter.value.size for parameter in model.parameters()),
        "class_names": list(class_names),
        "scores": {key: v.tolist() for key, v in inspection.class_scores(confusion).items()},
        "confusion_matrix": confusion.tolist(),
        "history": history.as_rows(),
    }


def _write_results(
    out: Path, title: str, model: models.Model, history: History, report: Mapping[str, Any]
) -> None:
    """Draw first, then write: nothing is replaced before everything is there."""
    accuracy = report["test_accuracy"]
    headline = f"{title}: {accuracy:.2%} of {report['test_images']:,} test images right"
    curve = inspection.draw_learning_curve(history, title=headline, test_accuracy=accuracy)
    matrix = inspection.draw_confusion_matrix(
        np.array(report["confusion_matrix"]),
        report["class_names"],
        title=headline,
    )
    atomic_write(out / "learning_curve.png", curve)
    atomic_write(out / "confusion_matrix.png", matrix)
    save_classifier(Classifier(model, tuple(report["class_names"])), out / MODEL_FILE)
    write_json(out / "report.json", report)


def report_table(report: Mapping[str, Any]) -> str:
    """Return the scores of every class and the result as text.

    Parameters
    ----------
    report : mapping
        As `train_job` returns it.

    Returns
    -------
    str

    Examples
    --------
    >>> report = train_job("digits", Path("runs"), epochs=1, progress=False)
    >>> print(report_table(report).splitlines()[0])
    class  precision   recall       F1  images
    """
    names, scores = report["class_names"], report["scores"]
    width = max(len("class"), *map(len, names))
    images = np.sum(report["confusion_matrix"], axis=1)
    rule = "-" * (width + 36)
    lines = [f"{'class':<{width}}  precision   recall       F1  images", rule]
    for index, name in enumerate(names):
        numbers = "".join(f"{scores[key][index]:9.4f}" for key in ("precision", "recall", "f1"))
        lines.append(f"{name:<{width}}  {numbers}{images[index]:8d}")
    right = round(report["test_accuracy"] * report["test_images"])
    lines += [
        rule,
        f"test accuracy {report['test_accuracy']:.4f} ({right:,} of {report['test_images']:,})",
        f"{report['epochs']} epochs in {report['seconds']:.1f} s "
        + f"({report['samples_per_second']:,.0f} images/s; threads: {report['threads']}; "
        + f"isa: {report['isa']}; parameters: {report['parameters']:,})",
    ]
    return "\n".join(lines)
