# SPDX-License-Identifier: BSD-3-Clause
"""Time `gemm` on the shapes of performance work: network layers, squares, small and skinny."""

from __future__ import annotations

import pytest

from bench.conftest import TimeCase
from bench.selection import cases
from bench.workloads import Case


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", cases("gemm"), ids=lambda case: case.workload.name)
def test_gemm(time_case: TimeCase, case: Case, dtype: str) -> None:
    time_case(Case(case.op, case.workload, dtype))
