# SPDX-License-Identifier: BSD-3-Clause
"""Measure the scratch memory of pyconv's calls: what they take beyond arguments and result.

``python -m bench.memory --workloads networks --batch 32 --threads 1,2``

Inputs and output lie in memory before the call; the growth of the peak resident set during the call
is scratch: packed operands, transformed tiles, stacks of threads and a little code read for the
first time. A packed copy of the weight may be kept whole, so the weight's size is taken off, and
where Winograd's algorithm transforms it that of its points: up to 36 for the 9 taps of a 3 x 3
convolution with stride 1. Each case runs in a process of its own, where no memory left by an
earlier call can be used again unseen.

Only Linux tells: the peak is VmHWM of /proc/self/status, and starts anew with /proc/self/clear_refs.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import groupby
from math import prod
from pathlib import Path

import numpy as np

import pyconv
from bench.machine import ROOT
from bench.options import add_options, chosen_cases
from bench.subjects import Pyconv
from bench.workloads import Case, Conv2d
from pyconv import runtime

MIB = 2**20
TARGET = 16.0  # MiB a thread, whatever the shape; 8 where products are summed directly

_PROCESS = Path("/proc/self")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the scratch memory of each case that the command line asks for; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.memory", description="Measure the scratch memory of pyconv's calls."
    )
    add_options(parser)
    options = parser.parse_args(arguments)
    chosen = chosen_cases(parser, options)
    if not (_PROCESS / "clear_refs").exists():
        parser.error("needs Linux: there is no /proc/self/clear_refs here")
    print(
        f"scratch memory of pyconv {pyconv.__version__}, ISA {runtime.get_isa()}, {options.dtype}, "
        f"algorithm={options.algorithm}"
    )
    most = (-1.0, "")
    for op, of_op in groupby(chosen, key=lambda case: case.op):
        print(f"\n{op:<60}{'threads':>8}{'peak MiB':>10}{'weight MiB':>12}{'MiB a thread':>14}")
        for case in of_op:
            weight = weight_bytes(case)
            for threads in options.threads:
                peak = scratch(case, options.algorithm, threads)
                share = max(0, peak - weight) / threads / MIB
                most = max(most, (share, f"{op} {case.label}, threads={threads}"))
                print(
                    f"{case.label:<60}{threads:>8}{peak / MIB:>10.2f}{weight / MIB:>12.2f}"
                    f"{share:>14.2f}",
                    flush=True,
                )
    share, where = most
    print(
        f"\nmost {share:.2f} {'<=' if share <= TARGET else '> '} {TARGET:g} MiB a thread: {where}"
    )
    return 0


def weight_bytes(case: Case) -> int:
    """Size of the weight that the op reads; 0 if it reads none."""
    w = case.workload
    if not isinstance(w, Conv2d) or case.op == "conv2d_backward_weight":
        return 0
    points = {(3, 1): 36, (5, 1): 36, (3, 2): 16}  # kernel size and stride
    taps = w.KH * w.KW
    values = points.get((w.KH, w.stride), taps) if w.KH == w.KW else taps
    return prod(w.weight_shape[:2]) * values * np.dtype(case.dtype).itemsize


def scratch(case: Case, algorithm: str, threads: int) -> int:
    """Bytes of scratch of the first call of a process."""
    done = subprocess.run(
        [sys.executable, "-c", "from bench import memory; memory.serve()"],
        input=pickle.dumps((case, algorithm, threads)),
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    return int(done.stdout)


def serve() -> None:
    """Be that process: the case comes by standard input, the answer goes to standard output."""
    case, algorithm, threads = pickle.load(sys.stdin.buffer)
    arrays = case.arrays(np.random.default_rng(0))
    out = np.full(case.result_shape, np.nan, case.dtype)
    subject = Pyconv(algorithm)
    subject.set_threads(threads)
    print(peak_growth(subject.bind(case, arrays, out)))


def peak_growth(call: Callable[[], object]) -> int:
    """Bytes by which the resident set, at its largest during `call`, exceeds that before it."""
    gc.collect()
    # Free memory that the allocator keeps would be used again without growth.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # only the GNU C library has it
    if trim is not None:
        trim(0)
    (_PROCESS / "clear_refs").write_text("5")
    before = _kibibytes("VmRSS")
    call()
    return 1024 * (_kibibytes("VmHWM") - before)


def _kibibytes(field: str) -> int:
    for line in (_PROCESS / "status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.removesuffix("kB"))
    raise LookupError(f"{_PROCESS / 'status'} has no {field}")


if __name__ == "__main__":
    sys.exit(main())
