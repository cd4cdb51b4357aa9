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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench import machine, report
from bench.subjects import Pyconv, Subject, installed_peers
from bench.timing import Timing, interleave, settle
from bench.verify import WrongAnswerError, check_for
from bench.workloads import OPS, Case, cases

SEED = 0

# Settings that make OpenBLAS run for another processor or cache than it finds, to NumPy's cost.
HANDICAPS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
UNSET_NOTE = "PYCONV_BENCH_UNSET"  # tells the restarted process what was taken away


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison that the command line asks for; the exit status."""
    options = _parse(arguments)
    chosen = [
        case
        for op in options.op or OPS
        for case in cases(op, dtype=options.dtype, smoke=options.smoke)
        if options.filter in f"{case.workload.name} {case.workload.shape}"
    ]
    if not chosen:
        print(f"bench.peers: no workload matches --filter {options.filter!r}", file=sys.stderr)
        return 2
    peers, missing = installed_peers()
    subjects = [Pyconv(options.algorithm), *peers]
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

    rows: list[report.Row] = []
    for threads in options.threads:
        for op in dict.fromkeys(case.op for case in chosen):
            of_op = [case for case in chosen if case.op == op]
            rows += _compare(of_op, subjects, threads, options.seconds, header)
    print(report.summary_text(report.summarise(rows)))
    for row in rows:
        for name, problem in row.wrong.items():
            where = f"{row.case.op} {row.case.workload.name}, threads={row.threads}"
            print(f"WRONG {name}: {where}: {problem}", file=sys.stderr)
    if options.json is not None:
        report.write_json(options.json, header, rows)
    if options.plot is not None:
        report.write_plot(options.plot, header, rows)
    return 1 if any(row.wrong for row in rows) else 0


def _compare(
    of_op: Sequence[Case],
    subjects: Sequence[Subject],
    threads: int,
    seconds: float,
    header: Mapping[str, Any],
) -> list[report.Row]:
    """Measure and print the cases of one op."""
    op = of_op[0].op
    rng = np.random.default_rng(SEED)
    able = [subject for subject in subjects if op in subject.ops]
    names = [subject.name for subject in able]
    print(report.table_head(op, names, header, threads), flush=True)
    rows = []
    for case in of_op:
        ceiling = header["copy_bandwidth"] if case.is_memory_bound else header["fma_peak"][threads]
        timings, wrong = measure(case, able, threads=threads, seconds=seconds, rng=rng)
        rows.append(report.Row(case, threads, ceiling, timings, wrong))
        print(report.table_row(rows[-1], names), flush=True)
    return rows


def measure(
    case: Case,
    subjects: Sequence[Subject],
    *,
    threads: int,
    seconds: float,
    rng: np.random.Generator,
) -> tuple[dict[str, Timing], dict[str, str]]:
    """Check, then time, every subject that has the case; timings and wrong answers by name."""
    arrays = case.arrays(rng)
    check = check_for(case, arrays, rng)
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


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.peers",
        description="Time pyconv beside every installed peer; each answer is checked first.",
    )
    parser.add_argument("--op", choices=OPS, action="append", help="may be repeated; default all")
    parser.add_argument("--threads", type=_thread_counts, default=[1], metavar="N[,N]")
    parser.add_argument("--filter", default="", metavar="TEXT", help="part of a name or shape")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--algorithm", default="auto", help="of pyconv's convolutions")
    parser.add_argument("--seconds", type=_positive, help="timed, per subject and workload (0.5)")
    parser.add_argument("--json", type=_output_file, metavar="FILE", help="save the result")
    parser.add_argument("--plot", type=_output_file, metavar="FILE.svg", help="needs matplotlib")
    parser.add_argument("--smoke", action="store_true", help="tiny workloads, seconds in all")
    options = parser.parse_args(arguments)
    if options.seconds is None:
        options.seconds = 0.002 if options.smoke else 0.5
    if options.plot is not None and importlib.util.find_spec("matplotlib") is None:
        parser.error("--plot needs matplotlib: pip install matplotlib")
    return options


def _thread_counts(text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"got {text!r}; expected positive integers, as in 1,2")
    return [int(part) for part in parts]


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
