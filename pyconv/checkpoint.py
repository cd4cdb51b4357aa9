# SPDX-License-Identifier: BSD-3-Clause
"""Checkpoints: all that the next epoch depends on, in one safetensors file.

Tensors are called ``model.*``, ``optimizer.*`` and ``best.*`` (the weights that early stopping would
go back to); the states of the random generators and the history are JSON in the metadata.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyconv.io import PathLike, load_safetensors, save_safetensors
from pyconv.layers.base import Layer
from pyconv.optim import Optimizer

__all__ = ["CheckpointError", "load_checkpoint", "save_checkpoint"]

_FORMAT = "pyconv checkpoint 1"

Row = dict[str, Any]


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, or belongs to another run."""


def save_checkpoint(
    path: PathLike,
    model: Layer,
    optimizer: Optimizer,
    rng: np.random.Generator,
    run: Mapping[str, str],
    history: Sequence[Row],
    best: Mapping[str, NDArray[Any]],
) -> None:
    """Write a checkpoint, atomically."""
    tensors = {
        f"{group}.{name}": array
        for group, state in (
            ("model", model.state_dict()),
            ("optimizer", optimizer.state_dict()),
            ("best", best),
        )
        for name, array in state.items()
    }
    states = {name: rng.bit_generator.state for name, rng in _generators(model, rng).items()}
    metadata = {
        "format": _FORMAT,
        "run": json.dumps(dict(run)),
        "history": json.dumps(history),
        # Some generators keep arrays in their state.
        "rng": json.dumps(states, default=np.ndarray.tolist),
    }
    save_safetensors(path, tensors, metadata)


def load_checkpoint(
    path: PathLike,
    model: Layer,
    optimizer: Optimizer,
    rng: np.random.Generator,
    run: Mapping[str, str],
) -> tuple[list[Row], dict[str, NDArray[Any]]]:
    """Put model, optimizer and generators into the state of a checkpoint.

    Returns
    -------
    history : list of dict
    best : dict of str to ndarray
        Empty if there is no best epoch.

    Raises
    ------
    CheckpointError
        The file is missing or damaged, no checkpoint, or of another run or model.
    """
    try:
        tensors, metadata = load_safetensors(path)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no checkpoint to resume from") from None
    except ValueError as error:
        raise CheckpointError(str(error)) from None
    if metadata.get("format") != _FORMAT:
        raise CheckpointError(f"{path}: not a checkpoint of this version of pyconv")
    groups: dict[str, dict[str, NDArray[Any]]] = {"model": {}, "optimizer": {}, "best": {}}
    try:
        for name, tensor in tensors.items():
            group, _, key = name.partition(".")
            groups[group][key] = tensor
        _check_run(json.loads(metadata["run"]), run)
        history: list[Row] = json.loads(metadata["history"])
        states = json.loads(metadata["rng"])
        generators = _generators(model, rng)
        if states.keys() != generators.keys():
            raise ValueError("it has other random generators than the model")
        model.load_state_dict(groups["model"])
        optimizer.load_state_dict(groups["optimizer"])
        for name, generator in generators.items():
            generator.bit_generator.state = states[name]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot resume from it ({error})") from None
    return history, groups["best"]


def _check_run(saved: Mapping[str, str], run: Mapping[str, str]) -> None:
    for key in sorted(saved.keys() | run.keys()):
        if saved.get(key) != run.get(key):
            raise ValueError(f"it was made with {key}={saved.get(key)}, not {run.get(key)}")


def _generators(model: Layer, rng: np.random.Generator) -> dict[str, np.random.Generator]:
    """Return the generator of the training loop and those of all layers that have one."""
    generators = {"": rng}
    for name, layer in model.named_layers():
        generator = getattr(layer, "rng", None)
        if isinstance(generator, np.random.Generator):
            generators[name or "model"] = generator
    return generators
