# SPDX-License-Identifier: BSD-3-Clause
"""ONNX's own test suite: one-node cases, small models, and the networks that it leaves out as slow.

The cases are run here rather than by ``onnx.backend.test.BackendTest``, which reports what it leaves
out as skipped tests and does not know which kernels did the work.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx: Any = pytest.importorskip(
    "onnx", minversion="1.23", reason="onnx 1.23 is not installed, whose suite this is"
)
from onnx import TensorProto, numpy_helper
from onnx.backend.test import BackendTest, loader

from pyconv.backends.onnx import PyconvBackend, prepare
from pyconv.backends.onnx.operators import OPERATORS

DATA = Path(loader.DATA_DIR)

# Random numbers, what the reference implementation has not either, and graphs of which it makes
# another shape than they expect (test_range_*_expanded, test_if_opt).
LEFT_OUT = re.compile(
    "bernoulli|gradient_of|test_scatter_with|scan_sum$|test_range_.*_expanded|training_dropout|test_if_opt$"
)


def suite(kind: str) -> Iterator[tuple[str, Any, list[tuple[list[Any], list[Any]]], float, float]]:
    """Yield name, model, pairs of inputs and outputs, rtol and atol."""
    for case in loader.load_model_tests(kind=kind):
        if LEFT_OUT.search(case.name):
            continue
        if case.model is not None:
            model, pairs = case.model, case.data_sets or []
        else:
            folder = Path(str(case.model_dir))
            model = onnx.load(folder / "model.onnx")
            pairs = [
                (
                    stored(path, "input", model.graph.input),
                    stored(path, "output", model.graph.output),
                )
                for path in sorted(folder.glob("test_data_set_*"))
            ]
        yield (
            case.name,
            model,
            [([*map(array, x)], [*map(array, y)]) for x, y in pairs],
            case.rtol,
            case.atol,
        )


def stored(folder: Path, kind: str, infos: Any) -> list[Any]:
    count = len(list(folder.glob(f"{kind}_*.pb")))
    values = []
    for i, info in zip(range(count), infos, strict=False):
        content = (folder / f"{kind}_{i}.pb").read_bytes()
        if info.type.HasField("sequence_type"):
            values.append(numpy_helper.to_list(onnx.SequenceProto.FromString(content)))
        else:
            values.append(TensorProto.FromString(content))
    return values


def array(value: Any) -> Any:
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else value


def assert_agrees(got: Any, expected: Any, rtol: float, atol: float) -> None:
    if isinstance(expected, list) or expected is None:
        assert type(got) is type(expected)
        for part, want in zip(got or [], expected or [], strict=True):
            assert_agrees(part, want, rtol, atol)
        return
    if expected.dtype.kind == "O":  # strings, of which the reference makes an array of type U
        assert got.tolist() == expected.tolist()
        return
    assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
    if expected.dtype.kind == "b":
        assert got.tolist() == expected.tolist()
    elif expected.dtype.kind == "c":
        np.testing.assert_allclose(got, expected, rtol, atol)
    else:  # the small floats of ml_dtypes too
        np.testing.assert_allclose(got.astype(np.float64), expected.astype(np.float64), rtol, atol)


# Making the cases, ONNX divides by 0 and overflows.
making_cases = pytest.mark.filterwarnings("ignore")


@making_cases
@pytest.mark.parametrize(
    ("kinds", "least"),
    [(("node",), 900), (("simple", "pytorch-converted", "pytorch-operator"), 120)],
    ids=["node", "models"],
)
def test_suite(kinds: tuple[str, ...], least: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Every case agrees; `least` of them without a single operator of the reference implementation.

    Those that it helps with are run as well: so the two work together.
    """
    alone, together, failures = 0, 0, []
    for kind in kinds:
        for name, model, pairs, rtol, atol in suite(kind):
            try:
                rep = prepare(model)
                for inputs, outputs in pairs:
                    for got, expected in zip(rep.run(inputs), outputs, strict=True):
                        assert_agrees(got, expected, rtol, atol)
            except Exception as error:  # noqa: BLE001 (all failures in one list)
                failures.append(f"{name}: {type(error).__name__}: {error}")
                continue
            alone += not rep.by_reference
            together += bool(rep.by_reference)
    with capsys.disabled():
        print(f"\nONNX {', '.join(kinds)}: {alone} cases by pyconv, {together} with the reference")
    assert failures == []
    assert alone >= least


@making_cases
def test_suite_finds_a_wrong_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPERATORS, "Relu", lambda _: lambda x: np.maximum(x, 1e-3))
    ((_, model, pairs, rtol, atol),) = (case for case in suite("node") if case[0] == "test_relu")
    ((inputs, outputs),) = pairs
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_agrees(prepare(model).run(inputs)[0], outputs[0], rtol, atol)


@making_cases
def test_backend_is_what_the_suite_takes() -> None:
    cases = BackendTest(PyconvBackend, __name__).include("^test_conv_with_strides_padding_cpu$")
    test = cases.test_cases["OnnxBackendNodeModelTest"]("test_conv_with_strides_padding_cpu")
    result = test.run()
    assert result is not None
    assert (result.testsRun, result.skipped, result.failures, result.errors) == (1, [], [], [])


LIGHT = sorted(path.stem for path in (DATA / "light").glob("*.onnx"))


@pytest.mark.parametrize("name", LIGHT)
def test_light_networks(name: str) -> None:
    """The networks that ONNX's own tests leave out as too slow, with the outputs shipped with them."""
    model = onnx.load(DATA / "light" / f"{name}.onnx")
    rep = prepare(model)
    x = (np.arange(3 * 224 * 224).reshape(1, 3, 224, 224) / (3 * 224 * 224)).astype(np.float32)
    (output,) = rep.run([x])
    expected = array(TensorProto.FromString((DATA / "light" / f"{name}_output_0.pb").read_bytes()))
    np.testing.assert_allclose(output, expected, rtol=1e-3, atol=1e-7)  # the suite's own
    assert rep.by_reference == set()
