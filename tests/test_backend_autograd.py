# SPDX-License-Identifier: BSD-3-Clause
"""The autograd backend: results are pyconv's, gradients are those of differences, twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from children import run_python
from pyconv import functional as F

autograd: Any = pytest.importorskip("autograd", reason="autograd is not installed")
anp: Any = pytest.importorskip("autograd.numpy", reason="autograd is not installed")
test_util: Any = pytest.importorskip("autograd.test_util", reason="autograd is not installed")
from pyconv.backends import autograd as backend

Case = tuple[Callable[..., Any], tuple[Any, ...]]


def distinct(rng: np.random.Generator, *shape: int) -> Any:
    """Return values no two of which, nor any and 0, are nearer than a numerical gradient steps."""
    values = rng.permutation(np.arange(np.prod(shape)) - np.prod(shape) // 2 + 0.5)
    return values.reshape(shape) / 4


def cases(rng: np.random.Generator) -> dict[str, Case]:
    """Return functions of the backend with what each is differentiated in."""
    draw = rng.standard_normal
    return {
        "conv1d": (
            lambda x, w, b: backend.conv1d(x, w, b, stride=2, padding=1),
            (draw((2, 2, 7)), draw((3, 2, 3)), draw(3)),
        ),
        "conv2d": (
            lambda x, w, b: backend.conv2d(x, w, b, stride=(1, 2), padding=1, groups=2),
            (draw((2, 4, 4, 5)), draw((2, 2, 3, 2)), draw(2)),
        ),
        "conv2d_same": (
            lambda x, w: backend.conv2d(x, w, padding="same", dilation=2),
            (draw((1, 2, 4, 4)), draw((2, 2, 3, 3))),
        ),
        "conv3d": (
            lambda x, w, b: backend.conv3d(x, w, bias=b, padding=1, stride=(1, 2, 2)),
            (draw((1, 2, 2, 3, 4)), draw((2, 2, 2, 2, 3)), draw(2)),
        ),
        "max_pool2d": (
            lambda x: backend.max_pool2d(x, 3, stride=2, padding=1, ceil_mode=True),
            (distinct(rng, 1, 2, 5, 6),),
        ),
        "max_pool2d_empty_window": (
            # Of the three windows the second holds no pixel: -inf, which differences cannot see.
            lambda x: backend.max_pool2d(x, (1, 2), stride=1, padding=(0, 2), dilation=(1, 3))[
                ..., ::2
            ],
            (distinct(rng, 1, 1, 2, 2),),
        ),
        "avg_pool2d": (
            lambda x: backend.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False),
            (draw((1, 2, 5, 6)),),
        ),
        "linear": (backend.linear, (draw((3, 4)), draw((5, 4)), draw(5))),
        "relu": (backend.relu, (distinct(rng, 3, 4),)),
        "softmax": (lambda x: backend.softmax(x, axis=1), (draw((2, 4, 3)),)),
        "log_softmax": (lambda x: backend.log_softmax(x, axis=0), (draw((4, 3)),)),
        "batch_norm": (backend.batch_norm, (draw((4, 2, 3)), draw(2), draw(2))),
        "batch_norm_plain": (backend.batch_norm, (draw((6, 2)),)),
    }


NAMES = list(cases(np.random.default_rng(0)))


@pytest.fixture(autouse=True)
def _directions(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let autograd draw its random directions from `rng`, not from NumPy's global generator."""
    spaces = pytest.importorskip("autograd.numpy.numpy_vspaces")
    monkeypatch.setattr(
        spaces.ArrayVSpace, "randn", lambda self: np.asarray(rng.standard_normal(self.shape))
    )


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_differences(name: str, rng: np.random.Generator) -> None:
    function, arrays = cases(rng)[name]
    test_util.check_grads(function, tuple(range(len(arrays))), modes=["rev"], order=2)(*arrays)


def test_wrong_gradients_are_found(rng: np.random.Generator) -> None:
    """Of the check itself: a factor of 1.001 in the gradient of the gradient."""
    extend: Any = pytest.importorskip("autograd.extend")
    function = extend.primitive(lambda x: F.avg_pool2d(x, 2))
    first = extend.primitive(lambda g, shape: F.avg_pool2d_backward(g, shape, 2))
    extend.defvjp(function, lambda _, x: lambda g: first(g, x.shape))
    extend.defvjp(first, lambda _, g, shape: lambda h: 1.001 * function(h))
    x = rng.standard_normal((1, 2, 4, 4))
    test_util.check_grads(function, modes=["rev"], order=1)(x)
    with pytest.raises(AssertionError, match="check of"):
        test_util.check_grads(function, modes=["rev"], order=2)(x)


def test_results_are_those_of_pyconv(rng: np.random.Generator, dtype: np.dtype[Any]) -> None:
    x = rng.standard_normal((2, 4, 6, 5)).astype(dtype)
    w, b = (rng.standard_normal(shape).astype(dtype) for shape in ((6, 2, 3, 3), 6))
    options: dict[str, Any] = {"stride": 2, "padding": 1, "groups": 2}
    pairs = [
        (backend.conv2d(x, w, b, **options), F.conv2d(x, w, b, **options)),
        (backend.max_pool2d(x, 3, stride=1), F.max_pool2d(x, 3, stride=1)),
        (backend.avg_pool2d(x, 2, divisor_override=3), F.avg_pool2d(x, 2, divisor_override=3)),
        (backend.linear(x[0, 0], x[1, 0], b), F.linear(x[0, 0], x[1, 0], b)),
        (backend.relu(x), F.relu(x)),
        (backend.softmax(x, axis=1), F.softmax(x, axis=1)),
        (backend.log_softmax(x), F.log_softmax(x)),
        (backend.batch_norm(x, eps=0.1), F.batch_norm_training(x, eps=0.1)[0]),
    ]
    for got, expected in pairs:
        np.testing.assert_allclose(got, expected, rtol=10 * np.finfo(dtype).eps)


def network(parameters: list[Any], x: Any) -> Any:
    """Return logits: convolution, batch norm, ReLU, both pools, a linear layer."""
    w1, b1, scale, shift, w2, b2 = parameters
    y = backend.conv2d(x, w1, b1, padding=1)
    y = backend.max_pool2d(backend.relu(backend.batch_norm(y, scale, shift)), 2)
    y = backend.avg_pool2d(y, 2)
    return backend.linear(anp.reshape(y, (len(x), -1)), w2, b2)


def test_network_trains(rng: np.random.Generator, dtype: np.dtype[Any]) -> None:
    shapes = [(4, 1, 3, 3), (4,), (4,), (4,), (3, 16), (3,)]
    parameters = [(0.3 * rng.standard_normal(shape)).astype(dtype) for shape in shapes]
    x, target = rng.standard_normal((12, 1, 8, 8)).astype(dtype), rng.integers(3, size=12)

    def loss(parameters: list[Any]) -> Any:
        scores = backend.log_softmax(network(parameters, x), axis=1)
        return -anp.mean(scores[np.arange(12), target])

    before = loss(parameters)
    for _ in range(30):
        grads = autograd.grad(loss)(parameters)
        assert [grad.dtype for grad in grads] == [dtype] * 6
        parameters = [p - dtype.type(0.5) * g for p, g in zip(parameters, grads, strict=True)]
    assert loss(parameters) < 0.5 * before


def test_gradient_penalty_of_a_network(rng: np.random.Generator) -> None:
    """The gradient of the norm of a gradient, through all layers at once."""
    shapes = [(2, 1, 3, 3), (2,), (2,), (2,), (3, 2), (3,)]
    parameters = [rng.standard_normal(shape) for shape in shapes]
    x = rng.standard_normal((3, 1, 4, 4))

    def penalty(weight: Any) -> Any:
        total = lambda x: anp.sum(anp.sin(network([weight, *parameters[1:]], x)))
        return anp.sum(autograd.grad(total)(x) ** 2)

    test_util.check_grads(penalty, modes=["rev"], order=1)(parameters[0])


def test_missing_autograd_is_named() -> None:
    output = run_python(
        """
        import sys
        sys.modules["autograd"] = None
        import pyconv
        try:
            import pyconv.backends.autograd
        except ImportError as error:
            print(error)
        """
    )
    assert output == (
        "pyconv.backends.autograd needs autograd, got no module named autograd; "
        "expected: python -m pip install 'pyconv-nn[autograd]'"
    )
