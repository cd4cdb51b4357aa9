# SPDX-License-Identifier: BSD-3-Clause
"""Step 5, baselines: what a constant answer and a linear model reach with the same data."""

from __future__ import annotations

import warnings
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pyconv.optional import need
from pyconv.workflow.measures import Measure
from pyconv.workflow.preparation import Preparation
from pyconv.workflow.problem import Problem

Array: TypeAlias = NDArray[Any]

# A linear model gains little from more rows than this, and its solver would take minutes.
MAX_ROWS = 10_000


def make_baselines(problem: Problem) -> dict[str, Any]:
    """Return scikit-learn's models by name, not fitted."""
    dummy = need("sklearn.dummy", "a baseline")
    linear = need("sklearn.linear_model", "a baseline")
    if problem.is_regression:
        return {"mean": dummy.DummyRegressor(), "linear model": linear.Ridge()}
    model = linear.LogisticRegression(max_iter=300)
    if problem.has_classes:
        return {"majority class": dummy.DummyClassifier(strategy="prior"), "linear model": model}
    rest = need("sklearn.multiclass", "a baseline").OneVsRestClassifier
    return {"majority labels": dummy.DummyClassifier(strategy="prior"), "linear model": rest(model)}


def score_baselines(
    problem: Problem,
    measure: Measure,
    preparation: Preparation,
    train: tuple[Array, Array],
    evaluation: tuple[Array, Array],
    rng: np.random.Generator,
) -> dict[str, float]:
    """Fit every baseline to (inputs, encoded targets) and return its score on others."""
    inputs, targets = train
    if len(inputs) > MAX_ROWS:
        chosen = rng.choice(len(inputs), MAX_ROWS, replace=False)
        inputs, targets = inputs[chosen], targets[chosen]
    rows, evaluation_rows = preparation.rows(inputs), preparation.rows(evaluation[0])
    scores = {}
    for name, model in make_baselines(problem).items():
        with warnings.catch_warnings():
            # A solver that stops before the last digit, or a label that is always the same, is
            # still a baseline.
            warnings.simplefilter("ignore")
            model.fit(rows, targets)
            scores[name] = measure.of(model, evaluation_rows, evaluation[1])
    return scores
