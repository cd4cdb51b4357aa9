# SPDX-License-Identifier: BSD-3-Clause
"""The jax backend: results are jax's own, gradients those of differences, twice; jit and vmap."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from children import run_python
from documentation import check_documentation

os.environ.setdefault("PJRT_NPROC", "2")  # where there is one processor
jax: Any = pytest.importorskip("jax", reason="jax is not installed")
jnp: Any = pytest.importorskip("jax.numpy", reason="jax is not installed")
from pyconv import functional as F
from pyconv.backends import jax as backend

Case = tuple[Callable[..., Any], tuple[Any, ...]]


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    """Let jax keep float64."""
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


def integers(rng: np.random.Generator, *shape: int) -> Any:
    return rng.integers(-9, 10, shape).astype(np.float32)


def distinct(rng: np.random.Generator, *shape: int) -> Any:
    """Return values no two of which are nearer than a numerical gradient steps."""
    return rng.permutation(np.arange(np.prod(shape))).reshape(shape) / 4


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_convolutions_are_those_of_jax(axes: int, padding: str, rng: np.random.Generator) -> None:
    x = integers(rng, 2, 4, *(7, 6, 5)[:axes])
    w, b = integers(rng, 6, 2, *(3, 2, 2)[:axes]), integers(rng, 6)
    conv = getattr(backend, f"conv{axes}d")
    for stride, dilation in [(1, 1), (2, 1), (1, 2)]:
        expected = jax.lax.conv_general_dilated(
            x,
            w,
            (stride,) * axes,
            padding.upper(),
            rhs_dilation=(dilation,) * axes,
            feature_group_count=2,
        )
        options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": 2}
        np.testing.assert_array_equal(conv(x, w, **options), expected)
        got = jax.jit(lambda x, w, b, o=options: conv(x, w, b, **o))(x, w, b)
        np.testing.assert_array_equal(got, expected + b.reshape(-1, *(1,) * axes))
        assert got.dtype == np.float32


def test_pools_are_those_of_pyconv(rng: np.random.Generator, dtype: np.dtype[Any]) -> None:
    x = rng.standard_normal((2, 3, 7, 6)).astype(dtype)
    largest: dict[str, Any] = {"stride": (2, 1), "padding": 1, "dilation": 2, "ceil_mode": True}
    mean: dict[str, Any] = {"padding": 1, "count_include_pad": False, "ceil_mode": True}
    for got, expected in [
        (backend.max_pool2d(x, 3, **largest), F.max_pool2d(x, 3, **largest)),
        (backend.max_pool2d(x, 2, padding="same"), F.max_pool2d(x, 2, padding="same")),
        (backend.avg_pool2d(x, (3, 2), **mean), F.avg_pool2d(x, (3, 2), **mean)),
        (backend.avg_pool2d(x, 2, divisor_override=3), F.avg_pool2d(x, 2, divisor_override=3)),
    ]:
        np.testing.assert_array_equal(got, expected)
        assert got.dtype == dtype


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
            lambda x, w: backend.conv3d(x, w, padding=1, stride=(1, 2, 2)),
            (draw((1, 2, 2, 3, 4)), draw((2, 2, 2, 2, 3))),
        ),
        "max_pool2d": (
            lambda x: backend.max_pool2d(x, 3, stride=2, padding=1, ceil_mode=True),
            (distinct(rng, 1, 2, 5, 6),),
        ),
        "avg_pool2d": (
            lambda x: backend.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False),
            (draw((1, 2, 5, 6)),),
        ),
    }


@pytest.mark.parametrize("name", list(cases(np.random.default_rng(0))))
def test_gradients_are_those_of_differences(name: str, rng: np.random.Generator) -> None:
    """Of the sum of cubes: the second order is then not that of a linear function."""
    test_util = pytest.importorskip("jax.test_util")
    function, arrays = cases(rng)[name]
    cubes = lambda *arrays: jnp.sum(function(*arrays) ** 3) / 100
    test_util.check_grads(cubes, arrays, order=2, modes=["rev"], rtol=1e-5, atol=1e-5)


def test_wrong_gradients_are_found(rng: np.random.Generator) -> None:
    """Of the check itself: a factor of 1.001."""
    test_util = pytest.importorskip("jax.test_util")
    function = jax.custom_vjp(lambda x: backend.avg_pool2d(x, 2))
    function.defvjp(
        lambda x: (function(x), x),
        lambda x, g: (1.001 * jax.vjp(lambda x: backend.avg_pool2d(x, 2), x)[1](g)[0],),
    )
    x = rng.standard_normal((1, 2, 4, 4))
    with pytest.raises(AssertionError):
        test_util.check_grads(function, (x,), order=1, modes=["rev"], rtol=1e-5, atol=1e-5)


def test_vmap(rng: np.random.Generator) -> None:
    x, w = integers(rng, 3, 2, 2, 6, 6), integers(rng, 3, 4, 2, 3, 3)

    def loss(x: Any, w: Any) -> Any:
        return jnp.sum(backend.max_pool2d(backend.conv2d(x, w), 2) ** 2)

    got = jax.vmap(jax.grad(loss, (0, 1)))(x, w)
    one_by_one = [jax.grad(loss, (0, 1))(x[i], w[i]) for i in range(3)]
    for part, expected in zip(got, zip(*one_by_one, strict=True), strict=True):
        np.testing.assert_array_equal(part, np.stack(expected))


def test_network_trains(rng: np.random.Generator) -> None:
    shapes = [(4, 1, 3, 3), (4,), (16, 3)]
    parameters = [jnp.asarray(0.3 * rng.standard_normal(shape)) for shape in shapes]
    x, target = rng.standard_normal((12, 1, 8, 8)), rng.integers(3, size=12)

    def loss(parameters: list[Any]) -> Any:
        w, b, dense = parameters
        y = backend.max_pool2d(jax.nn.relu(backend.conv2d(x, w, b, padding=1)), 2)
        scores = backend.avg_pool2d(y, 2).reshape(12, -1) @ dense
        return -jnp.mean(jax.nn.log_softmax(scores)[np.arange(12), target])

    step = jax.jit(lambda p: [a - g for a, g in zip(p, jax.grad(loss)(p), strict=True)])
    before = loss(parameters)
    for _ in range(40):
        parameters = step(parameters)
    assert loss(parameters) < 0.5 * before


def test_bad_arguments_are_named_when_traced(rng: np.random.Generator) -> None:
    x, w = integers(rng, 1, 3, 5, 5), integers(rng, 4, 2, 3, 3)
    half: Any = 0.5
    calls: list[tuple[Callable[[Any], Any], type[Exception], str]] = [
        (lambda x: backend.conv2d(x, w), ValueError, "conv2d: weight"),
        (lambda x: backend.conv2d(x, w, groups=5), ValueError, "conv2d: groups"),
        (
            lambda x: backend.conv2d(x, np.float64(w)),
            TypeError,
            "conv2d: weight has dtype float64; expected",
        ),
        (
            lambda x: backend.conv2d(x, integers(rng, 4, 3, 3, 3), w[0, 0, 0]),
            ValueError,
            "conv2d: bias has the wrong shape, got (3,); expected (4,)",
        ),
        (lambda x: backend.conv2d(x, w, stride=half), TypeError, "conv2d: stride"),
        (lambda x: backend.max_pool2d(x, 9), ValueError, "max_pool2d: kernel_size"),
        (
            lambda x: backend.avg_pool2d(x.astype(np.float16), 2),
            TypeError,
            "avg_pool2d: input has dtype float16; expected",
        ),
    ]
    for call, error, message in calls:
        with pytest.raises(error, match=re.escape(message)):
            jax.eval_shape(call, x)


def test_one_thread_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """There jax would wait for ever."""
    monkeypatch.setenv("PJRT_NPROC", "1")
    with pytest.raises(RuntimeError, match="expected PJRT_NPROC=2"):
        backend.max_pool2d(np.ones((1, 1, 2, 2)), 2)


def test_missing_jax_is_named() -> None:
    output = run_python(
        """
        import sys
        sys.modules["jax"] = None
        try:
            import pyconv.backends.jax
        except ImportError as error:
            print(error)
        """
    )
    assert output == (
        "pyconv.backends.jax needs jax, got no module named jax; "
        "expected: python -m pip install 'pyconv-nn[jax]'"
    )


def test_public_names_are_documented_with_an_example_that_runs() -> None:
    check_documentation("pyconv.backends.jax")
