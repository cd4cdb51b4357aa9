# SPDX-License-Identifier: BSD-3-Clause
"""A trained classifier of images, and its file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyconv import models
from pyconv.io import load_safetensors, save_model
from pyconv.training import predict

MODEL_FILE = "model.safetensors"

_FORMAT = "pyconv classifier 1"


@dataclass(frozen=True)
class Classifier:
    """A trained network and the names of its classes.

    Attributes
    ----------
    model : Model
    class_names : tuple of str

    Examples
    --------
    >>> classifier = Classifier(models.LeNet(1, 2, 28), ("cat", "dog"))
    >>> odds = classifier.probabilities(np.zeros((3, 1, 28, 28), np.uint8))
    >>> odds.shape, odds.sum(axis=1).round(6)
    ((3, 2), array([1., 1., 1.]))
    """

    model: models.Model
    class_names: tuple[str, ...]

    def probabilities(self, images: NDArray[Any]) -> NDArray[np.float64]:
        """Return the probability of each class, shape (N, K)."""
        logits = predict(self.model, images).astype(np.float64)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities: NDArray[np.float64] = odds / odds.sum(axis=1, keepdims=True)
        return probabilities


def save_classifier(classifier: Classifier, path: Path) -> None:
    """Write a network with what `load_classifier` needs to make it again.

    Parameters
    ----------
    classifier : Classifier
    path : Path

    Examples
    --------
    >>> save_classifier(Classifier(models.LeNet(1, 2, 28), ("cat", "dog")), Path("pets.safetensors"))
    >>> load_classifier(Path("pets.safetensors")).class_names
    ('cat', 'dog')
    """
    metadata = {
        "format": _FORMAT,
        "architecture": type(classifier.model).__name__,
        "config": json.dumps(classifier.model.config),
        "class_names": json.dumps(classifier.class_names),
    }
    save_model(classifier.model, path, metadata)


def load_classifier(path: Path) -> Classifier:
    """Read a network that `save_classifier` wrote.

    Raises
    ------
    OSError
        The file cannot be opened.
    ValueError
        It is damaged, or not a classifier of this version.

    Examples
    --------
    >>> save_classifier(Classifier(models.LeNet(1, 2, 28), ("cat", "dog")), Path("pets.safetensors"))
    >>> load_classifier(Path("pets.safetensors")).class_names
    ('cat', 'dog')
    """
    tensors, metadata = load_safetensors(path)
    if metadata.get("format") != _FORMAT:
        raise ValueError(f"{path}: not a classifier of this version of pyconv")
    try:
        config = json.loads(metadata["config"])
        model = models.build(metadata["architecture"], config)
        model.load_state_dict(tensors)
        class_names = tuple(str(name) for name in json.loads(metadata["class_names"]))
        if len(class_names) != config["num_classes"]:
            raise ValueError(f"{len(class_names)} names for {config['num_classes']} classes")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: does not describe a classifier ({error})") from None
    return Classifier(model, class_names)
