# SPDX-License-Identifier: BSD-3-Clause
"""What `DataLoader` and `fit` take as ``augment`` and ``mix``, and how one is made of several."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from pyconv.data.augmentation._images import Array

# augment(images, rng) returns changed images; mix(images, labels, rng) images and labels.
Augmentation: TypeAlias = Callable[[Array, np.random.Generator], Array]
Mix: TypeAlias = Callable[[Array, Array, np.random.Generator], tuple[Array, Array]]


def compose(*steps: Callable[..., Array]) -> Augmentation:
    """Return ``augment(images, rng)``, which takes a batch through all steps, in this order.

    Parameters
    ----------
    *steps : callable
        Called as ``step(images, rng=rng)``: the functions of this module, their other arguments
        bound by `functools.partial`, or functions of your own.

    Returns
    -------
    callable

    Examples
    --------
    >>> from functools import partial
    >>> import numpy as np
    >>> from pyconv import data
    >>> augment = data.compose(data.random_flip, partial(data.random_crop, padding=4))
    >>> augment(np.zeros((8, 3, 32, 32), np.uint8), np.random.default_rng(0)).shape
    (8, 3, 32, 32)
    """

    def augment(images: Array, rng: np.random.Generator) -> Array:
        for step in steps:
            images = step(images, rng=rng)
        return images

    return augment
