# SPDX-License-Identifier: BSD-3-Clause
"""Summaries: the numbers published for known networks, and every layer's own arithmetic."""

import re
from typing import Any

import numpy as np
import pytest

from checks import assert_same_bits
from pyconv import layers as L
from pyconv import models
from pyconv.layers.base import Array, Layer

GREY = (2, 1, 12, 12)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("name", "giga"),
    [("ResNet50", 4.09), ("MobileNetV2", 0.30), ("GoogLeNet", 1.50), ("DenseNet121", 2.83)],
)
def test_multiply_adds_are_those_published(name: str, giga: float) -> None:
    model = models.build(name, {})
    summary = model.summary((1, 3, 224, 224))
    assert summary.multiply_adds is not None
    assert round(summary.multiply_adds / 1e9, 2) == giga
    assert summary.parameters == sum(row.parameters for row in summary.rows)
    assert model.summary((3, 3, 224, 224)).multiply_adds == 3 * summary.multiply_adds


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(("name", "giga"), [("VGG16", 15.47), ("AlexNet", 0.71)])
def test_multiply_adds_of_large_networks_are_those_published(name: str, giga: float) -> None:
    summary = models.build(name, {}).summary((1, 3, 224, 224))
    assert summary.multiply_adds is not None
    assert round(summary.multiply_adds / 1e9, 2) == giga
    # Those before the average pool, from Araujo, Norris, Sim (2019), table 1.
    field = next(row for row in reversed(summary.rows) if row.kind == "MaxPool2d").receptive_field
    assert field == {"VGG16": (212, 212), "AlexNet": (195, 195)}[name]


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(("name", "field"), [("MobileNetV1", 315), ("ResNet50", 427)])
def test_receptive_field_is_the_one_published(name: str, field: int) -> None:
    """ResNet-50 strides in its 3x3 convolutions, which makes 427 of the paper's 483."""
    rows = models.build(name, {}).summary((1, 3, 224, 224)).rows
    assert rows[-4].output_shape[2:] == (7, 7)
    assert rows[-4].receptive_field == (field, field)


# name: layer, input shape, multiply-adds of the batch, receptive field.
LAYERS: dict[str, tuple[Layer, tuple[int, ...], int, tuple[int, ...]]] = {
    "conv2d": (L.Conv2d(1, 4, (3, 2), 2, dilation=2), GREY, 2 * 4 * 4 * 5 * 6, (5, 3)),
    "conv2d_groups": (L.Conv2d(4, 6, 3, groups=2), (1, 4, 5, 5), 9 * 6 * 2 * 9, (3, 3)),
    "conv1d": (L.Conv1d(2, 3, 5), (1, 2, 9), 5 * 3 * 2 * 5, (5,)),
    "conv3d": (L.Conv3d(2, 3, (1, 2, 3)), (1, 2, 4, 4, 4), 4 * 3 * 2 * 3 * 2 * 6, (1, 2, 3)),
    "conv_transpose2d": (L.ConvTranspose2d(2, 3, 3, 2), (1, 2, 5, 5), 25 * 2 * 3 * 9, (2, 2)),
    "linear": (L.Linear(7, 5), (3, 7), 3 * 7 * 5, ()),
    "max_pool2d": (L.MaxPool2d(3, 2, 1, 2), GREY, 0, (5, 5)),
    "avg_pool2d": (L.AvgPool2d((2, 3)), GREY, 0, (2, 3)),
    "adaptive": (L.AdaptiveAvgPool2d(5), GREY, 0, (4, 4)),
    "global": (L.GlobalMaxPool2d(), GREY, 0, (12, 12)),
    "flatten": (L.Flatten(), GREY, 0, (12, 12)),
    "batch_norm2d": (L.BatchNorm2d(1), GREY, 0, (1, 1)),
    "tanh": (L.Tanh(), GREY, 0, (1, 1)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_row_of_one_layer(name: str, rng: np.random.Generator) -> None:
    layer, shape, multiply_adds, field = LAYERS[name]
    (row,) = layer.summary(shape).rows
    output = layer(rng.standard_normal(shape).astype(np.float32))
    assert row.output_shape == output.shape
    assert row.multiply_adds == multiply_adds
    assert row.receptive_field == field
    assert row.parameters == sum(parameter.value.size for parameter in layer.parameters())
    assert row.memory == (0 if name == "flatten" else output.nbytes)


def test_receptive_field_holds_every_pixel_that_matters() -> None:
    model = L.Sequential(
        L.Conv2d(1, 2, 3, dtype=np.float64),
        L.Residual(
            L.Sequential(L.Conv2d(2, 2, (5, 1), padding=((2, 2), (0, 0)), dtype=np.float64))
        ),
        L.Concat(L.MaxPool2d(1, 2), L.AvgPool2d((2, 3), 2, (0, 1))),
        L.Conv2d(4, 1, 2, dilation=2, dtype=np.float64),
    )
    field = model.summary((1, 1, 32, 32)).rows[-1].receptive_field
    x = np.random.default_rng(0).standard_normal((1, 1, 32, 32))
    output = model(x)
    # The gradient of one output is non-zero exactly where it looks.
    grad = np.zeros_like(output)
    grad[0, 0, output.shape[2] // 2, output.shape[3] // 2] = 1
    _, _, rows, columns = np.nonzero(model.backward(grad))
    assert (int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1) == field


def test_paths_come_before_the_row_that_joins_them() -> None:
    model = L.Sequential(
        {
            "block": L.Residual(L.Conv2d(1, 1, 5, padding=2), L.Conv2d(1, 1, 1)),
            "join": L.Concat({"same": L.Identity(), "wide": L.Conv2d(1, 3, 3, padding=1)}),
        }
    )
    summary = model.summary(GREY)
    rows = [(row.name, row.kind, row.output_shape[1], row.receptive_field) for row in summary.rows]
    assert rows == [
        ("block.body", "Conv2d", 1, (5, 5)),
        ("block.shortcut", "Conv2d", 1, (1, 1)),
        ("block", "Residual", 1, (5, 5)),
        ("join.same", "Identity", 1, (5, 5)),
        ("join.wide", "Conv2d", 3, (7, 7)),
        ("join", "Concat", 4, (7, 7)),
    ]
    plane = 2 * 12 * 12 * 4
    assert [row.memory // plane for row in summary.rows] == [1, 1, 1, 0, 3, 4]
    assert summary.memory == 10 * plane


def test_names_are_those_of_the_state_dict() -> None:
    model = models.ResNet18(1, 2, rng=np.random.default_rng(0))
    names = {row.name for row in model.summary(GREY).rows if row.parameters}
    assert names == {key.rpartition(".")[0] for key in model.state_dict()}


def test_summary_leaves_the_model_as_it_was(rng: np.random.Generator) -> None:
    model = L.Sequential(L.Conv2d(1, 2, 3), L.BatchNorm2d(2), L.Dropout(rng=rng))
    model[2].eval()
    x = rng.standard_normal(GREY).astype(np.float32)
    output = model(x)
    state, draws = model.state_dict(), rng.bit_generator.state
    model.summary(GREY)
    assert [layer.training for layer in model] == [True, True, False]
    assert rng.bit_generator.state == draws
    for key, array in model.state_dict().items():
        assert_same_bits(array, state[key])
    assert model[:2].backward(output).shape == x.shape  # what the forward saved is still there


class Scale(Layer):
    """A layer that pyconv does not know."""

    def __init__(self) -> None:
        self.inner = L.Linear(1, 1)

    def children(self) -> dict[str, Layer]:
        return {"inner": self.inner}

    def forward(self, input: Array) -> Array:
        return 2 * input


def test_unknown_layer_with_parameters_has_unknown_work() -> None:
    summary = L.Sequential(L.ReLU(), Scale()).summary(GREY)
    assert [row.multiply_adds for row in summary.rows] == [0, None]
    assert summary.rows[1].parameters == summary.parameters == 2
    assert summary.multiply_adds is None
    assert str(summary).count("unknown") == 2


def test_table_lines_up() -> None:
    lines = str(models.LeNet().summary((1, 1, 28, 28))).splitlines()
    assert lines[0].split()[:3] == ["layer", "kind", "output"]
    assert re.split(" {2,}", lines[1]) == [
        "0",
        "Conv2d",
        "1 x 6 x 28 x 28",
        "156",
        "117,600",
        "18.4",
        "5 x 5",
    ]
    assert lines[0].index("output") == lines[1].index("1 x 6")
    assert re.fullmatch(r"total +61,706 +416,520 +[\d.]+", lines[-1])
    assert len(lines) == 14


@pytest.mark.parametrize("shape", [(), (3,), (1, 0, 4, 4), (0, 1, 4, 4)])
def test_summary_checks_the_shape(shape: Any) -> None:
    with pytest.raises(
        ValueError, match=f"summary: input_shape is wrong, got {re.escape(str(shape))}"
    ):
        L.ReLU().summary(shape)


def test_summary_names_what_does_not_fit() -> None:
    model = L.Sequential(L.Conv2d(3, 4, 3))
    with pytest.raises(ValueError, match="weight expects 3 input channels"):
        model.summary(GREY)
    assert model.training
