# SPDX-License-Identifier: BSD-3-Clause
"""Step 4, preprocessing: everything that is learned from data is learned from the training part.

Images stay as they are: uint8 becomes [0, 1] on its way into the network. In a table, what is
missing becomes the median of its column, a column of zeros and ones tells where, and every column
is shifted and scaled to mean 0 and standard deviation 1. Numbers to predict are scaled in the
same way, and the network's outputs scaled back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pyconv.data import Dataset, as_input
from pyconv.optional import need
from pyconv.workflow.problem import Problem

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class Preparation:
    """What was learned from a training part, to be applied to every part."""

    problem: Problem
    pipeline: Any
    target_mean: Array
    target_scale: Array

    def images(self, inputs: Array) -> Array:
        """Return the network's input, shape (N, C, H, W); a row of a table is C x 1 x 1."""
        if self.pipeline is None:
            return inputs if inputs.dtype == np.uint8 else inputs.astype(np.float32)
        rows = self.pipeline.transform(inputs).astype(np.float32)
        return np.ascontiguousarray(rows[:, :, np.newaxis, np.newaxis])

    def rows(self, inputs: Array) -> Array:
        """Return the same as a matrix (N, F), for models of scikit-learn."""
        return as_input(self.images(inputs)).reshape(len(inputs), -1)

    def dataset(self, inputs: Array, targets: Array) -> Dataset:
        """Return what `training.fit` takes, for encoded targets."""
        if self.problem.is_regression:
            targets = (targets.reshape(len(targets), -1) - self.target_mean) / self.target_scale
        if not self.problem.has_classes:
            targets = targets.astype(np.float32)
        # Names of labels, which are not classes, have no place in a Dataset.
        names = self.problem.class_names if self.problem.has_classes else ()
        return Dataset(self.images(inputs), targets, names)

    def outputs(self, raw: Array) -> Array:
        """Return a network's outputs in the units of the targets."""
        if self.problem.is_regression:
            return raw.astype(np.float64) * self.target_scale + self.target_mean
        return raw

    def describe(self) -> dict[str, Any]:
        """Return what was learned as plain JSON values."""
        if self.pipeline is None:
            steps: dict[str, Any] = {"images": "uint8 divided by 255, others as they are"}
        else:
            imputer, scaler = self.pipeline.named_steps.values()
            steps = {
                "medians": imputer.statistics_.tolist(),
                "columns_with_indicator": imputer.indicator_.features_.tolist(),
                "means": scaler.mean_.tolist(),
                "scales": scaler.scale_.tolist(),
            }
        if self.problem.is_regression:
            steps["target_mean"] = self.target_mean.tolist()
            steps["target_scale"] = self.target_scale.tolist()
        return steps


def prepare(problem: Problem, inputs: Array, targets: Array) -> Preparation:
    """Learn the preprocessing from the training part (encoded targets)."""
    pipeline = None
    if inputs.ndim == 2:
        impute = need("sklearn.impute", "filling in missing values")
        scale = need("sklearn.preprocessing", "scaling columns")
        pipeline = need("sklearn.pipeline", "preprocessing").make_pipeline(
            impute.SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
            scale.StandardScaler(),
        )
        pipeline.fit(inputs)
    mean, deviation = np.zeros(1), np.ones(1)
    if problem.is_regression:
        columns = targets.reshape(len(targets), -1)
        mean, deviation = columns.mean(axis=0), columns.std(axis=0)
    return Preparation(problem, pipeline, mean, np.where(deviation > 0, deviation, 1.0))
