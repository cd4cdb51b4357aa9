# SPDX-License-Identifier: BSD-3-Clause
"""How often a classifier was right: confusion matrix and what follows from it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["class_scores", "confusion_matrix"]


def confusion_matrix(
    labels: NDArray[Any], predictions: NDArray[Any], num_classes: int
) -> NDArray[np.int64]:
    """Count images by true class (row) and predicted class (column).

    Parameters
    ----------
    labels, predictions : ndarray of int, shape (N,)
    num_classes : int

    Returns
    -------
    ndarray of int64, shape (num_classes, num_classes)

    Examples
    --------
    >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
    array([[1, 1],
           [0, 1]])
    """
    counts = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(counts, (labels, predictions), 1)
    return counts


def class_scores(confusion: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Return precision, recall and F1 of every class; 0 where a class never occurs.

    Parameters
    ----------
    confusion : ndarray, shape (K, K)
        As `confusion_matrix` returns it.

    Returns
    -------
    dict of str to ndarray, shape (K,)
        "precision", "recall" and "f1".

    Notes
    -----
    ``precision = diagonal / column sum``, ``recall = diagonal / row sum``, and F1 is their harmonic
    mean, ``2 * diagonal / (row sum + column sum)``.

    Examples
    --------
    >>> class_scores(np.array([[1, 1], [0, 2]]))["recall"]
    array([0.5, 1. ])
    """
    correct = np.diag(confusion).astype(np.float64)
    rows, columns = confusion.sum(axis=1), confusion.sum(axis=0)
    return {
        "precision": correct / np.maximum(columns, 1),
        "recall": correct / np.maximum(rows, 1),
        "f1": 2 * correct / np.maximum(rows + columns, 1),
    }
