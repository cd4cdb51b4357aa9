# SPDX-License-Identifier: BSD-3-Clause
"""The diagnosis: its numbers are those of NumPy, and each kind of ill network gets its finding."""

from typing import Any

import numpy as np
import pytest

import pyconv
from checks import assert_same_bits
from pyconv import inspection, models, optim
from pyconv.losses import CrossEntropyLoss, MSELoss


def dense(rng: np.random.Generator, depth: int, gain: float, middle: Any) -> pyconv.Sequential:
    """Return a stack of dense layers whose weights have the spread ``gain / sqrt(50)``."""
    layers: list[pyconv.Layer] = []
    for _ in range(depth):
        linear = pyconv.Linear(50, 50, rng=rng)
        linear.weight.value[...] = gain / np.sqrt(50) * rng.standard_normal((50, 50))
        if linear.bias is not None:
            linear.bias.value[...] = 0
        layers += [linear, middle()]
    return pyconv.Sequential(*layers, pyconv.Linear(50, 10, rng=rng))


def findings(model: pyconv.Layer, rng: np.random.Generator, **options: Any) -> list[str]:
    x = rng.standard_normal((64, 50)).astype(np.float32)
    y = rng.integers(0, 10, 64)
    return inspection.diagnose(model, x, y, CrossEntropyLoss(), **options).findings


def test_healthy_networks_get_no_finding(rng: np.random.Generator) -> None:
    model = models.LeNet(rng=rng)
    x = rng.standard_normal((64, 1, 28, 28)).astype(np.float32)
    y = rng.integers(0, 10, 64)
    adam = optim.Adam(model.parameters(), 1e-3)
    diagnosis = inspection.diagnose(model, x, y, CrossEntropyLoss(), optimizer=adam)
    assert diagnosis.findings == []
    assert str(diagnosis).endswith("Nothing is odd.")
    assert findings(dense(rng, 8, 1.4, pyconv.ReLU), rng, lr=0.01) == []


def test_saturated_sigmoids_are_found(rng: np.random.Generator) -> None:
    found = findings(dense(rng, 1, 40.0, pyconv.Sigmoid), rng)
    assert any("1 (Sigmoid)" in text and "saturated" in text for text in found)


def test_dead_relus_are_found(rng: np.random.Generator) -> None:
    model = dense(rng, 1, 1.4, pyconv.ReLU)
    bias = next(p for name, p in model.named_parameters() if name == "0.bias")
    bias.value[:30] = -100
    (text,) = findings(model, rng)
    assert text.startswith("1 (ReLU): 60% of its units are 0 for the whole batch")


def test_vanishing_gradients_are_found(rng: np.random.Generator) -> None:
    found = findings(dense(rng, 10, 1.0, pyconv.Sigmoid), rng)
    assert any(text.startswith("Gradients vanish") and "0 (Linear)" in text for text in found)


def test_exploding_gradients_are_found(rng: np.random.Generator) -> None:
    model = dense(rng, 10, 1.0, pyconv.Tanh)
    for name, parameter in model.named_parameters():
        if name.endswith("weight"):
            # Small outputs, which tanh passes as they are, under large weights that follow.
            parameter.value *= 1e-3 if name == "0.weight" else 3
    found = findings(model, rng)
    assert any(text.startswith("Gradients explode") for text in found)


def test_growing_outputs_are_found(rng: np.random.Generator) -> None:
    found = findings(dense(rng, 10, 6.0, pyconv.ReLU), rng)
    assert any(text.startswith("Outputs grow") for text in found)
    found = findings(dense(rng, 10, 0.2, pyconv.ReLU), rng)
    assert any(text.startswith("Outputs shrink") for text in found)


@pytest.mark.parametrize(("lr", "remedy"), [(1e-7, "A higher lr"), (1e4, "A lower lr")])
def test_learning_rates_far_off_are_found(lr: float, remedy: str, rng: np.random.Generator) -> None:
    assert any(remedy in text for text in findings(dense(rng, 2, 1.4, pyconv.ReLU), rng, lr=lr))


def test_missing_gradient_is_found(rng: np.random.Generator) -> None:
    model = dense(rng, 2, 1.4, pyconv.ReLU)
    last = list(model.named_parameters())[-2]
    last[1].value[...] = 0
    assert "0 (Linear): its weight gets no gradient at all." in findings(model, rng)


def test_first_layer_with_a_nan_is_named(rng: np.random.Generator) -> None:
    model = dense(rng, 2, 1.4, pyconv.ReLU)
    next(p for name, p in model.named_parameters() if name == "2.weight").value[0, 0] = np.nan
    (text,) = findings(model, rng)
    assert "the outputs of 2 (Linear) are the first that are" in text


def test_numbers_are_those_of_numpy(rng: np.random.Generator) -> None:
    model = pyconv.Sequential(
        pyconv.Linear(6, 5, rng=rng, dtype=np.float64),
        pyconv.Sigmoid(),
        pyconv.Linear(5, 4, rng=rng, dtype=np.float64),
        pyconv.ReLU(),
    )
    x, y = 9 * rng.standard_normal((20, 6)), rng.standard_normal((20, 4))
    w0, b0, w2, b2 = (p.value for p in model.parameters())
    s = 1 / (1 + np.exp(-(x @ w0.T + b0)))
    z = s @ w2.T + b2
    out = np.maximum(z, 0)
    grad_z = 2 * (out - y) / y.size * (z > 0)
    diagnosis = inspection.diagnose(model, x, y, MSELoss(), lr=0.5)
    first, sigmoid, second, relu = diagnosis.layers
    assert diagnosis.loss == pytest.approx(np.mean((out - y) ** 2))
    assert (sigmoid.mean, sigmoid.std) == pytest.approx((s.mean(), s.std()))
    assert sigmoid.saturated == np.mean(4 * s * (1 - s) < 0.05)
    assert relu.dead == np.mean(np.all(out == 0, axis=0))
    assert second.gradient == pytest.approx(np.sqrt(np.mean(grad_z**2)))
    ratio = np.linalg.norm(grad_z.T @ s) / np.linalg.norm(w2)
    assert second.weight_gradient == pytest.approx(ratio)
    assert second.update == pytest.approx(0.5 * ratio)
    assert first.dead is first.saturated is relu.update is None


def test_model_and_optimizer_are_left_as_they_were(rng: np.random.Generator) -> None:
    model = pyconv.Sequential(
        pyconv.Conv2d(1, 4, 3, rng=rng), pyconv.BatchNorm2d(4), pyconv.ReLU(),
        pyconv.Dropout(0.5, rng=np.random.default_rng(0)), pyconv.Flatten(),
        pyconv.Linear(64, 3, rng=rng),
    )  # fmt: skip
    adam = optim.Adam(model.parameters())
    before, steps = model.state_dict(), adam.state_dict()
    x = rng.standard_normal((5, 1, 6, 6)).astype(np.float32)
    target = np.array([0, 1, 2, 0, 1])
    diagnosis = inspection.diagnose(model, x, target, CrossEntropyLoss(), optimizer=adam)
    again = inspection.diagnose(model, x, target, CrossEntropyLoss(), optimizer=adam)
    assert str(diagnosis) == str(again)
    for kept, now in ((before, model.state_dict()), (steps, adam.state_dict())):
        for key, array in now.items():
            assert_same_bits(array, kept[key])
    assert not any(vars(layer).keys() & {"forward", "backward"} for layer in model)
    assert all(not p.grad.any() for p in model.parameters())
    with pytest.raises(ValueError, match=r"optimizer and lr are both given, got lr=0\.1"):
        inspection.diagnose(model, x, target, CrossEntropyLoss(), optimizer=adam, lr=0.1)


def test_layers_that_run_together_are_seen_one_by_one(rng: np.random.Generator) -> None:
    """ReLU comes with its convolution otherwise, and its input would not be seen."""
    conv, relu = pyconv.Conv2d(1, 3, 3, rng=rng), pyconv.ReLU()
    model = pyconv.Sequential(
        pyconv.Residual(pyconv.Sequential(conv, relu), pyconv.Conv2d(1, 3, 3))
    )
    x = rng.standard_normal((2, 1, 5, 5)).astype(np.float32)
    rows = inspection.diagnose(model, x, np.zeros((2, 3, 3, 3), np.float32), MSELoss()).layers
    assert [row.name for row in rows] == ["0.body.0", "0.body.1", "0.shortcut"]
    assert rows[0].mean == pytest.approx(float(conv(x).mean()), rel=1e-4)
    assert rows[1].mean == pytest.approx(float(np.maximum(conv(x), 0).mean()), rel=1e-4)
