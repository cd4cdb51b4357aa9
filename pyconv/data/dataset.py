# SPDX-License-Identifier: BSD-3-Clause
"""A set of labelled images, how it is divided, and how images become a network's input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pyconv.optional import need


@dataclass(frozen=True)
class Dataset:
    """Labelled images.

    Attributes
    ----------
    images : ndarray, shape (N, C, H, W)
        uint8 (0 to 255) or floating point.
    labels : ndarray, shape (N,) for classification
        Integers from 0; any array with N rows otherwise.
    class_names : tuple of str
        Name of each label; empty if they have none.

    Examples
    --------
    >>> digits = Dataset(np.zeros((2, 1, 8, 8), np.uint8), np.array([3, 7]))
    >>> len(digits)
    2
    """

    images: NDArray[Any]
    labels: NDArray[Any]
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that there is a label for every image, and a name for every label."""
        if self.images.ndim != 4:
            raise ValueError(
                f"Dataset: images has the wrong shape, got {self.images.shape}; "
                "expected (N, C, H, W)"
            )
        if len(self.labels) != len(self.images):
            raise ValueError(
                f"Dataset: labels has the wrong length, got {len(self.labels)}; "
                f"expected {len(self.images)}"
            )
        if self.class_names and len(self.labels):
            low, high = int(self.labels.min()), int(self.labels.max())
            if low < 0 or high >= len(self.class_names):
                raise ValueError(
                    f"Dataset: labels are out of range, got {low} to {high}; "
                    f"expected 0 to {len(self.class_names) - 1}"
                )

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def subset(self, indices: NDArray[np.intp]) -> Dataset:
        """Return a copy of the given images, in this order."""
        return Dataset(self.images[indices], self.labels[indices], self.class_names)


def as_input(images: NDArray[Any], dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """Return what a network is fed: uint8 images divided by 255, others as they are.

    Parameters
    ----------
    images : ndarray
    dtype : float32 or float64
        What uint8 becomes.

    Returns
    -------
    ndarray, the shape of `images`

    Examples
    --------
    >>> as_input(np.array([0, 51, 255], np.uint8))
    array([0.        , 0.20000002, 1.        ], dtype=float32)
    """
    if images.dtype != np.uint8:
        return images
    scaled: NDArray[Any] = np.multiply(images, np.asarray(1 / 255, dtype))
    return scaled


def split(
    dataset: Dataset, fraction: float, *, rng: np.random.Generator
) -> tuple[Dataset, Dataset]:
    """Divide a dataset at random into (rest, part), each with the same mix of classes.

    Parameters
    ----------
    dataset : Dataset
    fraction : float
        Size of the second part, 0 < fraction < 1.
    rng : numpy.random.Generator
        Decides which images go where.

    Raises
    ------
    ImportError
        scikit-learn is missing.

    Examples
    --------
    >>> data = Dataset(np.zeros((20, 1, 8, 8), np.uint8), np.arange(20) % 2)
    >>> train, test = split(data, 0.25, rng=np.random.default_rng(0))
    >>> len(train), len(test)
    (15, 5)
    """
    selection = need("sklearn.model_selection", "splitting a dataset")
    rest, part = selection.train_test_split(
        np.arange(len(dataset)),
        test_size=fraction,
        stratify=dataset.labels,
        random_state=int(rng.integers(2**32)),
    )
    return dataset.subset(rest), dataset.subset(part)
