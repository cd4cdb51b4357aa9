# SPDX-License-Identifier: BSD-3-Clause
"""The suite itself is verified: its checks, choice of cases, summaries and measure of memory."""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench import memory, timing
from bench.network_convolutions import NETWORKS, convolutions
from bench.options import add_options, chosen_cases
from bench.peers import measure
from bench.plot import write_plot
from bench.report import summary_text, write_json
from bench.results import Row, scalings, summarise
from bench.selection import CORE, cases
from bench.subjects import PEERS, Arrays, Pyconv, Run, Subject
from bench.timing import Timing, interleave
from bench.verify import Check, WrongAnswerError, check_for
from bench.workloads import OPS, Case, Conv2d, FloatArray, Gemm, Pool2d

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
        *(case for op in dict.fromkeys(c.op for c in CASES) for case in cases(op, "smoke")),
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


@pytest.mark.parametrize(
    ("peer", "dtype"),
    [
        pytest.param(peer, dtype, id=f"{peer.name}-{dtype}")
        for peer in PEERS
        for dtype in peer.dtypes
    ],
)
def test_peer_passes_the_check(peer: type[Subject], dtype: str, rng: np.random.Generator) -> None:
    try:
        subject = peer()
    except ImportError as error:
        pytest.skip(str(error))
    for op in subject.ops:
        for case in cases(op, "smoke", dtype=dtype):
            arrays = case.arrays(rng)
            run = subject.prepare(case, arrays, threads=1)
            if run is not None:
                check_for(case, arrays, rng)(run.fetch(run.call()))


# Networks: the tables are checked by what is known of the networks as wholes.


def _weights(network: str, *names: str) -> int:
    layers = convolutions(1)
    return sum(int(np.prod(layers[f"{network}.{name}"].weight_shape)) for name in names)


def test_resnet50_has_its_number_of_weights() -> None:
    total = _weights("resnet50", "conv1", "conv2_expand")  # the first shortcut is an expansion
    for stage, blocks in (("conv2", 3), ("conv3", 4), ("conv4", 6), ("conv5", 3)):
        first = ("3x3",) if stage == "conv2" else ("down", "shortcut")
        names = (*first, "reduce_first", "expand", *(("reduce", "3x3", "expand") * (blocks - 1)))
        total += _weights("resnet50", *(f"{stage}_{name}" for name in names))
    assert total == 23_454_912


def test_vgg16_has_its_number_of_weights() -> None:
    once = ("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv4_1", "conv5_1")
    again = ("conv3_2", "conv3_2", "conv4_2", "conv4_2", "conv5_1", "conv5_1")
    assert _weights("vgg16", *once, *again) == 14_710_464


def test_googlenet_blocks_take_what_the_block_before_gives() -> None:
    rows = {name: (C, OC) for name, C, _, OC, *_ in NETWORKS["googlenet"]}
    given = rows["conv2_3x3"][1]
    for block in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"):
        for path in ("1x1", "3x3_reduce", "5x5_reduce", "pool_proj"):
            assert rows[f"{block}_{path}"][0] == given
        given = sum(rows[f"{block}_{path}"][1] for path in ("1x1", "3x3", "5x5", "pool_proj"))
    assert given == 1024


# Choice of cases.


def _chosen(*arguments: str) -> list[Case]:
    parser = argparse.ArgumentParser()
    add_options(parser)
    return chosen_cases(parser, parser.parse_args(arguments))


def test_default_is_the_core_of_every_op() -> None:
    chosen = _chosen()
    assert tuple(dict.fromkeys(case.op for case in chosen)) == OPS
    assert {case.workload for case in chosen} == set(CORE)
    assert {case.dtype for case in chosen} == {"float32"}


def test_networks_come_at_each_batch_and_each_shape_once() -> None:
    one, two = _chosen("--op", "conv2d", "--workloads", "networks"), convolutions(1)
    assert [case.workload.N for case in one] == [1] * len(two) + [4] * len(two) + [32] * len(two)
    assert len(set(one)) == len(one)
    assert "googlenet.conv1" not in two  # is resnet50.conv1
    batch = _chosen("--op", "conv2d", "--workloads", "networks", "--batch", "4")
    assert batch == one[len(two) : 2 * len(two)]


def test_all_is_the_union_of_the_sets() -> None:
    for op in OPS:
        union = [
            case for name in ("core", "networks", "products", "grouped") for case in cases(op, name)
        ]
        assert cases(op, "all") == list(dict.fromkeys(union))
        labels = [case.label for case in cases(op, "all")]
        assert len(set(labels)) == len(labels)


def test_op_may_be_repeated_and_filter_sees_name_and_shape() -> None:
    chosen = _chosen("--op", "conv2d", "--op", "gemm", "--filter", "conv3_3x3")
    assert [case.op for case in chosen] == ["conv2d", "gemm"]
    assert {case.label for case in _chosen("--op", "gemm", "--filter", " TT")} == {
        "odd 129x257x513 TT"
    }


@pytest.mark.parametrize(
    "arguments", [("--batch", "4"), ("--filter", "no such layer"), ("--threads", "0")]
)
def test_options_that_choose_nothing_are_usage_errors(arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit, match="2"):
        _chosen(*arguments)


@pytest.mark.parametrize(
    ("op", "workload", "family"),
    [
        ("gemm", Gemm("", 65, 64, 64), "large"),
        ("gemm", Gemm("", 64, 64, 64), "small or skinny"),
        ("gemm", Gemm("", 16, 4096, 4096), "small or skinny"),
        ("gemm", Gemm("", 4096, 16, 4096), "small or skinny"),
        ("gemm", Gemm("", 17, 4096, 4096), "medium"),
        ("gemm", Gemm("", 4096, 4096, 16), "medium"),
        ("conv2d", Conv2d("", 1, 3, 8, 8, 9, 3, 3), "3x3 stride 1"),
        ("conv2d", Conv2d("", 1, 4, 8, 8, 9, 3, 3, stride=2), "dense"),
        ("conv2d", Conv2d("", 1, 4, 8, 8, 9, 3, 3, dilation=2), "dense"),
        ("conv2d", Conv2d("", 1, 4, 8, 8, 9, 1, 1), "dense"),
        ("conv2d", Conv2d("", 1, 4, 8, 8, 4, 3, 3, groups=4), "depthwise"),
        ("conv2d_backward_input", Conv2d("", 1, 3, 8, 8, 9, 3, 3), "first layer"),
        ("conv2d_backward_input", Conv2d("", 1, 4, 8, 8, 9, 3, 3), "dense"),
        ("conv2d_backward_weight", Conv2d("", 1, 1, 8, 8, 9, 3, 3), "first layer"),
        ("conv2d_backward_weight", Conv2d("", 1, 4, 8, 8, 8, 3, 3, groups=2), "grouped"),
    ],
)
def test_case_belongs_to_class(op: str, workload: Gemm | Conv2d, family: str) -> None:
    assert Case(op, workload).family == family


# Summaries, of results that are made up.


def _row(case: Case, own: float, *, peer: float = 1.0, threads: int = 1) -> Row:
    seconds = {"pyconv": own, "torch": peer, "numpy": 2 * peer}
    timings = {name: Timing(s, s, 0.0, 3) for name, s in seconds.items()}
    return Row(case, threads, 100.0, timings, {})


def _layer(N: int, dtype: str = "float32") -> Case:
    return Case("conv2d", Conv2d("layer", N, 64, 56, 56, 64, 1, 1), dtype)


ROWS = [
    _row(_layer(1), 0.5),
    _row(_layer(1), 0.75, threads=2),
    _row(_layer(4), 2.0),
    _row(_layer(4), 1.0, threads=2),
    _row(Case("gemm", Gemm("product", 20, 30, 70)), 0.25),
]


def test_summary_counts_layers_of_one_name_apart() -> None:
    one, two, medium = summarise(ROWS)
    assert (one.op, one.family, one.threads, one.cases) == ("conv2d", "dense", 1, 2)
    assert (one.minimum, one.slowest) == (0.5, "layer 4x64x56x56->64 1x1")
    assert one.geometric_mean == pytest.approx(1.0)
    assert (two.threads, two.minimum) == (2, 1.0)
    assert (medium.family, medium.cases, medium.target) == ("medium", 1, None)


def test_summary_leaves_out_rows_without_a_ratio() -> None:
    alone = Row(_layer(8), 1, 100.0, {"pyconv": Timing(1.0, 1.0, 0.0, 3)}, {"torch": "NaN"})
    wrong = Row(_layer(8), 1, 100.0, {"torch": Timing(1.0, 1.0, 0.0, 3)}, {"pyconv": "NaN"})
    assert summarise([alone, wrong, *ROWS]) == summarise(ROWS)


def test_summary_has_the_target_of_its_class_and_dtype() -> None:
    single, double = summarise([_row(_layer(1), 1.0), _row(_layer(1, "float64"), 1.0)])
    assert single.target is not None
    assert (single.target.every_case, single.target.geometric_mean) == (1.0, 1.2)
    assert double.target is not None
    assert (double.target.every_case, double.target.geometric_mean) == (1.5, 3.0)


def test_summary_text_says_which_targets_are_met() -> None:
    lines = summary_text(summarise(ROWS), scalings(ROWS)).splitlines()
    assert "0.50 <  1.00" in lines[2]
    assert "1.00 <  1.20" in lines[2]
    assert "1.00 >= 1.00" in lines[3]
    assert lines[3].endswith("layer 4x64x56x56->64 1x1")
    assert "slowest 1.50 >  1.05: conv2d layer 1x64x56x56->64 1x1" in lines[-1]


def test_scaling_compares_the_cases_that_both_have() -> None:
    more = [*ROWS, _row(_layer(8), 9.0, threads=2), _row(_layer(1), 0.5, threads=4)]
    two, four = scalings(more)
    assert (two.threads, two.cases, two.maximum) == (2, 2, 1.5)
    assert two.geometric_mean == pytest.approx((1.5 * 0.5) ** 0.5)
    assert (four.threads, four.cases, four.maximum) == (4, 1, 1.0)
    assert scalings([row for row in more if row.threads > 1]) == []


def test_json_has_every_row_and_the_summaries(tmp_path: Path) -> None:
    write_json(tmp_path / "result.json", {"cpu": "none"}, ROWS)
    document = json.loads((tmp_path / "result.json").read_text())
    assert [row["ratio"] for row in document["rows"]] == [2.0, 4 / 3, 0.5, 1.0, 4.0]
    assert document["summary"][0]["target"] == {"every_case": 1.0, "geometric_mean": 1.2}
    assert document["scaling"][0]["maximum"] == 1.5


@pytest.mark.skipif(
    importlib.util.find_spec("matplotlib") is None, reason="matplotlib is not installed"
)
def test_plot_names_every_workload_and_the_ceiling(tmp_path: Path) -> None:
    rows = [*ROWS, _row(Case("gemm", Gemm("product", 20, 30, 70)), 0.25, threads=2)]
    write_plot(tmp_path / "result.svg", {"cpu": "none", "commit": "none"}, rows)
    text = (tmp_path / "result.svg").read_text().replace("&gt;", ">")
    for expected in ("layer 1x64x56x56->64 1x1", "product 20x30x70 NN", "FMA peak", "2 threads"):
        assert expected in text


# Time and memory.


def test_long_calls_are_made_once_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "LONG", 0.001)
    calls: list[float] = []

    def call() -> None:
        calls.append(0.002)
        time.sleep(calls[-1])

    samples = interleave({"sleeper": call}, seconds=1e-9)["sleeper"].samples
    assert samples == timing.MIN_ROUNDS
    assert len(calls) == samples + 1  # the first says how long a call is


def test_measure_frees_what_was_prepared(rng: np.random.Generator) -> None:
    prepared: list[weakref.ref[FloatArray]] = []

    class Holder(Pyconv):
        def prepare(self, case: Case, arrays: Arrays, threads: int) -> Run:
            copies = tuple(array.copy() for array in arrays)
            prepared.extend(weakref.ref(copy) for copy in copies)
            return super().prepare(case, copies, threads)

    case = cases("conv2d", "smoke")[0]
    arrays = case.arrays(rng)
    timings, wrong = measure(case, arrays, check_for(case, arrays, rng), [Holder()], 1, 1e-6)
    assert list(timings) == ["pyconv"]
    assert not wrong
    assert len(prepared) == 2
    assert all(reference() is None for reference in prepared)


linux = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="only Linux has /proc/self/clear_refs"
)


@linux
@pytest.mark.parametrize("before", [0, 200], ids=["first", "after_a_higher_peak"])
def test_peak_growth_sees_a_known_allocation(before: int) -> None:
    np.ones(before * memory.MIB, np.uint8)  # and free it at once
    growth = memory.peak_growth(lambda: np.ones(64 * memory.MIB, np.uint8))
    assert growth / memory.MIB == pytest.approx(64, abs=1)


@linux
def test_peak_growth_sees_memory_that_the_allocator_kept() -> None:
    def many_small() -> list[FloatArray]:
        return [np.ones(15_000, np.float32) for _ in range(1000)]

    blocks = many_small()
    above = np.ones(15_000, np.float32)  # keeps the heap from shrinking by itself
    blocks.clear()
    assert memory.peak_growth(many_small) / memory.MIB == pytest.approx(57, abs=4)
    assert above.all()


@linux
def test_peak_growth_is_nothing_for_memory_that_was_there() -> None:
    held = np.ones(64 * memory.MIB, np.uint8)
    assert memory.peak_growth(lambda: held.fill(2)) < memory.MIB


@linux
def test_scratch_is_measured_in_another_process() -> None:
    growth = memory.scratch(cases("conv2d", "smoke")[0], "auto", threads=1)
    assert 0 <= growth < 2 * memory.MIB
