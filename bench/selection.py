# SPDX-License-Identifier: BSD-3-Clause
"""The named workloads, in sets, and the cases that a command is asked to run.

An op takes from every set the workloads of its kind. To bring in another op is therefore to write
its kind of workload, to put some in a set, and to let the subjects and `verify` know it.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.network_convolutions import convolutions
from bench.workloads import Case, Conv2d, Gemm, Pool2d, Workload

BATCHES = (1, 4, 32)  # images at a time, in the set of networks


def _layer(name: str, N: int, C: int, H: int, OC: int, k: int, s: int = 1, g: int = 1) -> Conv2d:
    """Square image and filter; padding keeps the size at stride 1."""
    return Conv2d(name, N, C, H, H, OC, k, k, stride=s, padding=k // 2, groups=g)


def _from_networks(batch: int, *names: str) -> tuple[Conv2d, ...]:
    layers = convolutions(batch)
    return tuple(layers[name] for name in names)


def _transposes(name: str, M: int, N: int, K: int) -> tuple[Gemm, ...]:
    return tuple(Gemm(name, M, N, K, a, b) for a in (False, True) for b in (False, True))


# A few of each kind that stand for the others, small enough to be run after every change.
CORE: tuple[Workload, ...] = (
    Gemm("resnet50.conv2_reduce_first", 64, 3136, 64),
    Gemm("resnet50.conv2_3x3", 64, 3136, 576),
    Gemm("resnet50.conv3_3x3", 128, 784, 1152),
    Gemm("resnet50.conv3_expand", 512, 784, 128),
    Gemm("resnet50.conv4_3x3", 256, 196, 2304),
    Gemm("resnet50.conv5_3x3", 512, 49, 4608),
    Gemm("resnet50.conv5_expand", 2048, 49, 512),
    Gemm("square_1024", 1024, 1024, 1024),
    Gemm("square_100", 100, 100, 100),
    Gemm("odd", 129, 257, 513, trans_a=True, trans_b=True),
    Gemm("square_32", 32, 32, 32),
    Gemm("square_8", 8, 8, 8),
    Gemm("classifier", 64, 10, 1024),
    Gemm("rows_7", 7, 1024, 4096),
    Gemm("gemv_row", 1, 4096, 4096),
    Gemm("gemv_column", 4096, 1, 4096),
    *_from_networks(
        4,
        "resnet50.conv1",
        "resnet50.conv2_reduce_first",
        "resnet50.conv2_3x3",
        "resnet50.conv2_expand",
        "resnet50.conv3_down",
        "resnet50.conv3_3x3",
        "resnet50.conv4_3x3",
        "resnet50.conv5_3x3",
        "resnet50.conv5_reduce",
        "resnet50.conv3_shortcut",
    ),
    *_from_networks(1, "vgg16.conv1_2", "vgg16.conv3_2"),
    _layer("lenet.conv1", 64, 1, 28, 32, 5),
    _layer("cifar.conv1", 64, 3, 32, 32, 3),
    _layer("cifar.conv2", 64, 32, 16, 64, 3),
    _layer("mobilenet.depthwise1", 4, 32, 112, 32, 3, g=32),
    _layer("mobilenet.depthwise2", 4, 64, 112, 64, 3, s=2, g=64),
    _layer("mobilenet.depthwise7", 4, 512, 14, 512, 3, g=512),
    _layer("resnext50.conv2_3x3", 4, 128, 56, 128, 3, g=32),
    Pool2d("resnet50.pool1", 4, 64, 112, 112, 3, 3, stride=2, padding=1),
    Pool2d("cifar.pool1", 32, 64, 32, 32, 2, 2, stride=2),
)

# Products of every kind: tiny, a few rows or columns, vectors, squares, odd sizes, long and flat.
PRODUCTS: tuple[Workload, ...] = (
    *(Gemm(f"square_{n}", n, n, n) for n in (4, 8, 16, 24, 48)),
    *_transposes("square_64", 64, 64, 64),
    *(Gemm(f"rows_{M}", M, 1024, 4096) for M in range(1, 17)),
    *(Gemm(f"rows_{M}", M, 1024, 4096, trans_b=True) for M in (1, 4, 8, 16)),
    *(Gemm(f"columns_{N}", 1024, N, 4096) for N in range(1, 17)),
    *(Gemm(f"columns_{N}", 1024, N, 4096, trans_a=True) for N in (1, 4, 8, 16)),
    *(Gemm("gemv_row", 1, 4096, 4096, trans_b=trans_b) for trans_b in (False, True)),
    *(Gemm("gemv_column", 4096, 1, 4096, trans_a=trans_a) for trans_a in (False, True)),
    *_transposes("inner", 16, 16, 4096),
    *_transposes("outer", 1024, 1024, 8),
    *(Gemm(f"square_{n}", n, n, n) for n in (65, 96, 128, 192, 384, 512, 768, 2048)),
    *_transposes("square_256", 256, 256, 256),
    *_transposes("square_1024", 1024, 1024, 1024),
    *_transposes("odd", 129, 257, 513),
    *_transposes("odd", 67, 71, 1031),
    *_transposes("odd", 1021, 65, 127),
    *_transposes("wide", 64, 4096, 64),
    *_transposes("tall", 4096, 64, 64),
    *_transposes("deep", 64, 64, 4096),
)


def _separate(name: str, C: int, H: int, k: int, s: int = 1, d: int = 1) -> Conv2d:
    """One channel a group, padding that keeps the size at stride 1."""
    return Conv2d(
        *(name, 4, C, H, H, C, k, k), stride=s, padding=d * (k // 2), dilation=d, groups=C
    )


# Groups of one channel, as in MobileNets, EfficientNets and ConvNeXts, and of 2 to 16, as in ResNeXts.
GROUPED: tuple[Workload, ...] = (
    _separate("mobilenet.depthwise1", 32, 112, 3),
    _separate("mobilenet.depthwise2", 64, 112, 3, s=2),
    _separate("mobilenet.depthwise3", 128, 56, 3),
    _separate("mobilenet.depthwise4", 128, 56, 3, s=2),
    _separate("mobilenet.depthwise5", 256, 28, 3),
    _separate("mobilenet.depthwise6", 256, 28, 3, s=2),
    _separate("mobilenet.depthwise7", 512, 14, 3),
    _separate("mobilenet.depthwise12", 512, 14, 3, s=2),
    _separate("mobilenet.depthwise13", 1024, 7, 3),
    _separate("mobilenet_v3.depthwise5x5", 240, 28, 5),
    _separate("mobilenet_v3.depthwise5x5", 672, 14, 5, s=2),
    _separate("convnext.depthwise7x7", 96, 56, 7),
    _separate("convnext.depthwise7x7", 384, 14, 7),
    _separate("dilated", 256, 28, 3, d=2),
    _layer("resnext50.conv2_3x3", 4, 128, 56, 128, 3, g=32),
    _layer("resnext50.conv3_3x3", 4, 256, 28, 256, 3, g=32),
    _layer("resnext50.conv4_3x3", 4, 512, 14, 512, 3, g=32),
    _layer("resnext50.conv3_down", 4, 256, 56, 256, 3, s=2, g=32),
    _layer("groups_of_2", 4, 64, 56, 64, 3, g=32),
    _layer("groups_of_8", 4, 64, 28, 64, 5, g=8),
    _layer("groups_of_16", 4, 64, 28, 64, 3, g=4),
)

# Ragged edges, every option, and nothing that takes a millisecond.
SMOKE: tuple[Workload, ...] = (
    Gemm("odd", 7, 17, 33),
    Gemm("odd_transposed", 13, 18, 5, trans_a=True, trans_b=True),
    _layer("odd_3x3", 1, 5, 9, 7, 3),
    _layer("odd_down", 2, 3, 11, 4, 5, s=2),
    _layer("odd_depthwise", 2, 6, 8, 6, 3, g=6),
    Conv2d("odd_dilated", 2, 4, 10, 13, 6, 2, 3, padding=1, dilation=2, groups=2),
    Pool2d("odd", 1, 3, 9, 8, 3, 2, stride=2, padding=1),
)


def cases(
    op: str, chosen: str = "core", *, batches: Sequence[int] = BATCHES, dtype: str = "float32"
) -> list[Case]:
    """All cases of one op in a set, no shape twice; `batches` is about the networks."""
    networks = [layer for batch in batches for layer in convolutions(batch).values()]
    sets: dict[str, Sequence[Workload]] = {
        "core": CORE,
        "networks": networks,
        "products": PRODUCTS,
        "grouped": GROUPED,
        "all": (*CORE, *networks, *PRODUCTS, *GROUPED),
        "smoke": SMOKE,
    }
    return [Case(op, w, dtype) for w in dict.fromkeys(sets[chosen]) if op in w.ops]
