# SPDX-License-Identifier: BSD-3-Clause
"""Packages that only some functions need: imported when used, with a clear word if missing."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["need"]

_PACKAGES = {"PIL": "Pillow", "sklearn": "scikit-learn"}


def need(module: str, purpose: str, *, extra: str = "train") -> Any:
    """Import and return a module of an extra, such as ``train`` or ``torch``.

    Parameters
    ----------
    module : str
    purpose : str
        What for, at the start of the message.
    extra : str
        Which extra installs it.

    Returns
    -------
    module

    Raises
    ------
    ImportError
        It is not installed; the message says what for and how to install it.

    Examples
    --------
    >>> need("json", "an example").dumps([1])
    '[1]'
    >>> need("no_such_package", "an example")
    Traceback (most recent call last):
        ...
    ImportError: an example needs no_such_package, got no module named no_such_package; expected: python -m pip install 'pyconv-nn[train]'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        root = module.partition(".")[0]
        package = _PACKAGES.get(root, root)
        raise ImportError(
            f"{purpose} needs {package}, got no module named {error.name}; "
            f"expected: python -m pip install 'pyconv-nn[{extra}]'"
        ) from error
