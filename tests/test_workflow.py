# SPDX-License-Identifier: BSD-3-Clause
"""The workflow in eight steps: whole runs on tiny data, stopped runs, the command line."""

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
from pyconv.workflow.inside import worst_mistakes
from pyconv.workflow.networks import train_network
from pyconv.workflow.problem import define_problem
from pyconv.workflow.protocol import shared_examples
from pyconv.workflow.steps import STEPS
from tables import bars, table

for package in ("matplotlib", "safetensors", "sklearn", "tqdm"):
    pytest.importorskip(package, reason=f"{package} is not installed")

FAST = Options(trials=2, epochs=6, batch_size=16, seed=3)
RESULTS = [
    "model.safetensors",
    "report.html",
    "report.json",
    "run.json",
    *[f"step-{number}.json" for number in range(1, 9)],
    "trials.jsonl",
]


def silent(line: str) -> None:
    del line


# Steps 5 to 8, in whole runs


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the results of a run on images."""
    out = tmp_path_factory.mktemp("bars")
    run_workflow(bars(), out, replace(FAST, protocol="kfold", folds=3), say=silent)
    return out


def test_a_run_on_images_writes_its_results(run: Path) -> None:
    # The gradients, filters and maps of the network, and its mistakes if it made any.
    pictures = json.loads((run / "step-8.json").read_text())["pictures"]
    assert set(pictures) - {"mistakes.png"} == {"activations.png", "filters.png", "gradients.png"}
    assert sorted(path.name for path in run.iterdir()) == sorted(RESULTS + pictures)
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
    drawn = json.loads((run / "step-8.json").read_text())["pictures"]
    # Folds, two learning curves, the confusion matrix, and those of the network.
    assert len(pictures) == 4 + len(drawn)
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
    assert final["pictures"] == ["gradients.png"]
    assert all(norm > 0 for norm in final["gradient_norms"].values())
    errors = [mistake["error"] for mistake in final["mistakes"]]
    assert errors == sorted(errors, reverse=True)
    assert all(m["target"] != m["predicted"] for m in final["mistakes"])


def test_the_worst_mistakes_are_those_that_were_surest() -> None:
    data = Data("", np.zeros((3, 1, 2, 2)), np.array([0, 1, 2]), ("a", "b", "c"))
    problem = define_problem(data, "multiclass")
    outputs = np.log([[0.1, 0.7, 0.2], [0.3, 0.6, 0.1], [0.9, 0.05, 0.05]])
    worst = worst_mistakes(problem, outputs, np.array([0, 1, 2]))
    assert [(m["example"], m["target"], m["predicted"]) for m in worst] == [
        (2, "c", "a"),
        (0, "a", "b"),
    ]
    assert [m["error"] for m in worst] == pytest.approx([0.9, 0.7])


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


def test_duplicates_in_the_test_set_are_a_warning(tmp_path: Path) -> None:
    data = bars()
    test = (data.inputs[:10].copy(), data.targets[:10])
    assert shared_examples(data.inputs, test[0]) == 10
    report = run_workflow(replace(data, test=test), tmp_path, FAST, say=silent)
    assert report["steps"]["3"]["duplicates_in_test"] == 10
    message = "10 test examples are in the training data too"
    assert message in report["steps"]["3"]["warnings"]
    assert message in (tmp_path / "report.html").read_text()


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
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gradients.png", *RESULTS]


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
