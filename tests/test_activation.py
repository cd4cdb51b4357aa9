# SPDX-License-Identifier: BSD-3-Clause
"""Activations, softmax and dropout, with their gradients.

Bounds count roundings: `terms` is how many operations of relative error eps stand behind one
element, and the magnitude is what those errors scale with.
"""

from typing import Any

import numpy as np
import pytest

import reference
from cases import distinct
from checks import assert_exact, assert_same_bits, assert_vjp, assert_within_bound
from pyconv import functional as F
from reference import Array

DType = np.dtype[Any]
# exp or tanh (2 ulp of a good library), an addition, a division and a final rounding.
ROUNDINGS = 6
LENGTHS = (*range(1, 41), 1000)


@pytest.mark.parametrize("function", ["relu", "leaky_relu"])
def test_rectifiers_match_definition(
    function: str, isa: str, dtype: DType, rng: np.random.Generator
) -> None:
    """One multiplication at most, which is rounded like NumPy's."""
    for n in LENGTHS:
        x, g = (rng.standard_normal((2, n)).astype(dtype) for _ in range(2))
        output = getattr(F, function)(x)
        slope = dtype.type(0.0 if function == "relu" else 0.01)
        assert_exact(output, np.where(x > 0, x, slope * x))
        saved = output if function == "relu" else x
        grad = getattr(F, f"{function}_backward")(g, saved)
        assert_exact(grad, np.where(x > 0, g, slope * g))


def test_leaky_relu_takes_any_slope(dtype: DType, rng: np.random.Generator) -> None:
    x = rng.standard_normal(50).astype(dtype)
    for slope in (0.0, 0.25, 1.0, -0.5, 2.0):
        got = F.leaky_relu(x, negative_slope=slope)
        assert_exact(got, reference.leaky_relu(x, negative_slope=slope))


@pytest.mark.parametrize("function", ["sigmoid", "tanh"])
def test_sigmoids_stay_within_bound(
    function: str, isa: str, dtype: DType, rng: np.random.Generator
) -> None:
    """Relative to the result itself, small results included."""
    define, define_back = getattr(reference, function), getattr(reference, f"{function}_backward")
    for n in LENGTHS:
        for scale in (1e-6, 1e-2, 1.0, 10.0, 80.0):
            x = (rng.uniform(-1, 1, n) * scale).astype(dtype)
            expected = define(x)
            got = getattr(F, function)(x)
            assert_within_bound(got, expected, np.abs(expected), ROUNDINGS)
            assert np.all(np.abs(got) <= 1)
            g, y = rng.standard_normal(n).astype(dtype), got
            back = define_back(g, y)
            # 1 - y and 1 - y*y cancel near 1, where their rounding counts relative to 1.
            magnitude = np.abs(g) * (np.abs(y) if function == "sigmoid" else 1.0)
            got_back = getattr(F, f"{function}_backward")(g, y)
            assert np.all(np.abs(got_back - back) <= ROUNDINGS * np.finfo(dtype).eps * magnitude)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
@pytest.mark.parametrize("shape", [(2, 3, 4), (1, 1, 1), (5, 17, 33), (3, 40, 2), (2, 1, 70)])
def test_softmax_and_gradient_stay_within_bound(
    shape: tuple[int, ...], axis: int, isa: str, dtype: DType, rng: np.random.Generator
) -> None:
    """The argument x - max(x) of exp is rounded: a relative error of |x - max(x)| * eps."""
    x = (5 * rng.standard_normal(shape)).astype(dtype)
    g = rng.standard_normal(shape).astype(dtype)
    K = shape[axis] + ROUNDINGS
    depth = 1 + np.abs(x - np.max(x, axis=axis, keepdims=True))
    y = F.softmax(x, axis=axis)
    expected = reference.softmax(x, axis=axis)
    assert_within_bound(y, expected, expected * depth, K)
    log_y = F.log_softmax(x, axis=axis)
    expected = reference.log_softmax(x, axis=axis)
    if shape[axis] > 1:
        assert_within_bound(log_y, expected, depth, K)
    else:
        assert_exact(log_y, expected)

    def total(array: Array) -> Array:
        return reference.double(np.sum(np.abs(array), axis=axis, keepdims=True, dtype=np.float64))

    eps = np.finfo(dtype).eps
    got = F.softmax_backward(g, y, axis=axis)
    magnitude = np.abs(y) * (np.abs(g) + total(g * y))
    error = np.abs(got - reference.softmax_backward(g, y, axis=axis))
    assert np.all(error <= (K + 2) * eps * magnitude)
    got = F.log_softmax_backward(g, log_y, axis=axis)
    magnitude = np.abs(g) + np.exp(log_y) * (1 + np.abs(log_y)) * total(g)
    error = np.abs(got - reference.log_softmax_backward(g, log_y, axis=axis))
    assert np.all(error <= (K + 2) * eps * magnitude)


# name: options, and how many roundings of the size of the result (or of its parts) stand behind it. The
# argument of an exponential is rounded too, which counts with its size: see `growth`.
SMOOTH: dict[str, tuple[dict[str, Any], int]] = {
    "silu": ({}, 4),
    "elu": ({"alpha": 0.7}, 4),
    "selu": ({}, 4),
    "gelu": ({}, 12),
    "gelu_tanh": ({"approximate": "tanh"}, 8),
    "softplus": ({}, 5),
    "softplus_beta": ({"beta": -2.5, "threshold": 3.0}, 6),
    "hardsigmoid": ({}, 4),
    "hardswish": ({}, 5),
    "relu6": ({}, 0),
}


def functions_of(name: str) -> tuple[str, Any, Any]:
    """Return the name in `functional`, forward and backward."""
    function = name.removesuffix("_beta") if name != "gelu_tanh" else "gelu"
    return function, getattr(F, function), getattr(F, f"{function}_backward")


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_activations_and_gradients_stay_within_bound(
    name: str, isa: str, dtype: DType, rng: np.random.Generator
) -> None:
    """Relative to the result, also where that is small; gradients relative to their summands."""
    options, roundings = SMOOTH[name]
    function, forward, backward = functions_of(name)
    eps = float(np.finfo(dtype).eps)
    kinked = function.startswith("hard")
    for n in LENGTHS:
        for scale in (1e-6, 1e-2, 1.0, 6.0):
            x = (rng.uniform(-1, 1, n) * scale).astype(dtype)
            wide = x.astype(np.float64)
            # By how much the rounded argument of exp changes the result; x + 3 cancels near -3.
            growth = 1 + np.abs(wide) * 3
            if name == "gelu":  # in float64 it is the definition that rounds x / sqrt(2)
                growth = 1 + wide**2 / 8 if dtype == np.float64 else np.ones(n)
            expected = getattr(reference, function)(x, **options)
            size = np.abs(expected) + (np.abs(wide) if kinked else 0) + (1.0 if kinked else 0)
            got = forward(x, **options)
            assert np.all(np.abs(got - expected) <= roundings * eps * growth * size)
            g = rng.standard_normal(n).astype(dtype)
            saved = got if function == "relu6" else x
            back = getattr(reference, f"{function}_backward")(g, saved, **options)
            # Two summands at most, each no larger than |g| times the larger of 2 and |x|.
            error = np.abs(backward(g, saved, **options) - back)
            assert np.all(error <= (roundings + 4) * eps * growth * np.abs(g) * 2)


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_activation_gradient_agrees_with_differences(
    name: str, isa: str, rng: np.random.Generator
) -> None:
    options, _ = SMOOTH[name]
    function, forward, backward = functions_of(name)
    x = 4 * distinct(rng, (4, 6, 7))
    x = x[np.all(np.abs(x[..., None] - [-3.0, 0.0, 3.0, 6.0, -1.2]) > 1e-3, axis=-1)]
    g = rng.standard_normal(x.shape)
    saved = forward(x, **options) if function == "relu6" else x
    assert_vjp(lambda v: forward(v, **options), backward(g, saved, **options), g, x, rng)


@pytest.mark.parametrize("name", SMOOTH)
def test_activations_agree_with_torch(name: str, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch", reason="torch, an independent oracle, is not installed")
    options, _ = SMOOTH[name]
    function, forward, backward = functions_of(name)
    x = np.concatenate([rng.uniform(-8, 8, 400), [-3.0, 3.0, 6.0, 0.0]])
    g = rng.standard_normal(x.shape)
    tensor = torch.from_numpy(x).requires_grad_()
    expected = getattr(torch.nn.functional, function)(tensor, **options)
    np.testing.assert_allclose(forward(x, **options), expected.detach(), rtol=1e-10, atol=1e-14)
    expected.backward(torch.from_numpy(g))
    saved = forward(x, **options) if function == "relu6" else x
    got = backward(g, saved, **options)
    # torch's gradient of hardsigmoid has 1 / 6 in float32, whatever the dtype.
    rtol = 1e-7 if function == "hardsigmoid" else 1e-9
    np.testing.assert_allclose(got, tensor.grad.numpy(), rtol=rtol, atol=1e-13)


@pytest.mark.parametrize("position", range(36))
def test_piecewise_activations_of_special_values(position: int, isa: str, dtype: DType) -> None:
    big = float(np.finfo(dtype).max)
    table: dict[str, list[tuple[float, float]]] = {
        "relu6": [(-0.0, 0.0), (np.inf, 6.0), (-np.inf, 0.0), (6.0, 6.0)],
        "hardsigmoid": [(-3.0, 0.0), (3.0, 1.0), (np.inf, 1.0), (-np.inf, 0.0)],
        "hardswish": [(-0.0, -0.0), (np.inf, np.inf), (3.0, 3.0)],
        "elu": [(-np.inf, -1.0), (np.inf, np.inf), (-0.0, -0.0), (big, big)],
        "softplus": [(-np.inf, 0.0), (np.inf, np.inf), (big, big)],
        "silu": [(np.inf, np.inf), (-0.0, -0.0), (-big, -0.0)],
        "gelu": [(np.inf, np.inf), (-0.0, -0.0), (-big, -0.0), (big, big)],
    }
    for function, pairs in table.items():
        for value, limit in pairs:
            x = np.ones(36, dtype)
            expected = getattr(F, function)(x)
            x[position], expected[position] = value, limit
            assert_same_bits(getattr(F, function)(x), expected)


def test_softplus_refuses_a_beta_of_zero() -> None:
    with pytest.raises(ValueError, match=r"^softplus: beta is out of range, got 0; expected"):
        F.softplus(np.ones(3), beta=0)


@pytest.mark.parametrize("activation", [None, "relu"])
def test_add_matches_definition(
    activation: str | None, isa: str, dtype: DType, rng: np.random.Generator
) -> None:
    for n in LENGTHS:
        a, b = (rng.standard_normal(n).astype(dtype) for _ in range(2))
        total = a + b
        expected = total if activation is None else np.where(total > 0, total, 0)
        assert_same_bits(F.add(a, b, activation=activation), expected.astype(dtype))


@pytest.mark.parametrize("size", [1, 2, 7, 8, 31, 32, 33, 63, 64, 65, 128, 129, 300])
def test_softmax_of_lines_of_every_length_is_the_same_alone_and_among_others(
    size: int, isa: str, dtype: DType, rng: np.random.Generator
) -> None:
    """Lines go one by one, transposed, copied in panels or as they lie, depending on their size."""
    x = (3 * rng.standard_normal((21, size))).astype(dtype)
    expected = reference.softmax(x)
    got = F.softmax(x)
    assert_within_bound(got, expected, expected * (1 + np.ptp(x)), size + ROUNDINGS)
    for n in range(21):
        assert_same_bits(F.softmax(x[n : n + 1]), got[n : n + 1])
    for inner in (2, 15, 16, 17, 70):
        columns = (3 * rng.standard_normal((2, size, inner))).astype(dtype)
        across = F.softmax(columns, axis=1)
        expected = reference.softmax(columns, axis=1)
        bound = expected * (1 + np.ptp(columns))
        assert_within_bound(across, expected, bound, size + ROUNDINGS)


@pytest.mark.parametrize("shape", [(3, 1200, 5), (2, 1200)])
def test_softmax_of_many_classes_in_place(
    shape: tuple[int, ...], isa: str, dtype: DType, rng: np.random.Generator
) -> None:
    """More than fit in a panel on the stack."""
    x = rng.standard_normal(shape).astype(dtype)
    for function in (F.softmax, F.log_softmax):
        expected = function(x, axis=1)
        wide = getattr(reference, function.__name__)(x, axis=1)
        np.testing.assert_allclose(expected, wide, rtol=200 * np.finfo(dtype).eps)
        out = x.copy()
        assert function(out, axis=1, out=out) is out
        assert_same_bits(out, expected)


@pytest.mark.parametrize(
    "function", ["relu", "leaky_relu", "sigmoid", "tanh", "softmax", "log_softmax"]
)
def test_activation_gradient_agrees_with_differences(
    function: str, isa: str, rng: np.random.Generator
) -> None:
    forward, backward = getattr(F, function), getattr(F, f"{function}_backward")
    x = 3 * distinct(rng, (4, 6, 7))
    g = rng.standard_normal(x.shape)
    saved = x if function == "leaky_relu" else forward(x)
    assert_vjp(forward, backward(g, saved), g, x, rng)


def test_softmax_sums_to_one(isa: str, dtype: DType, rng: np.random.Generator) -> None:
    y = F.softmax((50 * rng.standard_normal((20, 100))).astype(dtype))
    assert np.all(y >= 0)
    np.testing.assert_allclose(y.sum(axis=1, dtype=np.float64), 1, rtol=100 * np.finfo(dtype).eps)


@pytest.mark.parametrize("p", [0.0, 0.25, 0.5, 0.9])
def test_dropout_drops_with_probability_p(p: float, dtype: DType) -> None:
    x = np.random.default_rng(1).standard_normal((200, 300)).astype(dtype)
    output, mask = F.dropout(x, p, rng=np.random.default_rng(0))
    assert output.dtype == mask.dtype == dtype
    assert set(np.unique(mask)) <= {dtype.type(0), dtype.type(1 / (1 - p))}
    assert_exact(output, x * mask)
    # Five standard deviations of a binomial count.
    assert abs(np.mean(mask == 0) - p) <= 5 * np.sqrt(p * (1 - p) / x.size)
    g = np.random.default_rng(2).standard_normal(x.shape).astype(dtype)
    assert_exact(F.dropout_backward(g, mask), g * mask)


def test_dropout_depends_on_the_generator_alone(rng: np.random.Generator, dtype: DType) -> None:
    x = rng.standard_normal((30, 40)).astype(dtype)
    first, mask = F.dropout(x, 0.5, rng=np.random.default_rng(8))
    again, _ = F.dropout(x, 0.5, rng=np.random.default_rng(8))
    other, _ = F.dropout(x, 0.5, rng=np.random.default_rng(9))
    assert_same_bits(first, again)
    assert not np.array_equal(first, other)
    assert 0 < np.count_nonzero(mask) < mask.size
