# SPDX-License-Identifier: BSD-3-Clause
"""The data of the command line: images and tables that need no network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pyconv import data
from pyconv.optional import need
from pyconv.workflow.errors import UsageError
from pyconv.workflow.problem import Data

_MISSING = 0.1


@dataclass(frozen=True)
class Source:
    """A set of data, and how long to train on it.

    Attributes
    ----------
    load : callable
        ``load(data_dir)`` returns the data.
    epochs, batch_size : int
        Defaults of the full workflow.
    needs_data_dir : bool
    """

    load: Callable[[Path | None], Data]
    epochs: int
    batch_size: int
    needs_data_dir: bool = False


def _digits(_: Path | None) -> Data:
    digits = data.load_digits()
    return Data("scikit-learn digits", digits.images, digits.labels, digits.class_names)


def _fashion_mnist(folder: Path | None) -> Data:
    if folder is None:
        raise UsageError("fashion-mnist needs --data-dir, the folder of its four IDX files")
    train, test = data.load_fashion_mnist(folder)
    return Data(
        "Fashion-MNIST",
        train.images,
        train.labels,
        train.class_names,
        (test.images, test.labels),
    )


def _diabetes(_: Path | None) -> Data:
    bunch = need("sklearn.datasets", "loading the data").load_diabetes(scaled=False)
    return Data("progress of diabetes", bunch.data, bunch.target)


def _breast_cancer_with_gaps(_: Path | None) -> Data:
    """Return a table of scikit-learn without a tenth of its values, always the same ones."""
    bunch = need("sklearn.datasets", "loading the data").load_breast_cancer()
    gaps = np.random.default_rng(0).random(bunch.data.shape) < _MISSING
    rows = np.where(gaps, np.nan, bunch.data)
    return Data("breast cancer, with gaps", rows, bunch.target, tuple(map(str, bunch.target_names)))


SOURCES: Mapping[str, Source] = {
    "digits": Source(_digits, epochs=40, batch_size=32),
    "fashion-mnist": Source(_fashion_mnist, epochs=5, batch_size=128, needs_data_dir=True),
    "diabetes": Source(_diabetes, epochs=100, batch_size=32),
    "breast-cancer-with-gaps": Source(_breast_cancer_with_gaps, epochs=50, batch_size=32),
}
