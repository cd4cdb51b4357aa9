# SPDX-License-Identifier: BSD-3-Clause
"""Time `max_pool2d` and `avg_pool2d`; their rate is bytes of compulsory traffic a second."""

from __future__ import annotations

import pytest

from bench.conftest import TimeCase
from bench.selection import cases
from bench.workloads import Case


@pytest.mark.parametrize("case", cases("max_pool2d"), ids=lambda case: case.workload.name)
def test_max_pool2d(time_case: TimeCase, case: Case) -> None:
    time_case(case)


@pytest.mark.parametrize("case", cases("avg_pool2d"), ids=lambda case: case.workload.name)
def test_avg_pool2d(time_case: TimeCase, case: Case) -> None:
    time_case(case)
