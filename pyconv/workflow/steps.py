# SPDX-License-Identifier: BSD-3-Clause
"""The eight steps. Each is a function of the run, and of the results of the steps before it.

The steps follow Chollet: Deep Learning with Python, 2nd edition, 2021, chapter 6.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from pyconv.io import atomic_write, save_model
from pyconv.models import LeNetBN
from pyconv.optional import need
from pyconv.training import predict
from pyconv.workflow.baselines import score_baselines
from pyconv.workflow.classifier import MODEL_FILE, Classifier, save_classifier
from pyconv.workflow.measures import predictions, training_measure
from pyconv.workflow.networks import Settings, search_space, train_network
from pyconv.workflow.preparation import Preparation, prepare
from pyconv.workflow.problem import data_sheet, fingerprints
from pyconv.workflow.protocol import shared_examples
from pyconv.workflow.state import State

TRIALS_FILE = "trials.jsonl"

# Accuracy, or R^2: numbers are learned by heart digit by digit, classes at once.
_OVERFIT = {"accuracy": 0.99, "r2": 0.95}
_OVERFIT_WIDTHS = (1.0, 2.0, 4.0, 8.0)

Result = dict[str, Any]


def step_1_problem(state: State) -> Result:
    """Say what is to be predicted, and describe the data that are not for the test."""
    return state.problem.describe() | {
        "data": data_sheet(state.problem, state.inputs, state.raw_targets),
        "test_examples": len(state.test_inputs),
    }


def step_2_measure(state: State) -> Result:
    """Fix by what networks are compared, before there are any."""
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
    return {
        "fold_scores": rows,
        "scores": {name: float(np.mean(scores)) for name, scores in rows.items()},
    }


def step_6_overfit(state: State) -> Result:
    """Widen the network until it knows the training part by heart."""
    measure, options = training_measure(state.problem), state.options
    wanted = _OVERFIT[measure.name]
    attempts: list[Result] = []
    curve: list[Result] = []
    for width in _OVERFIT_WIDTHS:
        settings = Settings(width)
        score, curve = _train_fold(state, 0, settings, 2 * options.epochs, state.rng(6), True)
        attempts.append({"width": width, "training_score": score})
        state.say(f"  width {width:g}: training {measure.name} {_text(score)}")
        if score is not None and score >= wanted:
            break
    reached = score is not None and score >= wanted
    return {
        "measure": measure.name,
        "wanted": wanted,
        "reached": reached,
        "width": width,
        "attempts": attempts,
        "curve": curve,
        "diagnosis": None if reached else _diagnose(state, score, curve),
    }


def step_7_tune(state: State) -> Result:
    """Search at random for the settings with the best score on the validation parts."""
    options, measure = state.options, state.measure
    space = search_space(state.results[6]["width"], images=not state.data.is_table)
    drawn = need("sklearn.model_selection", "drawing settings").ParameterSampler(
        space, options.trials, random_state=int(state.rng(7).integers(2**32))
    )
    # Trials that an interrupted run has finished are not done again.
    trials = state.read_lines(TRIALS_FILE)
    for number, choice in enumerate(list(drawn)[len(trials) :], len(trials)):
        settings = Settings(**choice)
        scores, curves = [], []
        for fold in range(len(state.folds)):
            rng = state.rng(7, number, fold)
            score, curve = _train_fold(state, fold, settings, options.epochs, rng, False)
            scores.append(score)
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
    try:
        model, _ = train_network(
            problem,
            preparation.dataset(state.inputs, state.targets),
            None,
            settings,
            epochs=state.options.epochs,
            batch_size=state.options.batch_size,
            rng=rng,
        )
    except FloatingPointError as error:
        raise ValueError(f"run_workflow: the final training diverged ({error})") from None
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
    train, _ = state.folds[fold]
    return prepare(state.problem, state.inputs[train], state.targets[train])


def _train_fold(
    state: State,
    fold: int,
    settings: Settings,
    epochs: int,
    rng: np.random.Generator,
    overfit: bool,
) -> tuple[float | None, list[Result]]:
    """Train on one fold; return the score, None if the loss was lost, and the learning curve.

    The score is that of the training part with the training measure, or that of the validation
    part with the measure of success.
    """
    preparation = _prepare(state, fold)
    train, validation = (
        preparation.dataset(state.inputs[rows], state.targets[rows]) for rows in state.folds[fold]
    )
    try:
        model, curve = train_network(
            state.problem,
            train,
            # The other folds have no learning curve in the report.
            validation if fold == 0 else None,
            settings,
            epochs=epochs,
            batch_size=state.options.batch_size,
            rng=rng,
        )
    except FloatingPointError:
        return None, []
    rows = state.folds[fold][0 if overfit else 1]
    outputs = preparation.outputs(predict(model, (train if overfit else validation).images))
    measure = training_measure(state.problem) if overfit else state.measure
    return measure.of_outputs(state.problem, outputs, state.targets[rows]), curve


def _diagnose(state: State, score: float | None, curve: list[Result]) -> str:
    """Say what keeps the network from learning the training part by heart."""
    if score is None:
        return "the loss became infinite or NaN: the inputs are not scaled, or lr is too high"
    train, _ = state.folds[0]
    inputs, targets = state.inputs[train], state.targets[train]
    known = fingerprints(inputs)
    contradictions = len(set(zip(known, fingerprints(targets), strict=True))) - len(set(known))
    if contradictions:
        return f"{contradictions} equal inputs have different targets, which nothing can learn"
    first, last = curve[0]["train_loss"], curve[-1]["train_loss"]
    if last > 0.9 * first:
        return "the loss hardly fell: the inputs do not tell the targets, or lr does not fit"
    if last < 0.9 * curve[len(curve) // 2]["train_loss"]:
        return "the loss was still falling: train for more epochs"
    return "the loss stopped falling: the network is too small or too simple for the data"


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
