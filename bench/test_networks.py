# SPDX-License-Identifier: BSD-3-Clause
"""Whole networks beside other libraries: the same parameters after training, and the same outputs.

The environment variable FASHION_MNIST names the folder of that data set's four files.
"""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from bench.network_peers import inference_peers, torch_module
from bench.networks import LR, TOLERANCE, pyconv_step
from pyconv import models
from pyconv.data import load_fashion_mnist
from pyconv.layers import Dropout, Layer
from pyconv.losses import CrossEntropyLoss
from pyconv.optim import SGD

# The networks of bench.networks, on small images where they are large.
CASES: dict[str, tuple[Callable[..., Layer], tuple[int, ...]]] = {
    "lenet": (partial(models.LeNet, 1, 10, 28), (16, 1, 28, 28)),
    "vgg_cifar": (
        partial(models.ConvNet, 3, 10, 32, channels=(16, 32, 64), depth=2, hidden=(64,)),
        (8, 3, 32, 32),
    ),
    "resnet18_cifar": (partial(models.ResNet18, 3, 10, 16, stem="cifar"), (8, 3, 16, 16)),
    "mobilenet_v1": (
        partial(models.MobileNetV1, 3, 10, 64, width_multiplier=0.25),
        (8, 3, 64, 64),
    ),
    "googlenet": (partial(models.GoogLeNet, 3, 10, 64), (8, 3, 64, 64)),
}


def _case(name: str, dtype: Any) -> tuple[Layer, Any, Any]:
    make, shape = CASES[name]
    model = make(rng=np.random.default_rng(0), dtype=dtype)
    for _, layer in model.named_layers():
        if isinstance(layer, Dropout):
            layer.p = 0.0
    rng = np.random.default_rng(1)
    return model, rng.standard_normal(shape).astype(dtype), rng.integers(0, 10, shape[0])


@pytest.mark.parametrize("name", CASES)
def test_twenty_steps_are_those_of_torch(name: str) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    model, x, labels = _case(name, np.float64)
    module = torch_module(torch, model)
    optimizer = torch.optim.SGD(module.parameters(), lr=LR, momentum=0.9)
    step = pyconv_step(model, x, labels)
    for _ in range(20):
        step()
        optimizer.zero_grad()
        output = module(torch.from_numpy(x))
        torch.nn.functional.cross_entropy(output, torch.from_numpy(labels)).backward()
        optimizer.step()
    mine, theirs = model.state_dict().values(), module.state_dict().values()
    for one, other in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_peers_infer_the_same(name: str) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    model, x, _ = _case(name, np.float32)
    expected = model.eval()(x)
    for peer, infer in inference_peers(model, x, 1):
        error = np.abs(infer() - expected).max() / np.abs(expected).max()
        assert error <= TOLERANCE, peer


def test_loss_curve_of_three_epochs_is_that_of_torch() -> None:
    """In float32, from the same weights: no farther apart than runs of torch in other orders."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    folder = os.environ.get("FASHION_MNIST")
    if folder is None:
        pytest.skip("FASHION_MNIST does not name the folder of the data set")
    data, _ = load_fashion_mnist(folder)
    x, y = data.images.astype(np.float32) / 255, data.labels.astype(np.int64)

    def model() -> Layer:
        return models.LeNet(1, 10, 28, rng=np.random.default_rng(0))

    def batches(seed: int) -> list[Any]:
        rng = np.random.default_rng(seed)
        return [np.array_split(rng.permutation(len(x)), len(x) // 64) for _ in range(3)]

    def torch_curve(seed: int) -> list[float]:
        module = torch_module(torch, model())
        optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)

        def step(rows: Any) -> float:
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(
                module(torch.from_numpy(x[rows])), torch.from_numpy(y[rows])
            )
            loss.backward()
            optimizer.step()
            return float(loss.detach())

        return [float(np.mean([step(rows) for rows in epoch])) for epoch in batches(seed)]

    network, loss = model(), CrossEntropyLoss()
    optimizer = SGD(network.parameters(), 0.05, 0.9)

    def step(rows: Any) -> float:
        value = loss(network(x[rows]), y[rows])
        optimizer.zero_grad()
        network.backward_parameters(loss.backward())
        optimizer.step()
        return float(value)

    curve = [float(np.mean([step(rows) for rows in epoch])) for epoch in batches(0)]
    theirs = np.array([torch_curve(seed) for seed in range(3)])
    noise = theirs.max(axis=0) - theirs.min(axis=0)
    print(f"pyconv {curve}, torch {theirs.tolist()}")
    assert (np.abs(curve - theirs[0]) <= noise).all()
