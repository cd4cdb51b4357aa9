# SPDX-License-Identifier: BSD-3-Clause
"""Labelled images from local files, random changes to them, and batches of them.

Nothing is ever downloaded.
"""

from pyconv.data.augmentation import (
    Augmentation,
    Mix,
    color_jitter,
    compose,
    cutout,
    mixup,
    random_affine,
    random_crop,
    random_flip,
    random_rotation,
    random_shift,
)
from pyconv.data.dataset import Dataset, as_input, split
from pyconv.data.files import load_idx, load_image, load_image_folder, load_mnist, load_npz
from pyconv.data.loader import DataLoader
from pyconv.data.sources import FASHION_MNIST_CLASSES, load_digits, load_fashion_mnist

__all__ = [
    "FASHION_MNIST_CLASSES",
    "Augmentation",
    "DataLoader",
    "Dataset",
    "Mix",
    "as_input",
    "color_jitter",
    "compose",
    "cutout",
    "load_digits",
    "load_fashion_mnist",
    "load_idx",
    "load_image",
    "load_image_folder",
    "load_mnist",
    "load_npz",
    "mixup",
    "random_affine",
    "random_crop",
    "random_flip",
    "random_rotation",
    "random_shift",
    "split",
]
