# SPDX-License-Identifier: BSD-3-Clause
"""Time what is bound by memory beside torch: pools, normalisation, activations, losses, optimizers.

``python -m bench.layers --threads 1,2 --filter pool``

torch runs eagerly, in both memory formats where the op has two, through the functions that its
modules and its autograd call. Answers are compared first: one that differs from pyconv's is reported
and not timed, and if all do, the exit status is 1. The
share of the copy bandwidth counts each array that must be read or written once.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import pyconv
from bench import machine
from bench.options import positive_integers
from bench.timing import interleave, settle
from pyconv import functional as F
from pyconv import losses, optim
from pyconv.layers import Parameter

Calls = dict[str, Callable[[], Any]]


@dataclass(frozen=True)
class Case:
    """One op on one shape: a call for each subject, and the bytes that it must move."""

    family: str
    label: str
    bytes: int
    calls: Calls


class Cases:
    """All cases, made one at a time: their arrays live as long as the case."""

    def __init__(self, torch: Any) -> None:
        self.torch, self.f = torch, torch.nn.functional
        self.aten = torch.ops.aten
        self.rng = np.random.default_rng(0)

    def __iter__(self) -> Iterator[Callable[[], Case]]:
        for window in POOLS:
            for op in (self.max_pool, self.avg_pool, self.max_pool_backward, self.avg_backward):
                yield partial(op, *window)
        for shape in MAPS:
            yield partial(self.batch_norm, shape)
            yield partial(self.batch_norm_backward, shape)
        for shape in MAPS[:2]:
            for name in ACTIVATIONS:
                yield partial(self.activation, name, shape)
            yield partial(self.relu_backward, shape)
            yield partial(self.add, shape)
            yield partial(self.add_relu, shape)
            yield partial(self.dropout, shape)
        for logits in LOGITS:
            yield partial(self.softmax, logits)
            yield partial(self.cross_entropy, logits)
        for name in ("SGD", "Adam", "AdamW", "RMSprop"):
            for model, sizes in MODELS.items():
                yield partial(self.optimizer, name, model, sizes)

    def draw(self, *shape: int) -> Any:
        return self.rng.standard_normal(shape, np.float32)

    def formats(self, *arrays: Any) -> dict[str, list[Any]]:
        """Return the arrays as tensors in both memory formats."""
        tensors = [self.torch.from_numpy(a) for a in arrays]
        layouts = {"torch": self.torch.contiguous_format, "cl": self.torch.channels_last}
        return {
            name: [t.contiguous(memory_format=layout) if t.ndim == 4 else t for t in tensors]
            for name, layout in layouts.items()
        }

    def max_pool(self, N: int, C: int, H: int, k: int, s: int, p: int) -> Case:
        x = self.draw(N, C, H, H)
        calls: Calls = {"pyconv": partial(F.max_pool2d, x, k, stride=s, padding=p)}
        for name, (t,) in self.formats(x).items():
            calls[name] = partial(self.f.max_pool2d, t, k, s, p)
        y = calls["pyconv"]()
        return Case("max_pool2d", f"{N}x{C}x{H} {k}x{k} s{s}", x.nbytes + y.nbytes, calls)

    def avg_pool(self, N: int, C: int, H: int, k: int, s: int, p: int) -> Case:
        x = self.draw(N, C, H, H)
        calls: Calls = {"pyconv": partial(F.avg_pool2d, x, k, stride=s, padding=p)}
        for name, (t,) in self.formats(x).items():
            calls[name] = partial(self.f.avg_pool2d, t, k, s, p)
        y = calls["pyconv"]()
        return Case("avg_pool2d", f"{N}x{C}x{H} {k}x{k} s{s}", x.nbytes + y.nbytes, calls)

    def max_pool_backward(self, N: int, C: int, H: int, k: int, s: int, p: int) -> Case:
        x = self.draw(N, C, H, H)
        y, where = F.max_pool2d(x, k, stride=s, padding=p, return_indices=True)
        g = self.draw(*y.shape)
        calls: Calls = {"pyconv": partial(F.max_pool2d_backward, g, where, x.shape)}
        for name, (t, tg) in self.formats(x, g).items():
            _, indices = self.f.max_pool2d(t, k, s, p, return_indices=True)
            calls[name] = partial(
                self.aten.max_pool2d_with_indices_backward,
                *(tg, t, [k, k], [s, s], [p, p], [1, 1], False, indices),
            )
        size = x.nbytes + g.nbytes + where.nbytes
        return Case("max_pool2d_backward", f"{N}x{C}x{H} {k}x{k} s{s}", size, calls)

    def avg_backward(self, N: int, C: int, H: int, k: int, s: int, p: int) -> Case:
        x = self.draw(N, C, H, H)
        g = self.draw(*F.avg_pool2d(x, k, stride=s, padding=p).shape)
        calls: Calls = {
            "pyconv": partial(F.avg_pool2d_backward, g, x.shape, k, stride=s, padding=p)
        }
        for name, (t, tg) in self.formats(x, g).items():
            calls[name] = partial(
                self.aten.avg_pool2d_backward,
                *(tg, t, [k, k], [s, s], [p, p], False, True, None),
            )
        size = x.nbytes + g.nbytes
        return Case("avg_pool2d_backward", f"{N}x{C}x{H} {k}x{k} s{s}", size, calls)

    def batch_norm(self, shape: tuple[int, ...]) -> Case:
        x, w, b = self.draw(*shape), self.draw(shape[1]), self.draw(shape[1])
        calls: Calls = {"pyconv": lambda: F.batch_norm_training(x, w, b, activation="relu")[0]}
        for name, (t, tw, tb) in self.formats(x, w, b).items():
            calls[name] = partial(self._torch_batch_norm, t, tw, tb)
        return Case("batch_norm + relu", _text(shape), 2 * x.nbytes, calls)

    def _torch_batch_norm(self, x: Any, w: Any, b: Any) -> Any:
        return self.f.relu(self.f.batch_norm(x, None, None, w, b, True))

    def batch_norm_backward(self, shape: tuple[int, ...]) -> Case:
        x, w, b = self.draw(*shape), self.draw(shape[1]), self.draw(shape[1])
        g = self.draw(*shape)
        _, mean, var = F.batch_norm_training(x, w, b)
        calls: Calls = {
            "pyconv": partial(F.batch_norm_backward, g, x, mean, var, w, b, activation="relu")
        }
        for name, tensors in self.formats(x, w, b, g).items():
            calls[name] = self._torch_batch_norm_backward(*tensors)
        return Case("batch_norm + relu backward", _text(shape), 3 * x.nbytes, calls)

    def _torch_batch_norm_backward(self, x: Any, w: Any, b: Any, g: Any) -> Callable[[], Any]:
        y, mean, inverse = self.aten.native_batch_norm(x, w, b, None, None, True, 0.1, 1e-5)
        y = self.f.relu(y)
        backward = self.aten.native_batch_norm_backward
        return lambda: backward(
            self.aten.threshold_backward(g, y, 0),
            *(x, w, None, None, mean, inverse, True, 1e-5, [True] * 3),
        )

    def activation(self, name: str, shape: tuple[int, ...]) -> Case:
        x = self.draw(*shape)
        t = self.torch.from_numpy(x)
        other = getattr(self.f, name, None) or getattr(self.torch, name)
        calls: Calls = {"pyconv": partial(getattr(F, name), x), "torch": partial(other, t)}
        return Case("activations", f"{name} {_text(shape)}", 2 * x.nbytes, calls)

    def relu_backward(self, shape: tuple[int, ...]) -> Case:
        x, g = self.draw(*shape), self.draw(*shape)
        t, tg = (self.torch.from_numpy(a) for a in (x, g))
        calls: Calls = {
            "pyconv": partial(F.relu_backward, g, x),
            "torch": partial(self.aten.threshold_backward, tg, t, 0),
        }
        return Case("activations", f"relu_backward {_text(shape)}", 3 * x.nbytes, calls)

    def add(self, shape: tuple[int, ...]) -> Case:
        x, y = self.draw(*shape), self.draw(*shape)
        t, u = (self.torch.from_numpy(a) for a in (x, y))
        calls: Calls = {"pyconv": partial(F.add, x, y), "torch": partial(self.torch.add, t, u)}
        return Case("residual add", _text(shape), 3 * x.nbytes, calls)

    def add_relu(self, shape: tuple[int, ...]) -> Case:
        x, y = self.draw(*shape), self.draw(*shape)
        t, u = (self.torch.from_numpy(a) for a in (x, y))
        calls: Calls = {
            "pyconv": partial(F.add, x, y, activation="relu"),
            "torch": lambda: self.torch.add(t, u).relu_(),
        }
        return Case("residual add", f"+ relu {_text(shape)}", 3 * x.nbytes, calls)

    def dropout(self, shape: tuple[int, ...]) -> Case:
        x = self.draw(*shape)
        t, rng = self.torch.from_numpy(x), np.random.default_rng(0)
        calls: Calls = {
            "pyconv": lambda: _hidden(F.dropout(x, 0.5, rng=rng)),
            "torch": lambda: _hidden(self.f.dropout(t, 0.5, True)),
        }
        return Case("dropout", _text(shape), 3 * x.nbytes, calls)

    def softmax(self, shape: tuple[int, ...]) -> Case:
        x = self.draw(*shape)
        t = self.torch.from_numpy(x)
        calls: Calls = {
            "pyconv": partial(F.softmax, x, axis=1),
            "torch": partial(self.torch.softmax, t, 1),
        }
        return Case("softmax + cross entropy", f"softmax {_text(shape)}", 2 * x.nbytes, calls)

    def cross_entropy(self, shape: tuple[int, ...]) -> Case:
        x = self.draw(*shape)
        labels = self.rng.integers(0, shape[1], (shape[0], *shape[2:]))
        loss = losses.CrossEntropyLoss()
        t = self.torch.from_numpy(x).requires_grad_()
        target = self.torch.from_numpy(labels)

        def ours() -> Any:
            loss(x, labels)
            return loss.backward()

        def theirs() -> Any:
            with self.torch.enable_grad():
                return self.torch.autograd.grad(self.f.cross_entropy(t, target), t)[0]

        label = f"loss + gradient {_text(shape)}"
        calls: Calls = {"pyconv": ours, "torch": theirs}
        return Case("softmax + cross entropy", label, 2 * x.nbytes, calls)

    def optimizer(self, name: str, model: str, sizes: Sequence[int]) -> Case:
        values = [self.draw(size) for size in sizes]
        gradients = [self.draw(size) for size in sizes]
        parameters = [Parameter(value.copy()) for value in values]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad[...] = gradient
        options = {"lr": 1e-3} | ({"momentum": 0.9} if name == "SGD" else {})
        own = getattr(optim, name)(parameters, **options)
        calls: Calls = {"pyconv": partial(_step, own, [p.value for p in parameters])}
        for way in ("foreach", "fused"):
            tensors = [self.torch.nn.Parameter(self.torch.from_numpy(v.copy())) for v in values]
            for tensor, gradient in zip(tensors, gradients, strict=True):
                tensor.grad = self.torch.from_numpy(gradient.copy())
            try:
                other = getattr(self.torch.optim, name)(tensors, **options, **{way: True})
            except (TypeError, RuntimeError, ValueError):
                continue  # not every optimizer has every way
            calls[way] = partial(_step, other, [t.detach() for t in tensors])
        states = {"SGD": 2, "Adam": 4, "AdamW": 4, "RMSprop": 2}[name]
        size = (3 + states) * sum(value.nbytes for value in values)
        return Case("optimizer step", f"{name} {model}", size, calls)


# N, C, H = W, window, stride, padding.
POOLS = (
    (4, 64, 112, 3, 2, 1),
    (32, 64, 32, 2, 2, 0),
    (4, 192, 28, 3, 1, 1),
    (4, 512, 14, 2, 2, 0),
    (4, 256, 27, 3, 2, 0),
    (32, 16, 24, 2, 2, 0),
    (4, 128, 56, 2, 2, 0),
    (4, 480, 14, 3, 1, 1),
    (32, 512, 7, 7, 7, 0),
)
MAPS: tuple[tuple[int, ...], ...] = (
    (32, 64, 32, 32),
    (4, 256, 56, 56),
    (4, 512, 14, 14),
    (32, 16, 112, 112),
    (4, 1024, 7, 7),
)
ACTIVATIONS = ("relu", "relu6", "leaky_relu", "hardswish", "sigmoid", "tanh", "silu", "elu", "gelu")
LOGITS: tuple[tuple[int, ...], ...] = ((32, 10), (128, 1000), (32, 1000), (8, 19, 64, 64))
# Sizes of the parameters of LeNet-5 and of ResNet-18, in order.
MODELS = {
    "lenet": (150, 6, 2400, 16, 48000, 120, 10080, 84, 840, 10),
    "resnet18": (
        *(9408, 64, 64),
        *(36864, 64, 64) * 4,
        *(73728, 128, 128, 147456, 128, 128, 8192, 128, 128),
        *(147456, 128, 128) * 2,
        *(294912, 256, 256, 589824, 256, 256, 32768, 256, 256),
        *(589824, 256, 256) * 2,
        *(1179648, 512, 512, 2359296, 512, 512, 131072, 512, 512),
        *(2359296, 512, 512) * 2,
        *(512000, 1000),
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison that the command line asks for; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.layers",
        description="Time pools, normalisation, activations, losses and optimizers beside torch.",
    )
    parser.add_argument("--filter", default="", metavar="TEXT", help="part of a class or shape")
    parser.add_argument("--threads", type=positive_integers, default=[1], metavar="N[,N]")
    parser.add_argument("--seconds", type=float, default=0.1, help="timed, per subject and case")
    options = parser.parse_args(arguments)
    torch: Any = importlib.import_module("torch")
    torch.set_grad_enabled(False)
    copy = machine.copy_bandwidth()
    print(f"torch {torch.__version__}; copy {copy:.1f} GB/s read + written, 1 thread")
    print(
        f"{'ms':<62}{'threads':>8}{'pyconv':>10}{'%copy':>7}   torch (each way), ratio to the best"
    )
    ratios: dict[tuple[str, int], list[float]] = {}
    wrong = False
    for make in Cases(torch):
        case = make()
        name = f"{case.family} {case.label}"
        if options.filter not in name:
            continue
        for subject, problem in _differences(case.calls).items():
            print(f"WRONG {name}: {subject} {problem}", file=sys.stderr)
            del case.calls[subject]  # torch's channels_last sums are float32 throughout
        if len(case.calls) == 1:  # nobody agrees with pyconv
            wrong = True
            continue
        for threads in options.threads:
            pyconv.set_num_threads(threads)
            torch.set_num_threads(threads)
            settle()
            timings = interleave(case.calls, seconds=options.seconds, settled=threads == 1)
            times = {subject: timing.median for subject, timing in timings.items()}
            own = times.pop("pyconv")
            ratio = min(times.values()) / own
            ratios.setdefault((case.family, threads), []).append(ratio)
            share = 100 * case.bytes / own / 1e9 / copy
            others = " ".join(f"{subject} {time * 1e3:.4g}" for subject, time in times.items())
            print(
                f"{name:<62}{threads:>8}{own * 1e3:>10.4g}{share:>6.0f}%   {others}  {ratio:.2f}x",
                flush=True,
            )
    print(f"\n{'ratio to torch':<40}{'threads':>8}{'cases':>7}{'min':>8}{'geomean':>9}")
    for (family, threads), values in ratios.items():
        mean = float(np.exp(np.mean(np.log(values))))
        print(f"{family:<40}{threads:>8}{len(values):>7}{min(values):>8.2f}{mean:>9.2f}")
    return int(wrong)


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _hidden(result: Any) -> None:
    """Keep nothing to compare: the numbers are random."""


def _step(optimizer: Any, values: list[Any]) -> list[Any]:
    optimizer.step()
    return values


def _differences(calls: Calls) -> dict[str, str]:
    """Compare what each subject returns with pyconv's: those that differ, and by how much.

    Of a gradient through ReLU some values may differ: those whose input is 0 but for rounding.
    """
    expected = _arrays(calls["pyconv"]())
    wrong = {}
    for name, call in calls.items():
        for got, one in zip(_arrays(call()), expected, strict=True) if name != "pyconv" else ():
            far = ~(np.abs(got - one) <= 2e-4 * max(1.0, float(np.max(np.abs(one), initial=0))))
            if np.count_nonzero(far) > 1e-5 * far.size:
                wrong[name] = f"differs in {np.count_nonzero(far)} of {far.size} values"
    return wrong


def _arrays(result: Any) -> list[Any]:
    if result is None:
        return []
    items = result if isinstance(result, list | tuple) else [result]
    return [np.array(item.numpy() if hasattr(item, "numpy") else item) for item in items]


if __name__ == "__main__":
    sys.exit(main())
