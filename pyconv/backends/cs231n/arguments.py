# SPDX-License-Identifier: BSD-3-Clause
"""The forms of the course's arguments: arrays of any type, and dictionaries of options."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import numpy as np

from pyconv.functional._arguments import Array, integer

Cache = tuple[Any, ...]
Options = MutableMapping[str, Any]


def common(*values: Any) -> list[Array]:
    """Return the values as arrays of their common type, float32 at least."""
    arrays = [np.asarray(value) for value in values]
    dtype = np.result_type(np.float32, *arrays)
    return [array.astype(dtype, copy=False) for array in arrays]


def size_of(function: str, argument: str, options: Options, name: str) -> int:
    """Return an integer entry of an options dictionary."""
    if name not in options:
        raise ValueError(
            f"{function}: {argument} is incomplete, got {sorted(options)}; expected an entry {name!r}"
        )
    return integer(function, f"{argument}[{name!r}]", options[name])


def is_training(function: str, argument: str, options: Options) -> bool:
    """Tell whether the mode is "train" or "test"."""
    mode = options.get("mode")
    if mode not in ("train", "test"):
        raise ValueError(
            f"{function}: {argument}['mode'] is unknown, got {mode!r}; expected 'train' or 'test'"
        )
    return bool(mode == "train")
