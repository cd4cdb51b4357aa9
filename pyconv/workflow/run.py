# SPDX-License-Identifier: BSD-3-Clause
"""The runner: eight steps, a file for each, and a report."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pyconv.io import write_json
from pyconv.workflow.errors import check_packages, check_writable
from pyconv.workflow.inside import PICTURES
from pyconv.workflow.problem import Data
from pyconv.workflow.report import make_report, write_html
from pyconv.workflow.state import Options, State, digest
from pyconv.workflow.steps import STEPS, TRIALS_FILE

RUN_FILE = "run.json"


class WorkflowInterrupted(KeyboardInterrupt):
    """Ctrl-C during a step; `step` is its number, and the steps before it are on the disk.

    Attributes
    ----------
    step : int

    Examples
    --------
    >>> WorkflowInterrupted(6).step
    6
    """

    def __init__(self, step: int) -> None:
        super().__init__(f"interrupted in step {step}")
        self.step = step


def run_workflow(
    data: Data,
    out: Path,
    options: Options | None = None,
    *,
    resume: bool = False,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Run the eight steps on `data` and write the results into the folder `out`.

    Every step writes ``step-N.json``; at the end there are ``report.json``, ``report.html``, which
    needs no other file, its pictures of the network and ``model.safetensors``. All random numbers of a step come from the seed
    and the number of the step, so a run that was stopped and resumed ends with the same numbers.

    Parameters
    ----------
    data : Data
    out : Path
    options : Options, optional
    resume : bool
        Go on at the first step whose file is missing. Otherwise earlier results are removed.
    say : callable
        Gets a line of text at every step and training.

    Returns
    -------
    dict
        What is written to ``report.json``.

    Raises
    ------
    ValueError
        Data and options do not fit together, or `out` holds no run with the same ones to resume.
    WorkflowInterrupted
        Ctrl-C; call again with ``resume=True``.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from pathlib import Path
    >>> from pyconv.workflow import Data, Options, run_workflow
    >>> rng = np.random.default_rng(0)
    >>> inputs = rng.standard_normal((60, 3))
    >>> data = Data("a line", inputs, inputs @ [1.0, 2.0, 3.0])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report = run_workflow(
    ...         data, Path(folder), Options(trials=1, epochs=5), say=lambda line: None
    ...     )
    >>> report["steps"]["1"]["problem"]
    'scalar regression'
    """
    check_packages()
    options = Options() if options is None else options
    state = State(data, options, out, say)
    check_writable(out)
    _open_folder(out, {"data": digest(data), "name": data.name, **asdict(options)}, resume)
    for number, (title, step) in STEPS.items():
        path = out / f"step-{number}.json"
        if path.exists():
            state.results[number] = _read(path)
            say(f"step {number}, {title}: done before")
            continue
        say(f"step {number}, {title}")
        try:
            state.results[number] = step(state)
        except KeyboardInterrupt:
            raise WorkflowInterrupted(number) from None
        write_json(path, state.results[number])
    report = make_report(state)
    write_html(report, out / "report.html")
    write_json(out / "report.json", report)
    return report


def _open_folder(out: Path, identity: dict[str, Any], resume: bool) -> None:
    """Check that the folder holds the run to resume, or make it ready for a new one."""
    path = out / RUN_FILE
    if resume:
        if not path.exists():
            raise ValueError(f"{path}: no such file, so there is no run to resume")
        made = _read(path)
        for name, value in identity.items():
            if made.get(name) != value:
                raise ValueError(
                    f"{path}: another run, it was made with {name}={made.get(name)}, not {value}"
                )
        return
    # The first file to go is the one without which nothing can be resumed.
    results = ["report.json", "report.html", TRIALS_FILE, *PICTURES]
    for name in [RUN_FILE, *[f"step-{number}.json" for number in STEPS], *results]:
        (out / name).unlink(missing_ok=True)
    write_json(path, identity)


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: damaged ({error})") from None
