# SPDX-License-Identifier: BSD-3-Clause
"""What a result was measured on: processor, build, commit, and the two ceilings."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np

from pyconv import runtime

ROOT = Path(__file__).resolve().parent.parent


def describe() -> dict[str, Any]:
    """Everything that a reader needs to judge or repeat a result, ceilings apart."""
    return {
        "cpu": _cpu(),
        "cpus": _cpus(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "isa": runtime.get_isa(),
        "build": dict(runtime.build_info()),
        "commit": _git("rev-parse", "HEAD") or "unknown",
        "dirty": bool(_git("status", "--porcelain")),
    }


def fma_peak(threads: int, dtype: str) -> float:
    """GFLOP/s of multiplying and adding in registers only, the best of three tries."""
    return max(runtime.measure_fma_peak(threads, dtype=dtype) for _ in range(3))


def copy_bandwidth(megabytes: int = 128, repeats: int = 5) -> float:
    """GB/s, read plus written, of one thread copying an array larger than the caches."""
    source = np.ones(megabytes << 20, dtype=np.uint8)
    target = np.zeros_like(source)
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        np.copyto(target, source)
        best = min(best, time.perf_counter() - start)
    return 2 * source.nbytes / best / 1e9


def _cpu() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _cpus() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _git(*arguments: str) -> str:
    """Output of a git command on this checkout; empty where there is no git or no commit."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
