# SPDX-License-Identifier: BSD-3-Clause
"""What the docstrings of a public module are held to."""

import doctest
import importlib
import inspect
import re
from typing import Any

_SECTION = r"^(Parameters|Attributes|Returns|Yields|Raises|Notes)\n-+$"
_EXAMPLE = r"^Examples\n-+\n(.*\n)*?>>> "


def public_names(module: str) -> dict[str, Any]:
    """Return pyconv's own functions and classes among the public names of a module.

    `WeightCache` is documented in C++, where there are no examples.
    """
    loaded = importlib.import_module(module)
    values = {name: getattr(loaded, name) for name in loaded.__all__}
    return {
        name: value
        for name, value in values.items()
        if (inspect.isclass(value) or inspect.isroutine(value))
        and value.__module__.startswith("pyconv")
        and value.__module__ != "pyconv._core"
    }


def check_documentation(module: str) -> None:
    """Check that every public name has sections and an example, and that all examples run."""
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner(verbose=False)
    loaded, faults = importlib.import_module(module), []
    names = public_names(module)
    assert names
    for name, value in names.items():
        documentation = inspect.getdoc(value) or ""
        if not re.search(_SECTION, documentation, re.MULTILINE):
            faults.append(f"{name} has no section")
        if not re.search(_EXAMPLE, documentation, re.MULTILINE):
            faults.append(f"{name} has no example")
        # Where the name is defined other names may be at hand than where it is public.
        known = vars(importlib.import_module(value.__module__)) | vars(loaded)
        for example in finder.find(value, name, module=False, globs=known):
            runner.run(example)
    text = loaded.__doc__ or ""
    runner.run(doctest.DocTestParser().get_doctest(text, dict(vars(loaded)), module, None, None))
    assert not faults, faults
    assert runner.summarize(verbose=False).failed == 0
