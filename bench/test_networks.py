# SPDX-License-Identifier: BSD-3-Clause
"""Twenty steps of training in float64: the same parameters as torch's, batch norm and momentum included."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from bench.network_peers import inference_peers, torch_module
from bench.networks import LR, TOLERANCE, pyconv_step
from pyconv import models
from pyconv.layers import Dropout, Layer

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
