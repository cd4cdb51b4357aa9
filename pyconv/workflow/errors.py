# SPDX-License-Identifier: BSD-3-Clause
"""Mistakes that the user can put right, and the checks that find them before the training."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pyconv.optional import need


class UsageError(Exception):
    """Something the user can put right; the message is one line.

    Notes
    -----
    The command line prints the message and ends with status 2.

    Examples
    --------
    >>> raise UsageError("no such folder: runs")
    Traceback (most recent call last):
        ...
    pyconv.workflow.errors.UsageError: no such folder: runs
    """


@contextlib.contextmanager
def usage_errors() -> Iterator[None]:
    """Turn what can go wrong with files and missing packages into a UsageError.

    Raises
    ------
    UsageError
        Instead of an OSError, ValueError, ImportError or MemoryError.

    Examples
    --------
    >>> with usage_errors():
    ...     Path("nowhere").read_text()
    Traceback (most recent call last):
        ...
    pyconv.workflow.errors.UsageError: nowhere: No such file or directory
    """
    try:
        yield
    except (OSError, ValueError, ImportError, MemoryError) as error:
        reason = str(error) or type(error).__name__
        if isinstance(error, OSError) and error.strerror and error.filename:
            reason = f"{error.filename}: {error.strerror}"
        raise UsageError(" ".join(reason.split())) from error


def check_packages() -> None:
    """Fail before the training, not after it, if a package for the results is missing."""
    for module in ("matplotlib.figure", "safetensors.numpy", "sklearn.model_selection", "tqdm"):
        need(module, "training")


def check_writable(folder: Path) -> None:
    """Make the folder, and fail now if no file can be written there."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"{folder}: not writable ({error.strerror})") from None
