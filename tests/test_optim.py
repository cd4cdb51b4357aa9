# SPDX-License-Identifier: BSD-3-Clause
"""Optimizers: the published update rules, agreement with torch, and exact continuation."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from checks import assert_same_bits
from pyconv.layers import Parameter
from pyconv.optim import SGD, Adam, AdamW, CosineSchedule, Optimizer

Make = Callable[[list[Parameter]], Optimizer]

# name: ours, and the same in torch's words.
OPTIMIZERS: dict[str, tuple[Make, str, dict[str, Any]]] = {
    "sgd": (lambda p: SGD(p, 0.1), "SGD", {"lr": 0.1}),
    "sgd_decay": (lambda p: SGD(p, 0.1, weight_decay=0.3), "SGD", {"lr": 0.1, "weight_decay": 0.3}),
    "sgd_momentum": (
        lambda p: SGD(p, 0.1, 0.9, weight_decay=0.01),
        "SGD",
        {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01},
    ),
    "sgd_nesterov": (
        lambda p: SGD(p, 0.1, 0.9, nesterov=True),
        "SGD",
        {"lr": 0.1, "momentum": 0.9, "nesterov": True},
    ),
    "adam": (lambda p: Adam(p, 0.01), "Adam", {"lr": 0.01}),
    "adam_decay": (
        lambda p: Adam(p, 0.01, (0.8, 0.95), 1e-6, weight_decay=0.1),
        "Adam",
        {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1},
    ),
    "adamw": (lambda p: AdamW(p, 0.01), "AdamW", {"lr": 0.01, "weight_decay": 0.01}),
}


def parameters(dtype: Any = np.float64) -> list[Parameter]:
    """Return three parameters of different shapes."""
    rng = np.random.default_rng(5)
    return [Parameter(rng.standard_normal(s).astype(dtype)) for s in ((3, 4), (4,), (2, 1, 3, 3))]


def run(optimizer: Optimizer, steps: int, rng: np.random.Generator) -> None:
    """Take steps along random gradients."""
    for _ in range(steps):
        for parameter in optimizer.parameters:
            parameter.grad[...] = rng.standard_normal(parameter.value.shape)
        optimizer.step()


@pytest.mark.parametrize(("make", "name", "options"), OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_optimizer_agrees_with_torch(make: Make, name: str, options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    ours = parameters()
    optimizer = make(ours)
    theirs = [torch.nn.Parameter(torch.from_numpy(p.value.copy())) for p in ours]
    other = getattr(torch.optim, name)(theirs, **options)
    rng = np.random.default_rng(1)
    for _ in range(20):
        for parameter, tensor in zip(ours, theirs, strict=True):
            parameter.grad[...] = rng.standard_normal(parameter.value.shape)
            tensor.grad = torch.from_numpy(parameter.grad.copy())
        optimizer.step()
        other.step()
    for parameter, tensor in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(parameter.value, tensor.detach().numpy(), rtol=1e-12, atol=1e-13)


def test_sgd_momentum_matches_definition(rng: np.random.Generator) -> None:
    (parameter,) = [Parameter(rng.standard_normal(4))]
    optimizer = SGD([parameter], 0.1, 0.9)
    value, velocity = parameter.value.copy(), np.zeros(4)
    for _ in range(5):
        parameter.grad[...] = rng.standard_normal(4)
        velocity = 0.9 * velocity + parameter.grad
        value = value - 0.1 * velocity
        optimizer.step()
    np.testing.assert_allclose(parameter.value, value, rtol=1e-13)


def test_adam_matches_definition(rng: np.random.Generator) -> None:
    (parameter,) = [Parameter(rng.standard_normal(4))]
    optimizer = Adam([parameter], 0.01)
    value, m, v = parameter.value.copy(), np.zeros(4), np.zeros(4)
    for t in range(1, 6):
        parameter.grad[...] = g = rng.standard_normal(4)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        value = value - 0.01 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        optimizer.step()
    np.testing.assert_allclose(parameter.value, value, rtol=1e-12)


def test_l1_adds_the_sign_of_the_value() -> None:
    parameter = Parameter(np.array([2.0, -3.0, 0.0]))
    parameter.grad[...] = [1.0, 1.0, 1.0]
    SGD([parameter], 1.0, l1=0.5, weight_decay=0.1).step()
    np.testing.assert_allclose(parameter.value, [2 - 1.7, -3 - 0.2, -1.0])


@pytest.mark.parametrize(("make", "name", "options"), OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_step_changes_values_in_place_and_only_them(
    make: Make, name: str, options: dict[str, Any], dtype: Any
) -> None:
    del name, options
    mixed = parameters(dtype)
    optimizer = make(mixed)
    values, grads = [p.value for p in mixed], [p.grad for p in mixed]
    for grad in grads:
        grad[...] = 0.5
    optimizer.step()
    for parameter, value, grad in zip(mixed, values, grads, strict=True):
        assert parameter.value is value
        assert parameter.grad is grad
        assert value.dtype == dtype
        assert parameter.version == 1
        np.testing.assert_array_equal(grad, 0.5)
    optimizer.zero_grad()
    assert not any(grad.any() for grad in grads)


@pytest.mark.parametrize(("make", "name", "options"), OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_state_dict_continues_bit_by_bit(make: Make, name: str, options: dict[str, Any]) -> None:
    del name, options
    whole = make(parameters(np.float32))
    run(whole, 3, rng := np.random.default_rng(2))
    other = make([Parameter(p.value.copy()) for p in whole.parameters])
    other.load_state_dict(whole.state_dict())
    state = rng.bit_generator.state
    run(whole, 3, rng)
    rng.bit_generator.state = state
    run(other, 3, rng)
    for ours, theirs in zip(whole.parameters, other.parameters, strict=True):
        assert_same_bits(ours.value, theirs.value)


def test_load_state_dict_refuses_another_optimizer() -> None:
    adam, sgd = Adam(parameters()), SGD(parameters(), 0.1, 0.9)
    with pytest.raises(ValueError, match=r"SGD.load_state_dict: state has the wrong keys, got 8"):
        sgd.load_state_dict(adam.state_dict())
    with pytest.raises(ValueError, match=r"0.velocity does not fit, got float32 \(3, 4\)"):
        sgd.load_state_dict(SGD(parameters(np.float32), 0.1, 0.9).state_dict())
    assert sgd.steps == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SGD([], 0.1), "parameters is empty"),
        (lambda: SGD(parameters(), -0.1), "SGD: lr is out of range, got -0.1"),
        (lambda: SGD(parameters(), float("nan")), "SGD: lr is out of range, got nan"),
        (lambda: SGD(parameters(), 0.1, 1.0), "SGD: momentum is out of range"),
        (lambda: SGD(parameters(), 0.1, nesterov=True), "SGD: nesterov needs momentum"),
        (lambda: Adam(parameters(), betas=(0.9, 1.0)), "Adam: betas is out of range"),
        (lambda: AdamW(parameters(), weight_decay=-1), "AdamW: weight_decay is out of range"),
        (lambda: CosineSchedule(0.1, 10, warmup=11), "CosineSchedule: warmup is out of range"),
    ],
)
def test_optimizer_checks_arguments(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_cosine_schedule_rises_and_falls() -> None:
    schedule = CosineSchedule(2.0, 110, warmup=10, final=0.5)
    rates = [schedule(step) for step in range(120)]
    assert rates[0] == 0.2
    assert rates[9] == rates[10] == 2.0
    assert rates[60] == pytest.approx(1.25)
    assert rates[110:] == [0.5] * 10
    assert rates[10:] == sorted(rates[10:], reverse=True)
