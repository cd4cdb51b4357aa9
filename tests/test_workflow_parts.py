# SPDX-License-Identifier: BSD-3-Clause
"""The parts of the workflow: the problem, measures, folds, preprocessing, the network."""

import re
from typing import Any

import numpy as np
import pytest

from pyconv.workflow import Data
from pyconv.workflow.measures import choose_measure, wilson
from pyconv.workflow.networks import Settings, build_network
from pyconv.workflow.preparation import prepare
from pyconv.workflow.problem import data_sheet, define_problem
from pyconv.workflow.protocol import divide, make_folds
from tables import bars

metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")


# Step 1: the problem


@pytest.mark.parametrize(
    ("targets", "kind", "outputs", "loss"),
    [
        (np.array(["b", "a", "b"]), "binary", 2, "CrossEntropyLoss"),
        (np.array([True, False, True]), "binary", 2, "CrossEntropyLoss"),
        (np.array([0, 1, 0, 1]), "binary", 2, "CrossEntropyLoss"),
        (np.array([0, 1, 2, 2, 1, 0]), "multiclass", 3, "CrossEntropyLoss"),
        (np.array([[0, 1], [1, 1]]), "multilabel", 2, "BCEWithLogitsLoss"),
        (np.array([0.0, 1.0, 0.5]), "scalar regression", 1, "MSELoss"),
        (np.array([[0.5], [1.0]]), "scalar regression", 1, "MSELoss"),
        (np.arange(300), "scalar regression", 1, "MSELoss"),
        (np.array([[0.0, 0.5], [1.0, 1.0]]), "vector regression", 2, "MSELoss"),
    ],
)
def test_the_problem_follows_from_the_targets(
    targets: Any, kind: str, outputs: int, loss: str
) -> None:
    problem = define_problem(Data("x", np.zeros((len(targets), 2)), targets))
    assert (problem.kind, problem.outputs) == (kind, outputs)
    assert problem.describe()["loss"] == loss
    assert f"{outputs} outputs" in problem.describe()["last_layer"]


def test_the_problem_can_be_overridden() -> None:
    data = Data("x", np.zeros((6, 2)), np.array([0, 1, 2, 2, 1, 0]))
    assert define_problem(data, "scalar regression").outputs == 1
    for kind, message in (("binary", "expected (N,) with 2 classes"), ("best", "kind is unknown")):
        with pytest.raises(ValueError, match=re.escape(message)):
            define_problem(data, kind)


def test_classes_are_encoded_in_order() -> None:
    data = Data("x", np.zeros((4, 2)), np.array(["pear", "fig", "pear", "fig"]))
    problem = define_problem(data)
    assert problem.class_names == ("fig", "pear")
    np.testing.assert_array_equal(problem.encode(data.targets), [1, 0, 1, 0])
    with pytest.raises(ValueError, match="class of the test only"):
        problem.encode(np.array(["plum"]))


def test_rare_classes_ask_for_another_measure() -> None:
    targets = np.repeat([0, 1], [50, 4])
    assert define_problem(Data("x", np.zeros((54, 1)), targets)).measure == "balanced_accuracy"


def test_the_data_sheet_counts() -> None:
    rows = np.array([[1.0, np.nan], [1.0, np.nan], [-2.0, 3.0], [4.0, 5.0]])
    data = Data("x", rows, np.array([0, 1, 1, 1]))
    sheet = data_sheet(define_problem(data), data.inputs, data.targets)
    assert sheet["missing_values"] == 2
    assert sheet["duplicates"] == 1
    assert sheet["range"] == [-2, 5]
    assert sheet["balance"] == {"0": 1, "1": 3}


@pytest.mark.parametrize(
    ("inputs", "targets", "message"),
    [
        (np.zeros((3, 2, 2)), np.zeros(3), "inputs has the wrong shape, got (3, 2, 2)"),
        (np.zeros((3, 2)), np.zeros(4), "targets has the wrong shape, got (4,)"),
        (np.full((3, 2), np.inf), np.zeros(3), "inputs has values without meaning"),
        (np.full((3, 1, 2, 2), np.nan), np.zeros(3), "inputs has values without meaning"),
        (np.zeros((3, 2)), np.full(3, np.nan), "targets is not finite"),
    ],
)
def test_bad_data_are_named(inputs: Any, targets: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Data("x", inputs, targets)


# Step 2: measures


def test_measures_are_those_of_sklearn() -> None:
    rng = np.random.default_rng(2)
    targets = rng.integers(0, 4, 60)
    problem = define_problem(Data("x", np.zeros((60, 1)), targets))
    logits = rng.standard_normal((60, 4))
    answers = logits.argmax(axis=1)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = {
        "accuracy": metrics.accuracy_score(targets, answers),
        "balanced_accuracy": metrics.balanced_accuracy_score(targets, answers),
        "precision": metrics.precision_score(targets, answers, average="macro"),
        "recall": metrics.recall_score(targets, answers, average="macro"),
        "f1": metrics.f1_score(targets, answers, average="macro"),
        "roc_auc": metrics.roc_auc_score(targets, shares, multi_class="ovr"),
        "top_k": metrics.top_k_accuracy_score(targets, shares, k=3),
        "neg_log_loss": -metrics.log_loss(targets, shares),
    }
    for name, value in expected.items():
        measure = choose_measure(name, problem)
        assert measure.of_outputs(problem, logits, targets) == pytest.approx(value)


@pytest.mark.parametrize("labels", [2, 3])
def test_measures_of_labels(labels: int) -> None:
    rng = np.random.default_rng(3)
    targets = rng.integers(0, 2, (50, labels))
    problem = define_problem(Data("x", np.zeros((50, 1)), targets))
    logits = rng.standard_normal((50, labels))
    for name, value in (
        ("f1", metrics.f1_score(targets, logits > 0, average="macro")),
        ("roc_auc", metrics.roc_auc_score(targets, logits)),
    ):
        measure = choose_measure(name, problem)
        assert measure.of_outputs(problem, logits, targets) == pytest.approx(value)


def test_measures_of_binary_problems_look_at_the_second_class() -> None:
    rng = np.random.default_rng(4)
    targets, logits = rng.integers(0, 2, 50), rng.standard_normal((50, 2))
    problem = define_problem(Data("x", np.zeros((50, 1)), targets))
    difference = logits[:, 1] - logits[:, 0]
    for name, value in (
        ("roc_auc", metrics.roc_auc_score(targets, difference)),
        ("precision", metrics.precision_score(targets, difference > 0)),
    ):
        measure = choose_measure(name, problem)
        assert measure.of_outputs(problem, logits, targets) == pytest.approx(value)


def test_errors_are_better_when_smaller() -> None:
    problem = define_problem(Data("x", np.zeros((3, 1)), np.array([0.0, 1.0, 2.5])))
    outputs, targets = np.array([[0.0], [3.0], [2.5]]), np.array([0.0, 1.0, 2.5])
    mae, r2 = choose_measure("mae", problem), choose_measure("r2", problem)
    assert mae.of_outputs(problem, outputs, targets) == pytest.approx(2 / 3)
    rmse = choose_measure("rmse", problem).of_outputs(problem, outputs, targets)
    assert rmse == pytest.approx((4 / 3) ** 0.5)
    assert mae.better(1.0, 2.0)
    assert not r2.better(1.0, 2.0)
    assert mae.better(1.0, None)
    assert not mae.better(None, 1.0)
    for name in ("accuracy", "luck"):
        with pytest.raises(ValueError, match="expected one of mae, rmse, r2"):
            choose_measure(name, problem)


def test_wilson_inverts_the_test_of_a_share() -> None:
    for successes, trials in ((0, 10), (7, 10), (10, 10), (990, 1000)):
        low, high = wilson(successes, trials)
        share = successes / trials
        assert 0 <= low <= share <= high <= 1
        for bound in (low, high):
            if 0 < bound < 1:
                distance = abs(share - bound) / (bound * (1 - bound) / trials) ** 0.5
                assert distance == pytest.approx(1.96, abs=1e-4)


def test_bootstrap_covers_the_mean() -> None:
    rng = np.random.default_rng(5)
    targets = rng.standard_normal(400)
    problem = define_problem(Data("x", np.zeros((400, 1)), targets))
    measure = choose_measure("mae", problem)
    result = measure.interval(problem, np.zeros((400, 1)), targets, rng)
    half = 1.96 * np.abs(targets).std() / 20  # the normal approximation
    low, high = result["interval"]
    assert result["method"] == "bootstrap"
    assert low == pytest.approx(np.abs(targets).mean() - half, abs=0.01)
    assert high == pytest.approx(np.abs(targets).mean() + half, abs=0.01)


# Step 3: the protocol


@pytest.mark.parametrize(
    ("protocol", "count"), [("holdout", 1), ("kfold", 4), ("iterated-kfold", 12)]
)
def test_folds_are_divisions(protocol: str, count: int) -> None:
    targets = np.repeat([0, 1], [30, 10])
    problem = define_problem(Data("x", np.zeros((40, 1)), targets))
    rng = np.random.default_rng(6)
    folds = make_folds(protocol, targets, problem, folds=4, repeats=3, validation=0.25, rng=rng)
    assert len(folds) == count
    for train, validation in folds:
        np.testing.assert_array_equal(np.sort([*train, *validation]), np.arange(40))
        assert len(validation) == 10
        assert abs(targets[validation].sum() - 2.5) <= 0.5  # stratified
    if protocol != "holdout":
        for start in range(0, count, 4):
            parts = [validation for _, validation in folds[start : start + 4]]
            np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(40))
    if protocol == "iterated-kfold":
        assert not np.array_equal(folds[0][1], folds[4][1])


def test_divide_copes_with_a_class_of_one() -> None:
    targets = np.array([0] * 9 + [1])
    problem = define_problem(Data("x", np.zeros((10, 1)), targets))
    rest, part = divide(targets, 0.3, problem, np.random.default_rng(0))
    assert (len(rest), len(part)) == (7, 3)
    with pytest.raises(ValueError, match="fraction leaves a part empty"):
        divide(targets, 0.01, problem, np.random.default_rng(0))


# Step 4: preprocessing


def test_preprocessing_learns_from_the_training_part_alone() -> None:
    rows = np.array([[1.0, 10.0], [3.0, np.nan], [np.nan, 20.0], [8.0, 60.0]])
    targets = np.array([1.0, 2.0, 3.0, 6.0])
    problem = define_problem(Data("x", rows, targets))
    preparation = prepare(problem, rows, targets)
    images = preparation.images(rows)
    assert images.shape == (4, 4, 1, 1)  # two columns, and where each of them has gaps
    np.testing.assert_allclose(images.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(images.std(axis=0), 1, atol=1e-6)
    other = preparation.images(np.array([[np.nan, 1000.0]]))
    assert preparation.describe()["medians"] == [3, 20]
    filled = np.array([3.0, 1000.0, 1.0, 0.0])
    scales = np.array(preparation.describe()["scales"])
    means = np.array(preparation.describe()["means"])
    np.testing.assert_allclose(other.ravel(), (filled - means) / scales, rtol=1e-6)
    scaled = preparation.dataset(rows, targets).labels
    np.testing.assert_allclose(preparation.outputs(scaled).ravel(), targets, rtol=1e-6)


def test_images_reach_models_from_0_to_1() -> None:
    data = bars()
    preparation = prepare(define_problem(data), data.inputs, data.targets)
    assert preparation.images(data.inputs) is data.inputs  # uint8, divided in the loop
    rows = preparation.rows(data.inputs)
    np.testing.assert_allclose(rows, data.inputs.reshape(120, -1) / 255, rtol=1e-6)


# The network


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 9), (2, 8, 8), (4, 3, 3)])
def test_networks_fit_every_shape(shape: tuple[int, int, int]) -> None:
    problem = define_problem(bars())
    model = build_network(problem, shape, Settings(0.25), np.random.default_rng(0))
    assert model(np.zeros((2, *shape), np.float32)).shape == (2, 3)
