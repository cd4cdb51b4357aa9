# SPDX-License-Identifier: BSD-3-Clause
"""Tiny images and tables for the tests of the workflow."""

import numpy as np

from pyconv.workflow import Data


def bars(count: int = 120) -> Data:
    """Return images of 8 x 8 pixels with a bright row, whose place is the class."""
    rng = np.random.default_rng(0)
    classes = np.arange(count) % 3
    images = rng.integers(0, 60, (count, 1, 8, 8)).astype(np.uint8)
    images[np.arange(count), 0, 1 + 2 * classes] += 180
    return Data("bars", images, classes, ("top", "middle", "bottom"))


def table(kind: str, count: int = 120) -> Data:
    """Return a table with gaps whose targets follow from two columns."""
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((count, 4)) * [1, 10, 100, 1] + [0, 5, 0, 7]
    first, second = rows[:, 0], rows[:, 2] / 100
    targets = {
        "binary": np.where(first + second > 0, "yes", "no"),
        "multilabel": np.stack([first > 0, second > 0], axis=1).astype(int),
        "scalar regression": 100 + 20 * first - 5 * second,
        "vector regression": np.stack([first, 1000 * second], axis=1),
    }[kind]
    rows[rng.random(rows.shape) < 0.05] = np.nan
    return Data(kind, rows, targets)
