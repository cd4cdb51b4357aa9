# SPDX-License-Identifier: BSD-3-Clause
"""ONNX models run by pyconv: networks, fusing, arrays in and out, errors, the command line."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from checks import assert_same_bits
from children import run_python
from pyconv import cli, models, runtime
from pyconv import layers as L
from pyconv.layers.base import Array

onnx: Any = pytest.importorskip("onnx", reason="the package onnx is not installed")
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from pyconv.backends import onnx as backend
from pyconv.backends.onnx import (
    convert,
    export,
    new_ops,
    prepare,
    prepare_file,
    run_model,
    run_node,
)
from test_backend_onnx_export import LAYERS, make, run_onnxruntime

# Networks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LAYERS)
def test_export_and_back(name: str, rng: np.random.Generator) -> None:
    """What `convert` writes, `prepare` computes, by pyconv's own kernels."""
    layer, x = make(name, rng)
    rep = prepare(convert(layer, x.shape))
    layer.eval()
    for batch in (x, x[:1]):
        np.testing.assert_allclose(rep.run([batch])[0], layer(batch), rtol=2e-5, atol=2e-5)
    assert rep.by_reference == set()


NETWORKS: dict[str, Callable[[np.random.Generator], L.Layer]] = {
    "resnet18": lambda rng: models.ResNet18(image_size=64, num_classes=10, rng=rng),
    "mobilenet_v2": lambda rng: models.MobileNetV2(image_size=64, num_classes=10, rng=rng),
    "googlenet": lambda rng: models.GoogLeNet(image_size=64, num_classes=10, rng=rng),
    "squeezenet": lambda rng: models.SqueezeNet(image_size=64, num_classes=10, rng=rng),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_agree_with_onnxruntime(name: str, rng: np.random.Generator) -> None:
    model = NETWORKS[name](rng).eval()
    x = rng.standard_normal((2, 3, 64, 64), dtype=np.float32)
    proto = convert(model, x.shape)
    (got,) = prepare(proto).run([x])
    scale = np.abs(got).max()
    # Some 50 layers, each with a relative error of a few 1e-7 times the root of its products.
    np.testing.assert_allclose(got, model(x), rtol=0, atol=1e-4 * scale)
    np.testing.assert_allclose(got, run_onnxruntime(proto, x), rtol=0, atol=1e-4 * scale)


# Folding and fusing ------------------------------------------------------------------------------


def graph_of(nodes: list[Any], constants: dict[str, Any], **shapes: Any) -> Any:
    """Return a model of float32 inputs with these shapes, whose last node gives the output."""
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "graph",
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()],
            [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 21)],
        ir_version=10,
    )
    return onnx.shape_inference.infer_shapes(model)


def chain(*steps: tuple[str, list[str], dict[str, Any]]) -> list[Any]:
    """Return nodes that write a, b, c, ... one after the other."""
    return [
        helper.make_node(op_type, inputs, [chr(ord("a") + i)], **attributes)
        for i, (op_type, inputs, attributes) in enumerate(steps)
    ]


CONV = ("Conv", ["x", "w", "bias"], {"pads": [1, 1, 1, 1]})
NORM = ("BatchNormalization", ["a", "scale", "shift", "mean", "var"], {"epsilon": 1e-3})

# name: nodes, and how many are left after fusing.
CHAINS: dict[str, tuple[list[Any], int]] = {
    "conv_relu": (chain(CONV, ("Relu", ["a"], {})), 1),
    "conv_norm": (chain(CONV, NORM), 1),
    "conv_norm_add_relu": (
        chain(CONV, NORM, ("Add", ["b", "r"], {}), ("Relu", ["c"], {})),
        1,
    ),
    "conv_norm_scale_shift_relu": (
        chain(
            CONV,
            NORM,
            ("Mul", ["b", "channels"], {}),
            ("Add", ["channels", "c"], {}),
            ("Relu", ["d"], {}),
        ),
        1,
    ),
    "conv_scale_of_a_number": (chain(CONV, ("Mul", ["a", "6"], {})), 1),
    "conv_scale_of_columns": (chain(CONV, ("Mul", ["a", "columns"], {})), 2),
    "conv_scale_of_as_many_columns": (
        chain(
            ("Conv", ["x", "w", "bias"], {"pads": [1, 1, 1, 2]}),
            ("Mul", ["a", "scale"], {}),
        ),
        2,
    ),
    "norm_scale_shift_relu": (
        chain(
            ("Tanh", ["r"], {}),
            NORM,
            ("Mul", ["b", "channels"], {}),
            ("Add", ["c", "channels"], {}),
            ("Relu", ["d"], {}),
        ),
        2,
    ),
    "norm_of_unknown_rank": (
        chain(("Squeeze", ["s", "axis"], {}), NORM, ("Mul", ["b", "channels"], {})),
        3,
    ),
    "conv_add_is_second": (chain(CONV, ("Add", ["r", "a"], {}), ("HardSwish", ["b"], {})), 1),
    "conv_add_of_a_later_value": (
        chain(CONV, ("Tanh", ["r"], {}), ("Sum", ["a", "b"], {}), ("Clip", ["c", "0", "6"], {})),
        2,
    ),
    "conv_add_broadcasts": (
        chain(CONV, ("Add", ["a", "row"], {}), ("Relu", ["b"], {})),
        1,
    ),
    "conv_relu_add": (chain(CONV, ("Relu", ["a"], {}), ("Add", ["b", "r"], {})), 2),
    "conv_used_twice": (chain(CONV, ("Relu", ["a"], {}), ("Add", ["a", "b"], {})), 3),
    "conv_plus_itself": (chain(CONV, ("Add", ["a", "a"], {})), 2),
    "conv_clip_elsewhere": (chain(CONV, ("Clip", ["a", "0", "1"], {})), 2),
    "conv_variable_weight": (
        [helper.make_node("Conv", ["x", "v"], ["a"]), helper.make_node("Relu", ["a"], ["b"])],
        2,
    ),
    "norm_relu": (chain(("Tanh", ["r"], {}), NORM, ("Relu", ["b"], {})), 2),
    "add_relu": (chain(("Add", ["r", "r"], {}), ("Relu", ["a"], {})), 1),
    "add_row_relu": (chain(("Add", ["r", "row"], {}), ("Relu", ["a"], {})), 1),
    "transpose_relu": (
        chain(("ConvTranspose", ["x", "t", "bias"], {"strides": [2, 2]}), ("Relu", ["a"], {})),
        1,
    ),
    "gemm_relu": (
        chain(
            ("Flatten", ["x"], {}), ("Gemm", ["a", "m", "k"], {"beta": 2.0}), ("Relu", ["b"], {})
        ),
        2,
    ),
    "constants": (
        chain(("Mul", ["w", "w"], {}), ("Conv", ["x", "a"], {}), ("Relu", ["b"], {})),
        1,
    ),
}


def outputs_of(evaluator: Any, given: dict[str, Array]) -> list[Array]:
    outputs: list[Array] = evaluator.run(None, given)
    return outputs


@pytest.mark.parametrize("name", CHAINS)
def test_fused_graphs_agree_with_the_reference(name: str, rng: np.random.Generator) -> None:
    nodes, left = CHAINS[name]

    def draw(*shape: int) -> Array:
        return rng.uniform(-1, 1, shape).astype(np.float32)

    constants = {
        "w": draw(6, 3, 3, 3), "bias": draw(6), "scale": draw(6), "shift": draw(6),
        "mean": draw(6), "var": draw(6) + 2, "t": draw(3, 6, 2, 2), "m": draw(75, 4), "k": draw(4),
        "channels": draw(6, 1, 1), "columns": draw(5), "axis": np.array([0]),
        **{str(bound): np.array(bound, np.float32) for bound in (0, 1, 6)},
    }  # fmt: skip
    given = {
        "x": draw(2, 3, 5, 5), "r": draw(2, 6, 5, 5), "row": draw(6, 1, 1), "v": draw(4, 3, 2, 2),
        "s": draw(1, 6, 6, 4),
    }  # fmt: skip
    used = {value for node in nodes for value in node.input}
    given = {key: value for key, value in given.items() if key in used}
    constants = {key: value for key, value in constants.items() if key in used}
    model = graph_of(nodes, constants, **{key: value.shape for key, value in given.items()})
    rep = prepare(model)
    assert len(rep._steps) == left
    (expected,) = outputs_of(ReferenceEvaluator(model), given)
    for _ in range(2):  # with weights to pack, and packed
        np.testing.assert_allclose(rep.run([*given.values()])[0], expected, rtol=1e-5, atol=1e-5)


def test_values_die_after_their_last_reader() -> None:
    relus = [helper.make_node("Relu", [a], [b]) for a, b in ("xa", "ab", "bc")]
    rep = prepare(graph_of(relus, {}, x=[4]))
    assert [len(step.dead) for step in rep._steps] == [1, 1, 1]  # x, a, b; c is the output


# Arrays in and out -------------------------------------------------------------------------------


def test_inputs_of_any_strides_are_only_read(rng: np.random.Generator) -> None:
    layer, x = make("conv2d", rng)
    rep = prepare(convert(layer, x.shape))
    (expected,) = rep.run([x])
    wide = np.zeros((*x.shape[:3], 2 * x.shape[3]), np.float32)
    strided = wide[..., ::2]
    strided[...] = x
    strided.setflags(write=False)
    assert_same_bits(rep.run([strided])[0], expected)
    assert_same_bits(rep.run([np.asfortranarray(x)])[0], expected)


@pytest.mark.parametrize("op_type", ["Identity", "Transpose", "Flatten"])
def test_outputs_are_the_callers(op_type: str) -> None:
    """Neither an input nor a constant can be changed through an output."""
    node = helper.make_node(op_type, ["x"], ["y"])
    of_input = graph_of([node], {}, x=[2, 3])
    of_constant = graph_of([node], {"x": np.ones((2, 3), np.float32)})
    for model, x in ((of_input, [np.ones((2, 3), np.float32)]), (of_constant, [])):
        rep = prepare(model)
        (output,) = rep.run(x)
        output[...] = 7
        assert all(array.min() == 1 for array in x)
        assert rep.run(x)[0].max() == 1


def test_results_do_not_depend_on_threads(rng: np.random.Generator) -> None:
    layer, x = make("residual", rng)
    results = []
    for threads in (1, 2):
        with runtime.num_threads(threads):
            results.append(prepare(convert(layer, x.shape)).run([x])[0])
    assert_same_bits(*results)


def test_run_model_and_run_node(rng: np.random.Generator) -> None:
    layer, x = make("relu", rng)
    assert_same_bits(run_model(convert(layer, x.shape), [x])[0], layer(x))
    node = helper.make_node("LeakyRelu", ["x"], ["y"], alpha=0.5)
    np.testing.assert_array_equal(run_node(node, [x])[0], np.where(x < 0, x / 2, x))
    old = helper.make_node("Clip", ["x"], ["y"], min=0.0, max=0.5)
    np.testing.assert_array_equal(run_node(old, [x], opset_version=6)[0], x.clip(0, 0.5))


def test_new_ops_take_the_place_of_the_reference(rng: np.random.Generator) -> None:
    layer, x = make("lenet", rng)
    model = convert(layer, x.shape)
    (expected,) = outputs_of(ReferenceEvaluator(model), {"input": x})
    evaluator = ReferenceEvaluator(model, new_ops=new_ops())
    kinds = {type(node).__module__ for node in evaluator.rt_nodes_ if "Conv" in type(node).__name__}
    assert kinds == {"pyconv.backends.onnx.new_ops"}
    np.testing.assert_allclose(
        outputs_of(evaluator, {"input": x})[0], expected, rtol=1e-4, atol=1e-5
    )
    half = graph_of([helper.make_node("Softmax", ["x"], ["y"])], {}, x=[3])
    values = np.arange(3, dtype=np.float16)  # which the reference has to do
    (got,) = outputs_of(ReferenceEvaluator(half, new_ops=new_ops()), {"x": values})
    assert got.dtype == np.float16


# Mistakes ----------------------------------------------------------------------------------------


def test_run_names_what_is_wrong_with_its_inputs() -> None:
    rep = prepare(convert(L.Linear(3, 2), (1, 3)))
    x = np.zeros((4, 3), np.float32)
    inputs: Any
    for inputs, error, message in (
        (x, TypeError, "run: inputs is of the wrong type, got ndarray; expected a list of arrays"),
        ([x, x], ValueError, "run: inputs has the wrong length, got 2; expected 1 (input)"),
        (
            [x.astype(np.float64)],
            TypeError,
            "run: input 'input' has the wrong dtype, got float64; expected float32",
        ),
        (
            [x[:, :2]],
            ValueError,
            "run: input 'input' has the wrong shape, got (4, 2); expected (any, 3)",
        ),
    ):
        with pytest.raises(error, match=re.escape(message)):
            rep.run(inputs)


def test_prepare_names_what_it_cannot_run(tmp_path: Path) -> None:
    model = convert(L.ReLU(), (1, 3))
    assert backend.supports_device("CPU")
    assert not backend.supports_device("CUDA:0")
    with pytest.raises(ValueError, match="prepare: device is not supported, got 'CUDA'"):
        prepare(model, "CUDA")
    unknown = graph_of([helper.make_node("Relu", ["x"], ["y"])], {}, x=[3])
    unknown.graph.node[0].op_type, unknown.graph.node[0].domain = "Fold", "elsewhere"
    unknown.opset_import.append(helper.make_opsetid("elsewhere", 3))
    message = "operator is not supported, got Fold of domain 'elsewhere', version 3"
    with pytest.raises(ValueError, match=message):
        prepare(unknown)
    path = tmp_path / "model.onnx"
    content = model.SerializeToString()
    for damaged in (b"", b"garbage", content[: len(content) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"model\.onnx: not a valid ONNX file"):
            prepare_file(path)
    with pytest.raises(FileNotFoundError):
        prepare_file(tmp_path / "none.onnx")


def test_onnx_is_needed_here_only() -> None:
    script = """
        import sys
        import pyconv, pyconv.cli
        assert "onnx" not in sys.modules
        sys.modules["onnx"] = None
        try:
            import pyconv.backends.onnx
        except ImportError as error:
            print(error)
    """
    assert run_python(script) == (
        "pyconv.backends.onnx needs onnx, got no module named onnx; "
        "expected: python -m pip install 'pyconv-nn[onnx]'"
    )


# The command line --------------------------------------------------------------------------------


def test_command_runs_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export(L.ReLU(), tmp_path / "model.onnx", (1, 3))
    x = np.array([[-1, 2, 3]], np.float32)
    np.save(tmp_path / "x.npy", x)
    command = ["run", str(tmp_path / "model.onnx"), "--input", str(tmp_path / "x.npy")]
    assert cli.main([*command, "--output", str(tmp_path / "y.npy")]) == 0
    assert capsys.readouterr().out == "output  float32 (1, 3)  0 to 3\n"
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), [[0, 2, 3]])

    (tmp_path / "bad.npy").write_bytes(b"garbage")
    np.save(tmp_path / "wide.npy", x.astype(np.float64))
    for arguments, message in (
        (["run", "none.onnx", "--input", "x.npy"], "none.onnx: No such file or directory"),
        (["run", str(tmp_path / "bad.npy"), "--input", "x.npy"], "not a valid ONNX file"),
        ([*command[:3], str(tmp_path / "bad.npy")], "bad.npy: not a .npy file of numbers"),
        ([*command[:3], str(tmp_path / "wide.npy")], "got float64; expected float32"),
        ([*command, "--output", "y.npy", "z.npy"], "--output has 2 files for 1 outputs (output)"),
        ([*command, "--output", str(tmp_path / "none" / "y.npy")], "No such file or directory"),
    ):
        assert cli.main(arguments) == 2
        line = capsys.readouterr().err
        assert message in line
        assert line.count("\n") == 1
