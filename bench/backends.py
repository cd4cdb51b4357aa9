# SPDX-License-Identifier: BSD-3-Clause
"""Time other frameworks with and without pyconv underneath, on the same arrays.

``python -m bench.backends --host onnx --host torch --threads 1,2``

Each host and number of threads is a process of its own, restricted to as many processors: some hosts
take all that they see, and have no other setting. Answers are compared before anything is timed.

- onnx: networks that come with ONNX and three exports of `pyconv.models`, run by pyconv's backend, by
  onnxruntime at its highest level, and by ONNX's reference implementation.
- torch: a training step of ResNet-18 on 32 CIFAR images, in both memory formats and on pyconv.
- keras: convolutions and pools of Keras's NumPy backend, which are jax's or pyconv's.
- autograd: value and gradients of a convolution, by autograd's own `convolve` and by pyconv.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

import pyconv
from bench import machine
from bench.network_peers import onnxruntime_inference, torch_formats, torch_module
from bench.networks import torch_step, training_case
from bench.options import positive_integers
from bench.timing import Timing, interleave, settle
from pyconv import models

Array: TypeAlias = NDArray[Any]
Call: TypeAlias = Callable[[], Any]

# float32 through as many layers as a ResNet-50 has, of the largest value.
TOLERANCE = 1e-3
EXPORTS: dict[str, Callable[..., pyconv.Layer]] = {
    "vgg16": models.VGG16,
    "resnet50": models.ResNet50,
    "mobilenet_v2": models.MobileNetV2,
}


@dataclass(frozen=True)
class Case:
    """What is timed: the first subject is pyconv."""

    name: str
    calls: dict[str, Call]
    answers: Mapping[str, Callable[[], Sequence[Array]]]  # of the same subjects, to be compared

    def without(self, subjects: Sequence[str]) -> Case:
        """Return the case with some subjects left out."""
        kept = [subject for subject in self.calls if subject not in subjects]
        return Case(
            self.name,
            {subject: self.calls[subject] for subject in kept},
            {subject: self.answers[subject] for subject in kept},
        )

    def wrong(self) -> dict[str, str]:
        """Return whose answer differs from pyconv's, and by how much."""
        ours, *others = self.answers.items()
        expected = ours[1]()
        found = {}
        for subject, answer in others:
            error = max(_error(*pair) for pair in zip(answer(), expected, strict=True))
            if not error <= TOLERANCE:
                found[subject] = f"differs by {error:.1e} of the largest value"
        return found


def _error(got: Array, expected: Array) -> float:
    return float(np.abs(got - expected).max() / np.abs(expected).max())


def _infer(name: str, calls: Mapping[str, Callable[[], Array]]) -> Case:
    answers = {subject: partial(_alone, call) for subject, call in calls.items()}
    return Case(name, dict(calls), answers)


def _alone(call: Callable[[], Array]) -> list[Array]:
    return [call()]


def _first(run: Callable[..., Sequence[Array]], *arguments: Any) -> Array:
    return run(*arguments)[0]


# Hosts -------------------------------------------------------------------------------------------


def onnx_cases(threads: int, text: str) -> Iterator[Case]:
    """Images of 224 x 224, one at a time."""
    onnx: Any = importlib.import_module("onnx")
    reference: Any = importlib.import_module("onnx.reference")
    loader: Any = importlib.import_module("onnx.backend.test.loader")
    backend = importlib.import_module("pyconv.backends.onnx")
    x = np.random.default_rng(0).standard_normal((1, 3, 224, 224), np.float32)

    def export(make: Callable[..., pyconv.Layer]) -> Any:
        return backend.convert(make(rng=np.random.default_rng(1)).eval(), x.shape)

    light = sorted(Path(loader.DATA_DIR, "light").glob("*.onnx"))
    makers: dict[str, Callable[[], Any]] = {path.stem: partial(onnx.load, path) for path in light}
    makers |= {name: partial(export, make) for name, make in EXPORTS.items()}
    for name, make in makers.items():
        if text not in name:
            continue
        model = make()
        rep, evaluator = backend.prepare(model), reference.ReferenceEvaluator(model)
        weights = {initializer.name for initializer in model.graph.initializer}
        [input_name] = [input.name for input in model.graph.input if input.name not in weights]
        feed = {input_name: x}
        calls: dict[str, Callable[[], Array]] = {
            "pyconv": partial(_first, rep.run, [x]),
            **dict(onnxruntime_inference(model.SerializeToString(), x, threads)),
            "onnx reference": partial(_first, evaluator.run, None, feed),
        }
        yield _infer(name, calls)


def torch_cases(threads: int, text: str) -> Iterator[Case]:
    """Training steps, of the same weights; gradients are compared in float64."""
    if text not in "resnet18_cifar":
        return
    torch: Any = importlib.import_module("torch")
    backend: Any = importlib.import_module("pyconv.backends.torch")
    torch.set_num_threads(threads)

    def subjects(dtype: Any) -> Iterator[tuple[str, Any, Any, Array]]:
        model, x, labels = training_case("resnet18_cifar", dtype)
        module = torch_module(torch, model)
        backed = copy.deepcopy(module)
        backend.replace_layers(backed)
        yield "pyconv", backed, torch.from_numpy(x), labels
        for name, network, tensor in torch_formats(torch, module, x):
            yield name, network, tensor, labels

    def gradients(network: Any, x: Any, labels: Array) -> list[Array]:
        torch.nn.functional.cross_entropy(network(x), torch.from_numpy(labels)).backward()
        return [np.concatenate([p.grad.numpy().ravel() for p in network.parameters()])]

    yield Case(
        "resnet18_cifar",
        {name: torch_step(torch, *rest) for name, *rest in subjects(np.float32)},
        {name: partial(gradients, *rest) for name, *rest in subjects(np.float64)},
    )


def keras_cases(threads: int, text: str) -> Iterator[Case]:
    """Images (N, H, W, C), as Keras has them. The NumPy backend of Keras 3 fails on sizes of pools that are one int."""
    os.environ["KERAS_BACKEND"] = "numpy"
    backend: Any = importlib.import_module("pyconv.backends.keras")
    ops: Any = importlib.import_module("keras.ops")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((16, 56, 56, 64), np.float32)
    dense = rng.standard_normal((3, 3, 64, 64), np.float32)
    depthwise = rng.standard_normal((3, 3, 64, 1), np.float32)
    works: dict[str, Callable[[], Any]] = {
        "conv_3x3": lambda: ops.conv(x, dense, padding="same"),
        "conv_1x1": lambda: ops.conv(x, dense[:1, :1]),
        "depthwise_3x3": lambda: ops.depthwise_conv(x, depthwise, padding="same"),
        "max_pool": lambda: ops.max_pool(x, (2, 2), strides=(2, 2)),
        "average_pool": lambda: ops.average_pool(x, (3, 3), strides=(2, 2), padding="same"),
    }

    def backed(work: Callable[[], Any]) -> Array:
        with backend.enabled():
            return np.asarray(work())

    for name, work in works.items():
        if text in name:
            ours, theirs = partial(backed, work), lambda work=work: np.asarray(work())
            yield _infer(name, {"pyconv": ours, "keras": theirs})


def autograd_cases(threads: int, text: str) -> Iterator[Case]:
    """Differentiate the sum of squares of a convolution by both its arguments."""
    autograd: Any = importlib.import_module("autograd")
    anp: Any = importlib.import_module("autograd.numpy")
    signal: Any = importlib.import_module("autograd.scipy.signal")
    F: Any = importlib.import_module("pyconv.backends.autograd")
    shapes = {
        "lenet_conv2": ((32, 6, 14, 14), (16, 6, 5, 5)),
        "cifar_3x3": ((8, 32, 16, 16), (32, 32, 3, 3)),
    }

    def by_autograd(x: Any, weight: Any) -> Any:
        # A convolution in the sense of mathematics: the kernel is turned round.
        turned = weight[:, :, ::-1, ::-1]
        planes = {"axes": ([2, 3], [2, 3]), "dot_axes": ([1], [1])}
        return anp.sum(signal.convolve(x, turned, mode="valid", **planes) ** 2)

    def by_pyconv(x: Any, weight: Any) -> Any:
        return anp.sum(F.conv2d(x, weight) ** 2)

    for name, (image, kernel) in shapes.items():
        if text not in name:
            continue
        rng = np.random.default_rng(0)
        arrays = rng.standard_normal(image), rng.standard_normal(kernel)
        gradients = {
            "pyconv": partial(autograd.grad(by_pyconv, (0, 1)), *arrays),
            "autograd": partial(autograd.grad(by_autograd, (0, 1)), *arrays),
        }
        yield Case(name, dict(gradients), gradients)


HOSTS: dict[str, Callable[[int, str], Iterator[Case]]] = {
    "onnx": onnx_cases,
    "torch": torch_cases,
    "keras": keras_cases,
    "autograd": autograd_cases,
}


# The command -------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; 1 if answers differ or a host is missing."""
    options = _parser().parse_args(arguments)
    if options.child:
        return _time_host(options.host[0], options.threads[0], options)
    facts = machine.describe()
    print(f"{facts['cpu']}, commit {facts['commit'][:12]}", flush=True)
    failed = 0
    rest = ["--filter", options.filter, "--seconds", str(options.seconds)]
    rest += [word for subject in options.without for word in ("--without", subject)]
    rest += ["--json", str(options.json)] if options.json is not None else []
    for host in options.host or HOSTS:
        for threads in options.threads:
            chosen = ["--host", host, "--threads", str(threads), "--child"]
            command = [sys.executable, "-m", "bench.backends", *chosen, *rest]
            failed |= subprocess.run(command, check=False).returncode != 0
    return int(failed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Time frameworks with and without pyconv.")
    parser.add_argument("--host", choices=HOSTS, action="append", help="may be repeated")
    parser.add_argument("--threads", type=positive_integers, default=[1], metavar="N[,N]")
    parser.add_argument("--filter", default="", metavar="TEXT", help="part of a case's name")
    parser.add_argument(
        "--without", default=[], action="append", metavar="SUBJECT", help="a peer to leave out"
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="of timed calls, each subject")
    parser.add_argument("--json", type=Path, help="a file that rows are added to")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser


def _time_host(host: str, threads: int, options: argparse.Namespace) -> int:
    """Time one host in this process; its libraries are not imported yet."""
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) < threads:
        print(f"{host} {threads} threads: only {len(processors)} processors")
        return 1
    os.sched_setaffinity(0, processors[:threads])
    pyconv.set_num_threads(threads)
    differ = False
    try:
        for case in HOSTS[host](threads, options.filter):
            chosen = case.without(options.without)
            wrong = chosen.wrong()
            differ = differ or bool(wrong)
            calls = {name: call for name, call in chosen.calls.items() if name not in wrong}
            settle()
            timings = interleave(calls, seconds=options.seconds, settled=threads == 1)
            _report(host, case.name, threads, timings, wrong, options.json)
    except ImportError as error:
        print(f"{host}: {error}")
        return 1
    return int(differ)


def _report(
    host: str,
    name: str,
    threads: int,
    timings: dict[str, Timing],
    wrong: dict[str, str],
    path: Path | None,
) -> None:
    ours = timings["pyconv"].median
    parts = [
        f"{subject} {timing.median * 1e3:.2f} ms (+-{timing.spread:.0%})"
        + (f" {timing.median / ours:.2f}x" if subject != "pyconv" else "")
        for subject, timing in timings.items()
    ]
    parts += [f"{subject} {problem}" for subject, problem in wrong.items()]
    print(f"{host} {name} {threads}T: " + ", ".join(parts), flush=True)
    if path is not None:
        rows = json.loads(path.read_text()) if path.exists() else []
        rows.append(
            {
                "host": host,
                "case": name,
                "threads": threads,
                "medians": {subject: timing.median for subject, timing in timings.items()},
                "spreads": {subject: timing.spread for subject, timing in timings.items()},
                "wrong": wrong,
                "machine": machine.describe(),
            }
        )
        path.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
