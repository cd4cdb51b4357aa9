# SPDX-License-Identifier: BSD-3-Clause
"""How Sphinx builds the site: ``sphinx-build -W -j 1 docs build/docs``."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import executed
import pyconv
import pyconv.backends.sklearn  # before torch is mocked, which scikit-learn would take for the real one

project = "pyconv"
author = "the pyconv developers"
copyright = author
version = release = pyconv.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "numpydoc",
    "executed",
    "mathml",
]
exclude_patterns = ["_ext", "_build"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
highlight_language = "none"  # of blocks that name no language

html_theme = "furo"
html_title = "pyconv"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["pyconv.css"]
html_show_sphinx = False
html_copy_source = False

default_role = (
    "py:obj"  # a name in single backticks, as docstrings have them, is a link where it can be
)
autodoc_typehints = "none"  # the sections of the docstrings say more
autodoc_member_order = "bysource"
# The reference of a backend can be read without its framework.
autodoc_mock_imports = [
    name for name in sorted(executed.HOSTS) if not importlib.util.find_spec(name)
]
numpydoc_show_class_members = False


def _plain_titles(
    app: object, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Make sections of a module's docstring bold lines: as sections they would be targets of one name."""
    if what == "module":
        for i, line in enumerate(lines[1:], 1):
            if line and set(line) == {"-"}:
                lines[i - 1 : i + 1] = [f"**{lines[i - 1]}**", ""]


def setup(app: Any) -> None:
    """Connect the above, before numpydoc."""
    app.connect("autodoc-process-docstring", _plain_titles, priority=100)
