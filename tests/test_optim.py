# SPDX-License-Identifier: BSD-3-Clause
"""Optimizers: the published update rules, agreement with torch, and exact continuation."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pyconv
from checks import assert_same_bits
from pyconv.layers import Parameter
from pyconv.optim import (
    SGD,
    Adam,
    AdamW,
    Optimizer,
    RMSprop,
    clip_grad_norm,
    clip_grad_value,
)

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
    "rmsprop": (lambda p: RMSprop(p, 0.01), "RMSprop", {"lr": 0.01}),
    "rmsprop_momentum": (
        lambda p: RMSprop(p, 0.01, 0.9, 1e-6, 0.1, 0.8),
        "RMSprop",
        {"lr": 0.01, "alpha": 0.9, "eps": 1e-6, "weight_decay": 0.1, "momentum": 0.8},
    ),
    "rmsprop_centered": (
        lambda p: RMSprop(p, 0.01, momentum=0.5, centered=True),
        "RMSprop",
        {"lr": 0.01, "momentum": 0.5, "centered": True},
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


def test_l1_of_adamw_is_part_of_the_gradient_and_its_decay_is_not() -> None:
    one, other = Parameter(np.array([2.0, -3.0])), Parameter(np.array([2.0, -3.0]))
    one.grad[...], other.grad[...] = [1.0, 1.0], [1.5, 0.5]
    AdamW([one], 0.1, weight_decay=0.2, l1=0.5).step()
    AdamW([other], 0.1, weight_decay=0.2).step()
    np.testing.assert_allclose(one.value, other.value, rtol=1e-15)


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
        (lambda: RMSprop(parameters(), alpha=1.0), "RMSprop: alpha is out of range, got 1.0"),
        (lambda: RMSprop(parameters(), momentum=-1), "RMSprop: momentum is out of range"),
        (lambda: clip_grad_norm(parameters(), -1), "clip_grad_norm: max_norm is out of range"),
        (lambda: clip_grad_norm(parameters(), float("nan")), "max_norm is out of range, got nan"),
        (lambda: clip_grad_value(parameters(), -1), "clip_grad_value: clip_value is out of range"),
        (lambda: AdamW(parameters(), weight_decay=-1), "AdamW: weight_decay is out of range"),
    ],
)
def test_optimizer_checks_arguments(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


# The kernels -------------------------------------------------------------------------------------

every_optimizer = pytest.mark.parametrize("make", [case[0] for case in OPTIMIZERS.values()])
LANES = 16  # float32 in 512 bits


def model(dtype: Any, rng: np.random.Generator) -> list[Parameter]:
    """Parameters of every remainder of a vector, none at all, one value, and more than a piece."""
    shapes: list[tuple[int, ...]] = [(), (0,), (70_001,), (40_000,)]
    shapes += [(n,) for n in range(1, 2 * LANES + 4)]
    return [Parameter(rng.standard_normal(shape).astype(dtype)) for shape in shapes]


def steps_of(make: Make, dtype: Any, threads: int = 1) -> list[Parameter]:
    rng = np.random.default_rng(3)
    ours = model(dtype, rng)
    optimizer = make(ours)
    with pyconv.num_threads(threads):
        run(optimizer, 4, rng)
    return ours


@every_optimizer
def test_steps_in_float32_follow_those_in_float64(make: Make, isa: str) -> None:
    """Four steps of at most ten roundings, each relative to values below 5 or to a step below 1."""
    single, double = steps_of(make, np.float32), steps_of(make, np.float64)
    for ours, exact in zip(single, double, strict=True):
        # The float32 run draws the same numbers, rounded.
        assert ours.value.dtype == np.float32
        error = np.abs(ours.value - exact.value)
        assert error.max(initial=0) <= 40 * 5 * np.finfo(np.float32).eps


@every_optimizer
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_steps_are_the_same_for_any_number_of_threads(make: Make, dtype: Any, isa: str) -> None:
    expected = steps_of(make, dtype)
    for threads in (2, 5):
        for ours, other in zip(steps_of(make, dtype, threads), expected, strict=True):
            assert_same_bits(ours.value, other.value)


@every_optimizer
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_stay_where_they_are(
    make: Make, dtype: Any, value: float, isa: str
) -> None:
    """One gradient is not finite: only its own value changes otherwise than without it."""
    size = 2 * LANES + 3
    for position in range(size):
        plain, changed = (Parameter(np.linspace(-1, 1, size).astype(dtype)) for _ in range(2))
        for parameter in (plain, changed):
            parameter.grad.fill(0.5)
        changed.grad[position] = value
        for parameter in (plain, changed):
            make([parameter]).step()
        others = np.arange(size) != position
        assert_same_bits(changed.value[others], plain.value[others])
        assert not np.isfinite(changed.value[position])


def test_rmsprop_matches_definition(rng: np.random.Generator) -> None:
    (parameter,) = [Parameter(rng.standard_normal(4))]
    optimizer = RMSprop([parameter], 0.01, 0.9, momentum=0.5, centered=True, l1=0.1)
    value, square, mean, buffer = parameter.value.copy(), np.zeros(4), np.zeros(4), np.zeros(4)
    for _ in range(5):
        parameter.grad[...] = rng.standard_normal(4)
        g = parameter.grad + 0.1 * np.sign(value)
        square, mean = 0.9 * square + 0.1 * g**2, 0.9 * mean + 0.1 * g
        buffer = 0.5 * buffer + g / (np.sqrt(square - mean**2) + 1e-8)
        value = value - 0.01 * buffer
        optimizer.step()
    np.testing.assert_allclose(parameter.value, value, rtol=1e-9)


def test_float32_and_float64_parameters_go_together() -> None:
    mixed = [*parameters(np.float32), *parameters(np.float64)]
    apart = [parameters(np.float32), parameters(np.float64)]
    for parameter in [*mixed, *apart[0], *apart[1]]:
        parameter.grad.fill(0.25)
    for group in (mixed, *apart):
        SGD(group, 0.1, 0.9).step()
    for ours, other in zip(mixed, [*apart[0], *apart[1]], strict=True):
        assert_same_bits(ours.value, other.value)


def test_parameter_that_occurs_twice_is_stepped_once() -> None:
    (parameter,) = [Parameter(np.ones(3))]
    parameter.grad.fill(1)
    SGD([parameter, parameter], 0.5).step()
    np.testing.assert_array_equal(parameter.value, 0.5)


def _spaced(array: Any) -> Any:
    return np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)[..., ::2]


def _read_only(array: Any) -> Any:
    array = array.copy()
    array.flags.writeable = False
    return array


def _misaligned(array: Any) -> Any:
    raw = np.zeros(array.nbytes + 1, np.uint8)
    return raw[1:].view(array.dtype).reshape(array.shape)


BAD_ARRAYS: dict[str, tuple[Callable[[Any], Any], str, type[Exception]]] = {
    "spaced": (_spaced, "is not C-contiguous and aligned", ValueError),
    "misaligned": (_misaligned, "is not C-contiguous and aligned", ValueError),
    "read-only": (_read_only, "is read-only", ValueError),
    "integer": (lambda a: np.ones(a.shape, np.int64), "has dtype int64", TypeError),
    "byte-swapped": (lambda a: a.astype(a.dtype.newbyteorder()), "has dtype >f8", TypeError),
    "list": (lambda a: a.tolist(), "is not an array", TypeError),
    "none": (lambda _: None, "is not an array", TypeError),
}


@every_optimizer
@pytest.mark.parametrize("kind", BAD_ARRAYS)
@pytest.mark.parametrize("attribute", ["value", "grad"])
def test_bad_array_is_named_and_nothing_is_changed(make: Make, kind: str, attribute: str) -> None:
    ours = parameters()
    optimizer = make(ours)
    spoil, message, error = BAD_ARRAYS[kind]
    setattr(ours[2], attribute, spoil(getattr(ours[2], attribute)))
    before = [np.array(p.value) for p in ours]
    name = type(optimizer).__name__
    with pytest.raises(error, match=rf"{name}: parameters\[2\].{attribute} {message}"):
        optimizer.step()
    assert optimizer.steps == 0
    for parameter, value in zip(ours, before, strict=True):
        np.testing.assert_array_equal(parameter.value, value)
    if attribute == "grad":
        with pytest.raises(error, match=rf"{name}.zero_grad: parameters\[2\].grad {message}"):
            optimizer.zero_grad()
        with pytest.raises(error, match=rf"clip_grad_norm: parameters\[2\].grad {message}"):
            clip_grad_norm(ours, 1.0)


def test_gradient_of_another_shape_or_dtype_is_named() -> None:
    ours = parameters()
    ours[1].grad = np.zeros(5)
    with pytest.raises(ValueError, match=r"parameters\[1\].grad has shape \(5,\); expected \(4,\)"):
        SGD(ours, 0.1).step()
    ours[1].grad = np.zeros(4, np.float32)
    with pytest.raises(
        TypeError, match=r"parameters\[1\].grad is float32 but its value is float64"
    ):
        Adam(ours).step()


# Clipping ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1.0, 1e-25, 1e25])
def test_clip_grad_norm_matches_definition(dtype: Any, scale: float, isa: str) -> None:
    """Where squares of float32 would overflow or vanish, too."""
    rng = np.random.default_rng(4)
    ours = model(dtype, rng)
    for parameter in ours:
        parameter.grad[...] = scale * rng.standard_normal(parameter.value.shape)
    grads = [parameter.grad.astype(np.float64) for parameter in ours]
    expected = np.sqrt(sum(float(np.sum(g**2)) for g in grads))
    norm = clip_grad_norm(ours, expected / 3)
    eps = float(np.finfo(dtype).eps)
    assert norm == pytest.approx(expected, rel=64 * eps)
    factor = expected / 3 / (expected + 1e-6)
    for parameter, grad in zip(ours, grads, strict=True):
        smallest = float(np.finfo(dtype).smallest_subnormal)
        np.testing.assert_allclose(parameter.grad, grad * factor, rtol=70 * eps, atol=smallest)
    before = [parameter.grad.copy() for parameter in ours]
    assert clip_grad_norm(ours, 10 * norm + 1) < norm
    for parameter, grad in zip(ours, before, strict=True):
        assert_same_bits(parameter.grad, grad)  # small enough already


def test_clip_grad_norm_is_the_same_for_any_number_of_threads(isa: str) -> None:
    results = []
    for threads in (1, 2, 5):
        rng = np.random.default_rng(4)
        ours = model(np.float32, rng)
        for parameter in ours:
            parameter.grad[...] = rng.standard_normal(parameter.value.shape)
        with pyconv.num_threads(threads):
            results.append((clip_grad_norm(ours, 1.0), [p.grad for p in ours]))
    for norm, grads in results[1:]:
        assert norm == results[0][0]
        for grad, first in zip(grads, results[0][1], strict=True):
            assert_same_bits(grad, first)


def test_clip_grad_norm_agrees_with_torch() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    for value in (0.5, np.inf, np.nan, 0.0):
        ours = parameters()
        for parameter in ours:
            parameter.grad.fill(0.5)
        ours[1].grad[2] = value
        theirs = [torch.nn.Parameter(torch.tensor(p.value)) for p in ours]
        for tensor, parameter in zip(theirs, ours, strict=True):
            tensor.grad = torch.tensor(parameter.grad)
        expected = float(torch.nn.utils.clip_grad_norm_(theirs, 0.7))
        np.testing.assert_allclose(clip_grad_norm(ours, 0.7), expected, rtol=1e-14)
        for tensor, parameter in zip(theirs, ours, strict=True):
            np.testing.assert_allclose(parameter.grad, tensor.grad.numpy(), rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_clip_grad_value_is_numpys_clip(dtype: Any, isa: str) -> None:
    values = np.array([np.nan, np.inf, -np.inf, 0.5, -0.5, 0.25, -0.0, 3.0, -3.0], dtype)
    for size in range(1, 2 * LANES + 4):
        parameter = Parameter(np.zeros(size, dtype))
        parameter.grad[...] = np.resize(values, size)
        clip_grad_value([parameter], 0.5)
        assert_same_bits(parameter.grad, np.clip(np.resize(values, size), -0.5, 0.5).astype(dtype))
