# SPDX-License-Identifier: BSD-3-Clause
"""What the final network has learned: its filters and maps, its gradients, and its worst mistakes."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pyconv import functional as F
from pyconv import inspection
from pyconv.data import as_input
from pyconv.io import atomic_write
from pyconv.layers import Conv2d
from pyconv.models import LeNetBN
from pyconv.workflow.measures import predictions
from pyconv.workflow.pictures import draw_examples, draw_gradients
from pyconv.workflow.preparation import Preparation
from pyconv.workflow.problem import Problem
from pyconv.workflow.state import State

Array: TypeAlias = NDArray[Any]

# File names, each with what its picture shows.
PICTURES = {
    "filters.png": "Filters of the first layer",
    "activations.png": "What they make of the first test image",
    "gradients.png": "Gradient of the loss with respect to each layer's output",
    "mistakes.png": "The worst mistakes: true class, predicted class, its probability",
}

_MOST_MISTAKES = 16
_GRADIENT_EXAMPLES = 256


def look_inside(
    state: State, model: LeNetBN, preparation: Preparation, outputs: Array
) -> dict[str, Any]:
    """Draw the final network; `outputs` are those for the test inputs, in the units of the targets.

    Returns
    -------
    dict
        The norms of gradients, the worst mistakes, and the names of the pictures in the run's folder.
    """
    mistakes = worst_mistakes(state.problem, outputs, state.test_targets)
    norms = _gradient_norms(state, model, preparation)
    pictures = {"gradients.png": draw_gradients(norms)}
    images = state.test_inputs if not state.data.is_table else None
    first = next(((n, m) for n, m in model.named_layers() if isinstance(m, Conv2d)), None)
    if images is not None and first is not None:
        name, conv = first
        image = as_input(preparation.images(images[:1]))[0]
        pictures["filters.png"] = inspection.draw_filters(conv.weight.value, title="")
        pictures["activations.png"] = inspection.draw_activations(model, image, name, title=" ")
    if images is not None and mistakes:
        titles = [f"{m['target']} > {m['predicted']}\n{m['error']:.2f}" for m in mistakes]
        pictures["mistakes.png"] = draw_examples(images[[m["example"] for m in mistakes]], titles)
    for file in PICTURES:
        if file in pictures:
            atomic_write(state.out / file, pictures[file])
    return {
        "gradient_norms": norms,
        "mistakes": mistakes,
        "pictures": [file for file in PICTURES if file in pictures],
    }


def worst_mistakes(problem: Problem, outputs: Array, targets: Array) -> list[dict[str, Any]]:
    """Return the test examples with the largest errors, the worst first.

    The error is the probability of the class that was predicted and is wrong, the number of wrong labels, or
    the largest difference of a number.
    """
    predicted = predictions(problem, outputs)
    if problem.has_classes:
        chance = F.softmax(np.ascontiguousarray(outputs, np.float64))
        error = np.where(predicted == targets, 0.0, chance.max(axis=1))
    elif problem.is_regression:
        difference = np.abs(outputs.reshape(len(outputs), -1) - targets.reshape(len(targets), -1))
        error = difference.max(axis=1)
    else:
        error = (predicted != targets).sum(axis=1).astype(np.float64)
    order = np.argsort(-error, kind="stable")[:_MOST_MISTAKES]
    return [
        {
            "example": int(i),
            "target": _answer(problem, targets[i]),
            "predicted": _answer(problem, predicted[i]),
            "error": float(error[i]),
        }
        for i in order
        if error[i] > 0
    ]


def _answer(problem: Problem, value: Any) -> Any:
    """Return a class by its name, labels by theirs, and numbers as they are."""
    if problem.has_classes:
        return problem.class_names[int(value)]
    if problem.is_regression:
        return np.asarray(value, np.float64).reshape(-1).tolist()
    return [name for name, there in zip(problem.class_names, value, strict=True) if there]


def _gradient_norms(state: State, model: LeNetBN, preparation: Preparation) -> dict[str, float]:
    """Return the root mean square of the gradient at each layer's output, for some training examples."""
    rows = slice(_GRADIENT_EXAMPLES)
    data = preparation.dataset(state.inputs[rows], state.targets[rows])
    seen = inspection.diagnose(model, as_input(data.images), data.labels, state.problem.loss())
    return {f"{row.name} ({row.kind})": row.gradient for row in seen.layers}
