# SPDX-License-Identifier: BSD-3-Clause
"""Shared by the pytest-benchmark suite: how one case of pyconv is checked and timed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pytest

import pyconv
from bench.subjects import Pyconv
from bench.verify import check_for
from bench.workloads import Case
from pyconv import runtime

TimeCase: TypeAlias = Callable[..., None]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def time_case(benchmark: Any, rng: np.random.Generator) -> TimeCase:
    """Check one case of pyconv against float64, then time it on the current number of threads."""

    def time_one(case: Case, algorithm: str = "auto") -> None:
        arrays = case.arrays(rng)
        threads = pyconv.get_num_threads()
        run = Pyconv(algorithm).prepare(case, arrays, threads)
        check_for(case, arrays, rng)(run.fetch(run.call()))
        benchmark(run.call)
        benchmark.extra_info.update(
            shape=case.workload.shape, isa=runtime.get_isa(), threads=threads, algorithm=algorithm
        )
        if benchmark.stats is not None:  # None under --benchmark-disable
            rate = round(case.work / benchmark.stats.stats.median / 1e9, 2)
            benchmark.extra_info[case.unit] = rate

    return time_one
