# SPDX-License-Identifier: BSD-3-Clause
"""The calculator, beside what the layers do; and layers converted into one another."""

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pyconv
from checks import assert_same_bits
from pyconv import functional as F
from pyconv import inspection


@given(
    st.integers(1, 40), st.integers(1, 7), st.integers(1, 5), st.integers(0, 6), st.integers(1, 3)
)
def test_output_size_is_what_conv2d_returns(
    size: int, kernel_size: int, stride: int, padding: int, dilation: int
) -> None:
    options: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation}
    x, w = np.zeros((1, 1, size, size)), np.zeros((1, 1, kernel_size, kernel_size))
    try:
        expected = F.conv2d(x, w, **options).shape[2]
    except ValueError:
        with pytest.raises(ValueError, match="kernel_size is too large"):
            inspection.output_size(size, kernel_size, **options, floor=True)
        return
    assert inspection.output_size(size, kernel_size, **options, floor=True) == expected
    if (size - dilation * (kernel_size - 1) - 1 + 2 * padding) % stride:
        with pytest.raises(ValueError, match="stride does not come out even"):
            inspection.output_size(size, kernel_size, **options)
    else:
        assert inspection.output_size(size, kernel_size, **options) == expected


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (
            (10, 3),
            {"stride": 2},
            (
                "output_size: stride does not come out even, got 2, which leaves 1 of 10 pixels unread: "
                "(10 - 3 + 2 * 0) / 2 + 1 = 4.5; expected a divisor of 7 such as 1, another padding, or "
                "floor=True"
            ),
        ),
        ((3, 5), {}, "output_size: kernel_size is too large, got a window over 5 pixels"),
        ((0, 1), {}, "output_size: size is too small, got 0; expected at least 1"),
        ((5, 3), {"padding": -1}, "output_size: padding is too small, got -1; expected at least 0"),
    ],
)
def test_impossible_settings_are_refused(arguments: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        inspection.output_size(*arguments, **options)
    with pytest.raises(TypeError, match=r"size is not an integer, got 5\.0"):
        inspection.output_size(5.0, 3)  # type: ignore[arg-type]


def test_receptive_field_is_where_the_gradient_reaches(rng: np.random.Generator) -> None:
    layers = [(3, 1), (2, 2), (3, 1, 2), (5, 3)]
    field, step = inspection.receptive_field(layers)
    model = pyconv.Sequential(
        *(
            pyconv.Conv2d(1, 1, kernel, stride, dilation=(*rest, 1)[0], rng=rng, dtype=np.float64)
            for kernel, stride, *rest in layers
        )
    )
    output = model(np.zeros((1, 1, 60, 60)))
    starts = []
    for position in (0, 1):
        grad = np.zeros_like(output)
        grad[0, 0, position, 0] = 1
        model(np.zeros((1, 1, 60, 60)))
        rows = np.flatnonzero(model.backward(grad)[0, 0].any(axis=1))
        assert rows[-1] - rows[0] + 1 == field
        starts.append(int(rows[0]))
    assert starts[1] - starts[0] == step


def test_cost_is_that_of_the_layer() -> None:
    cost = inspection.convolution_cost((6, 20, 13), 8, 3, stride=2, padding=1, groups=2, floor=True)
    layer = pyconv.Conv2d(6, 8, 3, 2, 1, groups=2)
    output = layer(np.zeros((1, 6, 20, 13), np.float32))
    assert cost.output_shape == output.shape[1:]
    assert cost.parameters == sum(p.value.size for p in layer.parameters())
    assert cost.output_bytes == output.nbytes
    assert cost.parameter_bytes == sum(p.value.nbytes for p in layer.parameters())
    matrix = F.im2col(np.zeros((1, 6, 20, 13), np.float32), 3, stride=2, padding=1)
    assert cost.im2col_bytes == matrix.nbytes
    assert cost.multiply_adds == output.size * 3 * 9


# Conversion --------------------------------------------------------------------------------------


def whole_numbers(rng: np.random.Generator, *arrays: Any) -> None:
    """Fill arrays with small integers, so that sums are exact in any order."""
    for array in arrays:
        array[...] = rng.integers(-4, 5, array.shape)


@pytest.mark.parametrize("bias", [False, True])
def test_dense_layer_and_its_convolution_agree(bias: bool, rng: np.random.Generator) -> None:
    linear = pyconv.Linear(2 * 3 * 5, 4, bias, rng=rng)
    x = np.zeros((3, 2, 3, 5), np.float32)
    whole_numbers(rng, x, *(p.value for p in linear.parameters()))
    conv = inspection.linear_to_conv(linear, (2, 3, 5))
    assert_same_bits(conv(x)[:, :, 0, 0], linear(x.reshape(3, 30)))


@pytest.mark.parametrize(
    "options",
    [
        {}, {"bias": False}, {"stride": 2, "padding": 1}, {"dilation": 2, "padding": (2, 1)},
        {"groups": 2}, {"padding": "same"}, {"padding": ((0, 2), (1, 0)), "stride": (1, 3)},
    ],
    ids=str,
)  # fmt: skip
def test_convolution_and_its_dense_layer_agree(
    options: dict[str, Any], rng: np.random.Generator
) -> None:
    conv = pyconv.Conv2d(4, 6, 3, **options, rng=rng)
    x = np.zeros((3, 4, 8, 7), np.float32)
    whole_numbers(rng, x, *(p.value for p in conv.parameters()))
    linear = inspection.conv_to_linear(conv, (4, 8, 7))
    expected = conv(x)
    assert_same_bits(linear(x.reshape(3, -1)).reshape(expected.shape), expected)


def test_classifier_slides_over_a_larger_image_in_one_pass(rng: np.random.Generator) -> None:
    """Its map holds what the classifier says of each crop, `step` pixels apart."""
    features = pyconv.Sequential(
        pyconv.Conv2d(3, 4, 3, rng=rng, dtype=np.float64),
        pyconv.ReLU(),
        pyconv.MaxPool2d(2),
        pyconv.Conv2d(4, 5, 2, rng=rng, dtype=np.float64),
    )
    first = pyconv.Linear(5 * 4 * 4, 7, rng=rng, dtype=np.float64)
    second = pyconv.Linear(7, 2, rng=rng, dtype=np.float64)
    classifier = pyconv.Sequential(features, pyconv.Flatten(), first, pyconv.ReLU(), second)
    sliding = pyconv.Sequential(
        features,
        inspection.linear_to_conv(first, (5, 4, 4)),
        pyconv.ReLU(),
        inspection.linear_to_conv(second, (7, 1, 1)),
    )
    field, step = inspection.receptive_field([(3, 1), (2, 2), (2, 1), (4, 1)])
    image = rng.standard_normal((1, 3, 24, 30))
    scores = sliding(image)
    assert scores.shape == (1, 2, (24 - field) // step + 1, (30 - field) // step + 1)
    for row, column in np.ndindex(scores.shape[2:]):
        top, left = step * row, step * column
        crop = image[:, :, top : top + field, left : left + field]
        np.testing.assert_allclose(scores[:, :, row, column], classifier(crop), rtol=1e-10)


def test_conversion_names_what_does_not_fit() -> None:
    message = "linear_to_conv: input_shape does not fit linear, got (2, 3, 4); expected 30 values"
    with pytest.raises(ValueError, match=re.escape(message)):
        inspection.linear_to_conv(pyconv.Linear(30, 4), (2, 3, 4))
    message = "conv_to_linear: input_shape does not fit conv, got (2, 3, 4); expected 3 channels"
    with pytest.raises(ValueError, match=re.escape(message)):
        inspection.conv_to_linear(pyconv.Conv2d(3, 4, 2), (2, 3, 4))
