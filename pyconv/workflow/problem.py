# SPDX-License-Identifier: BSD-3-Clause
"""Step 1, the problem: what the data are, what is to be predicted, and what follows from that.

The kind of a problem fixes the last layer, the loss and the measure that is used by default
(Chollet: Deep Learning with Python, 2nd edition, 2021, table 6.1)::

    kind               outputs   loss                        measure
    binary             2         cross entropy of a softmax  accuracy
    multiclass         K         cross entropy of a softmax  accuracy
    multilabel         K         cross entropy of sigmoids   f1
    scalar regression  1         mean squared error          mae
    vector regression  K         mean squared error          mae

Two outputs and a softmax are the sigmoid of their difference, so binary needs no layer of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pyconv.losses import BCEWithLogitsLoss, CrossEntropyLoss, Loss, MSELoss

Array: TypeAlias = NDArray[Any]

KINDS = ("binary", "multiclass", "multilabel", "scalar regression", "vector regression")

# More distinct integers than this are taken for a quantity, such as a price, and not for classes.
_MAX_CLASSES = 100

# Accuracy flatters whoever always names a class that is this much more frequent than another.
_IMBALANCED = 4


@dataclass(frozen=True)
class Data:
    """What a workflow starts from: images or a table, and a target for each.

    Attributes
    ----------
    name : str
        For titles.
    inputs : ndarray, shape (N, C, H, W) or (N, F)
        Images, uint8 or floating, or rows of a table, where NaN is a missing value.
    targets : ndarray, shape (N,) or (N, K)
        Classes as integers or words, labels as 0 and 1 (N, K), or numbers.
    class_names : sequence of str
        Name of each class, if classes are the integers from 0, or of each label.
    test : (ndarray, ndarray), optional
        Inputs and targets that the data come with for the final test. Else a part is put aside.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv.workflow import Data
    >>> from pyconv.workflow.problem import define_problem
    >>> table = Data("growth", np.array([[1.0], [np.nan], [3.0]]), np.array([0.5, 1.0, 1.5]))
    >>> define_problem(table).kind
    'scalar regression'
    """

    name: str
    inputs: Array
    targets: Array
    class_names: Sequence[str] = ()
    test: tuple[Array, Array] | None = None

    def __post_init__(self) -> None:
        """Check the shapes, and that what must be finite is."""
        parts = [("", self.inputs, self.targets)]
        if self.test is not None:
            parts.append(("test ", *self.test))
        for part, inputs, targets in parts:
            if inputs.ndim not in (2, 4) or inputs.shape[1:] != self.inputs.shape[1:]:
                raise ValueError(
                    f"Data: {part}inputs has the wrong shape, got {inputs.shape}; "
                    "expected (N, C, H, W) or (N, F), the same for the test"
                )
            if targets.ndim not in (1, 2) or len(targets) != len(inputs):
                raise ValueError(
                    f"Data: {part}targets has the wrong shape, got {targets.shape}; "
                    f"expected ({len(inputs)},) or ({len(inputs)}, K)"
                )
            if inputs.dtype.kind not in "biuf":
                raise TypeError(
                    f"Data: {part}inputs is not numeric, got {inputs.dtype}; expected numbers"
                )
            if targets.dtype.kind not in "biufUS":
                raise TypeError(
                    f"Data: {part}targets has the wrong dtype, got {targets.dtype}; "
                    "expected numbers or words"
                )
            bad = np.isinf if inputs.ndim == 2 else lambda x: ~np.isfinite(x)
            if inputs.dtype.kind == "f" and bad(inputs).any():
                raise ValueError(
                    f"Data: {part}inputs has values without meaning, got an infinity, or a NaN "
                    "in an image; expected finite numbers, or NaN for what a table lacks"
                )
            if targets.dtype.kind == "f" and not np.isfinite(targets).all():
                raise ValueError(
                    f"Data: {part}targets is not finite, got NaN or an infinity; expected numbers"
                )

    @property
    def is_table(self) -> bool:
        """Tell rows of a table from images."""
        return self.inputs.ndim == 2


@dataclass(frozen=True)
class Problem:
    """The kind of a problem and what follows from it.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    outputs : int
        Width of the last layer.
    classes : tuple
        The values of the targets that are classes 0, 1, ...; empty otherwise.
    class_names : tuple of str
        Names of classes or labels; empty for regression.
    measure : str
        The measure of success that is used unless another is asked for.
    """

    kind: str
    outputs: int
    classes: tuple[Any, ...]
    class_names: tuple[str, ...]
    measure: str

    @property
    def is_regression(self) -> bool:
        """Tell numbers from classes and labels."""
        return self.kind.endswith("regression")

    @property
    def has_classes(self) -> bool:
        """Tell whether every example has one class out of several."""
        return bool(self.classes)

    def loss(self) -> Loss:
        """Return the loss to train with."""
        if self.has_classes:
            return CrossEntropyLoss()
        return MSELoss() if self.is_regression else BCEWithLogitsLoss()

    def encode(self, targets: Array) -> Array:
        """Return targets as scikit-learn takes them: classes from 0, labels as 0 and 1, numbers."""
        if self.has_classes:
            known = np.array(self.classes)
            places = np.minimum(np.searchsorted(known, targets), len(known) - 1)
            if not np.array_equal(known[places], targets):
                raise ValueError(
                    "Problem: targets has a class of the test only; expected those of the training"
                )
            return places.astype(np.int64)
        if self.kind == "multilabel":
            return targets.astype(np.int64)
        numbers = targets.astype(np.float64)
        return numbers.ravel() if self.kind == "scalar regression" else numbers

    def describe(self) -> dict[str, Any]:
        """Return the decisions as plain JSON values."""
        activation = {True: "softmax", False: "sigmoid"}[self.has_classes]
        return {
            "problem": self.kind,
            "last_layer": f"Linear with {self.outputs} outputs, "
            + ("no activation" if self.is_regression else activation),
            "loss": type(self.loss()).__name__,
            "default_measure": self.measure,
            "class_names": list(self.class_names),
        }


def define_problem(data: Data, kind: str | None = None) -> Problem:
    """Return the problem that the targets pose.

    Words, booleans and few distinct integers are classes; columns of 0 and 1 are labels; everything
    else is a number to predict. `kind` overrides that.

    Raises
    ------
    ValueError
        `kind` is unknown or the targets do not fit it.
    """
    targets = data.targets
    if kind is None:
        kind = _infer(targets)
    if kind not in KINDS:
        raise ValueError(
            f"define_problem: kind is unknown, got {kind!r}; expected one of {', '.join(KINDS)}"
        )
    columns = 1 if targets.ndim == 1 else targets.shape[1]
    if kind in ("binary", "multiclass"):
        classes, counts = np.unique(targets, return_counts=True)
        enough = len(classes) == 2 if kind == "binary" else len(classes) >= 2
        if columns != 1 or targets.ndim != 1 or not enough:
            raise ValueError(
                f"define_problem: kind does not fit the targets, got {kind!r} for "
                f"{len(classes)} distinct values in {targets.shape}; expected (N,) with "
                + ("2 classes" if kind == "binary" else "at least 2 classes")
            )
        named = len(data.class_names) == len(classes)
        names = data.class_names if named else [str(value) for value in classes]
        balanced = counts.max() <= _IMBALANCED * counts.min()
        measure = "accuracy" if balanced else "balanced_accuracy"
        return Problem(kind, len(classes), tuple(classes.tolist()), tuple(names), measure)
    if targets.dtype.kind not in "biuf":
        raise ValueError(f"define_problem: kind does not fit words, got {kind!r}; expected classes")
    if kind == "multilabel":
        if targets.ndim != 2 or not np.isin(targets, (0, 1)).all():
            raise ValueError(
                f"define_problem: kind does not fit the targets, got {kind!r} for "
                f"{targets.shape}; expected (N, K) of 0 and 1"
            )
        names = data.class_names or [f"label {index}" for index in range(columns)]
        return Problem(kind, columns, (), tuple(names), "f1")
    if (kind == "scalar regression") != (columns == 1):
        raise ValueError(
            f"define_problem: kind does not fit the targets, got {kind!r} for {targets.shape}; "
            "expected (N,) for scalar and (N, K) for vector regression"
        )
    return Problem(kind, columns, (), (), "mae")


def _infer(targets: Array) -> str:
    if targets.ndim == 2 and targets.shape[1] > 1:
        return "multilabel" if np.isin(targets, (0, 1)).all() else "vector regression"
    if targets.ndim == 1 and targets.dtype.kind != "f":
        distinct = len(np.unique(targets))
        if targets.dtype.kind not in "iu" or distinct <= min(_MAX_CLASSES, len(targets) / 2):
            return "binary" if distinct == 2 else "multiclass"
    return "scalar regression"


def data_sheet(problem: Problem, inputs: Array, targets: Array) -> dict[str, Any]:
    """Describe a part of the data: shapes, ranges, balance, and what is missing or repeated."""
    sheet: dict[str, Any] = {
        "examples": len(inputs),
        "shape": list(inputs.shape[1:]),
        "dtype": str(inputs.dtype),
        "range": [float(np.nanmin(inputs)), float(np.nanmax(inputs))],
        "missing_values": int(np.isnan(inputs).sum()) if inputs.dtype.kind == "f" else 0,
        "duplicates": len(inputs) - len(set(fingerprints(inputs))),
    }
    encoded = problem.encode(targets)
    if problem.is_regression:
        sheet["target_range"] = [float(encoded.min()), float(encoded.max())]
        return sheet
    if problem.has_classes:
        counts = np.bincount(encoded, minlength=problem.outputs)
    else:
        counts = encoded.sum(axis=0)
    return sheet | {"balance": dict(zip(problem.class_names, counts.tolist(), strict=True))}


def fingerprints(inputs: Array) -> list[bytes]:
    """Return the bytes of every example: equal examples have equal ones."""
    return [example.tobytes() for example in np.ascontiguousarray(inputs)]
