# SPDX-License-Identifier: BSD-3-Clause
"""What a comparison amounts to: ratios to the best peer, summed up by class, beside the targets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import geometric_mean

from bench.timing import Timing
from bench.workloads import Case, Conv2d

LIBRARY = "pyconv"


@dataclass(frozen=True)
class Row:
    """One case on one number of threads, every subject beside the others."""

    case: Case
    threads: int
    ceiling: float  # GFLOP/s or GB/s that the machine can do, as `case.unit` says
    timings: Mapping[str, Timing]  # only of subjects with the right answer
    wrong: Mapping[str, str]  # subject -> what is wrong with its answer

    def rate(self, subject: str) -> float:
        """GFLOP/s or GB/s at the median."""
        return self.case.work / self.timings[subject].median / 1e9

    @property
    def best_peer(self) -> str | None:
        peers = [name for name in self.timings if name != LIBRARY]
        return min(peers, key=lambda name: self.timings[name].median, default=None)

    @property
    def ratio(self) -> float | None:
        """How many times as fast as the best peer pyconv is."""
        best = self.best_peer
        if best is None or LIBRARY not in self.timings:
            return None
        return self.timings[best].median / self.timings[LIBRARY].median


@dataclass(frozen=True)
class Target:
    """The least ratio to the best peer that is aimed at: of each case, and in the mean."""

    every_case: float
    geometric_mean: float


# By op and class of cases. That of 3x3 filters is what direct summation must reach.
_TARGETS = {
    ("gemm", "large"): Target(1.0, 1.1),
    ("gemm", "small or skinny"): Target(1.0, 1.8),
    ("conv2d", "dense"): Target(1.0, 1.2),
    ("conv2d", "3x3 stride 1"): Target(0.93, 1.0),
    ("conv2d_backward_input", "dense"): Target(1.0, 1.3),
    ("conv2d_backward_input", "first layer"): Target(1.5, 3.0),
    ("conv2d_backward_weight", "dense"): Target(1.15, 1.5),
    ("conv2d_backward_weight", "first layer"): Target(1.5, 3.0),
    ("conv2d", "depthwise"): Target(1.2, 1.8),
    ("conv2d_backward_input", "depthwise"): Target(1.2, 2.0),
    ("conv2d_backward_weight", "depthwise"): Target(1.2, 2.0),
    **{(op, "grouped"): Target(1.5, 3.0) for op in Conv2d.ops},
}
_FLOAT64_CONVOLUTION = Target(1.5, 3.0)

# Seconds of any case with more threads over seconds with one.
SLOWDOWN_TARGET = 1.05


def target_of(op: str, family: str, dtype: str) -> Target | None:
    """Return what a class of cases aims at; None where nothing is set."""
    target = _TARGETS.get((op, family))
    if target is not None and dtype == "float64" and op in Conv2d.ops:
        return _FLOAT64_CONVOLUTION
    return target


@dataclass(frozen=True)
class Summary:
    """The ratio to the best peer over one class of cases."""

    op: str
    family: str
    dtype: str
    threads: int
    cases: int
    minimum: float
    slowest: str  # the label of the minimum's case
    geometric_mean: float
    target: Target | None


def summarise(rows: Iterable[Row]) -> list[Summary]:
    """Sum up one class of cases and number of threads at a time, in the order they came in."""
    classes: dict[tuple[str, str, str, int], list[tuple[float, str]]] = {}
    for row in rows:
        if row.ratio is not None:
            case = row.case
            members = classes.setdefault((case.op, case.family, case.dtype, row.threads), [])
            members.append((row.ratio, case.label))
    return [
        Summary(
            op,
            family,
            dtype,
            threads,
            len(members),
            *min(members),
            geometric_mean(ratio for ratio, _ in members),
            target_of(op, family, dtype),
        )
        for (op, family, dtype, threads), members in classes.items()
    ]


@dataclass(frozen=True)
class Scaling:
    """What more threads do to pyconv's time, over all cases measured with one thread as well."""

    threads: int
    cases: int
    maximum: float  # seconds with `threads` over seconds with one thread, at the median
    slowest: str  # op and label of the maximum's case
    geometric_mean: float


def scalings(rows: Sequence[Row]) -> list[Scaling]:
    """Compare every number of threads with one thread."""
    seconds: dict[int, dict[Case, float]] = {}
    for row in rows:
        if LIBRARY in row.timings:
            seconds.setdefault(row.threads, {})[row.case] = row.timings[LIBRARY].median
    alone = seconds.pop(1, {})
    result = []
    for threads, times in seconds.items():
        ratios = [(t / alone[c], f"{c.op} {c.label}") for c, t in times.items() if c in alone]
        if ratios:
            mean = geometric_mean(ratio for ratio, _ in ratios)
            result.append(Scaling(threads, len(ratios), *max(ratios), mean))
    return result
