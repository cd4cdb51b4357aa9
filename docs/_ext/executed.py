# SPDX-License-Identifier: BSD-3-Clause
"""Runs the Python blocks of a Markdown page, and puts what they print below them.

All blocks of a page share one namespace and one temporary folder. What a block prints is shown as it is; if that
starts with ``|`` it is a Markdown table. A picture that a block writes as ``name.png`` is shown where the page says
``![...](pictures/name.png)``. Sphinx (`setup`) and tests/test_docs.py both run pages by `run`, so what is read
is what was tested.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import io
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Frameworks that a block may need and that need not be installed: it is then shown without being run.
HOSTS = {"autograd", "jax", "keras", "onnx", "torch"}

_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PICTURE = re.compile(r"!\[[^\]]*\]\(pictures/([\w.-]+)\)")


@dataclass
class Page:
    """A page that was run.

    Attributes
    ----------
    text : str
        The Markdown source with the outputs in it.
    pictures : dict of str to bytes
        The files that were written, by name.
    shown : set of str
        The pictures that the page refers to.
    blocks : int
        How many there are.
    missing : set of str
        What would have to be installed to run all blocks.
    """

    text: str
    pictures: dict[str, bytes]
    shown: set[str]
    blocks: int = 0
    missing: set[str] = field(default_factory=set)


def run(path: Path) -> Page:
    """Run the blocks of a Markdown file from top to bottom; what one raises is raised."""
    text = path.read_text()
    page = Page("", {}, set(_PICTURE.findall(text)))
    namespace: dict[str, Any] = {"__name__": "__main__"}
    parts, end = [], 0
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for block in _BLOCK.finditer(text):
            page.blocks += 1
            parts.append(text[end : block.end()])
            end = block.end()
            absent = _absent(block[1])
            if absent:
                page.missing |= absent
                continue
            # Empty lines before it, so that a traceback names the line of the page.
            code = "\n" * text.count("\n", 0, block.start(1)) + block[1]
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(code, str(path), "exec"), namespace)  # noqa: S102
            parts.append(_shown(printed.getvalue()))
        page.pictures = {file.name: file.read_bytes() for file in Path().glob("*.png")}
    page.text = "".join([*parts, text[end:]])
    return page


def _absent(code: str) -> set[str]:
    """Return the frameworks that a block imports, itself or through pyconv.backends, and that are not here."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module.partition(".")[0], node.module.rpartition(".")[2]}
            if node.module == "pyconv.backends":
                names |= {alias.name for alias in node.names}
    return {name for name in names & HOSTS if importlib.util.find_spec(name) is None}


def _shown(printed: str) -> str:
    printed = printed.rstrip("\n")
    if not printed:
        return ""
    if printed.startswith("|"):
        return f"\n\n{printed}\n"
    return f"\n\n```{{code-block}} text\n:class: output\n\n{printed}\n```\n"


def setup(app: Any) -> dict[str, bool]:
    """Make Sphinx run every page that it reads."""

    def read(app: Any, name: str, source: list[str]) -> None:
        path = Path(app.env.doc2path(name))
        if path.suffix == ".md" and _BLOCK.search(source[0]):
            page = run(path)
            source[0] = page.text
            folder = path.parent / "pictures"
            folder.mkdir(exist_ok=True)
            for picture, content in page.pictures.items():
                (folder / picture).write_bytes(content)

    app.connect("source-read", read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
