# SPDX-License-Identifier: BSD-3-Clause
"""Compare what ``algorithm="auto"`` chooses with every algorithm forced.

``python -m bench.algorithms --op conv2d --threads 1,2``

The last column is the time of the best forced algorithm over that of ``"auto"``: 1.00 is the right
choice. All are timed in turns on the same arrays.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from bench.options import add_options, chosen_cases
from bench.subjects import Pyconv
from bench.timing import interleave
from bench.workloads import Case, Conv2d

ALGORITHMS = ("implicit_gemm", "direct", "depthwise", "winograd")
TARGET = 0.95


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each convolution that the command line asks for; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.algorithms", description="Compare auto with every algorithm forced."
    )
    add_options(parser)
    parser.add_argument("--seconds", type=float, default=0.1, help="timed calls of each")
    options = parser.parse_args(arguments)
    chosen = [c for c in chosen_cases(parser, options) if isinstance(c.workload, Conv2d)]
    print(f"{'ms':<70}{'threads':>8}" + "".join(f"{name:>15}" for name in ("auto", *ALGORITHMS)))
    worst = (2.0, "none")
    for case in chosen:
        for threads in options.threads:
            times = measure(case, threads, options.seconds)
            ratio = min(times[name] for name in times if name != "auto") / times["auto"]
            label = f"{case.op} {case.label}"
            worst = min(worst, (ratio, f"{label}, threads={threads}"))
            cells = "".join(
                f"{times[name] * 1e3:>15.3f}" if name in times else f"{'-':>15}"
                for name in ("auto", *ALGORITHMS)
            )
            print(f"{label:<70}{threads:>8}{cells}{ratio:>8.2f}", flush=True)
    ratio, where = worst
    print(f"\nworst choice {ratio:.2f} {'>=' if ratio >= TARGET else '< '} {TARGET}: {where}")
    return 0


def measure(case: Case, threads: int, seconds: float) -> dict[str, float]:
    """Median seconds of a call by each algorithm that can compute the case."""
    arrays = case.arrays(np.random.default_rng(0))
    calls = {}
    for name in ("auto", *ALGORITHMS):
        subject = Pyconv(name)
        subject.set_threads(threads)
        call = subject.bind(case, arrays, None)
        try:
            call()
        except ValueError:  # the algorithm does not apply to this shape
            continue
        calls[name] = call
    timings = interleave(calls, seconds=seconds, settled=True)
    return {name: timing.median for name, timing in timings.items()}


if __name__ == "__main__":
    raise SystemExit(main())
