# SPDX-License-Identifier: BSD-3-Clause
"""What is written for users runs: every Python block of every page, and the example of every public name."""

import importlib
import importlib.util
import inspect
import re
import sys
import types
from contextlib import nullcontext
from pathlib import Path

import pytest

import executed
from documentation import check_documentation

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
RUN = [page for page in PAGES if "```python" in page.read_text()]

# Public modules, and what a module needs to be imported.
MODULES: dict[str, str | None] = {
    "pyconv": None,
    "pyconv.checkpoint": None,
    "pyconv.cli": None,
    "pyconv.data": None,
    "pyconv.functional": None,
    "pyconv.init": None,
    "pyconv.inspection": None,
    "pyconv.io": None,
    "pyconv.layers": None,
    "pyconv.losses": None,
    "pyconv.models": None,
    "pyconv.optim": None,
    "pyconv.optional": None,
    "pyconv.progress": None,
    "pyconv.runtime": None,
    "pyconv.training": None,
    "pyconv.workflow": None,
    "pyconv.backends.autograd": "autograd",
    "pyconv.backends.cs231n": None,
    "pyconv.backends.onnx": "onnx",
    "pyconv.backends.sklearn": "sklearn",
    "pyconv.backends.torch": "torch",
}


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


def test_links_of_the_readme_lead_somewhere() -> None:
    """Sphinx checks those of the other pages."""
    for link in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", (ROOT / "README.md").read_text()):
        assert (ROOT / link).exists(), link


# Docstrings --------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", MODULES)
def test_public_names_are_documented_with_an_example_that_runs(
    module: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    needed = MODULES[module]
    if needed is not None:
        pytest.importorskip(needed, reason=f"{needed} is not installed")
    if module == "pyconv.models":
        request.getfixturevalue("undrawn")
    monkeypatch.chdir(tmp_path)  # examples write files
    check_documentation(module)


def test_public_modules_are_all_there() -> None:
    """Those that have a list of public names, one file or folder each."""
    package = Path(inspect.getfile(importlib.import_module("pyconv"))).parent
    found = {"pyconv"}
    for folder in ("", "backends"):
        for path in (package / folder).iterdir():
            source = path / "__init__.py" if path.is_dir() else path
            if source.suffix == ".py" and source.exists() and "__all__" in source.read_text():
                found.add(".".join(filter(None, ["pyconv", folder, path.stem])))
    # The tests of these prepare the environment first.
    elsewhere = {"pyconv.backends.jax", "pyconv.backends.keras"}
    assert found - {"pyconv.__init__"} == set(MODULES) | elsewhere


def test_documentation_that_is_missing_or_wrong_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = "Double.\n\nReturns\n-------\nint\n\nExamples\n--------\n>>> double(2)\n4\n"
    wrong = right.replace("4", "5")
    no_example = right.replace("Examples\n--------\n", "")
    no_section = right.replace("Returns\n-------\n", "")
    for documentation in (right, wrong, no_example, no_section):
        module = types.ModuleType("pyconv.fake", "A module.")
        exec(f"def double(x):\n    '''{documentation}'''\n    return 2 * x\n", vars(module))  # noqa: S102
        module.__dict__["__all__"] = ["double"]
        monkeypatch.setitem(sys.modules, "pyconv.fake", module)
        with nullcontext() if documentation == right else pytest.raises(AssertionError):
            check_documentation("pyconv.fake")
