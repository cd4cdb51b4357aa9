# SPDX-License-Identifier: BSD-3-Clause
"""Models: published sizes, torchvision's keys and results, gradients, and building from JSON."""

import hashlib
import importlib
import json
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest

from checks import assert_same_bits
from pyconv import inspection, models
from pyconv import layers as L
from pyconv.layers.base import Layer
from pyconv.losses import CrossEntropyLoss
from pyconv.models import densenet, googlenet, mobilenet, resnet, squeezenet
from pyconv.models.base import Parts

F64: Any = np.float64
LENETS = ("LeNet", "LeNetBN")


class Network(NamedTuple):
    """A network of torchvision's: its name there, its published size, and the digest of its keys.

    The digest is the start of the SHA-256 of a line ``key shape`` for each entry of its state dict.
    """

    name: str
    options: dict[str, Any]
    theirs: str
    parameters: int
    digest: str
    smallest: int


TORCHVISION = [
    Network("AlexNet", {}, "alexnet", 61_100_840, "9c198ebdae1863e4", 63),
    Network("VGG11", {}, "vgg11", 132_863_336, "cb3dc23f2a13e182", 32),
    Network("VGG16", {}, "vgg16", 138_357_544, "35c4623e0cd4a39d", 32),
    Network("VGG16", {"batch_norm": True}, "vgg16_bn", 138_365_992, "347371586a8ea365", 32),
    Network("VGG19", {}, "vgg19", 143_667_240, "4723255af8f6c485", 32),
    Network("GoogLeNet", {}, "googlenet", 6_624_904, "f66489fa14bd9d5a", 31),
    Network("ResNet18", {}, "resnet18", 11_689_512, "84fb10d9c6905a1c", 1),
    Network("ResNet34", {}, "resnet34", 21_797_672, "28f9096d51307499", 1),
    Network("ResNet50", {}, "resnet50", 25_557_032, "d7e4f8bb0a536344", 1),
    Network("ResNeXt50", {}, "resnext50_32x4d", 25_028_904, "e3bad165c034e60f", 1),
    Network("MobileNetV2", {}, "mobilenet_v2", 3_504_872, "37bbbce8932fd0c4", 1),
    Network("DenseNet121", {}, "densenet121", 7_978_856, "aa0fd9923b0003b8", 29),
    Network("SqueezeNet", {"version": "1.0"}, "squeezenet1_0", 1_248_424, "4654d26ad581241f", 29),
    Network("SqueezeNet", {}, "squeezenet1_1", 1_235_496, "1d365589393f9c1e", 25),
]
BY_THEIR_NAME = [pytest.param(network, id=network.theirs) for network in TORCHVISION]


def parameters_of(model: Layer) -> int:
    return sum(parameter.value.size for parameter in model.parameters())


@pytest.mark.parametrize("image_size", [4, 7, 8, 11, 12, 13, 28, 32, (9, 30)])
@pytest.mark.parametrize("name", LENETS)
def test_lenet_takes_any_image_size(name: str, image_size: Any, rng: np.random.Generator) -> None:
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


@pytest.mark.parametrize("name", LENETS)
def test_lenet_gradients_match_central_differences(name: str, rng: np.random.Generator) -> None:
    options: dict[str, Any] = {"LeNet": {}, "LeNetBN": {"channels": (3, 4), "dropout": 0.0}}[name]
    model = models.ARCHITECTURES[name](2, 5, 8, **options, rng=rng, dtype=F64)
    images, target = rng.standard_normal((4, 2, 8, 8)), np.array([0, 4, 2, 2])
    check = inspection.check_gradients(model, CrossEntropyLoss(), images, target, rng=rng)
    assert check.ok, str(check)


# Published networks.


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("network", BY_THEIR_NAME)
def test_network_has_the_published_size_and_keys(network: Network) -> None:
    model = models.build(network.name, network.options)
    assert parameters_of(model) == network.parameters
    lines = [f"{key} {array.shape}" for key, array in model.state_dict().items()]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16] == network.digest


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("name", "parameters"), [("MobileNetV1", 4_231_976), ("ZFNet", 62_357_608)]
)
def test_network_has_the_published_size(name: str, parameters: int) -> None:
    assert parameters_of(models.build(name, {})) == parameters


def test_keys_read_as_in_torchvision() -> None:
    expected = {
        "ResNet18": ["layer2.0.conv1.weight", "layer2.0.downsample.1.running_mean", "fc.bias"],
        "DenseNet121": ["features.denseblock4.denselayer16.norm1.weight", "features.norm5.bias"],
        "GoogLeNet": ["inception3a.branch2.1.conv.weight", "conv1.bn.num_batches_tracked"],
        "MobileNetV2": ["features.1.conv.0.0.weight", "features.18.1.bias", "classifier.1.weight"],
        "SqueezeNet": ["features.3.squeeze.weight", "features.3.expand3x3.bias"],
    }
    for name, keys in expected.items():
        assert set(keys) <= models.build(name, {}).state_dict().keys(), name


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    "network",
    # The other VGGs are the same code, and a gradient of 10^8 weights takes seconds.
    [case for case in BY_THEIR_NAME if case.id not in {"vgg16", "vgg16_bn", "vgg19"}],
)
def test_network_runs_on_the_smallest_image(network: Network, rng: np.random.Generator) -> None:
    size = network.smallest
    make = models.ARCHITECTURES[network.name]
    model = make(1, 7, size, **network.options, rng=rng)
    # A little wider: batch norm must see different values in each channel.
    x = rng.standard_normal((2, 1, size, size + 2)).astype(np.float32)
    assert model(x).shape == (2, 7)
    grad_input = model.backward(np.ones((2, 7), np.float32))
    assert grad_input.shape == x.shape
    assert np.isfinite(grad_input).all()
    if size > 1:
        message = f"{network.name}: image_size is too small, got ({size - 1}, 300)"
        with pytest.raises(ValueError, match=re.escape(message)):
            make(image_size=(size - 1, 300), **network.options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ZFNet", {"image_size": 63}),
        ("ResNet18", {"stem": "cifar"}),
        ("MobileNetV1", {"width_multiplier": 0.25}),
        ("ConvNet", {"image_size": (8, 9), "depth": 2, "hidden": (5, 6), "kernel_size": 5}),
        ("ConvNet", {"image_size": (3, 5), "hidden": (), "pool": False}),
    ],
)
@pytest.mark.usefixtures("undrawn")
def test_other_networks_run(name: str, options: dict[str, Any], rng: np.random.Generator) -> None:
    model = models.ARCHITECTURES[name](2, 7, **options, rng=rng)
    x = rng.standard_normal((2, 2, *model.config["image_size"])).astype(np.float32)
    assert model(x).shape == (2, 7)
    assert model.backward(np.ones((2, 7), np.float32)).shape == x.shape


def test_convnet_follows_its_plan() -> None:
    model = models.ConvNet(channels=(4, 8), depth=2, hidden=(16,))
    kinds = [type(layer).__name__ for layer in model]
    conv, dense = ["Conv2d", "ReLU"], ["Linear", "ReLU"]
    stage = [*conv, *conv, "MaxPool2d"]
    assert kinds == [*stage, *stage, "Flatten", *dense, "Linear"]


def test_cifar_stem_keeps_the_image() -> None:
    stem = models.ResNet18(stem="cifar")[:2]
    assert stem(np.zeros((1, 3, 32, 32), np.float32)).shape == (1, 64, 32, 32)


def test_width_multiplier_rounds_to_multiples_of_eight() -> None:
    model = models.MobileNetV2(width_multiplier=0.35)
    assert parameters_of(model) == 1_677_128  # torchvision's mobilenet_v2(width_mult=0.35)
    widths = {
        layer.out_channels for _, layer in model.named_layers() if isinstance(layer, L.Conv2d)
    }
    assert all(width % 8 == 0 for width in widths)


def test_convolutions_start_from_he_and_biases_from_zero() -> None:
    model = models.AlexNet(num_classes=2, rng=np.random.default_rng(0))
    for name, layer in model.named_layers():
        if isinstance(layer, L.Conv2d):
            weight = layer.weight.value
            variance = 2 / np.prod(weight.shape[1:])
            assert abs(weight.var() / variance - 1) < 5 * np.sqrt(2 / weight.size), name
            assert layer.bias is not None
            assert not layer.bias.value.any()


# Blocks.

BLOCKS: dict[str, tuple[Callable[[Parts], Layer], tuple[int, ...]]] = {
    "basic": (lambda make: resnet.basic_block(make, 3, 3, 1), (3, 6, 6)),
    "basic_downsample": (lambda make: resnet.basic_block(make, 3, 4, 2), (4, 3, 3)),
    "bottleneck": (lambda make: resnet.bottleneck_block(make, 3, 4, 6, 2, 2), (6, 3, 3)),
    "inception": (
        lambda make: googlenet.inception(make, 3, 2, (3, 4), (2, 3), 1),
        (2 + 4 + 3 + 1, 6, 6),
    ),
    "separable": (lambda make: mobilenet.separable_block(make, 3, 5, 2), (5, 3, 3)),
    "inverted": (lambda make: mobilenet.inverted_residual_block(make, 3, 3, 1, 2), (3, 6, 6)),
    "inverted_stride": (
        lambda make: mobilenet.inverted_residual_block(make, 3, 4, 2, 1),
        (4, 3, 3),
    ),
    "dense": (lambda make: densenet.dense_layer(make, 3, 2), (5, 6, 6)),
    "transition": (lambda make: densenet.transition(make, 3, 2), (2, 3, 3)),
    "fire": (lambda make: squeezenet.fire(make, 3, 2, 4), (8, 6, 6)),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_block_gradients_match_central_differences(name: str, rng: np.random.Generator) -> None:
    make_block, shape = BLOCKS[name]
    make = Parts(rng, F64)
    # What comes before the block learns from the gradient of the block's input.
    block = make_block(make)
    model = L.Sequential(make.conv(2, 3, 1), block, L.GlobalAvgPool2d(), L.Flatten())
    for parameter in model.parameters():
        parameter.value += rng.normal(0.0, 0.2, parameter.value.shape)  # a bias of 0 is a kink
    images = rng.standard_normal((3, 2, 6, 6))
    assert block(model[:1](images)).shape == (3, *shape)
    target = np.array([0, 1, 1])
    check = inspection.check_gradients(model, CrossEntropyLoss(), images, target, rng=rng)
    assert check.ok, str(check)


# Beside torchvision.


@pytest.fixture(scope="module")
def torchvision() -> ModuleType:
    """Return torchvision.models, or skip."""
    try:
        return importlib.import_module("torchvision.models")
    except (ImportError, RuntimeError) as error:  # RuntimeError: built for another torch
        pytest.skip(f"torchvision cannot be imported ({error})")


@pytest.mark.usefixtures("undrawn")
@pytest.mark.filterwarnings("ignore")  # theirs
@pytest.mark.parametrize("network", BY_THEIR_NAME)
def test_network_agrees_with_torchvision(
    network: Network, torchvision: ModuleType, rng: np.random.Generator
) -> None:
    torch = importlib.import_module("torch")
    # Their auxiliary classifiers stay in the state dict and must be left out on loading.
    options = {"init_weights": False} if network.name == "GoogLeNet" else {}
    theirs = getattr(torchvision, network.theirs)(**options).double().eval()
    state = {key: tensor.numpy() for key, tensor in theirs.state_dict().items()}
    for key, array in state.items():  # in place: they are theirs as well
        if key.endswith("running_mean"):
            array[...] = rng.normal(0.0, 0.1, array.shape)
        elif key.endswith("running_var"):
            array[...] = rng.uniform(0.5, 1.5, array.shape)
    ours = models.ARCHITECTURES[network.name](**network.options, rng=rng, dtype=F64)
    ours.load_state_dict(state)
    ours.eval(differentiable=True)

    size = max(network.smallest, 33)
    x = rng.standard_normal((2, 3, size, size))
    tensor = torch.tensor(x, requires_grad=True)
    expected = theirs(tensor)
    output = ours(x)
    assert_close(output, expected.detach().numpy())
    grad_output = rng.standard_normal(output.shape)
    expected.backward(torch.tensor(grad_output))
    assert_close(ours.backward(grad_output), tensor.grad.numpy())
    their_gradients = {key: p.grad for key, p in theirs.named_parameters()}
    for key, parameter in ours.named_parameters():
        assert_close(parameter.grad, their_gradients[key].numpy())


def assert_close(got: Any, expected: Any) -> None:
    """Compare within 1e-9 of the largest value: a hundred layers amplify a rounding error."""
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= 1e-9 * np.abs(expected).max()


# Configurations.


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("name", models.ARCHITECTURES)
def test_build_makes_the_same_network_from_json(name: str) -> None:
    model = models.ARCHITECTURES[name](2, 5, (64, 70))
    config = json.loads(json.dumps(model.config))
    assert config["image_size"] == [64, 70]
    again = models.build(name, config)
    assert again.config == model.config
    assert repr(again) == repr(model)


@pytest.mark.parametrize("name", [*LENETS, "ConvNet", "ResNet18", "SqueezeNet"])
def test_build_draws_the_same_weights_from_the_same_seed(name: str) -> None:
    model = models.ARCHITECTURES[name](2, 5, (32, 40), rng=np.random.default_rng(4))
    again = models.build(name, model.config, rng=np.random.default_rng(4))
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
        ("ConvNet", GOOD | {"hidden": [2**40]}, "ConvNet: arguments ask for too many weights"),
        ("ConvNet", GOOD | {"kernel_size": 2}, "ConvNet: kernel_size is not odd and positive"),
        ("AlexNet", {"num_classes": 10**9}, "AlexNet: num_classes is out of range, got 1000000000"),
        ("VGG16", {"in_channels": 0}, "VGG16: in_channels is out of range, got 0"),
        ("ResNet18", {"stem": "large"}, "ResNet18: stem is unknown, got 'large'"),
        ("ResNet50", {"num_classes": "many"}, "build: config does not fit ResNet50 ("),
        ("SqueezeNet", {"version": "2"}, "SqueezeNet: version is unknown, got '2'"),
        ("MobileNetV1", {"width_multiplier": 1e9}, "width_multiplier is out of range, got 1000000"),
    ],
)
def test_build_refuses_what_it_does_not_know(name: str, config: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        models.build(name, config)
