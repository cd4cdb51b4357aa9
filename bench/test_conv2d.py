# SPDX-License-Identifier: BSD-3-Clause
"""Time `conv2d` and its gradients, by each algorithm, on the layers of well-known networks."""

from __future__ import annotations

import pytest

from bench.conftest import TimeCase
from bench.selection import cases
from bench.workloads import Case

ALGORITHMS = ("implicit_gemm", "im2col")


def _name(case: Case) -> str:
    return case.workload.name


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("case", cases("conv2d"), ids=_name)
def test_conv2d(time_case: TimeCase, case: Case, algorithm: str) -> None:
    time_case(case, algorithm)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("case", cases("conv2d_backward_input"), ids=_name)
def test_conv2d_backward_input(time_case: TimeCase, case: Case, algorithm: str) -> None:
    time_case(case, algorithm)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("case", cases("conv2d_backward_weight"), ids=_name)
def test_conv2d_backward_weight(time_case: TimeCase, case: Case, algorithm: str) -> None:
    time_case(case, algorithm)
