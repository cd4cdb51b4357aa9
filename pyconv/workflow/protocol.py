# SPDX-License-Identifier: BSD-3-Clause
"""Step 3, the evaluation protocol: the test set is put aside, the rest is divided into folds."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pyconv.optional import need
from pyconv.workflow.problem import Problem, fingerprints

Array: TypeAlias = NDArray[Any]
Fold: TypeAlias = tuple[Array, Array]

PROTOCOLS = ("holdout", "kfold", "iterated-kfold")


def divide(targets: Array, fraction: float, problem: Problem, rng: np.random.Generator) -> Fold:
    """Return (rest, part) of the rows, with the same mix of classes if every class allows it."""
    selection = need("sklearn.model_selection", "dividing data")
    count = round(len(targets) * fraction)
    if not 0 < count < len(targets):
        raise ValueError(
            f"divide: fraction leaves a part empty, got {fraction} of {len(targets)}; "
            "expected a row in each part"
        )
    classes = problem.outputs if problem.has_classes else 0
    stratify = _can_stratify(targets, 2, problem) and classes <= min(count, len(targets) - count)
    rest, part = selection.train_test_split(
        np.arange(len(targets)),
        test_size=count,
        stratify=targets if stratify else None,
        random_state=int(rng.integers(2**32)),
    )
    return np.sort(rest), np.sort(part)


def make_folds(
    protocol: str,
    targets: Array,
    problem: Problem,
    *,
    folds: int,
    repeats: int,
    validation: float,
    rng: np.random.Generator,
) -> list[Fold]:
    """Return (training rows, validation rows) of every fold.

    Parameters
    ----------
    protocol : str
        ``"holdout"`` keeps one part for validation; ``"kfold"`` lets each of `folds` parts be that
        in turn; ``"iterated-kfold"`` does so `repeats` times, shuffled anew.
    targets : ndarray
        Encoded.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(
            f"make_folds: protocol is unknown, got {protocol!r}; "
            f"expected one of {', '.join(PROTOCOLS)}"
        )
    if protocol == "holdout":
        return [divide(targets, validation, problem, rng)]
    if not 2 <= folds <= len(targets) or repeats < 1:
        raise ValueError(
            f"make_folds: folds is out of range, got {folds} in {repeats} repeats; "
            f"expected 2 to {len(targets)} in at least 1"
        )
    selection = need("sklearn.model_selection", "dividing data")
    name = "RepeatedStratifiedKFold" if _can_stratify(targets, folds, problem) else "RepeatedKFold"
    splitter = getattr(selection, name)(
        n_splits=folds,
        n_repeats=repeats if protocol == "iterated-kfold" else 1,
        random_state=int(rng.integers(2**32)),
    )
    return list(splitter.split(np.zeros(len(targets)), targets))


def shared_examples(first: Array, second: Array) -> int:
    """Count the examples of `second` that are in `first` too, bit for bit."""
    known = set(fingerprints(first))
    return sum(example in known for example in fingerprints(second))


def _can_stratify(targets: Array, least: int, problem: Problem) -> bool:
    """Tell whether every class has at least `least` examples."""
    return problem.has_classes and bool(np.unique(targets, return_counts=True)[1].min() >= least)
