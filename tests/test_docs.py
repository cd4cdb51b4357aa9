# SPDX-License-Identifier: BSD-3-Clause
"""What is written for users runs: every Python block of every page, and the example of every public name."""

import doctest
import importlib
import importlib.util
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import executed

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
RUN = [page for page in PAGES if "```python" in page.read_text()]

# Public modules, and what a module needs to be imported.
MODULES: dict[str, str | None] = {
    "pyconv": None,
    **dict.fromkeys(
        [
            f"pyconv.{name}"
            for name in (
                "checkpoint cli data functional init inspection io layers losses models optim optional "
                "progress runtime training workflow backends.cs231n"
            ).split()
        ]
    ),
    "pyconv.backends.autograd": "autograd",
    "pyconv.backends.jax": "jax",
    "pyconv.backends.keras": "keras",
    "pyconv.backends.onnx": "onnx",
    "pyconv.backends.sklearn": "sklearn",
    "pyconv.backends.torch": "torch",
}
SECTIONS = r"^(Parameters|Attributes|Returns|Yields|Raises|Methods|Notes|See Also)\n-+$"


# Pages -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", RUN, ids=lambda path: path.name)
def test_blocks_of_a_page_run_and_draw_what_it_shows(path: Path) -> None:
    page = executed.run(path)
    assert page.shown == set(page.pictures)
    assert all(picture.startswith(b"\x89PNG") for picture in page.pictures.values())
    if page.missing:
        pytest.skip(f"not installed, so some blocks did not run: {', '.join(sorted(page.missing))}")


def test_pages_are_seen_by_these_tests() -> None:
    assert {"README.md", "backends.md", "workflow.md", "gallery.md"} <= {p.name for p in RUN}


def test_a_block_that_fails_names_its_line(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Title\n\n```python\nx = 1\n```\n\n```python\nassert x == 2\n```\n")
    with pytest.raises(AssertionError) as raised:
        executed.run(page)
    assert raised.traceback[-1].lineno == 7  # counted from 0


def test_outputs_and_pictures_of_a_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```python\nfrom pathlib import Path\n\nn = Path('a.png').write_bytes(b'1')\nprint('n', n)\n```\n"
        "![a](pictures/a.png)\n```python\nprint('| n |')\n```\nThe end.\n"
        "```python\nfrom pyconv.backends import torch\n```\n"
    )
    result = executed.run(page)
    assert result.blocks == 3
    assert result.pictures == {"a.png": b"1"}
    assert result.shown == {"a.png"}
    assert "```\n\n```{code-block} text\n:class: output\n\nn 1\n```\n" in result.text
    assert "\n\n| n |\n" in result.text
    assert result.missing == ({"torch"} if importlib.util.find_spec("torch") is None else set())


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_between_files_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\((?!https?:|#|pictures/)([^)#\s]+)", path.read_text()):
        assert (path.parent / link).exists(), link


# Docstrings --------------------------------------------------------------------------------------


def public_names(module: str) -> list[tuple[str, Any]]:
    """Return the functions and classes of a module that no module before it in MODULES has."""
    loaded = importlib.import_module(module)
    return [
        (name, value)
        for name in loaded.__all__
        if (inspect.isclass(value := getattr(loaded, name)) or inspect.isroutine(value))
    ]


@pytest.mark.parametrize("module", MODULES)
def test_public_names_are_documented_with_an_example_that_runs(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = MODULES[module]
    if needed == "keras":
        pytest.skip("tests/test_backend_keras.py runs its examples, on the NumPy backend of keras")
    if needed is not None:
        pytest.importorskip(needed, reason=f"{needed} is not installed")
    monkeypatch.chdir(tmp_path)  # examples may write files
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner(verbose=False)
    names = public_names(module)
    assert names
    faults = []
    for name, value in names:
        documentation = inspect.getdoc(value) or ""
        if not re.search(SECTIONS, documentation, re.MULTILINE):
            faults.append(f"{name}: no section")
        if not re.search(r"^Examples\n-+\n(.*\n)*?>>> ", documentation, re.MULTILINE):
            faults.append(f"{name}: no example")
        loaded = importlib.import_module(value.__module__) if hasattr(value, "__module__") else None
        for example in finder.find(value, name, module=False, globs=dict(vars(loaded or {}))):
            runner.run(example)
    assert faults == []
    assert runner.summarize(verbose=False).failed == 0


def test_public_modules_are_all_there() -> None:
    """Those that have a list of public names, one file or folder each."""
    package = Path(inspect.getfile(importlib.import_module("pyconv"))).parent
    found = {"pyconv"}
    for folder in ("", "backends"):
        for path in (package / folder).iterdir():
            source = path / "__init__.py" if path.is_dir() else path
            if source.suffix == ".py" and source.exists() and "__all__" in source.read_text():
                found.add(".".join(filter(None, ["pyconv", folder, path.stem])))
    assert found - {"pyconv.__init__"} == set(MODULES)
