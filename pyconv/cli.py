# SPDX-License-Identifier: BSD-3-Clause
"""The command ``pyconv``: train, predict, run, info.

Whatever the user can put right is one line on stderr and exit status 2; Ctrl-C is status 130.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

import pyconv
from pyconv import data, runtime, workflow
from pyconv.io import atomic_write
from pyconv.training import TrainingInterrupted
from pyconv.workflow import JOBS, SOURCES, UsageError, WorkflowInterrupted, usage_errors

__all__ = ["main"]

_FULL_OPTIONS = ("problem", "measure", "protocol", "folds", "repeats", "trials")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status.

    Parameters
    ----------
    argv : sequence of str, optional
        Those of the process if omitted.

    Returns
    -------
    int
        0, 2 for a mistake in the arguments or files, 130 after Ctrl-C.

    Examples
    --------
    >>> main(["predict", "nowhere", "picture.png"])
    2
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except UsageError as error:
        print(f"pyconv: error: {error}", file=sys.stderr)
        return 2
    except TrainingInterrupted as interrupted:
        return _interrupted(f"after epoch {len(interrupted.history.epochs)}", argv)
    except WorkflowInterrupted as interrupted:
        return _interrupted(f"in step {interrupted.step}", argv)
    except OSError as error:  # the disk filled up, or went away, under a running job
        print(f"pyconv: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("pyconv: interrupted", file=sys.stderr)
        return 130
    return 0


def _interrupted(where: str, argv: Sequence[str]) -> int:
    """Say how to go on, and return the exit status of Ctrl-C."""
    again = argv if "--resume" in argv else [*argv, "--resume"]
    command = shlex.join(["pyconv", *again])
    print(f"pyconv: interrupted {where}; continue with: {command}", file=sys.stderr)
    return 130


def _train(arguments: argparse.Namespace) -> None:
    source = SOURCES[arguments.dataset]
    if source.needs_data_dir and arguments.data_dir is None:
        raise UsageError(f"train {arguments.dataset} needs --data-dir, the folder of its files")
    if not source.needs_data_dir and arguments.data_dir is not None:
        raise UsageError(f"train {arguments.dataset} reads no files; leave out --data-dir")
    asked = {name: getattr(arguments, name) for name in _FULL_OPTIONS}
    asked = {name: value for name, value in asked.items() if value is not None}
    if not arguments.full and arguments.dataset not in JOBS:
        raise UsageError(f"train {arguments.dataset} has no short form; add --full")
    if not arguments.full and asked:
        raise UsageError(f"--{next(iter(asked))} is an option of the eight steps; add --full")
    with contextlib.ExitStack() as stack:
        if arguments.threads is not None:
            with usage_errors():
                stack.enter_context(runtime.num_threads(arguments.threads))
        if arguments.full:
            _train_full(arguments, asked)
            return
        report = workflow.train_job(
            arguments.dataset,
            arguments.out,
            data_dir=arguments.data_dir,
            epochs=arguments.epochs,
            batch_size=arguments.batch_size,
            seed=arguments.seed,
            resume=arguments.resume,
            progress=True,
        )
    print(workflow.report_table(report))
    print(f"model, report and pictures are in {arguments.out}")


def _train_full(arguments: argparse.Namespace, asked: dict[str, Any]) -> None:
    source = SOURCES[arguments.dataset]
    with usage_errors():
        options = workflow.Options(
            epochs=arguments.epochs or source.epochs,
            batch_size=arguments.batch_size or source.batch_size,
            seed=arguments.seed,
            **asked,
        )
        report = workflow.run_workflow(
            source.load(arguments.data_dir),
            arguments.out,
            options,
            resume=arguments.resume,
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )
    print(workflow.summary(report))
    print(f"model and report are in {arguments.out}; see {arguments.out / 'report.html'}")


def _predict(arguments: argparse.Namespace) -> None:
    with usage_errors():
        classifier = workflow.load_classifier(arguments.model / workflow.MODEL_FILE)
        config = classifier.model.config
        H, W = config["image_size"]
        images = np.stack(
            [
                data.load_image(path, (H, W), channels=config["in_channels"])
                for path in arguments.images
            ]
        )
    if arguments.invert:
        images = 255 - images
    width = max(len(str(path)) for path in arguments.images)
    for path, row in zip(arguments.images, classifier.probabilities(images), strict=True):
        best = int(row.argmax())
        print(f"{path!s:<{width}}  {classifier.class_names[best]}  {row[best]:.1%}")


def _run(arguments: argparse.Namespace) -> None:
    with usage_errors():
        backend = importlib.import_module("pyconv.backends.onnx")
        rep = backend.prepare_file(arguments.model)
        inputs = [_load_array(path) for path in arguments.input]
    if arguments.output and len(arguments.output) != len(rep.output_names):
        raise UsageError(
            f"--output has {len(arguments.output)} files for {len(rep.output_names)} outputs "
            f"({', '.join(rep.output_names)})"
        )
    try:
        outputs = rep.run(inputs)
    except Exception as error:  # operators of a foreign model can fail in any way
        raise UsageError(f"{arguments.model}: {' '.join(str(error).split())}") from error
    for path, output in zip(arguments.output or [], outputs, strict=False):
        content = io.BytesIO()
        np.save(content, output, allow_pickle=False)
        atomic_write(path, content.getvalue())
    for name, output in zip(rep.output_names, outputs, strict=True):
        array = np.asarray(output)
        span = f"  {array.min():.6g} to {array.max():.6g}" if array.size else ""
        print(f"{name}  {array.dtype} {array.shape}{span}")


def _load_array(path: Path) -> NDArray[Any]:
    """Read a .npy file."""
    with path.open("rb") as file:
        try:
            array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        except ValueError as error:
            raise ValueError(f"{path}: not a .npy file of numbers ({error})") from None
    return array


def _info(_: argparse.Namespace) -> None:
    rows = {
        **runtime.build_info(),
        "isas_available": runtime.available_isas(),
        "isa": runtime.get_isa(),
        "threads": runtime.get_num_threads(),
        "numpy": np.__version__,
        "python": sys.version.split()[0],
    }
    width = max(map(len, rows))
    for name, value in rows.items():
        text = " ".join(map(str, value)) if isinstance(value, list | tuple) else value
        print(f"{name.replace('_', ' '):<{width}}  {text}")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line, without the usage that argparse would print first."""
        self.exit(2, f"pyconv: error: {' '.join(message.split())} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="pyconv", description="Convolutional networks for NumPy.")
    parser.add_argument("--version", action="version", version=f"pyconv {pyconv.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    train = commands.add_parser("train", help="train a network and write model, report, pictures")
    train.add_argument("dataset", choices=list(SOURCES))
    train.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for results")
    train.add_argument("--data-dir", type=Path, metavar="DIR", help="folder of the dataset's files")
    train.add_argument("--epochs", type=_positive, metavar="N", help="passes over the data")
    train.add_argument("--batch-size", type=_positive, metavar="N", help="images in a step")
    train.add_argument("--seed", type=_not_negative, default=0, metavar="S", help="default 0")
    train.add_argument("--threads", type=_positive, metavar="N", help="default: all cores")
    train.add_argument("--resume", action="store_true", help="continue an interrupted run")
    full = train.add_argument_group("the workflow in eight steps, from data sheet to tested model")
    full.add_argument("--full", action="store_true", help="all eight; tables know no other way")
    full.add_argument("--problem", choices=workflow.KINDS, help="default: inferred from the data")
    full.add_argument("--measure", metavar="NAME", help="accuracy, f1, mae, a scikit-learn scorer")
    full.add_argument("--protocol", choices=workflow.PROTOCOLS, help="default holdout")
    full.add_argument("--folds", type=_positive, metavar="K", help="default 5")
    full.add_argument("--repeats", type=_positive, metavar="N", help="of iterated-kfold; default 2")
    full.add_argument("--trials", type=_positive, metavar="N", help="settings to try; default 10")
    train.set_defaults(run=_train)

    predict = commands.add_parser("predict", help="classify pictures with a trained network")
    predict.add_argument("model", type=Path, metavar="DIR", help="the --out folder of a training")
    predict.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="PNG, JPEG, ...")
    predict.add_argument(
        "--invert", action="store_true", help="for dark drawings on white, unlike the training data"
    )
    predict.set_defaults(run=_predict)

    run = commands.add_parser("run", help="run an ONNX model on arrays")
    run.add_argument("model", type=Path, metavar="MODEL", help="an .onnx file")
    run.add_argument(
        "--input", type=Path, nargs="+", required=True, metavar="FILE", help=".npy, one an input"
    )
    run.add_argument("--output", type=Path, nargs="+", metavar="FILE", help=".npy, one an output")
    run.set_defaults(run=_run)

    info = commands.add_parser("info", help="version, compiler, instruction sets, threads")
    info.set_defaults(run=_info)
    return parser


def _positive(text: str) -> int:
    value = _integer(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value


def _not_negative(text: str) -> int:
    value = _integer(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is negative")
    return value


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
