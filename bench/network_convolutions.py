# SPDX-License-Identifier: BSD-3-Clause
"""The distinct convolutions of well-known networks, as tables.

ResNet-50 with the stride in its 3x3 layers, as torchvision has it (He et al., "Deep Residual
Learning", table 1); VGG-16 (Simonyan and Zisserman, "Very Deep Convolutional Networks", table 1,
column D); GoogLeNet (Szegedy et al., "Going Deeper with Convolutions", table 1); LeNet-5 on 28x28
digits (LeCun et al., "Gradient-Based Learning", figure 2); a VGG-like network for 32x32 images.
"""

from __future__ import annotations

from bench.workloads import Conv2d

Row = tuple[str, int, int, int, int, int, int]  # name, C, H = W, OC, KH = KW, stride, padding


def _inception(
    name: str, C: int, H: int, a: int, b_reduce: int, b: int, c_reduce: int, c: int, pool: int
) -> tuple[Row, ...]:
    """Six convolutions of one block; its sizes are a line of GoogLeNet's table."""
    return (
        (f"{name}_1x1", C, H, a, 1, 1, 0),
        (f"{name}_3x3_reduce", C, H, b_reduce, 1, 1, 0),
        (f"{name}_3x3", b_reduce, H, b, 3, 1, 1),
        (f"{name}_5x5_reduce", C, H, c_reduce, 1, 1, 0),
        (f"{name}_5x5", c_reduce, H, c, 5, 1, 2),
        (f"{name}_pool_proj", C, H, pool, 1, 1, 0),
    )


NETWORKS: dict[str, tuple[Row, ...]] = {
    "resnet50": (
        ("conv1", 3, 224, 64, 7, 2, 3),
        ("conv2_reduce_first", 64, 56, 64, 1, 1, 0),
        ("conv2_reduce", 256, 56, 64, 1, 1, 0),
        ("conv2_3x3", 64, 56, 64, 3, 1, 1),
        ("conv2_expand", 64, 56, 256, 1, 1, 0),
        ("conv3_reduce_first", 256, 56, 128, 1, 1, 0),
        ("conv3_down", 128, 56, 128, 3, 2, 1),
        ("conv3_shortcut", 256, 56, 512, 1, 2, 0),
        ("conv3_reduce", 512, 28, 128, 1, 1, 0),
        ("conv3_3x3", 128, 28, 128, 3, 1, 1),
        ("conv3_expand", 128, 28, 512, 1, 1, 0),
        ("conv4_reduce_first", 512, 28, 256, 1, 1, 0),
        ("conv4_down", 256, 28, 256, 3, 2, 1),
        ("conv4_shortcut", 512, 28, 1024, 1, 2, 0),
        ("conv4_reduce", 1024, 14, 256, 1, 1, 0),
        ("conv4_3x3", 256, 14, 256, 3, 1, 1),
        ("conv4_expand", 256, 14, 1024, 1, 1, 0),
        ("conv5_reduce_first", 1024, 14, 512, 1, 1, 0),
        ("conv5_down", 512, 14, 512, 3, 2, 1),
        ("conv5_shortcut", 1024, 14, 2048, 1, 2, 0),
        ("conv5_reduce", 2048, 7, 512, 1, 1, 0),
        ("conv5_3x3", 512, 7, 512, 3, 1, 1),
        ("conv5_expand", 512, 7, 2048, 1, 1, 0),
    ),
    "vgg16": (
        ("conv1_1", 3, 224, 64, 3, 1, 1),
        ("conv1_2", 64, 224, 64, 3, 1, 1),
        ("conv2_1", 64, 112, 128, 3, 1, 1),
        ("conv2_2", 128, 112, 128, 3, 1, 1),
        ("conv3_1", 128, 56, 256, 3, 1, 1),
        ("conv3_2", 256, 56, 256, 3, 1, 1),
        ("conv4_1", 256, 28, 512, 3, 1, 1),
        ("conv4_2", 512, 28, 512, 3, 1, 1),
        ("conv5_1", 512, 14, 512, 3, 1, 1),
    ),
    "googlenet": (
        ("conv1", 3, 224, 64, 7, 2, 3),
        ("conv2_reduce", 64, 56, 64, 1, 1, 0),
        ("conv2_3x3", 64, 56, 192, 3, 1, 1),
        *_inception("3a", 192, 28, 64, 96, 128, 16, 32, 32),
        *_inception("3b", 256, 28, 128, 128, 192, 32, 96, 64),
        *_inception("4a", 480, 14, 192, 96, 208, 16, 48, 64),
        *_inception("4b", 512, 14, 160, 112, 224, 24, 64, 64),
        *_inception("4c", 512, 14, 128, 128, 256, 24, 64, 64),
        *_inception("4d", 512, 14, 112, 144, 288, 32, 64, 64),
        *_inception("4e", 528, 14, 256, 160, 320, 32, 128, 128),
        *_inception("5a", 832, 7, 256, 160, 320, 32, 128, 128),
        *_inception("5b", 832, 7, 384, 192, 384, 48, 128, 128),
    ),
    "lenet5": (
        ("conv1", 1, 28, 6, 5, 1, 2),
        ("conv2", 6, 14, 16, 5, 1, 0),
    ),
    "cifar_vgg": (
        ("conv1_1", 3, 32, 64, 3, 1, 1),
        ("conv1_2", 64, 32, 64, 3, 1, 1),
        ("conv2_1", 64, 16, 128, 3, 1, 1),
        ("conv2_2", 128, 16, 128, 3, 1, 1),
        ("conv3_1", 128, 8, 256, 3, 1, 1),
        ("conv3_2", 256, 8, 256, 3, 1, 1),
    ),
}


def convolutions(batch: int) -> dict[str, Conv2d]:
    """All layers on `batch` images, by name; a shape goes by the first name that has it."""
    layers = [
        Conv2d(f"{network}.{name}", batch, C, H, H, OC, k, k, stride=stride, padding=padding)
        for network, rows in NETWORKS.items()
        for name, C, H, OC, k, stride, padding in rows
    ]
    return {layer.name: layer for layer in dict.fromkeys(layers)}
