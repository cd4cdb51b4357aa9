# SPDX-License-Identifier: BSD-3-Clause
"""batch_norm, the statistics it normalises with, and its gradient in training and evaluation."""

from typing import Any

import numpy as np
import pytest

import pyconv
import reference
from checks import assert_gradient, assert_same_bits, assert_vjp, assert_within_bound, inner
from pyconv import functional as F
from reference import Array

DType = np.dtype[Any]
SHAPES = [(4, 3, 5, 7), (8, 5), (2, 1, 40), (1, 2, 33, 31), (3, 17, 1, 1), (2, 2, 3, 4, 5)]
every_shape = pytest.mark.parametrize("shape", SHAPES)
# Subtraction, square root, division, product, sum, and their inputs' own roundings.
ROUNDINGS = 8


def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> list[Array]:
    """Input, mean, var, weight, bias, grad_output; mean and var are the input's own."""
    x = (2 * rng.standard_normal(shape) + 1).astype(dtype)
    mean, var = (values.astype(dtype) for values in reference.batch_norm_statistics(x))
    weight, bias = rng.standard_normal((2, shape[1])).astype(dtype)
    return [x, mean, var, weight, bias, rng.standard_normal(shape).astype(dtype)]


def channels(values: Array, ndim: int) -> Array:
    return reference.double(values).reshape(-1, *[1] * (ndim - 2))


@every_shape
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_batch_norm_statistics_stay_within_bound(
    shape: tuple[int, ...], offset: float, isa: str, dtype: DType, rng: np.random.Generator
) -> None:
    """With a mean far from zero too, where E[x**2] - E[x]**2 would lose every digit.

    The mean errs by at most ``(count + 2) * eps * E|x|``; the variance by its own sum, and by the
    square of that error.
    """
    x = (rng.standard_normal(shape) + offset).astype(dtype)
    mean, var = F.batch_norm_statistics(x)
    expected_mean, expected_var = reference.batch_norm_statistics(x)
    count, eps = x.size // shape[1], np.finfo(dtype).eps
    size, _ = reference.batch_norm_statistics(np.abs(x))
    assert mean.dtype == var.dtype == dtype
    mean_error = (count + 2) * eps * size
    assert np.all(np.abs(mean - expected_mean) <= mean_error)
    bound = (2 * count + 2) * eps * expected_var + np.minimum(mean_error, eps * 8 * size) ** 2
    assert np.all(np.abs(var - expected_var) <= bound)


@every_shape
def test_batch_norm_stays_within_bound(
    shape: tuple[int, ...], isa: str, dtype: DType, rng: np.random.Generator
) -> None:
    x, mean, var, weight, bias, _ = draw(rng, shape, dtype)
    center, spread = channels(mean, x.ndim), channels(var, x.ndim)
    for w, b in ((weight, bias), (None, None), (weight, None)):
        expected = reference.batch_norm(x, mean, var, w, b, eps=1e-3)
        scale = np.abs(channels(np.ones_like(mean) if w is None else w, x.ndim))
        magnitude = (np.abs(x) + np.abs(center)) * scale / np.sqrt(spread + 1e-3)
        if b is not None:
            magnitude = magnitude + np.abs(channels(b, x.ndim))
        assert_within_bound(
            F.batch_norm(x, mean, var, w, b, eps=1e-3), expected, magnitude, ROUNDINGS
        )


@every_shape
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_backward_stays_within_bound(
    shape: tuple[int, ...], training: bool, isa: str, dtype: DType, rng: np.random.Generator
) -> None:
    x, mean, var, weight, _, g = draw(rng, shape, dtype)
    count, axes = x.size // shape[1], (0, *range(2, x.ndim))
    got = F.batch_norm_backward(g, x, mean, var, weight, training=training, eps=1e-2)
    expected = reference.batch_norm_backward(g, x, mean, var, weight, training=training, eps=1e-2)
    deviation = np.sqrt(channels(var, x.ndim) + 1e-2)
    normalized = (np.abs(x) + np.abs(channels(mean, x.ndim))) / deviation
    size = np.abs(reference.double(g))
    magnitude = size
    if training:
        along = normalized * np.mean(size * normalized, axis=axes, keepdims=True)
        magnitude = size + np.mean(size, axis=axes, keepdims=True) + along
    magnitude = magnitude * np.abs(channels(weight, x.ndim)) / deviation
    magnitudes = (magnitude, np.sum(size * normalized, axis=axes), np.sum(size, axis=axes))
    for one, other, bound in zip(got, expected, magnitudes, strict=True):
        error = np.abs(one - other)
        assert one.dtype == dtype
        assert np.all(error <= (2 * count + ROUNDINGS) * np.finfo(dtype).eps * bound)


@every_shape
def test_batch_norm_gradient_in_training_agrees_with_differences(
    shape: tuple[int, ...], isa: str, rng: np.random.Generator
) -> None:
    """Differentiated through the batch's own mean and variance, each parameter by itself."""
    x, _, _, weight, bias, g = draw(rng, shape, np.dtype(np.float64))

    def forward(x: Array, weight: Array, bias: Array) -> Array:
        return F.batch_norm(x, *F.batch_norm_statistics(x), weight, bias, eps=1e-2)

    grads = F.batch_norm_backward(g, x, *F.batch_norm_statistics(x), weight, eps=1e-2)
    assert_vjp(lambda x: forward(x, weight, bias), grads[0], g, x, rng)
    assert_gradient(lambda w: inner(forward(x, w, bias), g), grads[1], weight, rng)
    assert_gradient(lambda b: inner(forward(x, weight, b), g), grads[2], bias, rng)


@every_shape
def test_batch_norm_gradient_in_evaluation_agrees_with_differences(
    shape: tuple[int, ...], isa: str, rng: np.random.Generator
) -> None:
    """The running statistics are constants."""
    x, mean, var, weight, bias, g = draw(rng, shape, np.dtype(np.float64))
    mean, var = mean + 0.5, var + 1.0
    grads = F.batch_norm_backward(g, x, mean, var, weight, training=False)
    assert_vjp(lambda x: F.batch_norm(x, mean, var, weight, bias), grads[0], g, x, rng)

    def loss(weight: Array, bias: Array) -> float:
        return inner(F.batch_norm(x, mean, var, weight, bias), g)

    assert_gradient(lambda w: loss(w, bias), grads[1], weight, rng)
    assert_gradient(lambda b: loss(weight, b), grads[2], bias, rng)


def test_batch_norm_output_is_normalized(isa: str, dtype: DType, rng: np.random.Generator) -> None:
    x = (3 * rng.standard_normal((16, 4, 9, 9)) - 2).astype(dtype)
    mean, var = reference.batch_norm_statistics(F.batch_norm(x, *F.batch_norm_statistics(x)))
    assert np.all(np.abs(mean) <= 1e-5)
    assert np.all(np.abs(var - 1) <= 1e-4)  # var / (var + 1e-5), var about 9


@pytest.mark.parametrize("kind", ["far", "outlier first", "drift", "steps"])
@pytest.mark.parametrize("shape", [(7, 2, 61, 53), (300, 2, 7, 7), (2, 1, 300, 301)])
def test_variance_in_one_pass_keeps_its_digits(
    shape: tuple[int, ...], kind: str, isa: str, dtype: DType, rng: np.random.Generator
) -> None:
    """A mean 1e4 times the deviation, a first value 1e6 deviations away, and means that change.

    What a value differs from a centre near it is exact up to one rounding; every sum is of at most
    2047 values in at least 8 partial sums, the rest in double. So the relative error of the variance
    has a bound that does not grow with their number, where E[x**2] - E[x]**2 loses 1e8 eps.
    """
    x = rng.standard_normal(shape)
    if kind == "far":
        x += 1e4
    elif kind == "outlier first":
        x[:1, :, :1, :1] = 1e6
    elif kind == "drift":
        x += np.linspace(-1e4, 1e4, x.size).reshape(shape)
    else:
        x += 1e4 * rng.integers(-1, 2, (shape[0], shape[1], 1, 1))
    x = x.astype(dtype)
    mean, var = F.batch_norm_statistics(x)
    expected_mean, expected_var = reference.batch_norm_statistics(x)
    eps = np.finfo(dtype).eps
    spread = np.sqrt(expected_var)
    assert np.all(
        np.abs(mean - expected_mean) <= 8 * eps * np.abs(expected_mean) + 64 * eps * spread
    )
    between = (
        np.finfo(np.float64).eps * np.abs(expected_mean) / spread
    )  # means of chunks, in double
    assert np.all(np.abs(var - expected_var) <= (64 * eps + between) * expected_var)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_statistics_of_infinities(value: float, isa: str, dtype: DType) -> None:
    """At every place: the mean is infinite, the variance and what follows from it NaN."""
    for position in range(2 * 37):
        x = np.ones((2, 1, 37), dtype)
        x.flat[position] = value
        mean, var = F.batch_norm_statistics(x)
        np.testing.assert_array_equal(mean, value)
        assert np.isnan(var).all()
        assert np.isnan(F.batch_norm_training(x)[0]).all()


def test_backward_with_an_infinite_mean_agrees_in_every_lane(isa: str, dtype: DType) -> None:
    """Lanes beyond the end of a row must not add 0 * Inf to the sums."""
    mean, var = np.full(1, np.inf, dtype), np.ones(1, dtype)
    for size in range(1, 40):
        x, g = np.ones((2, 1, size), dtype), np.ones((2, 1, size), dtype)
        _, grad_weight, grad_bias = F.batch_norm_backward(g, x, mean, var, training=False)
        assert grad_weight == -np.inf
        assert grad_bias == 2 * size


@every_shape
@pytest.mark.parametrize("activation", [None, "relu"])
def test_batch_norm_training_is_statistics_and_batch_norm(
    shape: tuple[int, ...],
    activation: str | None,
    isa: str,
    dtype: DType,
    rng: np.random.Generator,
) -> None:
    x, _, _, weight, bias, _ = draw(rng, shape, dtype)
    mean, var = F.batch_norm_statistics(x)
    expected = F.batch_norm(x, mean, var, weight, bias, eps=1e-3)
    if activation == "relu":
        expected = F.relu(expected)
    got = F.batch_norm_training(x, weight, bias, eps=1e-3, activation=activation)
    for one, other in zip(got, (expected, mean, var), strict=True):
        assert_same_bits(one, other)


@every_shape
@pytest.mark.parametrize("training", [True, False])
def test_fused_relu_has_the_bits_of_relu_behind_batch_norm(
    shape: tuple[int, ...], training: bool, isa: str, dtype: DType, rng: np.random.Generator
) -> None:
    """Values that are exactly 0 after normalisation, and NaN, among them."""
    x, mean, var, weight, bias, g = draw(rng, shape, dtype)
    x[0].flat[:] = mean[0]  # normalised to the bias
    bias[0] = 0
    x[-1].flat[-1] = np.nan
    output = F.batch_norm(x, mean, var, weight, bias)
    fused = F.batch_norm(x, mean, var, weight, bias, activation="relu")
    assert_same_bits(fused, F.relu(output))
    got = F.batch_norm_backward(g, x, mean, var, weight, bias, training=training, activation="relu")
    masked = F.relu_backward(g, F.relu(output))
    expected = F.batch_norm_backward(masked, x, mean, var, weight, training=training)
    for one, other in zip(got, expected, strict=True):
        assert_same_bits(one, other)


@pytest.mark.parametrize("shape", [(3, 2, 150, 151), (40, 1, 40, 41), (1, 3, 400, 300)])
def test_few_channels_are_shared_out_with_the_same_result(
    shape: tuple[int, ...], dtype: DType, rng: np.random.Generator
) -> None:
    """More threads than channels: blocks of a channel, whose sums are put together in order."""
    x, _, _, weight, bias, g = draw(rng, shape, dtype)

    def run() -> list[Array]:
        output, mean, var = F.batch_norm_training(x, weight, bias, activation="relu")
        grads = F.batch_norm_backward(g, x, mean, var, weight, bias, activation="relu")
        group = F.group_norm(x, 1, weight, bias)
        return [output, mean, var, *grads, group, *F.group_norm_backward(g, x, 1, weight)]

    with pyconv.num_threads(1):
        expected = run()
    for threads in (2, 3, 8):
        with pyconv.num_threads(threads):
            for one, other in zip(run(), expected, strict=True):
                assert_same_bits(one, other)
