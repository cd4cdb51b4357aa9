# SPDX-License-Identifier: BSD-3-Clause
"""The checks are checked: right answers pass, planted faults do not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bench.subjects import Pyconv
from bench.verify import Check, WrongAnswerError, check_for
from bench.workloads import Case, Conv2d, FloatArray, Gemm, Pool2d, cases

LAYER = Conv2d("layer", 4, 32, 14, 15, 48, 3, 3, padding=1)
CASES = (
    Case("gemm", Gemm("product", 96, 120, 200)),
    Case("conv2d", LAYER),
    Case("conv2d_backward_input", LAYER),
    Case("conv2d_backward_weight", LAYER),
    Case("max_pool2d", Pool2d("pool", 2, 8, 16, 16, 3, 3, stride=2, padding=1)),
    Case("avg_pool2d", Pool2d("pool", 2, 8, 16, 16, 3, 3, stride=2, padding=1)),
)


def _answer(case: Case, arrays: tuple[FloatArray, ...]) -> FloatArray:
    run = Pyconv().prepare(case, arrays, threads=1)
    return run.fetch(run.call()).copy()


def _check_and_answer(case: Case, rng: np.random.Generator) -> tuple[Check, FloatArray]:
    arrays = case.arrays(rng)
    return check_for(case, arrays, rng), _answer(case, arrays)


def _missing_tile(output: FloatArray) -> FloatArray:
    output[..., -6:, -6:] = 0
    return output


def _shifted_by_one(output: FloatArray) -> FloatArray:
    return np.roll(output, 1, axis=-1)


def _wrong_by_a_thousandth(output: FloatArray) -> FloatArray:
    return output * np.asarray(1.001, output.dtype)


def _one_nan(output: FloatArray) -> FloatArray:
    output.flat[output.size // 2] = np.nan
    return output


def _half_precision(output: FloatArray) -> FloatArray:
    return output.astype(np.float16).astype(output.dtype)


def _wrong_dtype(output: FloatArray) -> FloatArray:
    return output.astype(np.float64)


def _wrong_shape(output: FloatArray) -> FloatArray:
    return output[:-1]


FAULTS = (
    _missing_tile,
    _shifted_by_one,
    _wrong_by_a_thousandth,
    _one_nan,
    _half_precision,
    _wrong_dtype,
    _wrong_shape,
)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "case",
    [
        *CASES,
        *(case for op in dict.fromkeys(c.op for c in CASES) for case in cases(op, smoke=True)),
    ],
    ids=lambda case: f"{case.op}-{case.workload.name}",
)
def test_check_passes_the_right_answer(case: Case, dtype: str, rng: np.random.Generator) -> None:
    check, output = _check_and_answer(Case(case.op, case.workload, dtype), rng)
    check(output)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.op)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__.strip("_"))
def test_check_catches_planted_fault(
    case: Case, fault: Callable[[FloatArray], FloatArray], rng: np.random.Generator
) -> None:
    check, output = _check_and_answer(case, rng)
    with pytest.raises(WrongAnswerError):
        check(fault(output))
