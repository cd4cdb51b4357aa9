# SPDX-License-Identifier: BSD-3-Clause
"""The gradient check finds faults, and does not take kinks for faults."""

import re
from typing import Any

import numpy as np
import pytest

import pyconv
from checks import assert_same_bits
from pyconv import inspection
from pyconv.losses import CrossEntropyLoss, Loss, MSELoss

F64: Any = np.float64


class Faulty(pyconv.Tanh):
    """A tanh whose gradient is off by a factor."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def backward(self, grad_output: Any) -> Any:
        return self.factor * super().backward(grad_output)


def network(rng: np.random.Generator, middle: pyconv.Layer) -> pyconv.Sequential:
    return pyconv.Sequential(
        pyconv.Conv2d(2, 4, 3, rng=rng, dtype=F64),
        pyconv.BatchNorm2d(4, dtype=F64),
        middle,
        pyconv.MaxPool2d(2),
        pyconv.Dropout(0.3, rng=np.random.default_rng(1)),
        pyconv.Flatten(),
        pyconv.Linear(16, 5, rng=rng, dtype=F64),
    )


def batch(rng: np.random.Generator) -> tuple[Any, Any]:
    return rng.standard_normal((6, 2, 6, 6)), np.array([0, 4, 2, 2, 1, 0])


@pytest.mark.parametrize("differentiable", [False, True], ids=["training", "eval"])
def test_right_gradients_pass(differentiable: bool, rng: np.random.Generator) -> None:
    model = network(rng, pyconv.ReLU())
    if differentiable:
        model.eval()
    x, y = batch(rng)
    result = inspection.check_gradients(model, CrossEntropyLoss(), x, y, rng=rng)
    assert result.ok
    assert [row.name for row in result.rows] == ["input", *dict(model.named_parameters())]
    assert max(row.error for row in result.rows) < 1e-6
    assert "All gradients agree." in str(result)


@pytest.mark.parametrize("factor", [-1.0, 0.0, 1.001, 1.00001])
def test_wrong_gradient_is_found_below_the_fault_and_nowhere_else(
    factor: float, rng: np.random.Generator
) -> None:
    model = network(rng, Faulty(factor))
    x, y = batch(rng)
    result = inspection.check_gradients(model, CrossEntropyLoss(), x, y, rng=rng)
    wrong = {row.name for row in result.rows if row.wrong}
    assert {"input", "0.weight", "1.weight", "1.bias"} <= wrong
    assert not wrong & {"6.weight", "6.bias"}
    assert "Wrong: input, 0.weight" in str(result)


def test_wrong_element_is_named(rng: np.random.Generator) -> None:
    class Off(pyconv.Linear):
        def backward(self, grad_output: Any) -> Any:
            grad = super().backward(grad_output)
            self.weight.grad[1, 2] += 0.5
            return grad

    model = Off(3, 2, rng=rng, dtype=F64)
    x, y = rng.standard_normal((4, 3)), rng.standard_normal((4, 2))
    result = inspection.check_gradients(model, MSELoss(), x, y, rng=rng)
    (row,) = [row for row in result.rows if row.wrong]
    assert (row.name, row.index, row.wrong, row.checked) == ("weight", (1, 2), 1, 6)
    assert row.analytic - row.numeric == pytest.approx(0.5)


def test_gradient_that_is_no_number_is_wrong(rng: np.random.Generator) -> None:
    x, y = batch(rng)
    model = network(rng, Faulty(np.nan))
    rows = inspection.check_gradients(model, CrossEntropyLoss(), x, y, rng=rng).rows
    assert (rows[0].wrong, rows[0].error) == (20, np.inf)


class Kinked(Loss):
    """Sum of ReLUs, whose gradient at 0 can be set."""

    at_zero = 0.0

    def value(self, input: Any, target: Any) -> float:
        return float(np.maximum(input, 0).sum())

    def gradient(self, input: Any, target: Any) -> Any:
        return np.where(input == 0, self.at_zero, (input > 0).astype(F64))


@pytest.mark.parametrize(
    ("at_zero", "verdict"), [(0.0, "kink"), (1.0, "kink"), (0.3, "kink"), (1.5, "wrong")]
)
def test_point_on_a_kink_may_have_any_slope_between_its_sides(
    at_zero: float, verdict: str, rng: np.random.Generator
) -> None:
    loss = Kinked()
    loss.at_zero = at_zero
    x = np.array([[0.0, 1.0, -1.0]])
    result = inspection.check_gradients(pyconv.Flatten(), loss, x, x, rng=rng)
    (row,) = result.rows
    assert (row.kinks, row.wrong) == ((1, 0) if verdict == "kink" else (0, 1))


@pytest.mark.parametrize("distance", [3e-6, -3e-6, 4e-7])
def test_kink_within_the_first_step_is_stepped_around(
    distance: float, rng: np.random.Generator
) -> None:
    x = np.array([[distance, 1.0]])
    result = inspection.check_gradients(pyconv.Flatten(), Kinked(), x, x, rng=rng)
    assert result.ok
    assert result.rows[0].kinks == 0


def test_tie_of_a_max_pool_is_a_kink(rng: np.random.Generator) -> None:
    x = np.zeros((1, 1, 2, 2))
    result = inspection.check_gradients(
        pyconv.MaxPool2d(2), MSELoss(), x, np.ones((1, 1, 1, 1)), rng=rng
    )
    assert result.rows[0].kinks == 4
    assert result.ok


def test_model_is_left_as_it_was(rng: np.random.Generator) -> None:
    model = network(rng, pyconv.ReLU())
    before = model.state_dict()
    x, y = batch(rng)
    kept = x.copy()
    inspection.check_gradients(model, CrossEntropyLoss(), x, y, rng=rng)
    for key, array in model.state_dict().items():
        assert_same_bits(array, before[key])
    assert_same_bits(x, kept)
    assert model.training
    with pytest.raises(RuntimeError):
        model.backward(np.zeros((6, 5)))


def test_bad_arguments_are_named(rng: np.random.Generator) -> None:
    x = np.zeros((1, 3))
    message = "check_gradients: weight has too few digits for differences, got float32"
    with pytest.raises(TypeError, match=re.escape(message)):
        inspection.check_gradients(pyconv.Linear(3, 3), MSELoss(), x, x, rng=rng)
    with pytest.raises(ValueError, match="elements or step is out of range, got 0 and 1e-05"):
        inspection.check_gradients(pyconv.Flatten(), MSELoss(), x, x, rng=rng, elements=0)
