# SPDX-License-Identifier: BSD-3-Clause
"""Labelled images from local files, and random changes to them. Nothing is ever downloaded."""

from pyconv.data.augmentation import random_affine, random_flip, random_shift
from pyconv.data.dataset import Dataset, as_input, split
from pyconv.data.files import load_idx, load_image, load_image_folder, load_mnist, load_npz
from pyconv.data.sources import FASHION_MNIST_CLASSES, load_digits, load_fashion_mnist

__all__ = [
    "FASHION_MNIST_CLASSES",
    "Dataset",
    "as_input",
    "load_digits",
    "load_fashion_mnist",
    "load_idx",
    "load_image",
    "load_image_folder",
    "load_mnist",
    "load_npz",
    "random_affine",
    "random_flip",
    "random_shift",
    "split",
]
