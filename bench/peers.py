# SPDX-License-Identifier: BSD-3-Clause
"""Time pyconv beside every installed peer, on the same arrays, in turns.

``python -m bench.peers --op conv2d --threads 1,2 --json result.json --plot result.svg``

Each answer is checked against float64 before it is timed; a subject with a wrong answer is
reported, not timed, and makes the exit status 1. Ratios are of medians: 1.10x means pyconv needs
1/1.10 the time of the fastest peer.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench import machine, plot, report
from bench.options import add_options, chosen_cases
from bench.results import Row, scalings, summarise
from bench.subjects import Pyconv, Subject, installed_peers
from bench.timing import Timing, interleave, settle
from bench.verify import Check, WrongAnswerError, check_for
from bench.workloads import Case, FloatArray

SEED = 0

# Settings that make OpenBLAS run for another processor or cache than it finds, to NumPy's cost.
HANDICAPS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
UNSET_NOTE = "PYCONV_BENCH_UNSET"  # tells the restarted process what was taken away


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison that the command line asks for; the exit status."""
    options, chosen = _parse(arguments)
    peers, missing = installed_peers()
    subjects = [
        subject
        for subject in (Pyconv(options.algorithm), *peers)
        if options.dtype in subject.dtypes
    ]
    header = {
        **machine.describe(),
        "dtype": options.dtype,
        "algorithm": options.algorithm,
        "seconds": options.seconds,
        "versions": {subject.name: subject.version for subject in subjects},
        "missing": missing,
        "unset": [name for name in os.environ.get(UNSET_NOTE, "").split(",") if name],
        "fma_peak": {n: machine.fma_peak(n, options.dtype) for n in options.threads},
        "copy_bandwidth": machine.copy_bandwidth(),
    }
    print(report.header_text(header), flush=True)

    rows: list[Row] = []
    rng = np.random.default_rng(SEED)
    for case in chosen:
        able = [subject for subject in subjects if case.op in subject.ops]
        names = [subject.name for subject in able]
        if not rows or rows[-1].case.op != case.op:
            print(report.table_head(case, names, header), flush=True)
        for row in compare(case, able, options.threads, options.seconds, header, rng):
            rows.append(row)
            print(report.table_row(row, names), flush=True)
        if options.json is not None:  # after every case: a long run may be cut short
            report.write_json(options.json, header, rows)
    print(report.summary_text(summarise(rows), scalings(rows)))
    for row in rows:
        for name, problem in row.wrong.items():
            where = f"{row.case.op} {row.case.label}, threads={row.threads}"
            print(f"WRONG {name}: {where}: {problem}", file=sys.stderr)
    if options.plot is not None:
        plot.write_plot(options.plot, header, rows)
    return 1 if any(row.wrong for row in rows) else 0


def compare(
    case: Case,
    subjects: Sequence[Subject],
    thread_counts: Sequence[int],
    seconds: float,
    header: Mapping[str, Any],
    rng: np.random.Generator,
) -> Iterator[Row]:
    """Measure one case with each number of threads, one right after the other."""
    arrays = case.arrays(rng)
    check = check_for(case, arrays, rng)
    for threads in thread_counts:
        timings, wrong = measure(case, arrays, check, subjects, threads, seconds)
        memory_bound = case.workload.is_memory_bound
        ceiling = header["copy_bandwidth"] if memory_bound else header["fma_peak"][threads]
        yield Row(case, threads, ceiling, timings, wrong)


def measure(
    case: Case,
    arrays: tuple[FloatArray, ...],
    check: Check,
    subjects: Sequence[Subject],
    threads: int,
    seconds: float,
) -> tuple[dict[str, Timing], dict[str, str]]:
    """Check, then time, every subject that has the case; timings and wrong answers by name.

    What the subjects prepared lives as long as this call: a large layer takes hundreds of MB each.
    """
    calls = {}
    wrong = {}
    for subject in subjects:
        subject.set_threads(threads)
        run = subject.prepare(case, arrays, threads)
        if run is None:
            continue
        try:
            check(run.fetch(run.call()))
        except WrongAnswerError as error:
            wrong[subject.name] = str(error)
        else:
            calls[subject.name] = run.call
    settle()
    return interleave(calls, seconds=seconds, settled=threads == 1), wrong


def _parse(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, list[Case]]:
    parser = argparse.ArgumentParser(
        prog="python -m bench.peers",
        description="Time pyconv beside every installed peer; each answer is checked first.",
    )
    add_options(parser)
    parser.add_argument("--seconds", type=_positive, help="timed, per subject and workload (0.5)")
    parser.add_argument("--json", type=_output_file, metavar="FILE", help="save the result")
    parser.add_argument("--plot", type=_output_file, metavar="FILE.svg", help="needs matplotlib")
    options = parser.parse_args(arguments)
    if options.seconds is None:
        options.seconds = 0.002 if options.workloads == "smoke" else 0.5
    if options.plot is not None and importlib.util.find_spec("matplotlib") is None:
        parser.error("--plot needs matplotlib: pip install matplotlib")
    return options, chosen_cases(parser, options)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"got {text!r}; expected a positive number")
    return value


def _output_file(text: str) -> Path:
    path = Path(text)
    if not path.parent.is_dir():  # said before an hour of measuring, not after
        raise argparse.ArgumentTypeError(f"{text}: {path.parent} is not a folder")
    return path


def _restart_without_handicaps() -> None:
    """Start anew if the environment slows NumPy down: OpenBLAS reads it when loaded."""
    names = [name for name in HANDICAPS if name in os.environ]
    if names:
        environment = {k: v for k, v in os.environ.items() if k not in names}
        environment[UNSET_NOTE] = ",".join(names)
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


if __name__ == "__main__":
    _restart_without_handicaps()
    sys.exit(main())
