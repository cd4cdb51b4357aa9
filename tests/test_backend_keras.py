# SPDX-License-Identifier: BSD-3-Clause
"""Keras on NumPy with pyconv: the same results as without, and Keras as it was afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from children import run_python
from documentation import check_documentation

os.environ.setdefault("KERAS_BACKEND", "numpy")  # read once, when keras is imported
pytest.importorskip("jax", reason="jax, which the NumPy backend of keras needs, is not installed")
keras: Any = pytest.importorskip("keras", reason="keras is not installed")
if keras.backend.backend() != "numpy":
    pytest.skip("keras runs on another backend than numpy", allow_module_level=True)
from pyconv import functional as F
from pyconv.backends import keras as backend

nn: Any = pytest.importorskip("keras.src.backend.numpy.nn")
ops = keras.ops
# Of Keras's variables, with NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def fallbacks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record what is left to Keras."""
    called: list[str] = []

    def recorded(name: str, function: Any) -> Any:
        def call(*args: Any) -> Any:
            called.append(name)
            return function(*args)

        return call

    originals = dict(backend._KERAS)
    for name, function in originals.items():
        monkeypatch.setitem(backend._KERAS, name, recorded(name, function))
    return called


def agree(function: Any, *arrays: Any, **options: Any) -> None:
    """Compare with Keras's own function: sums of small integers, exact in any order."""
    expected = function(*arrays, **options)
    with backend.enabled():
        got = function(*arrays, **options)
    assert got.dtype == expected.dtype
    assert got.size > 0
    np.testing.assert_array_equal(got, expected)


def integers(rng: np.random.Generator, *shape: int) -> Any:
    return rng.integers(-9, 10, shape).astype(np.float32)


SIZES = {1: (11,), 2: (8, 7), 3: (5, 6, 7)}
KERNELS = {1: (3,), 2: (3, 2), 3: (2, 3, 1)}
FORMATS = ["channels_last", "channels_first"]
# Strides and dilations: few, as jax compiles each case.
STEPS = {1: [(1, 1), (2, 1), (3, 1), (1, 2)], 2: [(1, 1), (2, 1), (1, 2)], 3: [(2, 1), (1, 2)]}


def images(rng: np.random.Generator, axes: int, channels: int, data_format: str) -> Any:
    shape = (*SIZES[axes], channels) if data_format == FORMATS[0] else (channels, *SIZES[axes])
    return integers(rng, 2, *shape)


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("axes", [1, 2, 3])
class TestAgainstKeras:
    """In every layout, with every padding, stride and dilation."""

    @pytest.fixture(autouse=True)
    def _nothing_left_to_keras(self, fallbacks: list[str]) -> Iterator[None]:
        yield
        assert fallbacks == []

    @pytest.mark.parametrize("groups", [1, 2])
    def test_conv(
        self, axes: int, padding: str, data_format: str, groups: int, rng: np.random.Generator
    ) -> None:
        x = images(rng, axes, 4, data_format)
        w = integers(rng, *KERNELS[axes], 4 // groups, 6)
        for strides, dilation in STEPS[axes]:
            options = {"strides": strides, "dilation_rate": dilation}
            agree(ops.conv, x, w, padding=padding, data_format=data_format, **options)

    def test_depthwise_and_separable_conv(
        self, axes: int, padding: str, data_format: str, rng: np.random.Generator
    ) -> None:
        x = images(rng, axes, 3, data_format)
        w, pointwise = integers(rng, *KERNELS[axes], 3, 2), integers(rng, *(1,) * axes, 6, 4)
        options = {"padding": padding, "data_format": data_format}
        for strides, dilation in STEPS[axes]:
            steps = {"strides": strides, "dilation_rate": dilation}
            if axes < 3:  # Keras has no more of these
                agree(ops.depthwise_conv, x, w, **steps, **options)
                agree(ops.separable_conv, x, w, pointwise, **steps, **options)
            else:
                agree(nn_depthwise, x, w, **steps, **options)

    def test_conv_transpose(
        self, axes: int, padding: str, data_format: str, rng: np.random.Generator
    ) -> None:
        x = images(rng, axes, 4, data_format)
        options = {"padding": padding, "data_format": data_format}
        for strides, dilation in STEPS[axes]:
            for kernel in (KERNELS[axes], (4,) * axes):
                w = integers(rng, *kernel, 5, 4)
                steps = {"strides": strides, "dilation_rate": dilation}
                agree(ops.conv_transpose, x, w, **steps, **options)
                agree(ops.conv_transpose, x, w, output_padding=strides - 1, **steps, **options)


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("axes", [1, 2])
def test_pools(
    axes: int, padding: str, data_format: str, fallbacks: list[str], rng: np.random.Generator
) -> None:
    x = images(rng, axes, 3, data_format)
    options = {"padding": padding, "data_format": data_format}
    for window, strides in [(2, 2), (3, 1), ((4, 1)[:axes], 3)]:
        agree(ops.max_pool, x, window, strides=strides, **options)
        expected = ops.average_pool(x, window, strides=strides, **options)
        with backend.enabled():
            got = ops.average_pool(x, window, strides=strides, **options)
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)
    assert fallbacks == []


def nn_depthwise(*args: Any, **options: Any) -> Any:
    """`keras.ops` refuses volumes here; the function under it takes them."""
    return nn.depthwise_conv(*args, **options)


def model(dtype: str) -> Any:
    """Return a network with every layer that is replaced."""
    layers = keras.layers
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((17, 16, 3)),
            layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", dtype=dtype),
            layers.BatchNormalization(dtype=dtype),
            layers.DepthwiseConv2D(3, depth_multiplier=2, dtype=dtype),
            layers.MaxPooling2D(2, dtype=dtype),
            layers.Conv2DTranspose(6, 3, strides=2, padding="same", dtype=dtype),
            layers.SeparableConv2D(5, 3, padding="same", dtype=dtype),
            layers.AveragePooling2D(3, strides=2, padding="same", dtype=dtype),
            layers.Reshape((-1, 5), dtype=dtype),
            layers.Conv1D(4, 3, padding="causal", dtype=dtype),
            layers.GlobalAveragePooling1D(dtype=dtype),
        ]
    )


def test_models_agree(rng: np.random.Generator, fallbacks: list[str]) -> None:
    x = rng.standard_normal((3, 17, 16, 3)).astype(np.float32)
    network = model("float32")
    expected = network.predict(x, verbose=0)
    with backend.enabled():
        got = network.predict(x, verbose=0)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    assert got.dtype == np.float32
    assert fallbacks == []


def test_float64_stays_float64(rng: np.random.Generator) -> None:
    """Which jax makes float32 of, unless told otherwise."""
    x, w = rng.standard_normal((2, 6, 5, 3)), rng.standard_normal((3, 3, 3, 4))
    with backend.enabled():
        got = ops.conv(x, w)
    expected = F.conv2d(np.moveaxis(x, -1, 1), w.transpose(3, 2, 0, 1))
    assert got.dtype == np.float64
    np.testing.assert_array_equal(got, np.moveaxis(expected, 1, -1))


def test_variables_are_taken(rng: np.random.Generator, fallbacks: list[str]) -> None:
    agree(ops.conv, integers(rng, 1, 5, 5, 2), keras.Variable(integers(rng, 3, 3, 2, 4)))
    assert fallbacks == []


def test_what_is_left_to_keras(rng: np.random.Generator, fallbacks: list[str]) -> None:
    x, w = integers(rng, 2, 5, 5, 4), integers(rng, 3, 3, 4, 4)
    agree(ops.conv, x.astype(np.float16), w.astype(np.float16))
    agree(ops.conv_transpose, x.astype(np.float16), w.astype(np.float16))
    # An output padding longer than the stride: zeros that no weight reaches.
    agree(ops.conv_transpose, x, w, strides=1, output_padding=2)
    agree(ops.max_pool, integers(rng, 1, 4, 4, 4, 2), 2, strides=2)
    agree(ops.average_pool, integers(rng, 1, 4, 4, 4, 2), 2, strides=2)
    assert fallbacks == ["conv", "conv_transpose", "conv_transpose", "max_pool", "average_pool"]


def test_wrong_shapes_are_errors_with_and_without(rng: np.random.Generator) -> None:
    x, w = integers(rng, 1, 5, 5, 3), integers(rng, 3, 3, 2, 4)
    for function, kernel in [
        (ops.conv, w),
        (ops.conv, integers(rng, 7, 7, 3, 4)),
        (ops.depthwise_conv, w),
        (ops.conv_transpose, w),
    ]:
        with pytest.raises(ValueError, match=r"channels|empty"):
            function(x, kernel)
        with backend.enabled(), pytest.raises(ValueError, match=r"kernel|weight"):
            function(x, kernel)


def test_keras_is_restored() -> None:
    before = {name: getattr(nn, name) for name in backend._REPLACEMENTS}
    with backend.enabled(), backend.enabled():
        assert all(getattr(nn, name) is not function for name, function in before.items())
    with pytest.raises(ZeroDivisionError), backend.enabled():
        _ = 1 / 0
    assert all(getattr(nn, name) is function for name, function in before.items())


def test_other_backends_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(RuntimeError, match="got 'jax'; expected 'numpy'"), backend.enabled():
        pass


def test_missing_keras_is_named() -> None:
    output = run_python(
        """
        import sys
        sys.modules["keras"] = None
        try:
            import pyconv.backends.keras
        except ImportError as error:
            print(error)
        """
    )
    assert output == (
        "pyconv.backends.keras needs keras, got no module named keras; "
        "expected: python -m pip install 'pyconv-nn[keras]'"
    )


def test_public_names_are_documented_with_an_example_that_runs() -> None:
    check_documentation("pyconv.backends.keras")
