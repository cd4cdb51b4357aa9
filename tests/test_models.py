# SPDX-License-Identifier: BSD-3-Clause
"""Models: sizes that follow from the image, gradients, and the way back from a configuration."""

import json
import re
from typing import Any

import numpy as np
import pytest

from checks import assert_same_bits
from pyconv import inspection, models
from pyconv.losses import CrossEntropyLoss

F64: Any = np.float64


@pytest.mark.parametrize("image_size", [4, 7, 8, 11, 12, 13, 28, 32, (9, 30)])
@pytest.mark.parametrize("name", models.ARCHITECTURES)
def test_model_takes_any_image_size(name: str, image_size: Any, rng: np.random.Generator) -> None:
    model = models.ARCHITECTURES[name](3, 7, image_size, rng=rng)
    H, W = (image_size, image_size) if isinstance(image_size, int) else image_size
    x = rng.standard_normal((2, 3, H, W)).astype(np.float32)
    assert model(x).shape == (2, 7)
    assert model.backward(np.ones((2, 7), np.float32)).shape == x.shape


def test_lenet_has_the_published_size() -> None:
    # LeNet-5's 61,706 weights: its C3 connected to all maps, and a plain dense layer at the end.
    model = models.LeNet()
    assert sum(p.value.size for p in model.parameters()) == 61_706


def test_lenet_bn_has_depth_convolutions_a_stage() -> None:
    names = [type(layer).__name__ for layer in models.LeNetBN(channels=(4, 8, 8), depth=2)]
    assert names.count("Conv2d") == names.count("BatchNorm2d") == 6
    assert names.count("MaxPool2d") == 3


@pytest.mark.parametrize("name", models.ARCHITECTURES)
def test_model_gradients_match_central_differences(name: str, rng: np.random.Generator) -> None:
    options: dict[str, Any] = {"LeNet": {}, "LeNetBN": {"channels": (3, 4), "dropout": 0.0}}[name]
    model = models.ARCHITECTURES[name](2, 5, 8, **options, rng=rng, dtype=F64)
    images, target = rng.standard_normal((4, 2, 8, 8)), np.array([0, 4, 2, 2])
    errors = inspection.gradient_errors(model, CrossEntropyLoss(), images, target, rng=rng)
    assert errors.keys() == dict(model.named_parameters()).keys()
    assert max(errors.values()) < 1e-7


@pytest.mark.parametrize("name", models.ARCHITECTURES)
def test_build_makes_the_same_model_from_json(name: str) -> None:
    model = models.ARCHITECTURES[name](2, 5, (8, 12), rng=np.random.default_rng(4))
    config = json.loads(json.dumps(model.config))
    again = models.build(name, config, rng=np.random.default_rng(4))
    assert again.config == model.config
    assert repr(again) == repr(model)
    for key, array in again.state_dict().items():
        assert_same_bits(array, model.state_dict()[key])


GOOD: dict[str, Any] = {"in_channels": 1, "num_classes": 10, "image_size": [8, 8]}


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        (
            "os.system",
            {},
            "build: name is unknown, got 'os.system'; expected one of LeNet, LeNetBN",
        ),
        ("LeNet", GOOD | {"code": "import os"}, "build: config does not fit LeNet ("),
        ("LeNet", [1, 2], "build: config does not fit LeNet ("),
        ("LeNet", GOOD | {"in_channels": "many"}, "build: config does not fit LeNet ("),
        ("LeNet", GOOD | {"num_classes": -1}, "out_features is not positive, got -1"),
        ("LeNet", GOOD | {"image_size": [3, 8]}, "LeNet: image_size is too small, got (3, 8)"),
        ("LeNet", GOOD | {"image_size": [8, 8, 8]}, "too many values"),
        ("LeNet", GOOD | {"image_size": 10**9}, "LeNet: arguments ask for too many weights"),
        ("LeNetBN", GOOD | {"hidden": 2**62}, "LeNetBN: arguments ask for too many weights"),
        ("LeNetBN", GOOD | {"depth": 10**9}, "LeNetBN: depth is out of range, got 1000000000"),
        ("LeNetBN", GOOD | {"channels": [8] * 4}, "LeNetBN: image_size is too small, got (8, 8)"),
        ("LeNetBN", GOOD | {"dropout": 1.5}, "Dropout: p is out of range, got 1.5"),
    ],
)
def test_build_refuses_what_it_does_not_know(name: str, config: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        models.build(name, config)
