# SPDX-License-Identifier: BSD-3-Clause
"""The workflow in eight steps: each step by itself, whole runs on tiny data, and stopped runs."""

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyconv import cli
from pyconv.workflow import Data, Options, WorkflowInterrupted, load_classifier, run_workflow
from pyconv.workflow.measures import choose_measure, wilson
from pyconv.workflow.networks import Settings, build_network, train_network
from pyconv.workflow.preparation import prepare
from pyconv.workflow.problem import data_sheet, define_problem
from pyconv.workflow.protocol import divide, make_folds, shared_examples
from pyconv.workflow.steps import STEPS

for package in ("matplotlib", "safetensors", "sklearn", "tqdm"):
    pytest.importorskip(package, reason=f"{package} is not installed")
metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")

FAST = Options(trials=2, epochs=6, batch_size=16, seed=3)
RESULTS = [
    "model.safetensors",
    "report.html",
    "report.json",
    "run.json",
    *[f"step-{number}.json" for number in range(1, 9)],
    "trials.jsonl",
]


def bars(count: int = 120) -> Data:
    """Return images of 8 x 8 pixels with a bright row, whose place is the class."""
    rng = np.random.default_rng(0)
    classes = np.arange(count) % 3
    images = rng.integers(0, 60, (count, 1, 8, 8)).astype(np.uint8)
    images[np.arange(count), 0, 1 + 2 * classes] += 180
    return Data("bars", images, classes, ("top", "middle", "bottom"))


def table(kind: str, count: int = 120) -> Data:
    """Return a table with gaps whose targets follow from two columns."""
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((count, 4)) * [1, 10, 100, 1] + [0, 5, 0, 7]
    first, second = rows[:, 0], rows[:, 2] / 100
    targets = {
        "binary": np.where(first + second > 0, "yes", "no"),
        "multilabel": np.stack([first > 0, second > 0], axis=1).astype(int),
        "scalar regression": 100 + 20 * first - 5 * second,
        "vector regression": np.stack([first, 1000 * second], axis=1),
    }[kind]
    rows[rng.random(rows.shape) < 0.05] = np.nan
    return Data(kind, rows, targets)


def silent(line: str) -> None:
    del line


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


def test_duplicates_in_the_test_set_are_a_warning(tmp_path: Path) -> None:
    data = bars()
    test = (data.inputs[:10].copy(), data.targets[:10])
    assert shared_examples(data.inputs, test[0]) == 10
    report = run_workflow(replace(data, test=test), tmp_path, FAST, say=silent)
    assert report["steps"]["3"]["duplicates_in_test"] == 10
    message = "10 test examples are in the training data too"
    assert message in report["steps"]["3"]["warnings"]
    assert message in (tmp_path / "report.html").read_text()


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


# Steps 5 to 8, in whole runs


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the results of a run on images."""
    out = tmp_path_factory.mktemp("bars")
    run_workflow(bars(), out, replace(FAST, protocol="kfold", folds=3), say=silent)
    return out


def test_a_run_on_images_writes_its_results(run: Path) -> None:
    assert sorted(path.name for path in run.iterdir()) == RESULTS
    report = json.loads((run / "report.json").read_text())
    steps = report["steps"]
    assert steps["1"]["problem"] == "multiclass"
    assert steps["2"]["measure"] == "accuracy"
    assert steps["3"]["folds"] == [[64, 32]] * 3
    assert steps["5"]["scores"]["majority class"] == pytest.approx(1 / 3, abs=0.05)
    assert steps["5"]["scores"]["linear model"] > 0.9
    assert steps["6"]["reached"]
    assert len(steps["6"]["curve"]) == 12
    assert steps["8"]["score"] > 0.9
    assert steps["8"]["beats"]["majority class"]
    assert steps["8"]["confidence"]["method"] == "Wilson"
    assert np.sum(steps["8"]["confusion_matrix"]) == 24
    assert np.trace(steps["8"]["confusion_matrix"]) / 24 == steps["8"]["score"]
    for number in range(1, 9):
        assert json.loads((run / f"step-{number}.json").read_text()) == steps[str(number)]


def test_every_trial_is_logged_and_the_best_is_chosen(run: Path) -> None:
    trials = [json.loads(line) for line in (run / "trials.jsonl").read_text().splitlines()]
    assert [trial["trial"] for trial in trials] == [0, 1]
    assert trials[0]["settings"]["dropout"] == trials[0]["settings"]["weight_decay"] == 0
    assert trials[0]["settings"] != trials[1]["settings"]
    for trial in trials:
        assert len(trial["fold_scores"]) == 3
        assert trial["score"] == pytest.approx(np.mean(trial["fold_scores"]))
    best = json.loads((run / "step-7.json").read_text())["best"]
    assert best["score"] == max(trial["score"] for trial in trials)


def test_the_model_classifies_pictures(run: Path) -> None:
    classifier = load_classifier(run / "model.safetensors")
    assert classifier.class_names == ("top", "middle", "bottom")
    data = bars()
    answers = classifier.probabilities(data.inputs).argmax(axis=1)
    assert np.mean(answers == data.targets) > 0.9


def test_the_page_holds_its_pictures(run: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    page = (run / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!data:)', page)
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert len(pictures) == 4  # folds, two learning curves, the confusion matrix
    for code in pictures:
        with image.open(io.BytesIO(base64.b64decode(code))) as picture:
            assert picture.format == "PNG"
            assert len(picture.convert("RGB").getcolors(2**24)) > 20


@pytest.mark.parametrize("kind", ["binary", "multilabel", "scalar regression", "vector regression"])
def test_tables_with_gaps(kind: str, tmp_path: Path) -> None:
    report = run_workflow(table(kind), tmp_path, replace(FAST, epochs=40), say=silent)
    steps, final = report["steps"], report["steps"]["8"]
    assert steps["1"]["problem"] == kind
    assert steps["1"]["data"]["missing_values"] > 0
    assert steps["4"]["columns_with_indicator"] == [0, 1, 2, 3]
    constant = next(name for name in final["baselines"] if name != "linear model")
    assert final["beats"][constant]
    low, high = final["confidence"]["interval"]
    assert low <= final["score"] <= high
    assert (final["confusion_matrix"] is not None) == (kind == "binary")


def test_another_measure_decides(tmp_path: Path) -> None:
    options = replace(FAST, measure="neg_median_absolute_error")
    report = run_workflow(table("scalar regression"), tmp_path, options, say=silent)
    trials = report["steps"]["7"]["trials"]
    assert report["steps"]["7"]["best"]["score"] == max(trial["score"] for trial in trials)
    assert report["steps"]["8"]["score"] < 0


def test_contradictions_are_diagnosed(tmp_path: Path) -> None:
    data = bars(60)
    twice = Data(
        "twice",
        np.concatenate([data.inputs, data.inputs]),
        np.concatenate([data.targets, (data.targets + 1) % 3]),
    )
    report = run_workflow(twice, tmp_path, replace(FAST, epochs=2, trials=1), say=silent)
    assert not report["steps"]["6"]["reached"]
    assert len(report["steps"]["6"]["attempts"]) == 1
    assert "equal inputs have different targets" in report["steps"]["6"]["diagnosis"]
    assert "could not overfit" in (tmp_path / "report.html").read_text()


def test_a_loss_that_falls_gets_more_epochs(tmp_path: Path) -> None:
    options = replace(FAST, epochs=1, trials=1, batch_size=64)
    report = run_workflow(table("scalar regression"), tmp_path, options, say=silent)
    overfit = report["steps"]["6"]
    assert [attempt["width"] for attempt in overfit["attempts"]] == [1, 2, 4, 8]
    lengths = [attempt["length"] for attempt in overfit["attempts"]]
    assert lengths[0] == 2
    assert lengths[-1] > 2
    assert len(overfit["curve"]) == lengths[-1]
    assert overfit["reached"] or overfit["diagnosis"]


# Stopping and resuming


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the results of an undisturbed run on a table."""
    out = tmp_path_factory.mktemp("whole")
    run_workflow(table("binary"), out, FAST, say=silent)
    return out


@pytest.mark.parametrize("number", range(1, 9))
def test_a_run_stopped_at_any_step_resumes_to_the_same_report(
    number: int, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(state: Any) -> dict[str, Any]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setitem(STEPS, number, (STEPS[number][0], stop))
        with pytest.raises(WorkflowInterrupted, match=f"step {number}"):
            run_workflow(table("binary"), tmp_path, FAST, say=silent)
    assert not (tmp_path / f"step-{number}.json").exists()
    lines: list[str] = []
    run_workflow(table("binary"), tmp_path, FAST, resume=True, say=lines.append)
    assert sum("done before" in line for line in lines) == number - 1
    for name in ("report.json", "report.html", "model.safetensors", "trials.jsonl"):
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes(), name


def test_finished_trials_are_not_done_again(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def stop_at_third(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == attempts + 2:  # those of step 6, one trial, and the next
            raise KeyboardInterrupt
        return train_network(*arguments, **options)

    attempts = len(json.loads((whole / "step-6.json").read_text())["attempts"])
    monkeypatch.setattr("pyconv.workflow.steps.train_network", stop_at_third)
    with pytest.raises(WorkflowInterrupted, match="step 7"):
        run_workflow(table("binary"), tmp_path, FAST, say=silent)
    calls.clear()
    attempts = 100
    run_workflow(table("binary"), tmp_path, FAST, resume=True, say=silent)
    assert len(calls) == 2  # the second trial and the final model
    assert (tmp_path / "report.json").read_bytes() == (whole / "report.json").read_bytes()


def test_only_the_same_run_is_resumed(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no run to resume"):
        run_workflow(table("binary"), tmp_path, FAST, resume=True, say=silent)
    with pytest.raises(ValueError, match="made with seed=3, not 4"):
        run_workflow(table("binary"), whole, replace(FAST, seed=4), resume=True, say=silent)
    with pytest.raises(ValueError, match="made with data="):
        run_workflow(table("binary", 110), whole, FAST, resume=True, say=silent)


@pytest.mark.parametrize("name", ["run.json", "step-3.json", "trials.jsonl"])
def test_damaged_files_are_named(name: str, whole: Path, tmp_path: Path) -> None:
    for path in whole.iterdir():
        if path.name != "step-7.json":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / name).write_text("{")
    with pytest.raises(ValueError, match=f"{name}: damaged"):
        run_workflow(table("binary"), tmp_path, FAST, resume=True, say=silent)


# The command line


def test_the_command_runs_all_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "diabetes", "--full", "--out", str(tmp_path), "--epochs", "2"]
    assert cli.main([*command, "--trials", "1", "--measure", "rmse"]) == 0
    output = capsys.readouterr()
    assert output.out.startswith("test rmse ")
    assert "step 8, final model" in output.err
    assert sorted(path.name for path in tmp_path.iterdir()) == RESULTS


def test_an_interrupted_command_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(state: Any) -> dict[str, Any]:
        raise KeyboardInterrupt

    monkeypatch.setitem(STEPS, 2, ("measure", stop))
    command = ["train", "diabetes", "--full", "--out", str(tmp_path)]
    assert cli.main(command) == 130
    line = capsys.readouterr().err.splitlines()[-1]
    again = f"pyconv train diabetes --full --out {tmp_path} --resume"
    assert line == f"pyconv: interrupted in step 2; continue with: {again}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["diabetes"], "has no short form; add --full"),
        (["digits", "--trials", "3"], "--trials is an option of the eight steps"),
        (["diabetes", "--full", "--measure", "accuracy"], "name does not fit scalar regression"),
        (["diabetes", "--full", "--problem", "multilabel"], "kind does not fit the targets"),
        (["diabetes", "--full", "--protocol", "kfold", "--folds", "1"], "folds is out of range"),
        (["diabetes", "--full", "--resume"], "no run to resume"),
    ],
)
def test_bad_usage_is_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["train", *arguments, "--out", str(tmp_path / "out")]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert message in output.err
