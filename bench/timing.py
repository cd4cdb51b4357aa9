# SPDX-License-Identifier: BSD-3-Clause
"""Interleaved timing: every subject takes its turn, round after round.

The speed of a machine drifts by more than the differences that matter, so subjects are never
timed one after the other but in turns, and each round starts with another subject. A turn waits
until the threads of the last one rest, calls once untimed (which brings the subject's own data and
threads back; a long call is not worth it), and then times enough calls to make one sample.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

ROUNDS = 25  # samples a subject, unless its calls are so long that the budget allows fewer
MIN_ROUNDS = 3
LONG = 0.1  # seconds; caches are full and threads awake within a few hundredths of it

Call = Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """Seconds a call, over the samples of one subject."""

    median: float
    minimum: float
    spread: float  # interquartile range over median
    samples: int


def interleave(
    calls: Mapping[str, Call], *, seconds: float, settled: bool = False
) -> dict[str, Timing]:
    """Time `calls` in turns, for about `seconds` of timed calls each.

    `settled` says that no call leaves threads running behind it, so that nobody need be waited for.
    """
    estimates = {name: _seconds_of_one(call) for name, call in calls.items()}
    repeats = {name: max(1, round(seconds / ROUNDS / one)) for name, one in estimates.items()}
    samples: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls)
    timed = 0.0
    with _no_collection():
        for round_number in range(ROUNDS):
            if round_number >= MIN_ROUNDS and timed >= seconds * len(calls):
                break
            for name in order:
                if not settled:
                    settle()
                if estimates[name] < LONG:
                    calls[name]()
                elapsed = _time(calls[name], repeats[name])
                samples[name].append(elapsed / repeats[name])
                timed += elapsed
            order.append(order.pop(0))
    return {name: _summarise(values) for name, values in samples.items()}


def settle(patience: float = 0.25) -> None:
    """Wait until this process is idle, for at most `patience` seconds.

    Worker threads spin after a call, those of NumPy's OpenBLAS for a tenth of a second, those of
    onnxruntime for 40 ms, and would be timed against whoever comes next.
    """
    deadline = time.perf_counter() + patience
    while time.perf_counter() < deadline:
        cpu, wall = time.process_time(), time.perf_counter()
        time.sleep(0.004)  # the kernel accounts a running thread once a tick, 1 to 4 ms
        if time.process_time() - cpu < 0.1 * (time.perf_counter() - wall):
            return


def _seconds_of_one(call: Call) -> float:
    if (first := _time(call, 1)) >= LONG:
        return first
    repeats = 1
    # A single call of a microsecond is mostly the clock.
    while (elapsed := _time(call, repeats)) < 2e-4:
        repeats *= 4
    return elapsed / repeats


def _time(call: Call, repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return time.perf_counter() - start


def _summarise(values: list[float]) -> Timing:
    low, median, high = np.percentile(values, [25, 50, 75])
    return Timing(float(median), min(values), float((high - low) / median), len(values))


@contextmanager
def _no_collection() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
