# SPDX-License-Identifier: BSD-3-Clause
"""Packages that only some functions need: imported when used, with a clear word if missing."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["need"]

_PACKAGES = {"PIL": "Pillow", "sklearn": "scikit-learn"}


def need(module: str, purpose: str, *, extra: str = "train") -> Any:
    """Import and return a module of an extra.

    Raises
    ------
    ImportError
        It is not installed; the message says what for and how to install it.
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
