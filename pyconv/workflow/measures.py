# SPDX-License-Identifier: BSD-3-Clause
"""Step 2, the measure of success: scikit-learn's scorers, on networks and on its own models alike.

References
----------
Wilson: Probable Inference, the Law of Succession, and Statistical Inference. Journal of the
American Statistical Association 22 (158), 1927. Efron, Tibshirani: An Introduction to the
Bootstrap, 1993, chapter 13 (percentile intervals).
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pyconv.optional import need
from pyconv.workflow.problem import Problem

Array: TypeAlias = NDArray[Any]

_Z_95 = 1.959963984540054  # the 97.5 % quantile of the normal distribution
_RESAMPLES = 1000

CLASS_MEASURES = ("accuracy", "balanced_accuracy", "precision", "recall", "f1", "roc_auc", "top_k")
LABEL_MEASURES = ("accuracy", "precision", "recall", "f1", "roc_auc")
NUMBER_MEASURES = ("mae", "rmse", "r2")

_SKLEARN_NAMES = {"mae": "neg_mean_absolute_error", "rmse": "neg_root_mean_squared_error"}


@dataclass(frozen=True)
class Measure:
    """A measure of success.

    Attributes
    ----------
    name : str
    scorer : callable
        scikit-learn's ``scorer(estimator, inputs, targets)``; greater is better.
    sign : int
        -1 for errors: what is shown is ``sign * scorer(...)``.
    """

    name: str
    scorer: Any
    sign: int

    def of(self, estimator: Any, inputs: Array, targets: Array) -> float:
        """Return the value for a fitted model of scikit-learn."""
        value = float(self.scorer(estimator, inputs, targets))
        if not math.isfinite(value):
            raise ValueError(
                f"Measure: {self.name} is undefined, got {value} for {len(targets)} examples; "
                "expected every class among them"
            )
        return self.sign * value

    def of_outputs(self, problem: Problem, outputs: Array, targets: Array) -> float:
        """Return the value for the outputs of a network, encoded targets beside them."""
        return self.of(_answers(problem, outputs), np.arange(len(targets)), targets)

    def better(self, value: float | None, other: float | None) -> bool:
        """Tell whether a value beats another; None is that of a training that failed."""
        if value is None or other is None:
            return value is not None
        return self.sign * value > self.sign * other

    def interval(
        self, problem: Problem, outputs: Array, targets: Array, rng: np.random.Generator
    ) -> dict[str, Any]:
        """Return the 95 % confidence interval of the value: Wilson's for accuracy, else bootstrap."""
        answers, rows = _answers(problem, outputs), np.arange(len(targets))
        if self.name == "accuracy":
            right = round(self.of(answers, rows, targets) * len(targets))
            return {"method": "Wilson", "level": 0.95, "interval": wilson(right, len(targets))}
        values = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a resample may lack a class; it is then left out
            for _ in range(_RESAMPLES):
                sample = rng.integers(len(targets), size=len(targets))
                try:
                    values.append(self.of(answers, sample, targets[sample]))
                except ValueError:
                    continue
        if not values:
            return {"method": "bootstrap", "level": 0.95, "interval": None}
        low, high = np.quantile(values, (0.025, 0.975))
        return {"method": "bootstrap", "level": 0.95, "interval": [float(low), float(high)]}


def choose_measure(name: str, problem: Problem) -> Measure:
    """Return the measure of that name: one of this module, or any scorer of scikit-learn.

    Raises
    ------
    ValueError
        There is none, or it does not fit the problem.
    """
    metrics = need("sklearn.metrics", "measuring success")
    own: tuple[str, ...] = CLASS_MEASURES if problem.has_classes else LABEL_MEASURES
    if problem.is_regression:
        own = NUMBER_MEASURES
    if name not in own:
        others = {*CLASS_MEASURES, *NUMBER_MEASURES}
        if name in others or name not in metrics.get_scorer_names():
            raise ValueError(
                f"choose_measure: name does not fit {problem.kind}, got {name!r}; expected one of "
                f"{', '.join(own)}, or a scorer of scikit-learn"
            )
        return Measure(name, metrics.get_scorer(name), 1)
    if name in ("precision", "recall", "f1"):
        average = "binary" if problem.kind == "binary" else "macro"
        function = getattr(metrics, f"{name}_score")
        return Measure(name, metrics.make_scorer(function, average=average, zero_division=0), 1)
    if name == "roc_auc":
        scorer = "roc_auc_ovr" if problem.kind == "multiclass" else "roc_auc"
        return Measure(name, metrics.get_scorer(scorer), 1)
    if name == "top_k":
        scorer = metrics.make_scorer(
            metrics.top_k_accuracy_score,
            response_method="predict_proba",
            k=min(5, problem.outputs - 1),
            labels=np.arange(problem.outputs),
        )
        return Measure(name, scorer, 1)
    sign = -1 if name in _SKLEARN_NAMES else 1
    return Measure(name, metrics.get_scorer(_SKLEARN_NAMES.get(name, name)), sign)


def training_measure(problem: Problem) -> Measure:
    """Return what "near perfect" is told by: 1 is perfect."""
    return choose_measure("r2" if problem.is_regression else "accuracy", problem)


def wilson(successes: int, trials: int) -> list[float]:
    """Return Wilson's 95 % interval for a probability.

    Notes
    -----
    With p the observed share, n the trials and z = 1.96: the p' for which
    ``abs(p - p') = z * sqrt(p' * (1 - p') / n)``.

    Examples
    --------
    >>> [round(bound, 4) for bound in wilson(90, 100)]
    [0.8256, 0.9448]
    """
    share, spread = successes / trials, _Z_95**2 / trials
    middle = share + spread / 2
    reach = _Z_95 * math.sqrt(share * (1 - share) / trials + spread / (4 * trials))
    low, high = (middle - reach) / (1 + spread), (middle + reach) / (1 + spread)
    # At the ends the bounds are 0 and 1 exactly, but for rounding.
    return [0.0 if successes == 0 else low, 1.0 if successes == trials else high]


def probabilities(problem: Problem, outputs: Array) -> Array:
    """Return the probability of every class or label for the outputs of a network."""
    values = outputs.astype(np.float64)
    if not problem.has_classes:
        return 0.5 * (1 + np.tanh(values / 2))
    odds = np.exp(values - values.max(axis=1, keepdims=True))
    shares: Array = odds / odds.sum(axis=1, keepdims=True)
    return shares


def predictions(problem: Problem, outputs: Array) -> Array:
    """Return the answers in the encoding of the targets."""
    if problem.has_classes:
        classes: Array = outputs.argmax(axis=1)
        return classes
    if problem.kind == "multilabel":
        return (outputs > 0).astype(np.int64)
    return outputs.ravel() if problem.kind == "scalar regression" else outputs


class _Answers:
    """Looks like a fitted model whose inputs are row numbers and whose answers are known."""

    def __init__(self, answers: Array) -> None:
        self.answers = answers

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def predict(self, rows: Array) -> Array:
        return self.answers[rows]


class _ClassAnswers(_Answers):
    """The same with a probability for every class or label."""

    def __init__(self, answers: Array, shares: Array, classes: Any) -> None:
        super().__init__(answers)
        self.shares, self.classes_ = shares, classes

    def predict_proba(self, rows: Array) -> Array:
        return self.shares[rows]


def _answers(problem: Problem, outputs: Array) -> Any:
    """Return the outputs of a network as a model that scikit-learn's scorers take."""
    base = need("sklearn.base", "measuring success")
    answers = predictions(problem, outputs)
    # The base classes can be named only here, as scikit-learn is imported where it is used.
    if problem.is_regression:
        return type("Answers", (base.RegressorMixin, _Answers, base.BaseEstimator), {})(answers)
    bases = (base.ClassifierMixin, _ClassAnswers, base.BaseEstimator)
    classes: Any = np.arange(problem.outputs)
    if not problem.has_classes:
        classes = [np.arange(2)] * problem.outputs
    return type("Answers", bases, {})(answers, probabilities(problem, outputs), classes)
