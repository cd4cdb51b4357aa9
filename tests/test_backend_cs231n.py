# SPDX-License-Identifier: BSD-3-Clause
"""CS231n's functions: the course's published numbers, numerical gradients, and their layouts."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import reference
from checks import assert_adjoint, assert_exact, assert_gradient, assert_vjp
from pyconv.backends import cs231n
from reference import Array

# What the course's notebooks ask for: "errors around e-8".
PUBLISHED: dict[str, Any] = {"rtol": 0, "atol": 1e-8}


def linspace(start: float, stop: float, *shape: int) -> Array:
    return np.linspace(start, stop, int(np.prod(shape))).reshape(shape)


def apart(rng: np.random.Generator, *shape: int) -> Array:
    """Return values no two of which, nor any and 0, are near each other."""
    count = int(np.prod(shape))
    return (rng.permutation(count).reshape(shape) - count // 2 + 0.5) / 10


# fast_layers -------------------------------------------------------------------------------------


def test_conv_forward_gives_the_published_numbers() -> None:
    x, w = linspace(-0.1, 0.5, 2, 3, 4, 4), linspace(-0.2, 0.3, 3, 3, 4, 4)
    b = np.linspace(-0.1, 0.2, 3)
    out, _ = cs231n.conv_forward_fast(x, w, b, {"stride": 2, "pad": 1})
    assert out.shape == (2, 3, 2, 2)
    np.testing.assert_allclose(out[0, 0, 0], [-0.08759809, -0.10987781], **PUBLISHED)
    np.testing.assert_allclose(out[1, 2, 1, 1], 2.38247847, **PUBLISHED)
    np.testing.assert_allclose(out, reference.conv2d(x, w, b, stride=2, padding=1), rtol=1e-13)


def test_max_pool_forward_gives_the_published_numbers() -> None:
    x = linspace(-0.3, 0.4, 2, 3, 4, 4)
    out, _ = cs231n.max_pool_forward_fast(x, {"pool_width": 2, "pool_height": 2, "stride": 2})
    np.testing.assert_allclose(out[0, 0, 0, 0], -0.26315789, **PUBLISHED)
    np.testing.assert_allclose(out[1, 2, 1, 1], 0.4, **PUBLISHED)
    assert_exact(out, x[:, :, 1::2, 1::2])  # increasing: the last of each window


def test_conv_backward_is_the_gradient(rng: np.random.Generator) -> None:
    x, w, b = (rng.standard_normal(shape) for shape in ((4, 3, 5, 5), (2, 3, 3, 3), (2,)))
    dout = rng.standard_normal((4, 2, 5, 5))
    param = {"stride": 1, "pad": 1}

    def out(x: Array, w: Array, b: Array) -> Array:
        return cs231n.conv_forward_fast(x, w, b, param)[0]

    _, cache = cs231n.conv_forward_fast(x, w, b, param)
    dx, dw, db = cs231n.conv_backward_fast(dout, cache)
    assert_vjp(lambda x: out(x, w, b), dx, dout, x, rng)
    assert_vjp(lambda w: out(x, w, b), dw, dout, w, rng)
    assert_vjp(lambda b: out(x, w, b), db, dout, b, rng)


@pytest.mark.parametrize("size", [(8, 8), (7, 9)], ids=["whole", "rest"])
@pytest.mark.parametrize("pool", [(2, 2, 2), (3, 2, 1)], ids=["side_by_side", "overlapping"])
def test_max_pool_backward_is_the_gradient(
    size: tuple[int, int], pool: tuple[int, int, int], rng: np.random.Generator
) -> None:
    param = dict(zip(("pool_height", "pool_width", "stride"), pool, strict=True))
    x = apart(rng, 3, 2, *size)
    out, cache = cs231n.max_pool_forward_fast(x, param)
    dout = rng.standard_normal(out.shape)
    dx = cs231n.max_pool_backward_fast(dout, cache)
    assert_vjp(lambda x: cs231n.max_pool_forward_fast(x, param)[0], dx, dout, x, rng)


def test_max_pool_backward_gives_ties_to_the_first() -> None:
    _, cache = cs231n.max_pool_forward_fast(
        np.ones((1, 1, 2, 2)), {"pool_width": 2, "pool_height": 2, "stride": 2}
    )
    dx = cs231n.max_pool_backward_fast(np.array([[[[3.0]]]]), cache)
    assert_exact(dx[0, 0], np.array([[3, 0], [0, 0]]))


def test_strides_need_not_divide_the_size(rng: np.random.Generator) -> None:
    """(6 + 2 - 3) / 2 is no integer: the last row and column are not read."""
    x, w, b = (rng.standard_normal(shape) for shape in ((2, 3, 6, 6), (5, 3, 3, 3), (5,)))
    out, cache = cs231n.conv_forward_fast(x, w, b, {"stride": 2, "pad": 1})
    np.testing.assert_allclose(
        out, reference.conv2d(x, w, b, stride=2, padding=1), rtol=1e-12, atol=1e-12
    )
    assert [grad.shape for grad in cs231n.conv_backward_fast(out, cache)] == [
        x.shape,
        w.shape,
        b.shape,
    ]


# Cython functions --------------------------------------------------------------------------------


def columns_by_definition(x: Array, height: int, width: int, padding: int, stride: int) -> Array:
    """Return (C, height, width, OH, OW, N): the image last, as the course's functions have it."""
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    rows = range(0, padded.shape[2] - height + 1, stride)
    columns = range(0, padded.shape[3] - width + 1, stride)
    patches = [[padded[:, :, i : i + height, j : j + width] for j in columns] for i in rows]
    return np.array(patches).transpose(3, 4, 5, 0, 1, 2)


WINDOWS = [(3, 2, 1, 1), (2, 3, 0, 2), (3, 3, 2, 3)]


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_columns_are_laid_out_as_in_the_course(
    window: tuple[int, int, int, int], rng: np.random.Generator
) -> None:
    x = rng.standard_normal((2, 3, 5, 7))
    expected = columns_by_definition(x, *window)
    got = cs231n.im2col_cython(x, *window)
    assert_exact(got, expected.reshape(3 * window[0] * window[1], -1))


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_col2im_is_the_adjoint(window: tuple[int, int, int, int], rng: np.random.Generator) -> None:
    x = rng.standard_normal((2, 3, 5, 7))
    six = columns_by_definition(x, *window).transpose(0, 1, 2, 5, 3, 4)
    assert_adjoint(
        lambda x: cs231n.im2col_cython(x, *window),
        lambda cols: cs231n.col2im_cython(cols, 2, 3, 5, 7, *window),
        x,
        rng.standard_normal((3 * window[0] * window[1], six[0, 0, 0].size)),
    )
    assert_adjoint(
        lambda x: columns_by_definition(x, *window).transpose(0, 1, 2, 5, 3, 4),
        lambda cols: cs231n.col2im_6d_cython(cols, 2, 3, 5, 7, *window),
        x,
        rng.standard_normal(six.shape),
    )


# layers ------------------------------------------------------------------------------------------


def normalised(x: Array, axes: tuple[int, ...], eps: float) -> Array:
    mean, std = x.mean(axes, keepdims=True), np.sqrt(x.var(axes, keepdims=True) + eps)
    result: Array = (x - mean) / std
    return result


MEAN, VAR = np.array([0.5, -1, 2, 0]), np.array([1, 2, 0.5, 3])
RUNNING = {"running_mean": MEAN, "running_var": VAR}


def layers(rng: np.random.Generator) -> dict[str, tuple[Any, Any, list[Array], Any]]:
    """Return forward, backward, the arrays, and the forward pass by definition."""
    draw = rng.standard_normal
    groups = ((2, 6, 3, 4), (1, 6, 1, 1), (1, 6, 1, 1))
    return {
        "affine": (
            cs231n.affine_forward,
            cs231n.affine_backward,
            [draw((3, 2, 4)), draw((8, 5)), draw(5)],
            lambda x, w, b: x.reshape(3, 8) @ w + b,
        ),
        "relu": (
            cs231n.relu_forward,
            cs231n.relu_backward,
            [apart(rng, 3, 4, 5)],
            lambda x: np.maximum(x, 0),
        ),
        "batchnorm": (
            lambda x, g, b: cs231n.batchnorm_forward(x, g, b, {"mode": "train"}),
            cs231n.batchnorm_backward,
            [draw((7, 4)), draw(4), draw(4)],
            lambda x, g, b: g * normalised(x, (0,), 1e-5) + b,
        ),
        "batchnorm_test": (
            lambda x, g, b: cs231n.batchnorm_forward(
                x, g, b, {"mode": "test", "eps": 0.5} | RUNNING
            ),
            cs231n.batchnorm_backward,
            [draw((7, 4)), draw(4), draw(4)],
            lambda x, g, b: g * (x - MEAN) / np.sqrt(VAR + 0.5) + b,
        ),
        "spatial_batchnorm": (
            lambda x, g, b: cs231n.spatial_batchnorm_forward(
                x, g, b, {"mode": "train", "eps": 0.1}
            ),
            cs231n.spatial_batchnorm_backward,
            [draw((2, 3, 4, 5)), draw(3), draw(3)],
            lambda x, g, b: g[:, None, None] * normalised(x, (0, 2, 3), 0.1) + b[:, None, None],
        ),
        "layernorm": (
            lambda x, g, b: cs231n.layernorm_forward(x, g, b, {"eps": 0.2}),
            cs231n.layernorm_backward,
            [draw((4, 6)), draw(6), draw(6)],
            lambda x, g, b: g * normalised(x, (1,), 0.2) + b,
        ),
        "spatial_groupnorm": (
            lambda x, g, b: cs231n.spatial_groupnorm_forward(x, g, b, 2, {}),
            cs231n.spatial_groupnorm_backward,
            [draw(shape) for shape in groups],
            lambda x, g, b: (
                g * normalised(x.reshape(2, 2, 3, 3, 4), (2, 3, 4), 1e-5).reshape(x.shape) + b
            ),
        ),
        "dropout": (
            lambda x: cs231n.dropout_forward(x, {"mode": "train", "p": 0.3, "seed": 5}),
            cs231n.dropout_backward,
            [draw((3, 4))],
            lambda x: x * (np.random.default_rng(5).random((3, 4)) >= 0.7) / 0.3,
        ),
        "dropout_test": (
            lambda x: cs231n.dropout_forward(x, {"mode": "test", "p": 0.3}),
            cs231n.dropout_backward,
            [draw((3, 4))],
            lambda x: x,
        ),
    }


@pytest.mark.parametrize("name", list(layers(np.random.default_rng(0))))
def test_layers_are_their_definition_and_its_gradient(name: str, rng: np.random.Generator) -> None:
    forward, backward, arrays, definition = layers(rng)[name]
    out, cache = forward(*arrays)
    np.testing.assert_allclose(out, definition(*arrays), rtol=1e-12, atol=1e-12)
    assert not any(np.shares_memory(out, array) for array in arrays)

    dout = rng.standard_normal(out.shape)
    grads = backward(dout, cache)
    for i, grad in enumerate(grads if isinstance(grads, tuple) else (grads,)):

        def moved(value: Array, i: int = i) -> Array:
            result: Array = forward(*arrays[:i], value, *arrays[i + 1 :])[0]
            return result

        assert_vjp(moved, grad, dout, arrays[i], rng)


def test_batchnorm_keeps_running_averages(rng: np.random.Generator) -> None:
    param: dict[str, Any] = {"mode": "train", "momentum": 0.75}
    mean, var = np.zeros(3), np.zeros(3)
    for _ in range(3):
        x = rng.standard_normal((5, 3))
        cs231n.batchnorm_forward(x, np.ones(3), np.zeros(3), param)
        mean, var = 0.75 * mean + 0.25 * x.mean(0), 0.75 * var + 0.25 * x.var(0)
    np.testing.assert_allclose(param["running_mean"], mean, rtol=1e-12)
    np.testing.assert_allclose(param["running_var"], var, rtol=1e-12)


def test_dropout_keeps_with_probability_p() -> None:
    rng = np.random.default_rng(1)
    param = {"mode": "train", "p": 0.25, "rng": rng}
    first, _ = cs231n.dropout_forward(np.ones(10_000), param)
    second, _ = cs231n.dropout_forward(np.ones(10_000), param)
    assert_exact(np.unique(first), np.array([0, 4]))
    assert abs(np.mean(first > 0) - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 10_000)
    assert np.any(first != second)
    kept, _ = cs231n.dropout_forward(np.ones(10), {"mode": "train", "p": 1, "seed": 0})
    assert_exact(kept, np.ones(10))


@pytest.mark.parametrize("name", ["softmax_loss", "svm_loss"])
def test_losses_and_their_gradients(name: str, rng: np.random.Generator) -> None:
    loss = getattr(cs231n, name)
    x, y = rng.standard_normal((6, 5)), rng.integers(5, size=6)
    correct = x[np.arange(6), y, None]
    expected = (
        np.mean(np.log(np.exp(x - correct).sum(1)))
        if name == "softmax_loss"
        else np.mean(np.maximum(0, x - correct + 1).sum(1) - 1)  # less the margin of y itself
    )
    value, dx = loss(x, y)
    np.testing.assert_allclose(value, expected, rtol=1e-13)
    assert_gradient(lambda x: loss(x, y)[0], dx, x, rng)


# Arguments ---------------------------------------------------------------------------------------


def test_types_are_brought_together_as_numpy_does(rng: np.random.Generator) -> None:
    x = rng.integers(-5, 5, (1, 2, 4, 4)).astype(np.uint8)
    w, b = rng.integers(-5, 5, (3, 2, 3, 3)).astype(np.float32), np.zeros(3)
    out, cache = cs231n.conv_forward_fast(x, w, b, {"stride": 1, "pad": 0})
    assert out.dtype == np.float64
    assert_exact(out, reference.conv2d(x.astype(float), w.astype(float)))
    assert cs231n.conv_backward_fast(out, cache)[1].dtype == np.float64
    out, cache = cs231n.conv_forward_fast(x, w, b.astype(np.float32), {"stride": 1, "pad": 0})
    assert out.dtype == np.float32
    assert cs231n.conv_backward_fast(out, cache)[0].dtype == np.float32


def test_bad_arguments_are_named(rng: np.random.Generator) -> None:
    x, ones = rng.standard_normal((2, 3, 4, 4)), np.ones(3)
    train = {"mode": "train"}
    cases: list[tuple[Callable[[], Any], type[Exception], str]] = [
        (
            lambda: cs231n.conv_forward_fast(x, x, ones, {"pad": 1}),
            ValueError,
            "conv_forward_fast: conv_param is incomplete, got ['pad']; expected an entry 'stride'",
        ),
        (
            lambda: cs231n.conv_forward_fast(x, x, ones, {"pad": 1, "stride": 1.5}),
            TypeError,
            "conv_forward_fast: conv_param['stride'] is not an integer, got 1.5",
        ),
        (
            lambda: cs231n.batchnorm_forward(x, ones, ones, {}),
            ValueError,
            "batchnorm_forward: bn_param['mode'] is unknown, got None; expected 'train' or 'test'",
        ),
        (
            lambda: cs231n.dropout_forward(x, {**train, "p": 0.0, "seed": 1}),
            ValueError,
            "dropout_forward: dropout_param['p'] is out of range, got 0.0; expected 0 < p <= 1",
        ),
        (
            lambda: cs231n.dropout_forward(x, {**train, "p": 0.5}),
            ValueError,
            "dropout_forward: dropout_param has no source of randomness, got ['mode', 'p']",
        ),
        (
            lambda: cs231n.col2im_cython(np.ones((12, 9)), 2, 3, 4, 4, 2, 2, 0, 1),
            ValueError,
            "col2im_cython: cols does not hold columns of N images, got shape (12, 9), N=2",
        ),
        (
            lambda: cs231n.col2im_6d_cython(np.ones((12, 9)), 2, 3, 4, 4, 2, 2, 0, 1),
            ValueError,
            "col2im_6d_cython: cols does not fit, got shape (12, 9); expected (3, 2, 2, 2, OH, OW)",
        ),
    ]
    for call, error, message in cases:
        with pytest.raises(error, match=re.escape(message)):
            call()
