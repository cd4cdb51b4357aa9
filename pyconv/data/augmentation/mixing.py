# SPDX-License-Identifier: BSD-3-Clause
"""Augmentation that changes labels with the images: mixup."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from pyconv.data.augmentation._images import Array, amount, as_float, as_images, from_float
from pyconv.functional._arguments import integer


def mixup(
    images: Array,
    labels: Array,
    *,
    classes: int,
    rng: np.random.Generator,
    alpha: float = 0.2,
    dtype: DTypeLike = np.float32,
) -> tuple[Array, Array]:
    """Blend each image with another one of the batch, and their labels with the same shares.

    Parameters
    ----------
    images : ndarray, shape (N, C, H, W)
        uint8, float32 or float64.
    labels : ndarray of int, shape (N,)
        Classes, 0 to `classes` - 1.
    classes : int
        K, how many classes there are.
    rng : numpy.random.Generator
    alpha : float
        Above 0; the larger, the more even the shares.
    dtype : dtype
        Of the targets: that of the network's output.

    Returns
    -------
    images : ndarray, shape (N, C, H, W)
    targets : ndarray, shape (N, K)
        A probability of every class, as `pyconv.losses.CrossEntropyLoss` takes them.

    Raises
    ------
    ValueError
        Labels do not fit the images or `classes`, or an argument is out of range.
    TypeError
        Labels are no integers, or images of another dtype.

    Notes
    -----
    With shares ``s ~ Beta(alpha, alpha)``, one an image, and a permutation p of the batch::

        images = s * images + (1 - s) * images[p]
        targets = s * one_hot(labels) + (1 - s) * one_hot(labels[p])

    References
    ----------
    H. Zhang et al., "mixup: Beyond empirical risk minimization", ICLR 2018.

    Examples
    --------
    >>> import numpy as np
    >>> images, labels = np.array([0.0, 1.0]).reshape(2, 1, 1, 1), np.array([0, 1])
    >>> mixed, targets = mixup(images, labels, classes=2, rng=np.random.default_rng(4))
    >>> bool(np.allclose(targets[:, 1], mixed.ravel()))
    True
    """
    images = as_images("mixup", images)
    K = integer("mixup", "classes", classes)
    if amount("mixup", "alpha", alpha) == 0:
        raise ValueError(f"mixup: alpha is not positive, got {alpha}; expected a number above 0")
    _check_labels(labels, len(images), K)
    N = len(images)
    share, partner = rng.beta(alpha, alpha, N), rng.permutation(N)
    values = as_float(images)
    part = share.astype(values.dtype)[:, None, None, None]
    mixed = part * values + (1 - part) * values[partner]
    targets = np.zeros((N, K))
    targets[np.arange(N), labels] = share
    targets[np.arange(N), labels[partner]] += 1 - share
    return from_float(mixed, images.dtype), targets.astype(dtype)


def _check_labels(labels: object, N: int, K: int) -> None:
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu":
        got = labels.dtype if isinstance(labels, np.ndarray) else type(labels).__name__
        raise TypeError(f"mixup: labels has the wrong type, got {got}; expected integers")
    if labels.shape != (N,):
        raise ValueError(f"mixup: labels has the wrong shape, got {labels.shape}; expected {(N,)}")
    if N and not (labels.min() >= 0 and labels.max() < K):
        raise ValueError(
            f"mixup: labels are out of range, got {labels.min()} to {labels.max()}; "
            f"expected 0 to {K - 1}"
        )
