# SPDX-License-Identifier: BSD-3-Clause
"""The report of a run: report.json, and report.html, one file with its pictures inside.

Both follow from the results of the steps alone, and hold no times: equal runs have equal reports.
"""

from __future__ import annotations

import base64
import html
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import pyconv
from pyconv import inspection, runtime
from pyconv.io import atomic_write
from pyconv.optional import need
from pyconv.workflow.inside import PICTURES
from pyconv.workflow.pictures import draw_curve, draw_fold_scores
from pyconv.workflow.state import State

NETWORK = "network"

_MAX_MATRIX = 30  # classes; the picture of a larger matrix cannot be read

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #333; max-width: 62rem; margin: 2rem auto;
       padding: 0 1rem; }
h1 { margin-bottom: 0; } h2 { margin-top: 2.2rem; border-bottom: 1px solid #ddd; }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; } img { max-width: 100%; }
th, td { text-align: left; padding: .2rem .9rem .2rem 0; border-bottom: 1px solid #eee;
         vertical-align: top; }
.result { font-size: 1.4rem; } .warning { color: #b3400e; font-weight: 600; }
"""


def make_report(state: State) -> dict[str, Any]:
    """Return everything that is known after the last step, as plain JSON values."""
    sklearn = need("sklearn", "the report")
    return {
        "name": state.data.name,
        "options": asdict(state.options),
        "versions": {
            "pyconv": pyconv.__version__,
            "numpy": np.__version__,
            "scikit-learn": sklearn.__version__,
            "python": platform.python_version(),
            "isa": runtime.get_isa(),
        },
        "steps": {str(number): result for number, result in state.results.items()},
    }


def summary(report: Mapping[str, Any]) -> str:
    """Return the result in a few lines of text.

    Parameters
    ----------
    report : mapping
        As `run_workflow` returns it.

    Returns
    -------
    str

    Examples
    --------
    >>> steps = {
    ...     "2": {"measure": "accuracy"},
    ...     "3": {"warnings": []},
    ...     "6": {"reached": True},
    ...     "7": {"beats": {}},
    ...     "8": {
    ...         "score": 0.98,
    ...         "confidence": {"interval": [0.97, 0.99]},
    ...         "baselines": {"linear model": 0.96},
    ...         "beats": {"linear model": True},
    ...     },
    ... }
    >>> print(summary({"steps": steps}))
    test accuracy 0.9800 (0.9700 to 0.9900)
    baseline, linear model: 0.9600, beaten
    """
    steps = report["steps"]
    final, measure = steps["8"], steps["2"]["measure"]
    lines = [f"test {measure} {final['score']:.4f}{_interval(final['confidence'])}"]
    for name, score in final["baselines"].items():
        verdict = "beaten" if final["beats"][name] else "NOT beaten"
        lines.append(f"baseline, {name}: {score:.4f}, {verdict}")
    lines += [f"warning: {line}" for line in _warnings(steps)]
    return "\n".join(lines)


def write_html(report: Mapping[str, Any], path: Path) -> None:
    """Write the page, atomically; its pictures of the network lie in the same folder."""
    title = html.escape(f"{report['name']}: the workflow from data to network")
    body = "\n".join(_sections(report, path.parent))
    page = (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n{body}\n</body>\n</html>\n"
    )
    atomic_write(path, page.encode())


def _sections(report: Mapping[str, Any], folder: Path) -> Iterable[str]:
    steps = report["steps"]
    problem, measure, protocol, final = (steps[number] for number in ("1", "2", "3", "8"))
    name, best, baselines = measure["measure"], steps["7"]["best"], steps["5"]
    yield f'<p class="result">{html.escape(summary(report).splitlines()[0])}</p>'
    yield from (f'<p class="warning">{html.escape(line)}</p>' for line in _warnings(steps))

    yield "<h2>1 Problem</h2>"
    yield _table({key: problem[key] for key in ("problem", "last_layer", "loss")})
    yield _table(problem["data"])
    yield "<h2>2 Measure of success</h2>"
    yield _table(measure)
    yield "<h2>3 Evaluation protocol</h2>"
    folds = "; ".join(f"{train} + {validation}" for train, validation in protocol["folds"])
    yield _table(
        {
            "protocol": protocol["protocol"],
            "training + validation examples": folds,
            "test examples, put aside": protocol["test_examples"],
            "test examples seen in training": protocol["duplicates_in_test"],
        }
    )
    yield "<h2>4 Preprocessing</h2>"
    yield "<p>Learned from the training part alone; here, that of the first fold.</p>"
    yield _table(steps["4"])

    yield "<h2>5 Baselines</h2>"
    scores = {**baselines["fold_scores"], NETWORK: best["fold_scores"]}
    yield _picture(draw_fold_scores(scores, name, network=NETWORK), "Scores of all folds")
    yield (
        f"<p>Baselines learn from at most {baselines['most_rows']} examples. The network is that of "
        "step 7: the best of several, so its score flatters.</p>"
    )
    yield "<h2>6 Overfit on purpose</h2>"
    overfit = steps["6"]
    if overfit["reached"]:
        yield (
            f"<p>A network of width {overfit['width']:g} learned "
            f"{overfit['examples']} training examples by heart.</p>"
        )
    else:
        yield f'<p class="warning">{html.escape(overfit["diagnosis"])}</p>'
    yield _rows(overfit["attempts"])
    if overfit["curve"]:
        yield _picture(
            draw_curve(overfit["curve"], title="overfitting on purpose"), "Learning curve"
        )

    yield "<h2>7 Regularise and tune</h2>"
    yield _picture(draw_curve(best["curve"], title="the best settings"), "Learning curve")
    yield "<p>Mean score on the validation parts of every trial:</p>"
    trials = steps["7"]["trials"]
    yield _rows([{"trial": t["trial"], name: _number(t["score"]), **t["settings"]} for t in trials])

    yield "<h2>8 Final model</h2>"
    rows = [{"model": NETWORK, f"test {name}": _number(final["score"]), "beaten": ""}]
    for baseline, score in final["baselines"].items():
        verdict = "yes" if final["beats"][baseline] else "no"
        rows.append({"model": baseline, f"test {name}": _number(score), "beaten": verdict})
    yield _rows(rows)
    confidence = final["confidence"]
    yield f"<p>95 % confidence interval{_interval(confidence)}, {confidence['method']}.</p>"
    if final["confusion_matrix"] and len(final["confusion_matrix"]) <= _MAX_MATRIX:
        matrix = np.array(final["confusion_matrix"])
        yield _picture(
            inspection.draw_confusion_matrix(matrix, problem["class_names"], title="test set"),
            "Confusion matrix",
        )
    if final["mistakes"] and "mistakes.png" not in final["pictures"]:
        yield "<p>The largest errors:</p>"
        yield _rows(final["mistakes"])
    for file in final["pictures"]:
        yield f"<h3>{PICTURES[file]}</h3>"
        yield _picture((folder / file).read_bytes(), PICTURES[file])
    yield _table({key: final[key] for key in ("architecture", "config", "parameters")})
    yield "<h2>Settings and versions</h2>"
    yield _table(report["options"])
    yield _table(report["versions"])


def _warnings(steps: Mapping[str, Any]) -> list[str]:
    lines = list(steps["3"]["warnings"])
    if not steps["6"]["reached"]:
        lines.append(f"could not overfit: {steps['6']['diagnosis']}")
    for where, beats in (("validation", steps["7"]["beats"]), ("test", steps["8"]["beats"])):
        lines += [f"{name} not beaten in {where}" for name, beaten in beats.items() if not beaten]
    return lines


def _interval(confidence: Mapping[str, Any]) -> str:
    if confidence["interval"] is None:
        return " (no confidence interval: too few examples)"
    low, high = confidence["interval"]
    return f" ({low:.4f} to {high:.4f})"


def _number(value: float | None) -> str:
    return "diverged" if value is None else f"{value:.4f}"


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_text(part)}" for key, part in value.items())
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if value is None:
        return "-"
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _table(values: Mapping[str, Any]) -> str:
    cells = (
        f"<tr><th>{html.escape(key.replace('_', ' '))}</th><td>{html.escape(_text(value))}</td></tr>"
        for key, value in values.items()
    )
    return f"<table>{''.join(cells)}</table>"


def _rows(rows: list[dict[str, Any]]) -> str:
    head = "".join(f"<th>{html.escape(key.replace('_', ' '))}</th>" for key in rows[0])
    lines = (
        "<tr>"
        + "".join(f"<td>{html.escape(_text(value))}</td>" for value in row.values())
        + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def _picture(png: bytes, description: str) -> str:
    code = base64.b64encode(png).decode()
    return f'<p><img alt="{description}" src="data:image/png;base64,{code}"></p>'
