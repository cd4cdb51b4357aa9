# SPDX-License-Identifier: BSD-3-Clause
"""Time whole networks, training steps and inference, beside every installed peer on the same weights.

``python -m bench.networks --task train --threads 1,2`` and ``--task inference --batch 1,32``

Outputs, and in training the gradients (in float64), are compared with pyconv's before anything is timed. A
training step is forward, cross entropy, backward and SGD with momentum. torch runs eagerly in both
memory formats and, with ``--compile``, through torch.compile too; onnxruntime and OpenVINO get the model as
an ONNX file, ncnn a single image. ``--memory`` reports the peak memory of a training process instead, each in a process
of its own.
"""

from __future__ import annotations

import argparse
import importlib
import json
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

import pyconv
from bench import machine
from bench.network_peers import inference_peers, torch_formats, torch_module
from bench.options import positive_integers
from bench.plot import COLOURS
from bench.timing import Timing, interleave, settle
from pyconv import models
from pyconv.layers import Layer
from pyconv.losses import CrossEntropyLoss
from pyconv.optim import SGD

Array: TypeAlias = NDArray[Any]
Step: TypeAlias = Callable[[], object]

# Networks that are trained: how to make one, and a batch (N, C, H, W).
TRAINING: dict[str, tuple[Callable[..., Layer], tuple[int, ...]]] = {
    "lenet": (partial(models.LeNet, 1, 10, 28), (64, 1, 28, 28)),
    "vgg_cifar": (
        partial(models.ConvNet, 3, 10, 32, channels=(64, 128, 256), depth=2, hidden=(512,)),
        (32, 3, 32, 32),
    ),
    "resnet18_cifar": (partial(models.ResNet18, 3, 10, stem="cifar"), (32, 3, 32, 32)),
    "mobilenet_v1": (partial(models.MobileNetV1, 3, 1000, 128), (8, 3, 128, 128)),
    "googlenet": (partial(models.GoogLeNet, 3, 1000, 96), (8, 3, 96, 96)),
}
INFERENCE: dict[str, Callable[..., Layer]] = {
    "resnet18": models.ResNet18,
    "resnet50": models.ResNet50,
    "vgg16": models.VGG16,
    "mobilenet_v1": models.MobileNetV1,
    "mobilenet_v2": models.MobileNetV2,
    "squeezenet": models.SqueezeNet,
}
LR, MOMENTUM = 1e-3, 0.9
TOLERANCE = 1e-3  # of the largest output: float32, and as many layers as a ResNet-50 has


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; 1 if a peer disagrees."""
    options = _parser().parse_args(arguments)
    if options.child is not None:
        return _child(options.child, options.filter, options.threads[0])
    print(f"{machine.describe()['cpu']}, commit {machine.describe()['commit'][:12]}")
    if options.memory:
        return _memory(options.filter, options.threads[0])
    rows: list[dict[str, Any]] = []
    for threads in options.threads:
        pyconv.set_num_threads(threads)
        for task in options.task or ("train", "inference"):
            for name, batch in _chosen(task, options):
                make = _train if task == "train" else _inference
                steps, wrong = make(name, batch, threads, options)
                settle()
                timings = interleave(steps, seconds=options.seconds, settled=threads == 1)
                rows.append(_row(task, name, batch, threads, timings, wrong))
                print(_line(rows[-1]), flush=True)
                if options.json is not None:
                    options.json.write_text(json.dumps(rows, indent=1) + "\n")
    _summarise(rows)
    if options.plot is not None:
        _plot(options.plot, rows)
    return 1 if any(row["wrong"] for row in rows) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Time whole networks beside other libraries.")
    parser.add_argument("--task", choices=("train", "inference"), action="append")
    parser.add_argument(
        "--filter", default="", metavar="TEXT", help="beginning of a network's name"
    )
    parser.add_argument("--batch", type=positive_integers, default=[1, 32], metavar="N[,N]")
    parser.add_argument("--threads", type=positive_integers, default=[1], metavar="N[,N]")
    parser.add_argument("--seconds", type=float, default=2.0, help="of timed calls, each subject")
    parser.add_argument("--compile", action="store_true", help="torch.compile as well")
    parser.add_argument("--memory", action="store_true", help="peak memory of training processes")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--child", choices=("pyconv", "torch"), help=argparse.SUPPRESS)
    return parser


def _chosen(task: str, options: argparse.Namespace) -> list[tuple[str, int]]:
    if task == "train":
        return [(name, TRAINING[name][1][0]) for name in TRAINING if _matches(name, options.filter)]
    return [
        (name, batch)
        for batch in options.batch
        for name in INFERENCE
        if _matches(name, options.filter)
    ]


def _matches(name: str, text: str) -> bool:
    """Tell whether a name is meant: lenet is not googlenet."""
    return name.startswith(text)


def _batch(shape: tuple[int, ...], classes: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(1)
    return rng.standard_normal(shape, np.float32), rng.integers(0, classes, shape[0])


def _train(
    name: str, batch: int, threads: int, options: argparse.Namespace
) -> tuple[dict[str, Step], dict[str, str]]:
    """Return a training step of every subject, and what is wrong with those left out."""
    model, x, labels = training_case(name, np.float32)
    steps: dict[str, Step] = {}
    wrong: dict[str, str] = {}
    torch = _torch(threads)
    if torch is not None:
        module = torch_module(torch, model)
        for peer, network, tensor in torch_formats(torch, module, x):
            steps[peer] = torch_step(torch, network, tensor, labels)
            if options.compile:
                steps[f"{peer} compiled"] = torch_step(
                    torch, torch.compile(network), tensor, labels
                )
        problem = _compare_gradients(torch, *training_case(name, np.float64))
        if problem:
            wrong, steps = dict.fromkeys(steps, problem), {}
    return {"pyconv": pyconv_step(model, x, labels), **steps}, wrong


def training_case(name: str, dtype: DTypeLike) -> tuple[Layer, Array, Array]:
    """Return a network, a batch and its labels; the same numbers in both dtypes."""
    make, shape = TRAINING[name]
    model = make(rng=np.random.default_rng(0), dtype=dtype)
    for _, layer in model.named_layers():
        if isinstance(layer, pyconv.Dropout):  # or gradients could not be compared
            layer.p = 0.0
    classes = model.eval()(np.zeros((1, *shape[1:]), dtype)).shape[1]
    x, labels = _batch(shape, classes)
    return model.train(), x.astype(dtype), labels


def pyconv_step(model: Layer, x: Array, labels: Array) -> Step:
    """Return one step of training."""
    loss, optimizer = CrossEntropyLoss(), SGD(model.parameters(), LR, MOMENTUM)

    def step() -> None:
        loss(model(x), labels)
        optimizer.zero_grad()
        model.backward_parameters(loss.backward())
        optimizer.step()

    return step


def torch_step(torch: Any, network: Any, x: Any, labels: Array) -> Step:
    """Return the same step of a torch module."""
    optimizer = torch.optim.SGD(network.parameters(), lr=LR, momentum=MOMENTUM)
    targets = torch.from_numpy(labels)

    def step() -> None:
        loss = torch.nn.functional.cross_entropy(network(x), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def _compare_gradients(torch: Any, model: Layer, x: Array, labels: Array) -> str:
    """Return how the gradients of one step differ, in float64; nothing if they do not.

    In float32 a few values land on the other side of a ReLU's kink, which no tolerance tells from an error.
    """
    module = torch_module(torch, model)
    loss = CrossEntropyLoss()
    loss(model(x), labels)
    model.backward_parameters(loss.backward())
    theirs = torch.nn.functional.cross_entropy(
        module(torch.from_numpy(x)), torch.from_numpy(labels)
    )
    theirs.backward()
    # Relative to the largest gradient of the network: that of a bias before batch norm is 0.
    pairs = list(zip(model.parameters(), module.parameters(), strict=True))
    largest = max(float(np.abs(mine.grad).max()) for mine, _ in pairs)
    error = max(float(np.abs(mine.grad - other.grad.numpy()).max()) for mine, other in pairs)
    return "" if error <= 1e-9 * largest else f"gradients differ by {error / largest:.1e}"


def _inference(
    name: str, batch: int, threads: int, options: argparse.Namespace
) -> tuple[dict[str, Step], dict[str, str]]:
    """Return the forward pass of every subject, and what is wrong with those left out."""
    model = INFERENCE[name](rng=np.random.default_rng(0)).eval()
    x, _ = _batch((batch, 3, 224, 224), 2)
    expected = model(x)
    calls: dict[str, Callable[[], Array]] = {}
    torch = _torch(threads)
    if torch is not None:
        module = torch_module(torch, model).eval()
        for peer, network, tensor in torch_formats(torch, module, x):
            calls[peer] = _torch_inference(torch, network, tensor)
            if options.compile:
                calls[f"{peer} compiled"] = _torch_inference(torch, torch.compile(network), tensor)
    calls |= dict(inference_peers(model, x, threads))
    wrong = {}
    for peer, call in list(calls.items()):
        error = float(np.abs(call() - expected).max() / np.abs(expected).max())
        if not error <= TOLERANCE:
            wrong[peer] = f"outputs differ by {error:.1e}"
            del calls[peer]
    return {"pyconv": lambda: model(x), **calls}, wrong


def _torch_inference(torch: Any, network: Any, x: Any) -> Callable[[], Array]:
    def infer() -> Array:
        with torch.inference_mode():
            return np.asarray(network(x).numpy())

    return infer


def _torch(threads: int) -> Any:
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        return None
    torch.set_num_threads(threads)
    return torch


def _row(
    task: str,
    name: str,
    batch: int,
    threads: int,
    timings: Mapping[str, Timing],
    wrong: dict[str, str],
) -> dict[str, Any]:
    ms = {subject: 1e3 * timing.median for subject, timing in timings.items()}
    peers = [time for subject, time in ms.items() if subject != "pyconv"]
    ratio = min(peers) / ms["pyconv"] if peers else None
    return {
        "task": task,
        "network": name,
        "batch": batch,
        "threads": threads,
        "ms": ms,
        "ratio": ratio,
        "wrong": wrong,
    }


def _line(row: Mapping[str, Any]) -> str:
    times = "  ".join(f"{subject} {time:.2f}" for subject, time in row["ms"].items())
    ratio = "" if row["ratio"] is None else f"  {row['ratio']:.2f}x"
    wrong = "".join(f"  WRONG {subject}: {why}" for subject, why in row["wrong"].items())
    where = f"{row['task']} {row['network']} batch {row['batch']}, {row['threads']} threads"
    return f"{where:45s} ms: {times}{ratio}{wrong}"


def _summarise(rows: Sequence[Mapping[str, Any]]) -> None:
    groups: dict[str, list[float]] = {}
    for row in rows:
        if row["ratio"] is not None:
            batch = "" if row["task"] == "train" else f" batch {row['batch']}"
            key = f"{row['task']}{batch}, {row['threads']} threads"
            groups.setdefault(key, []).append(row["ratio"])
    for key, ratios in groups.items():
        mean = float(np.exp(np.mean(np.log(ratios))))
        print(f"{key}: minimum {min(ratios):.2f}, geometric mean {mean:.2f} of {len(ratios)}")


def _plot(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw each subject's time as a multiple of pyconv's, a line a network."""
    figure_module: Any = importlib.import_module("matplotlib.figure")
    colours = {**COLOURS, "openvino": "#f0e442"}
    figure = figure_module.Figure(figsize=(8, 1.2 + 0.26 * len(rows)), layout="constrained")
    axes = figure.subplots()
    names = list(dict.fromkeys(subject for row in rows for subject in row["ms"]))
    for name in names:
        points = [
            (row["ms"][name] / row["ms"]["pyconv"], y)
            for y, row in enumerate(rows)
            if name in row["ms"]
        ]
        axes.scatter(*zip(*points, strict=True), s=32, color=colours.get(name, "black"), label=name)
    axes.axvline(1, color="black", linewidth=0.8)
    labels = [f"{r['task']} {r['network']}, {r['batch']}, {r['threads']} thr." for r in rows]
    axes.set_yticks(range(len(rows)), labels, fontsize="small")
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("time, as a multiple of pyconv's (less is faster)")
    axes.grid(color="#e5e5e5", axis="x")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=4, frameon=False, fontsize="small")
    figure.savefig(path, format="svg", metadata={"Date": None})


def _memory(text: str, threads: int) -> int:
    """Print the peak memory of one training process of each kind, network by network."""
    for name in TRAINING:
        if not _matches(name, text):
            continue
        peaks = {}
        for subject in ("pyconv", "torch"):
            command = [sys.executable, "-m", "bench.networks", "--child", subject]
            command += ["--filter", name, "--threads", str(threads)]
            done = subprocess.run(
                command, check=False, cwd=machine.ROOT, capture_output=True, text=True
            )
            if done.returncode == 0:
                peaks[subject] = float(done.stdout)
        shown = "  ".join(f"{subject} {peak:.0f} MiB" for subject, peak in peaks.items())
        ratio = f"  {peaks['pyconv'] / peaks['torch']:.2f}" if len(peaks) == 2 else ""
        print(f"peak memory of training {name}: {shown}{ratio}", flush=True)
    return 0


def _child(subject: str, name: str, threads: int) -> int:
    """Train a few steps and print the peak resident memory in MiB."""
    pyconv.set_num_threads(threads)
    model, x, labels = training_case(name, np.float32)
    if subject == "pyconv":
        step = pyconv_step(model, x, labels)
    else:
        torch = _torch(threads)
        module = torch_module(torch, model)
        del model
        step = torch_step(torch, module, torch.from_numpy(x), labels)
    for _ in range(5):
        step()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return 0


if __name__ == "__main__":
    sys.exit(main())
