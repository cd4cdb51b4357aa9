# SPDX-License-Identifier: BSD-3-Clause
"""The torch backend in models: layers replaced, torch's operations replaced, and what is left alone."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from children import run_python
from pyconv import functional as F

torch: Any = pytest.importorskip("torch", reason="torch is not installed")
from pyconv.backends import torch as backend
from pyconv.backends.torch import convolution, modules, pooling
from torch_checks import assert_agrees, draw, first, made_by_pyconv

# Tensors -----------------------------------------------------------------------------------------


def test_arrays_are_not_copied(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def watch(input: Any, *rest: Any, **options: Any) -> Any:
        output = F.conv2d(input, *rest, **options)
        seen.extend((input, output))
        return output

    monkeypatch.setitem(convolution.FORWARD, 2, watch)
    x = draw(rng, 1, 2, 4, 4)
    y = backend.conv2d(x, draw(rng, 1, 2, 3, 3))
    assert [array.ctypes.data for array in seen] == [x.data_ptr(), y.data_ptr()]


def test_inputs_of_any_layout(rng: np.random.Generator) -> None:
    x, w = draw(rng, 2, 4, 6, 6), draw(rng, 3, 4, 3, 3)
    expected = torch.nn.functional.conv2d(x, w)
    frozen = rng.standard_normal((2, 4, 6, 6))
    frozen[:] = x.detach().numpy()
    strided = torch.stack([x, x], dim=-1)[..., 0]
    assert not strided.is_contiguous()
    for tensor in (strided, x.contiguous(memory_format=torch.channels_last)):
        torch.testing.assert_close(backend.conv2d(tensor, w), expected)
    frozen.flags.writeable = False
    with pytest.warns(UserWarning, match="not writable"):
        tensor = torch.from_numpy(frozen)
    torch.testing.assert_close(backend.conv2d(tensor, w), expected)
    np.testing.assert_array_equal(frozen, x.detach().numpy())


def test_empty_batches() -> None:
    x, w = torch.zeros(0, 2, 5, 5, requires_grad=True), torch.ones(3, 2, 3, 3, requires_grad=True)
    y = backend.max_pool2d(backend.avg_pool2d(backend.conv2d(x, w), 1), 3)
    assert made_by_pyconv(y)
    assert y.shape == (0, 3, 1, 1)
    y.sum().backward()
    assert x.grad.shape == x.shape
    assert not w.grad.any()


@pytest.mark.parametrize("kind", ["bfloat16", "complex64"])
def test_other_dtypes_go_to_torch(kind: str, rng: np.random.Generator) -> None:
    x, w = draw(rng, 1, 2, 4, 4), draw(rng, 2, 2, 3, 3)
    x, w = (tensor.detach().to(getattr(torch, kind)) for tensor in (x, w))
    expected = torch.nn.functional.conv2d(x, w)
    assert torch.equal(backend.conv2d(x, w), expected)
    with backend.enabled():  # which sees the real convolutions that make a complex one
        torch.testing.assert_close(torch.nn.functional.conv2d(x, w), expected)


class _Subclass(torch.Tensor):  # type: ignore[misc]
    pass


def test_transforms_and_tracers_see_operations_of_torch(rng: np.random.Generator) -> None:
    """Where something looks for torch's own operations, there are some."""
    layer = torch.nn.Conv2d(2, 3, 3).double()
    x = torch.from_numpy(rng.standard_normal((4, 2, 5, 5)))
    other = torch.from_numpy(rng.standard_normal((4, 2, 5, 5)))
    expected = layer(other)
    assert backend.replace_layers(layer) == 1
    assert made_by_pyconv(layer(x))
    weights = dict(layer.named_parameters())

    def total(weights: Any) -> Any:
        return torch.func.functional_call(layer, weights, (other,)).sum()

    torch.testing.assert_close(torch.func.vmap(layer)(other[:, None])[:, 0], expected)
    torch.testing.assert_close(
        torch.func.grad(total)(weights)["weight"],
        torch.autograd.grad(total(weights), weights["weight"])[0],
    )
    traced = torch.export.export(layer, (x,)).module()
    torch.testing.assert_close(traced(other), expected)
    assert not made_by_pyconv(layer(other.as_subclass(_Subclass)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer.float()(x.float()).dtype == torch.bfloat16


def test_enabled_is_for_one_thread(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, x = torch.nn.Conv2d(1, 1, 3), torch.zeros(1, 1, 4, 4)
    calls = count_calls(monkeypatch)
    with backend.enabled(), ThreadPoolExecutor(1) as pool:
        pool.submit(layer, x).result()
        assert calls == {}
        layer(x)
    assert calls == {"conv2d": 1}


# Models ------------------------------------------------------------------------------------------


class Block(torch.nn.Module):  # type: ignore[misc]
    """The basic block of a ResNet."""

    def __init__(self, channels: int, more: int, stride: int) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(
            torch.nn.Conv2d(channels, more, 3, stride, 1, bias=False),
            torch.nn.BatchNorm2d(more),
            torch.nn.ReLU(inplace=True),
            torch.nn.Conv2d(more, more, 3, 1, 1, bias=False),
            torch.nn.BatchNorm2d(more),
        )
        self.shortcut = torch.nn.Conv2d(channels, more, 1, stride, bias=False)
        self.relu = torch.nn.ReLU(inplace=True)

    def forward(self, x: Any) -> Any:
        return self.relu(self.body(x) + self.shortcut(x))


LAYERS_OF_RESNET = 3 + 2 * 7 + 2


def resnet(rng: np.random.Generator) -> Any:
    """Return a small ResNet in float64, where 20 steps do not amplify rounding errors to much."""
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(3, 2, 1),
        Block(4, 4, 1),
        Block(4, 8, 2),
        torch.nn.AvgPool2d(4),
        torch.nn.Flatten(),
        torch.nn.Linear(8, 5),
    ).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.from_numpy(rng.standard_normal(tuple(parameter.shape)) * 0.3))
    return model


def train(model: Any, criterion: Any, rng: np.random.Generator) -> list[float]:
    x = torch.from_numpy(rng.standard_normal((8, 3, 16, 16)))
    target = torch.from_numpy(rng.integers(5, size=8))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = criterion(model(x), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("how", ["replace_layers", "enabled"])
def test_resnet_trains_as_in_torch(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = resnet(np.random.default_rng(1))
    ours, criterion = copy.deepcopy(plain), torch.nn.CrossEntropyLoss()
    expected = train(plain, torch.nn.CrossEntropyLoss(), np.random.default_rng(2))
    calls = count_calls(monkeypatch)
    if how == "replace_layers":
        assert backend.replace_layers(ours) == LAYERS_OF_RESNET
        assert backend.replace_layers(criterion) == 1
        losses = train(ours, criterion, np.random.default_rng(2))
    else:
        with backend.enabled():
            losses = train(ours, criterion, np.random.default_rng(2))
    assert calls == {"conv2d": 20 * 7, "max_pool2d": 20, "avg_pool2d": 20}
    assert expected[-1] < 0.5 * expected[0]
    # 20 steps of some 10^4 roundings of 1e-16 each.
    np.testing.assert_allclose(losses, expected, rtol=1e-9)
    torch.testing.assert_close(ours.state_dict(), plain.state_dict(), rtol=1e-8, atol=1e-9)


def count_calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Count the calls of pyconv's functions from now on."""
    calls: dict[str, int] = {}

    def counting(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            calls[function.__name__] = calls.get(function.__name__, 0) + 1
            return function(*arguments, **options)

        return call

    for table in (convolution.FORWARD, pooling.MAX, pooling.AVG):
        monkeypatch.setitem(table, 2, counting(table[2]))
    return calls


@pytest.mark.parametrize("how", ["replace_layers", "enabled"])
@pytest.mark.parametrize("mode", ["enable_grad", "no_grad", "inference_mode"])
def test_model_runs_on_pyconv_in_every_mode(
    how: str, mode: str, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    model = resnet(rng).eval()
    x = torch.from_numpy(rng.standard_normal((2, 3, 16, 16)))
    x = x.contiguous(memory_format=torch.channels_last)
    expected = model(x)
    calls = count_calls(monkeypatch)
    with getattr(torch, mode)():
        if how == "replace_layers":
            backend.replace_layers(model)
            result = model(x)
        else:
            with backend.enabled():
                result = model(x)
            before = dict(calls)
            model(x)
            assert calls == before  # torch again, outside
    assert calls == {"conv2d": 7, "max_pool2d": 1, "avg_pool2d": 1}
    torch.testing.assert_close(result, expected, check_stride=False)


def test_replace_layers_keeps_parameters(rng: np.random.Generator) -> None:
    model = resnet(rng)
    before, parameters = model.state_dict(), list(model.parameters())
    assert backend.replace_layers(model) == LAYERS_OF_RESNET
    assert backend.replace_layers(model) == 0
    assert list(model.state_dict()) == list(before)
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert isinstance(model[0], torch.nn.Conv2d)
    assert isinstance(copy.deepcopy(model)[0], modules.Conv2d)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    assert isinstance(torch.load(file, weights_only=False)[0], modules.Conv2d)


def test_replace_layers_knows_every_layer(rng: np.random.Generator) -> None:
    nn = torch.nn
    layers: list[tuple[Any, tuple[int, ...]]] = [
        (nn.Conv1d(2, 3, 3, padding="same"), (2, 2, 8)),
        (nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), (2, 2, 8, 8)),
        (nn.Conv3d(2, 3, 2), (2, 2, 4, 4, 4)),
        (nn.ConvTranspose1d(2, 3, 3, stride=2), (2, 2, 8)),
        (nn.ConvTranspose2d(2, 3, 3, stride=2, output_padding=1), (2, 2, 4, 4)),
        (nn.ConvTranspose3d(2, 3, 2), (2, 2, 3, 3, 3)),
        (nn.MaxPool1d(2, return_indices=True), (2, 2, 8)),
        (nn.MaxPool1d(2), (2, 2, 8)),
        (nn.MaxPool2d(2, return_indices=True), (2, 2, 8, 8)),
        (nn.MaxPool2d(2), (2, 2, 8, 8)),
        (nn.MaxPool3d(2, return_indices=True), (2, 2, 4, 4, 4)),
        (nn.MaxPool3d(2), (2, 2, 4, 4, 4)),
        (nn.AvgPool1d(2), (2, 2, 8)),
        (nn.AvgPool2d(2, padding=1), (2, 2, 8, 8)),
        (nn.AvgPool3d(2, padding=1), (2, 2, 4, 4, 4)),
        (nn.Linear(8, 3), (2, 5, 8)),
        (nn.BatchNorm1d(2), (4, 2)),
        (nn.BatchNorm2d(2, momentum=None), (4, 2, 3, 3)),
        (nn.BatchNorm3d(2, affine=False), (4, 2, 2, 2, 2)),
        (nn.ReLU(), (3, 4)),
        (nn.LogSoftmax(dim=1), (3, 4)),
    ]
    for theirs, shape in layers:
        ours = copy.deepcopy(theirs)
        assert backend.replace_layers(ours) == 1
        x = torch.from_numpy(rng.standard_normal(shape).astype(np.float32)).requires_grad_()
        result = ours(x)
        assert made_by_pyconv(first(result)), theirs
        assert_agrees(result, theirs(x), [x], rng)
        torch.testing.assert_close(ours.state_dict(), theirs.state_dict())
    replaced = {type(layer) for layer, _ in layers} | {nn.CrossEntropyLoss}
    assert replaced == set(modules._CLASSES) - set(modules._CLASSES.values())


def test_replace_layers_leaves_subclasses_alone() -> None:
    class Doubled(torch.nn.Linear):  # type: ignore[misc]
        def forward(self, input: Any) -> Any:
            return 2 * super().forward(input)

    assert backend.replace_layers(Doubled(2, 2)) == 0
    with pytest.raises(TypeError, match="replace_layers: model is not a module, got int"):
        backend.replace_layers(3)


def test_missing_torch_is_named() -> None:
    output = run_python(
        """
        import sys
        sys.modules["torch"] = None
        import pyconv
        try:
            import pyconv.backends.torch
        except ImportError as error:
            print(error)
        """
    )
    assert output == (
        "pyconv.backends.torch needs torch, got no module named torch; "
        "expected: python -m pip install 'pyconv-nn[torch]'"
    )
