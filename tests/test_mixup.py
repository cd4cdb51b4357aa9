# SPDX-License-Identifier: BSD-3-Clause
"""Mixup against its definition, one image at a time, and as a target of cross entropy."""

import re
from typing import Any

import numpy as np
import pytest

from checks import assert_pixels_close
from pyconv import data
from pyconv.losses import CrossEntropyLoss


def random_images(N: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, (N, 2, 3, 3), np.uint8)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_mixup_blends_images_and_labels_with_the_same_shares(dtype: Any) -> None:
    images, labels = random_images(12).astype(dtype), np.arange(12) % 4
    mixed, targets = data.mixup(
        images, labels, classes=5, alpha=0.7, rng=np.random.default_rng(2), dtype=np.float64
    )
    rng = np.random.default_rng(2)
    share, partner = rng.beta(0.7, 0.7, 12), rng.permutation(12)
    expected, probability = np.zeros(images.shape), np.zeros((12, 5))
    for n in range(12):
        for m, part in ((n, share[n]), (partner[n], 1 - share[n])):
            expected[n] += part * images[m]
            probability[n, labels[m]] += part
    assert_pixels_close(mixed, expected)
    np.testing.assert_allclose(targets, probability, atol=1e-15)
    np.testing.assert_allclose(targets.sum(axis=1), 1)
    logits = np.random.default_rng(0).standard_normal((12, 5))
    loss = CrossEntropyLoss()
    by_parts = [
        share[n] * loss.value(logits[n : n + 1], labels[n : n + 1])
        + (1 - share[n]) * loss.value(logits[n : n + 1], labels[partner[n : n + 1]])
        for n in range(12)
    ]
    np.testing.assert_allclose(loss(logits, targets), np.mean(by_parts))


@pytest.mark.parametrize(
    ("labels", "options", "error", "message"),
    [
        (np.array([0, 3]), {}, ValueError, "labels are out of range, got 0 to 3; expected 0 to 2"),
        (np.array([0, -1]), {}, ValueError, "labels are out of range, got -1 to 0"),
        (np.array([0]), {}, ValueError, "labels has the wrong shape, got (1,); expected (2,)"),
        (np.array([0.0, 1.0]), {}, TypeError, "labels has the wrong type, got float64"),
        ([0, 1], {}, TypeError, "labels has the wrong type, got list"),
        (np.array([0, 1]), {"alpha": 0}, ValueError, "alpha is not positive, got 0"),
        (np.array([0, 1]), {"classes": 2.5}, TypeError, "classes is not an integer, got 2.5"),
    ],
)
def test_mixup_checks_arguments(labels: Any, options: Any, error: Any, message: str) -> None:
    images = random_images(2)
    with pytest.raises(error, match="^" + re.escape(f"mixup: {message}")):
        data.mixup(images, labels, **({"classes": 3} | options), rng=np.random.default_rng(0))
