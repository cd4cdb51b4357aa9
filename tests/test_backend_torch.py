# SPDX-License-Identifier: BSD-3-Clause
"""The torch backend against torch itself: OpInfo's samples and errors, gradients, whole models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch", reason="torch is not installed")
from pyconv.backends import torch as backend
from torch_checks import assert_agrees, draw, first, made_by_pyconv

# Of torch, in its own even convolutions with padding="same".
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")


# OpInfo ------------------------------------------------------------------------------------------

# How many of the samples of torch 2.13, of either dtype, pyconv computes. The others: transposed
# convolutions whose output padding exceeds the stride, tensors without axes or without channels,
# losses that are not the mean or whose targets are probabilities, log_softmax that is to return
# another dtype.
COVERED = {
    "conv1d": 10,
    "conv2d": 30,
    "conv3d": 20,
    "conv_transpose1d": 10,
    "conv_transpose2d": 10,
    "conv_transpose3d": 8,
    "max_pool1d": 864,
    "max_pool2d": 1440,
    "max_pool3d": 576,
    "avg_pool1d": 9,
    "avg_pool2d": 7,
    "avg_pool3d": 8,
    "linear": 18,
    "batch_norm": 20,
    "relu": 4,
    "log_softmax": 6,
    "cross_entropy": 7,
}


def operators(name: str) -> list[Any]:
    """Return OpInfo's entries for a function, or skip: the module is private to torch."""
    internal = pytest.importorskip(
        "torch.testing._internal.common_methods_invocations",
        reason="OpInfo, private to torch, cannot be imported; it needs the package expecttest",
    )
    found = [op for op in internal.op_db if op.name.removeprefix("nn.functional.") == name]
    assert found
    return found


def samples(name: str, dtype: Any) -> Iterator[tuple[Any, tuple[Any, ...], dict[str, Any]]]:
    with torch.random.fork_rng():
        torch.manual_seed(20260101)
        for operator in operators(name):
            for sample in operator.sample_inputs("cpu", dtype, requires_grad=True):
                yield sample.input, sample.args, sample.kwargs


def differentiable(*groups: Any) -> list[Any]:
    values = [value for group in groups for value in group]
    return [value for value in values if isinstance(value, torch.Tensor) and value.requires_grad]


def fresh(arguments: Any) -> Any:
    """Return arguments whose running statistics are copies, as batch norm changes them."""
    return [
        value.clone() if isinstance(value, torch.Tensor) and not value.requires_grad else value
        for value in arguments
    ]


def test_disagreement_is_found(rng: np.random.Generator) -> None:
    """Of the check itself: one value, or one gradient, that is wrong by a thousandth."""
    x = draw(rng, 3, 4).to(torch.float32)
    wrong = torch.ones(3, 4)
    wrong[1, 2] = 1.001
    assert_agrees(x * 1, x.clone(), [x], rng)
    with pytest.raises(AssertionError, match="not close"):
        assert_agrees(x * wrong, x.clone(), [x], rng)
    with pytest.raises(AssertionError, match="not close"):
        assert_agrees(x.detach() + (x - x.detach()) * wrong, x.clone(), [x], rng)


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("name", COVERED)
def test_backend_agrees_with_every_sample(
    name: str, kind: str, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    operator = operators(name)[0].op
    function = getattr(backend, name, operator)
    covered = total = 0
    for input, args, kwargs in samples(name, getattr(torch, kind)):
        ours_args, theirs_args = fresh(args), fresh(args)
        ours = function(input, *ours_args, **kwargs)
        theirs = operator(input, *theirs_args, **kwargs)
        inputs = differentiable([input], args, kwargs.values())
        assert_agrees(ours, theirs, inputs, rng)
        torch.testing.assert_close(ours_args, theirs_args)
        covered += made_by_pyconv(first(ours))
        total += 1
    with capsys.disabled():
        print(f"\n{name} {kind}: pyconv {covered} of {total} samples, torch the others", end=" ")
    assert covered >= COVERED[name]


IN_CONTEXT = [name for name in COVERED if "conv" in name or "pool" in name]


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("name", IN_CONTEXT)
def test_enabled_agrees_with_every_sample(
    name: str, kind: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator, from_numpy = operators(name)[0].op, torch.from_numpy
    made: list[Any] = []  # by pyconv, whose every result becomes a tensor in this way

    def watch(array: Any) -> Any:
        made.append(array)
        return from_numpy(array)

    covered = 0
    for input, args, kwargs in samples(name, getattr(torch, kind)):
        theirs = operator(input, *args, **kwargs)
        with backend.enabled():
            with monkeypatch.context() as patch:
                patch.setattr(torch, "from_numpy", watch)
                made.clear()
                ours = operator(input, *args, **kwargs)
                covered += bool(made)
            assert_agrees(ours, theirs, differentiable([input], args, kwargs.values()), rng)
    assert covered >= COVERED[name]


def volume(rng: np.random.Generator, kind: str) -> Any:
    """Values most of which are there several times, with as many special ones as go into most windows."""
    values = rng.integers(-2, 3, (2, 2, 5, 6, 7)).astype(np.float64)
    values[rng.random(values.shape) < 0.2] = float(kind)
    return torch.from_numpy(values).requires_grad_()


VOLUME_WINDOWS: list[tuple[Any, ...]] = [  # kernel, stride, padding, dilation, ceil_mode
    (2, 2, 0, 1, False),
    ((3, 2, 3), (1, 2, 1), (1, 0, 1), (1, 2, 1), False),
    ((2, 3, 2), (2, 3, 2), (0, 1, 1), 1, True),
    ((1, 3, 3), (1, 2, 2), (0, 1, 1), 1, True),
    ((3, 1, 1), (2, 1, 1), (1, 0, 0), (2, 1, 1), True),
]


@pytest.mark.parametrize("through", ["function", "enabled"])
@pytest.mark.parametrize("kind", ["0", "nan", "inf", "-inf"])
@pytest.mark.parametrize("window", VOLUME_WINDOWS, ids=str)
def test_pools_over_volumes_in_two_passes_are_those_in_one(
    window: tuple[Any, ...], kind: str, through: str, rng: np.random.Generator
) -> None:
    """Which of equal maxima wins, NaN, infinities; and averages of averages."""
    x = volume(rng, kind)
    function = backend if through == "function" else torch.nn.functional
    with backend.enabled() if through == "enabled" else nullcontext():
        ours = function.max_pool3d(x, *window, return_indices=True)
        averages = function.avg_pool3d(x, *window[:3], window[4], False)
    assert_agrees(ours, torch.nn.functional.max_pool3d(x, *window, return_indices=True), [x], rng)
    expected = torch.nn.functional.avg_pool3d(x, *window[:3], window[4], False)
    assert_agrees(averages.nan_to_num(), expected.nan_to_num(), [x], rng)
    assert torch.equal(averages.isnan(), expected.isnan())


@pytest.mark.parametrize(
    "name", ["max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d"]
)
def test_kernels_larger_than_the_image_are_left_to_torch(
    name: str, rng: np.random.Generator
) -> None:
    """It takes them with `ceil_mode`, but for averages of volumes."""
    x, options = draw(rng, 1, 1, *(2,) * int(name[-2])), {"stride": 3, "ceil_mode": True}
    theirs = getattr(torch.nn.functional, name)
    ours = getattr(backend, name)(x, 3, **options)
    assert_agrees(ours, theirs(x, 3, **options), [x], rng)
    with backend.enabled():
        ours = theirs(x, 3, **options)
    assert_agrees(ours, theirs(x, 3, **options), [x], rng)


# OpInfo has no errors of the others.
WITH_ERRORS = [name for name in IN_CONTEXT if "transpose" not in name]


@pytest.mark.parametrize("through", ["function", "enabled"])
@pytest.mark.parametrize("name", WITH_ERRORS)
def test_backend_refuses_every_error_input(
    name: str, through: str, capsys: pytest.CaptureFixture[str]
) -> None:
    operator = operators(name)[0]
    function = getattr(backend, name) if through == "function" else operator.op
    errors = list(operator.error_inputs("cpu"))
    assert errors
    with capsys.disabled():
        print(f"\n{name} {through}: all {len(errors)} error inputs", end=" ")
    for error in errors:
        sample = error.sample_input
        refused = pytest.raises((error.error_type, ValueError, TypeError))
        with backend.enabled() if through == "enabled" else nullcontext(), refused:
            function(sample.input, *sample.args, **sample.kwargs)


TRANSPOSED_ERRORS: list[dict[str, Any]] = [
    {"bias": torch.zeros(1)},
    {"bias": torch.zeros(4, 1)},
    {"padding": -1},
    {"padding": 9},
    {"padding": 1.5},
    {"stride": 0},
    {"stride": (1, 1, 1)},
    {"dilation": 0},
    {"groups": 3},
    {"groups": 0},
    {"output_padding": 1},
    {"output_padding": -1},
    {"weight": torch.zeros(2, 4, 3)},
    {"weight": torch.zeros(3, 4, 3, 3)},
    {"weight": torch.zeros(2, 4, 3, 3).double()},
]


@pytest.mark.parametrize("through", ["function", "enabled"])
@pytest.mark.parametrize("wrong", TRANSPOSED_ERRORS, ids=str)
def test_transposed_convolution_refuses(through: str, wrong: dict[str, Any]) -> None:
    """What torch does, too."""
    arguments = {"weight": torch.zeros(2, 4, 3, 3), "bias": torch.zeros(4), **wrong}
    errors = (RuntimeError, ValueError, TypeError)
    with pytest.raises(errors):
        torch.nn.functional.conv_transpose2d(torch.zeros(1, 2, 5, 5), **arguments)
    function = backend if through == "function" else torch.nn.functional
    with backend.enabled() if through == "enabled" else nullcontext(), pytest.raises(errors):
        function.conv_transpose2d(torch.zeros(1, 2, 5, 5), **arguments)


# Gradients ---------------------------------------------------------------------------------------


def distinct(rng: np.random.Generator, *shape: int) -> Any:
    """Return values no two of which, nor any and 0, are nearer than a numerical gradient steps."""
    values = rng.permutation(np.arange(np.prod(shape)) - np.prod(shape) // 2 + 0.5)
    return torch.from_numpy(values.reshape(shape) / 4).requires_grad_()


GRADIENTS: dict[
    str, Callable[[np.random.Generator], tuple[Callable[..., Any], tuple[Any, ...]]]
] = {
    "conv1d": lambda r: (
        lambda x, w, b: backend.conv1d(x, w, b, stride=2, padding=1),
        (draw(r, 2, 2, 6), draw(r, 3, 2, 3), draw(r, 3)),
    ),
    "conv2d": lambda r: (
        lambda x, w, b: backend.conv2d(x, w, b, stride=(1, 2), padding=1, groups=2),
        (draw(r, 2, 4, 4, 5), draw(r, 2, 2, 3, 2), draw(r, 2)),
    ),
    "conv2d_same": lambda r: (
        lambda x, w, b: backend.conv2d(x, w, b, padding="same", dilation=2),
        (draw(r, 1, 2, 4, 4), draw(r, 2, 2, 3, 3), draw(r, 2)),
    ),
    "conv2d_unbatched": lambda r: (
        backend.conv2d,
        (draw(r, 2, 4, 4), draw(r, 2, 2, 3, 3)),
    ),
    "conv3d": lambda r: (
        lambda x, w, b: backend.conv3d(x, w, b, padding=1, stride=(1, 2, 2)),
        (draw(r, 1, 2, 2, 3, 4), draw(r, 2, 2, 2, 2, 3), draw(r, 2)),
    ),
    "conv_transpose1d": lambda r: (
        lambda x, w, b: backend.conv_transpose1d(x, w, b, stride=2, output_padding=1),
        (draw(r, 2, 2, 4), draw(r, 2, 3, 3), draw(r, 3)),
    ),
    "conv_transpose2d": lambda r: (
        lambda x, w, b: backend.conv_transpose2d(x, w, b, stride=2, padding=1, groups=2),
        (draw(r, 1, 4, 3, 3), draw(r, 4, 1, 3, 3), draw(r, 2)),
    ),
    "conv_transpose3d": lambda r: (
        lambda x, w: backend.conv_transpose3d(x, w, dilation=2),
        (draw(r, 1, 2, 2, 2, 2), draw(r, 2, 1, 2, 2, 2)),
    ),
    "max_pool1d": lambda r: (
        lambda x: backend.max_pool1d(x, 3, stride=1, padding=1),
        (distinct(r, 2, 2, 6),),
    ),
    "max_pool2d": lambda r: (
        lambda x: backend.max_pool2d(x, 3, stride=2, padding=1, ceil_mode=True),
        (distinct(r, 1, 2, 5, 6),),
    ),
    "max_pool3d": lambda r: (
        lambda x: backend.max_pool3d(x, (2, 3, 2), (2, 1, 2), (1, 1, 0), ceil_mode=True),
        (distinct(r, 1, 2, 3, 4, 5),),
    ),
    "avg_pool1d": lambda r: (
        lambda x: backend.avg_pool1d(x, 3, stride=2, padding=1),
        (draw(r, 2, 2, 6),),
    ),
    "avg_pool2d": lambda r: (
        lambda x: backend.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False),
        (draw(r, 1, 2, 5, 6),),
    ),
    "avg_pool3d": lambda r: (
        lambda x: backend.avg_pool3d(x, (2, 3, 2), 2, 1, ceil_mode=True, count_include_pad=False),
        (draw(r, 1, 2, 3, 4, 5),),
    ),
    "avg_pool3d_divided": lambda r: (
        lambda x: backend.avg_pool3d(x, 2, 1, divisor_override=3),
        (draw(r, 2, 2, 3, 3),),
    ),
    "linear": lambda r: (backend.linear, (draw(r, 2, 3, 4), draw(r, 5, 4), draw(r, 5))),
    "relu": lambda r: (backend.relu, (distinct(r, 3, 4),)),
    "log_softmax": lambda r: (lambda x: backend.log_softmax(x, 1), (draw(r, 3, 4, 2),)),
    "batch_norm_training": lambda r: (
        lambda x, w, b: backend.batch_norm(x, None, None, w, b, training=True),
        (draw(r, 3, 2, 3), draw(r, 2), draw(r, 2)),
    ),
    "batch_norm": lambda r: (
        lambda x, w, b: backend.batch_norm(
            x, torch.zeros(2).double(), torch.ones(2).double(), w, b
        ),
        (draw(r, 3, 2, 3), draw(r, 2), draw(r, 2)),
    ),
    "batch_norm_of_one_tensor": lambda r: (
        # The weight depends on the input: neither gradient may count the other's path.
        lambda x: backend.batch_norm(x, None, None, x.mean((0, 2)), training=True),
        (draw(r, 3, 2, 3),),
    ),
    "cross_entropy": lambda r: (
        lambda x: backend.cross_entropy(
            x,
            torch.tensor([1, 0, -100, 3]),
            torch.tensor([1.0, 2.0, 0.5, 1.5]).double(),
            label_smoothing=0.1,
        ),
        (draw(r, 4, 4),),
    ),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_are_those_of_differences(name: str, rng: np.random.Generator) -> None:
    function, inputs = GRADIENTS[name](rng)
    assert made_by_pyconv(function(*inputs))
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.parametrize(
    "name",
    [
        "conv1d",
        "conv2d",
        "conv3d",
        "conv_transpose2d",
        "max_pool2d",
        "avg_pool2d",
        "max_pool3d",
        "avg_pool3d",
    ],
)
def test_gradients_within_enabled_are_those_of_differences(
    name: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same functions, now torch's own: its formulas, on the kernels of pyconv."""
    monkeypatch.setattr(backend, name, getattr(torch.nn.functional, name))
    function, inputs = GRADIENTS[name](rng)
    with backend.enabled():
        assert not made_by_pyconv(function(*inputs))
        assert torch.autograd.gradcheck(function, inputs)
        assert torch.autograd.gradgradcheck(function, inputs)
