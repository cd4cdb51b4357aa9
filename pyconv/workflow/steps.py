# SPDX-License-Identifier: BSD-3-Clause
"""The eight steps. Each is a function of the run, and of the results of the steps before it.

The steps follow Chollet: Deep Learning with Python, 2nd edition, 2021, chapter 6.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pyconv.data import Dataset
from pyconv.io import atomic_write, save_model
from pyconv.models import LeNetBN
from pyconv.optional import need
from pyconv.training import predict
from pyconv.workflow.baselines import MAX_ROWS, score_baselines
from pyconv.workflow.classifier import MODEL_FILE, Classifier, save_classifier
from pyconv.workflow.inside import look_inside
from pyconv.workflow.measures import Measure, predictions, training_measure
from pyconv.workflow.networks import Settings, search_space, train_network
from pyconv.workflow.preparation import Preparation, prepare
from pyconv.workflow.problem import data_sheet, fingerprints
from pyconv.workflow.protocol import shared_examples
from pyconv.workflow.state import State

TRIALS_FILE = "trials.jsonl"

# Accuracy, or R^2: numbers are learned by heart digit by digit, classes at once.
_OVERFIT = {"accuracy": 0.99, "r2": 0.95}
# Of more examples as many are drawn: a wide network could take hours to learn them all by heart.
_OVERFIT_EXAMPLES = 10_000
_OVERFIT_WIDTHS = (1.0, 2.0, 4.0, 8.0)

Array: TypeAlias = NDArray[Any]
Result: TypeAlias = dict[str, Any]


def step_1_problem(state: State) -> Result:
    """Say what is to be predicted, and describe the data that are not for the test."""
    decisions = state.problem.describe()
    state.say(f"  {decisions['problem']}: {decisions['last_layer']}; {decisions['loss']}")
    return decisions | {
        "data": data_sheet(state.problem, state.inputs, state.raw_targets),
        "test_examples": len(state.test_inputs),
    }


def step_2_measure(state: State) -> Result:
    """Fix by what networks are compared, before there are any."""
    state.say(f"  {state.measure.name}")
    better = "greater" if state.measure.sign > 0 else "smaller"
    return {"measure": state.measure.name, "better": better}


def step_3_protocol(state: State) -> Result:
    """Describe the division, and warn of examples that are on both sides of it."""
    shared = [
        shared_examples(state.inputs[train], state.inputs[validation])
        for train, validation in state.folds
    ]
    in_test = shared_examples(state.inputs, state.test_inputs)
    warnings = []
    if in_test:
        warnings.append(f"{in_test} test examples are in the training data too")
    if any(shared):
        warnings.append(f"{max(shared)} validation examples of a fold are in its training part too")
    for warning in warnings:
        state.say(f"  warning: {warning}")
    return {
        "protocol": state.options.protocol,
        "folds": [[len(train), len(validation)] for train, validation in state.folds],
        "test_examples": len(state.test_inputs),
        "duplicates_in_test": in_test,
        "duplicates_in_validation": shared,
        "warnings": warnings,
    }


def step_4_preprocessing(state: State) -> Result:
    """Describe what is learned from the training part of the first fold."""
    return _prepare(state, 0).describe()


def step_5_baselines(state: State) -> Result:
    """Score a constant answer and a linear model on every fold."""
    rng = state.rng(5)
    rows: dict[str, list[float]] = {}
    for fold, (train, validation) in enumerate(state.folds):
        scores = score_baselines(
            state.problem,
            state.measure,
            _prepare(state, fold),
            (state.inputs[train], state.targets[train]),
            (state.inputs[validation], state.targets[validation]),
            rng,
        )
        for name, score in scores.items():
            rows.setdefault(name, []).append(score)
    means = {name: float(np.mean(scores)) for name, scores in rows.items()}
    for name, score in means.items():
        state.say(f"  {name}: {state.measure.name} {score:.4f}")
    return {"most_rows": MAX_ROWS, "fold_scores": rows, "scores": means}


def step_6_overfit(state: State) -> Result:
    """Widen the network until it knows the training part by heart.

    Every attempt doubles the width, and the epochs too if the loss was still falling.
    """
    measure = training_measure(state.problem)
    wanted = _OVERFIT[measure.name]
    train, validation = state.folds[0]
    if len(train) > _OVERFIT_EXAMPLES:
        train = state.rng(6, 1).choice(train, _OVERFIT_EXAMPLES, replace=False)
    preparation = prepare(state.problem, state.inputs[train], state.targets[train])
    attempts: list[Result] = []
    length = 2.0
    for width in _OVERFIT_WIDTHS:
        settings = Settings(width, length=length)
        model, curve = _train(state, preparation, train, validation, settings, state.rng(6))
        score = _score(state, measure, model, preparation, train)
        attempts.append({"width": width, "length": length, "training_score": score})
        state.say(f"  width {width:g}: training {measure.name} {_text(score)}")
        reached = score is not None and score >= wanted
        if reached or _contradictions(state, train):
            break
        length = 2 * length if _still_falling(curve) else length
    return {
        "measure": measure.name,
        "wanted": wanted,
        "examples": len(train),
        "reached": reached,
        "width": width,
        "attempts": attempts,
        "curve": curve,
        "diagnosis": None if reached else _diagnose(state, train, curve),
    }


def step_7_tune(state: State) -> Result:
    """Search at random for the settings with the best score on the validation parts."""
    options, measure, width = state.options, state.measure, state.results[6]["width"]
    drawn = need("sklearn.model_selection", "drawing settings").ParameterSampler(
        search_space(width, images=not state.data.is_table),
        options.trials - 1,
        random_state=int(state.rng(7).integers(2**32)),
    )
    # What regularises must beat the network that overfits. Trials that an interrupted run has
    # finished are not done again.
    candidates = [Settings(width), *(Settings(**choice) for choice in drawn)]
    trials = state.read_lines(TRIALS_FILE)
    for number, settings in enumerate(candidates[len(trials) :], len(trials)):
        scores, curves = [], []
        for fold, (train, validation) in enumerate(state.folds):
            preparation, rng = _prepare(state, fold), state.rng(7, number, fold)
            # The report shows the learning curve of the first fold alone.
            watched = validation if fold == 0 else None
            model, curve = _train(state, preparation, train, watched, settings, rng)
            scores.append(_score(state, measure, model, preparation, validation))
            curves.append(curve)
        known = [score for score in scores if score is not None]
        mean = float(np.mean(known)) if len(known) == len(scores) else None
        trials.append(
            {
                "trial": number,
                "settings": asdict(settings),
                "fold_scores": scores,
                "score": mean,
                "curve": curves[0],
            }
        )
        lines = "".join(json.dumps(trial, allow_nan=False) + "\n" for trial in trials)
        atomic_write(state.out / TRIALS_FILE, lines.encode())
        state.say(f"  trial {number + 1}/{options.trials}: {measure.name} {_text(mean)}")
    best = trials[0]
    for trial in trials[1:]:
        if measure.better(trial["score"], best["score"]):
            best = trial
    if best["score"] is None:
        raise ValueError("run_workflow: all trials diverged, got no score; expected scaled inputs")
    return {
        "trials": [{k: v for k, v in trial.items() if k != "curve"} for trial in trials],
        "best": best,
        "beats": _beaten(state, best["score"], state.results[5]["scores"]),
    }


def step_8_final(state: State) -> Result:
    """Train on all but the test set with the chosen settings, and look at the test set, once."""
    problem, measure, rng = state.problem, state.measure, state.rng(8)
    settings = Settings(**state.results[7]["best"]["settings"])
    preparation = prepare(problem, state.inputs, state.targets)
    model, _ = _train(state, preparation, np.arange(len(state.inputs)), None, settings, rng)
    if model is None:
        raise ValueError("run_workflow: the final training diverged, got no network; expected one")
    test_targets = state.test_targets
    outputs = preparation.outputs(predict(model, preparation.images(state.test_inputs)))
    score = measure.of_outputs(problem, outputs, test_targets)
    baselines = score_baselines(
        problem,
        measure,
        preparation,
        (state.inputs, state.targets),
        (state.test_inputs, test_targets),
        rng,
    )
    confusion = None
    if problem.has_classes:
        counts = np.zeros((problem.outputs, problem.outputs), np.int64)
        np.add.at(counts, (test_targets, predictions(problem, outputs)), 1)
        confusion = counts.tolist()
    _save(state, model)
    return {
        "trained_on": len(state.inputs),
        "test_examples": len(test_targets),
        "score": score,
        "confidence": measure.interval(problem, outputs, test_targets, rng),
        "baselines": baselines,
        "beats": _beaten(state, score, baselines),
        "confusion_matrix": confusion,
        "parameters": sum(parameter.value.size for parameter in model.parameters()),
        "architecture": type(model).__name__,
        "config": model.config,
        **look_inside(state, model, preparation, outputs),
    }


STEPS: dict[int, tuple[str, Callable[[State], Result]]] = {
    1: ("problem", step_1_problem),
    2: ("measure of success", step_2_measure),
    3: ("evaluation protocol", step_3_protocol),
    4: ("preprocessing", step_4_preprocessing),
    5: ("baselines", step_5_baselines),
    6: ("overfit on purpose", step_6_overfit),
    7: ("regularise and tune", step_7_tune),
    8: ("final model", step_8_final),
}


def _prepare(state: State, fold: int) -> Preparation:
    """Learn the preprocessing from the training part of a fold."""
    train, _ = state.folds[fold]
    return prepare(state.problem, state.inputs[train], state.targets[train])


def _train(
    state: State,
    preparation: Preparation,
    rows: Array,
    validation: Array | None,
    settings: Settings,
    rng: np.random.Generator,
) -> tuple[LeNetBN | None, list[Result]]:
    """Train on some rows; return the network, None if the loss was lost, and its curve."""

    def part(chosen: Array) -> Dataset:
        return preparation.dataset(state.inputs[chosen], state.targets[chosen])

    options = state.options
    try:
        return train_network(
            state.problem,
            part(rows),
            None if validation is None else part(validation),
            settings,
            epochs=max(1, round(options.epochs * settings.length)),
            batch_size=options.batch_size,
            rng=rng,
        )
    except FloatingPointError:
        return None, []


def _score(
    state: State, measure: Measure, model: LeNetBN | None, preparation: Preparation, rows: Array
) -> float | None:
    """Return the value of a measure on some rows; None for a training that was lost."""
    if model is None:
        return None
    outputs = preparation.outputs(predict(model, preparation.images(state.inputs[rows])))
    return measure.of_outputs(state.problem, outputs, state.targets[rows])


def _diagnose(state: State, rows: Array, curve: list[Result]) -> str:
    """Say what keeps the network from learning these rows by heart."""
    if not curve:
        return "the loss became infinite or NaN: the inputs are not scaled, or lr is too high"
    contradictions = _contradictions(state, rows)
    if contradictions:
        return f"{contradictions} equal inputs have different targets, which nothing can learn"
    first, last = curve[0]["train_loss"], curve[-1]["train_loss"]
    if last > 0.9 * first:
        return "the loss hardly fell: the inputs do not tell the targets, or lr does not fit"
    if _still_falling(curve):
        return "the loss was still falling: train for more epochs"
    return "the loss stopped falling: the network is too small or too simple for the data"


def _contradictions(state: State, rows: Array) -> int:
    """Count the targets beyond the first of inputs that are the same."""
    known, answers = fingerprints(state.inputs[rows]), fingerprints(state.targets[rows])
    return len(set(zip(known, answers, strict=True))) - len(set(known))


def _still_falling(curve: list[Result]) -> bool:
    """Tell whether the second half of a training was of use."""
    if not curve:
        return False
    return bool(curve[-1]["train_loss"] < 0.9 * curve[(len(curve) - 1) // 2]["train_loss"])


def _beaten(state: State, score: float, baselines: Mapping[str, float]) -> dict[str, bool]:
    return {name: state.measure.better(score, value) for name, value in baselines.items()}


def _save(state: State, model: LeNetBN) -> None:
    path = state.out / MODEL_FILE
    if state.problem.has_classes and not state.data.is_table:
        save_classifier(Classifier(model, state.problem.class_names), path)
    else:
        about = {"architecture": type(model).__name__, "config": json.dumps(model.config)}
        save_model(model, path, about | {"problem": state.problem.kind})


def _text(score: float | None) -> str:
    return "diverged" if score is None else f"{score:.4f}"
