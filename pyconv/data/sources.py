# SPDX-License-Identifier: BSD-3-Clause
"""Well-known datasets that need no network: one in scikit-learn, one in a Linux package."""

from __future__ import annotations

import numpy as np

from pyconv.data.dataset import Dataset
from pyconv.data.files import PathLike, load_mnist
from pyconv.optional import need

FASHION_MNIST_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def load_digits() -> Dataset:
    """Return scikit-learn's 1,797 handwritten digits, 8 x 8 pixels, white on black.

    The 17 grey levels are spread over 0 to 255, so that the images mean the same as PNG files do.

    Returns
    -------
    Dataset

    References
    ----------
    Alpaydin, Kaynak: Optical Recognition of Handwritten Digits. UCI Machine Learning Repository.

    Examples
    --------
    >>> load_digits().images.shape
    (1797, 1, 8, 8)
    """
    bunch = need("sklearn.datasets", "loading the digits").load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[:, np.newaxis]
    return Dataset(images, bunch.target.astype(np.int64), tuple("0123456789"))


def load_fashion_mnist(folder: PathLike) -> tuple[Dataset, Dataset]:
    """Return (train, test) of Fashion-MNIST from the folder that holds its four IDX files.

    Parameters
    ----------
    folder : path-like

    Returns
    -------
    train, test : Dataset

    Raises
    ------
    FileNotFoundError
        The folder or one of the files is missing.

    References
    ----------
    Xiao, Rasul, Vollgraf: Fashion-MNIST. arXiv:1708.07747, 2017.

    Examples
    --------
    >>> load_fashion_mnist("nowhere")
    Traceback (most recent call last):
        ...
    FileNotFoundError: nowhere: no such folder
    """
    return load_mnist(folder, class_names=FASHION_MNIST_CLASSES)
