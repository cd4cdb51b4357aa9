# SPDX-License-Identifier: BSD-3-Clause
"""Group, instance, layer and local response norm: definitions, gradients, agreement with torch."""

from typing import Any

import numpy as np
import pytest

import reference
from checks import assert_gradient, assert_vjp, assert_within_bound, inner
from pyconv import functional as F
from reference import Array

DType = np.dtype[Any]
EPS = 1e-2
# Name, its arguments behind the input, the input's shape, that of weight and bias.
CASES: dict[str, tuple[str, tuple[Any, ...], tuple[int, ...], tuple[int, ...]]] = {
    "group_2": ("group_norm", (2,), (3, 6, 5, 7), (6,)),
    "group_1": ("group_norm", (1,), (2, 5, 33, 31), (5,)),
    "group_all": ("group_norm", (6,), (4, 6, 3), (6,)),
    "group_3d": ("group_norm", (3,), (1, 6, 3, 4, 5), (6,)),
    "instance": ("instance_norm", (), (3, 4, 9, 17), (4,)),
    "instance_1d": ("instance_norm", (), (2, 3, 40), (3,)),
    "layer_last": ("layer_norm", ((41,),), (3, 5, 41), (41,)),
    "layer_image": ("layer_norm", ((3, 9, 17),), (4, 3, 9, 17), (3, 9, 17)),
    "layer_whole": ("layer_norm", ((5, 7),), (5, 7), (5, 7)),
    "layer_rows": ("layer_norm", ((8,),), (700, 8), (8,)),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
RESPONSES: dict[str, tuple[tuple[int, ...], int, dict[str, float]]] = {
    "alexnet": ((2, 9, 5, 7), 5, {"k": 2.0, "alpha": 0.5}),
    "even": ((2, 6, 33), 4, {"alpha": 0.3}),
    "wide": ((1, 3, 600), 9, {"alpha": 0.3, "beta": 0.5}),
    "one": ((3, 4), 1, {"alpha": 2.0, "beta": 1.0}),
    "negative": ((2, 5, 18), 3, {"alpha": 0.7, "beta": -0.4}),
}
every_response = pytest.mark.parametrize("case", RESPONSES.values(), ids=RESPONSES)


def draw(rng: np.random.Generator, case: Any, dtype: Any) -> tuple[Array, Array, Array, Array]:
    """Return input, grad_output, weight and bias."""
    _, _, shape, of_weight = case
    x = (2 * rng.standard_normal(shape) + 1).astype(dtype)
    weight, bias = rng.standard_normal((2, *of_weight)).astype(dtype)
    return x, rng.standard_normal(shape).astype(dtype), weight, bias


def per_value(case: Any, values: Array) -> Array:
    """Shape a weight to meet the input."""
    name, _, shape, _ = case
    if name == "layer_norm":
        return np.broadcast_to(values, shape)
    return np.broadcast_to(values.reshape(-1, *[1] * (len(shape) - 2)), shape)


@every_case
def test_norms_stay_within_bound(
    case: Any, isa: str, dtype: DType, rng: np.random.Generator
) -> None:
    """A handful of roundings of each value, and of the statistics that all share."""
    name, arguments, *_ = case
    x, _, weight, bias = draw(rng, case, dtype)
    for w, b in ((weight, bias), (weight, None), (None, bias), (None, None)):
        expected = getattr(reference, name)(x, *arguments, w, b, eps=EPS)
        normalized = getattr(reference, name)(x, *arguments, eps=EPS)
        magnitude = np.abs(normalized) + 1 / np.sqrt(EPS)
        if w is not None:
            magnitude = magnitude * np.abs(per_value(case, w))
        if b is not None:
            magnitude = magnitude + np.abs(per_value(case, b))
        got = getattr(F, name)(x, *arguments, w, b, eps=EPS)
        assert_within_bound(got, expected, magnitude, 16)


@every_case
@pytest.mark.parametrize("with_weight", [True, False])
def test_norm_gradients_agree_with_definition(
    case: Any, with_weight: bool, isa: str, dtype: DType, rng: np.random.Generator
) -> None:
    """Relative to the largest value of each gradient: eps times the number of values summed."""
    name, arguments, *_ = case
    x, g, weight, _ = draw(rng, case, dtype)
    w = weight if with_weight else None
    got = getattr(F, f"{name}_backward")(g, x, *arguments, w, eps=EPS)
    expected = getattr(reference, f"{name}_backward")(g, x, *arguments, w, eps=EPS)
    for one, other in zip(got, expected, strict=True):
        assert one.dtype == dtype
        assert one.shape == other.shape
        scale = max(float(np.abs(other).max()), float(np.abs(g).max()) / np.sqrt(EPS))
        assert np.abs(one - other).max() <= 256 * np.finfo(dtype).eps * scale


@every_case
def test_norm_gradients_agree_with_differences(
    case: Any, isa: str, rng: np.random.Generator
) -> None:
    name, arguments, *_ = case
    x, g, weight, bias = draw(rng, case, np.float64)
    forward = getattr(F, name)
    grads = getattr(F, f"{name}_backward")(g, x, *arguments, weight, eps=EPS)
    assert_vjp(lambda x: forward(x, *arguments, weight, bias, eps=EPS), grads[0], g, x, rng)

    def loss(weight: Array, bias: Array) -> float:
        return inner(forward(x, *arguments, weight, bias, eps=EPS), g)

    assert_gradient(lambda w: loss(w, bias), grads[1], weight, rng)
    assert_gradient(lambda b: loss(weight, b), grads[2], bias, rng)


@every_case
def test_norms_agree_with_torch(case: Any, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    name, arguments, *_ = case
    x, g, weight, bias = draw(rng, case, np.float64)
    inputs = [torch.tensor(array, requires_grad=True) for array in (x, weight, bias)]
    tensor, *affine = inputs
    if name == "instance_norm":
        output = torch.nn.functional.instance_norm(tensor, None, None, *affine, eps=EPS)
    else:
        output = getattr(torch.nn.functional, name)(tensor, *arguments, *affine, eps=EPS)
    expected = [output.detach(), *torch.autograd.grad(output, inputs, torch.tensor(g))]
    got = [
        getattr(F, name)(x, *arguments, weight, bias, eps=EPS),
        *getattr(F, f"{name}_backward")(g, x, *arguments, weight, eps=EPS),
    ]
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-10, atol=1e-11)


def test_a_single_value_becomes_the_bias(isa: str, dtype: DType, rng: np.random.Generator) -> None:
    x, bias = rng.standard_normal((4, 6)).astype(dtype), rng.standard_normal(6).astype(dtype)
    np.testing.assert_array_equal(F.group_norm(x, 6, bias=bias), np.tile(bias, (4, 1)))
    np.testing.assert_array_equal(F.instance_norm(x, bias=bias), np.tile(bias, (4, 1)))
    grad_input, grad_weight, _ = F.instance_norm_backward(x, x)
    # g - mean(g), each times the inverse deviation, which is 1 / sqrt(1e-5).
    assert np.abs(grad_input).max() <= 2 * np.finfo(dtype).eps * np.abs(x).max() / np.sqrt(1e-5)
    assert not grad_weight.any()


@pytest.mark.parametrize("name", ["group_norm", "layer_norm"])
def test_norms_far_from_zero_keep_their_digits(
    name: str, isa: str, dtype: DType, rng: np.random.Generator
) -> None:
    """With a mean 1e4 times the deviation: the input's own rounding is all that remains."""
    x = (1e4 + rng.standard_normal((4, 6, 17, 19))).astype(dtype)
    arguments = (2,) if name == "group_norm" else ((6, 17, 19),)
    got = getattr(F, name)(x, *arguments)
    expected = getattr(reference, name)(x, *arguments)
    assert np.abs(got - expected).max() <= 2e4 * np.finfo(dtype).eps


@every_response
def test_local_response_norm_stays_within_bound(
    case: Any, isa: str, dtype: DType, rng: np.random.Generator
) -> None:
    shape, size, options = case
    x, g = rng.standard_normal((2, *shape)).astype(dtype)
    expected = reference.local_response_norm(x, size, **options)
    got = F.local_response_norm(x, size, **options)
    assert_within_bound(got, expected, np.abs(expected), size + 12)
    # Both summands of the gradient are positive for a positive input and gradient.
    size_g, size_x = np.abs(g), np.abs(x)
    first = size_g * reference.local_response_norm(size_x, size, **options) / size_x
    second = first - reference.local_response_norm_backward(size_g, size_x, size, **options)
    got = F.local_response_norm_backward(g, x, size, **options)
    gradient = reference.local_response_norm_backward(g, x, size, **options)
    assert_within_bound(got, gradient, first + np.abs(second), 2 * size + 24)


@every_response
def test_local_response_norm_gradient_agrees_with_differences(
    case: Any, isa: str, rng: np.random.Generator
) -> None:
    shape, size, options = case
    x, g = rng.standard_normal((2, *shape))
    grad_input = F.local_response_norm_backward(g, x, size, **options)
    assert_vjp(lambda x: F.local_response_norm(x, size, **options), grad_input, g, x, rng)


@every_response
def test_local_response_norm_agrees_with_torch(case: Any, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    shape, size, options = case
    if len(shape) < 3:
        pytest.skip("torch wants three axes")
    x = rng.standard_normal(shape)
    expected = torch.nn.functional.local_response_norm(torch.tensor(x), size, **options)
    got = F.local_response_norm(x, size, **options)
    np.testing.assert_allclose(got, expected.numpy(), rtol=1e-12)


def test_bad_sizes_are_named() -> None:
    x = np.ones((2, 6, 4), np.float32)
    with pytest.raises(ValueError, match=r"group_norm: num_groups does not divide .* got 4 and"):
        F.group_norm(x, 4)
    with pytest.raises(ValueError, match=r"layer_norm: normalized_shape does not end the shape"):
        F.layer_norm(x, (6, 5))
    with pytest.raises(ValueError, match=r"local_response_norm: size is not positive, got 0"):
        F.local_response_norm(x, 0)
    with pytest.raises(ValueError, match=r"instance_norm: eps is out of range, got -1"):
        F.instance_norm(x, eps=-1)


def test_empty_images_cost_nothing() -> None:
    """However many there are."""
    x = np.empty((2**40, 0, 3), np.float32)
    assert F.group_norm(x, 1).shape == x.shape
    assert F.instance_norm(x).shape == x.shape
    assert F.layer_norm(x, (0, 3)).shape == x.shape
    assert F.local_response_norm(x, 5).shape == x.shape
    assert F.group_norm_backward(x, x, 1)[0].shape == x.shape
