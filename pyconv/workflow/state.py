# SPDX-License-Identifier: BSD-3-Clause
"""What all steps of a run share: data, decisions, and the folder of results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pyconv.workflow.measures import choose_measure
from pyconv.workflow.problem import Data, define_problem
from pyconv.workflow.protocol import divide, make_folds

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class Options:
    """What a run is asked to do; everything that its results depend on beside the data.

    Attributes
    ----------
    problem : str, optional
        One of `problem.KINDS`; by default it follows from the targets.
    measure : str, optional
        A name that `measures.choose_measure` knows; by default it follows from the problem.
    protocol : str
        One of `protocol.PROTOCOLS`.
    folds, repeats : int
        Of ``"kfold"`` and ``"iterated-kfold"``.
    trials : int
        Settings that are tried in step 7; the first are those that overfit.
    epochs, batch_size : int
        Of every training; overfitting on purpose takes at least twice the epochs, and shorter trainings
        are among the settings that are tried.
    test, validation : float
        Share of all data that is put aside for the test, unless it comes with the data, and
        share of the rest that is held out by ``"holdout"``.
    seed : int

    Examples
    --------
    >>> Options(protocol="kfold", trials=5).folds
    5
    >>> Options(trials=0)
    Traceback (most recent call last):
        ...
    ValueError: Options: trials is not positive, got 0; expected at least 1
    """

    problem: str | None = None
    measure: str | None = None
    protocol: str = "holdout"
    folds: int = 5
    repeats: int = 2
    trials: int = 10
    epochs: int = 20
    batch_size: int = 32
    test: float = 0.2
    validation: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("trials", "epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"Options: {name} is not positive, got {getattr(self, name)}; "
                    "expected at least 1"
                )
        for name in ("test", "validation"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(
                    f"Options: {name} is out of range, got {getattr(self, name)}; "
                    "expected between 0 and 1"
                )


class State:
    """A run: its data, divided, its decisions, and the results of the steps so far.

    Everything here but `results` follows from data and options, so a resumed run makes it anew.
    `inputs` and `targets` are the data without the test set.
    """

    def __init__(self, data: Data, options: Options, out: Path, say: Callable[[str], None]) -> None:
        self.data, self.options, self.out, self.say = data, options, out, say
        self.results: dict[int, dict[str, Any]] = {}
        self.problem = define_problem(data, options.problem)
        self.measure = choose_measure(options.measure or self.problem.measure, self.problem)
        targets = self.problem.encode(data.targets)
        if data.test is None:
            rest, test = divide(targets, options.test, self.problem, self.rng(3))
            self.inputs, self.raw_targets = data.inputs[rest], data.targets[rest]
            self.test_inputs, self.test_targets = data.inputs[test], targets[test]
            self.targets = targets[rest]
        else:
            self.inputs, self.raw_targets, self.targets = data.inputs, data.targets, targets
            self.test_inputs = data.test[0]
            self.test_targets = self.problem.encode(data.test[1])
        self.folds = make_folds(
            options.protocol,
            self.targets,
            self.problem,
            folds=options.folds,
            repeats=options.repeats,
            validation=options.validation,
            rng=self.rng(3, 1),
        )

    def rng(self, step: int, *part: int) -> np.random.Generator:
        """Return the generator of a step, or of a part of it: the same in every process."""
        return np.random.default_rng([self.options.seed, step, *part])

    def read_lines(self, name: str) -> list[dict[str, Any]]:
        """Return the rows of a JSON-lines file of the run; none if there is no such file."""
        path = self.out / name
        if not path.exists():
            return []
        try:
            return [dict(json.loads(line)) for line in path.read_text().splitlines()]
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: damaged ({error})") from None


def digest(data: Data) -> str:
    """Return a SHA-256 that tells one set of data from another."""
    arrays = [data.inputs, data.targets, *(data.test or ())]
    total = hashlib.sha256()
    for array in arrays:
        total.update(f"{array.dtype.str}{array.shape}".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()
