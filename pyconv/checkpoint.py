# SPDX-License-Identifier: BSD-3-Clause
"""Checkpoints: all that the next epoch depends on, in one safetensors file.

A run has parts with a state each: the model, the optimizer, and what else has one. Their tensors are
called ``<part>.*``; the states of the random generators and the history are JSON in the metadata.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pyconv.io import PathLike, load_safetensors, save_safetensors
from pyconv.layers.base import Layer

__all__ = ["CheckpointError", "Stateful", "generators_of", "load_checkpoint", "save_checkpoint"]

_FORMAT = "pyconv checkpoint 2"

Generators = Mapping[str, np.random.Generator]


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, or belongs to another run.

    Notes
    -----
    A ValueError, so whoever reads files can treat all damaged ones alike.

    Examples
    --------
    >>> issubclass(CheckpointError, ValueError)
    True
    """


class Stateful(Protocol):
    """What a part of a run has to do.

    Notes
    -----
    Models, optimizers and schedules have these two methods.

    Examples
    --------
    >>> from pyconv import Linear
    >>> part: Stateful = Linear(3, 2)
    >>> sorted(part.state_dict())
    ['bias', 'weight']
    """

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Return a copy of the state, as arrays."""

    def load_state_dict(self, state: Mapping[str, NDArray[Any]], /) -> None:
        """Take over a state that `state_dict` returned; ValueError or TypeError if it cannot."""


def save_checkpoint(
    path: PathLike,
    parts: Mapping[str, Stateful],
    generators: Generators,
    run: Mapping[str, str],
    history: Mapping[str, Any],
) -> None:
    """Write a checkpoint, atomically.

    Parameters
    ----------
    path : path-like
    parts : mapping of str to Stateful
        Names without a dot.
    generators : mapping of str to numpy.random.Generator
    run : mapping of str to str
        What a run that resumes must have in common with this one.
    history : mapping
        Any JSON value.

    Examples
    --------
    >>> from pyconv import Linear
    >>> model, rng = Linear(3, 2), np.random.default_rng(0)
    >>> save_checkpoint("run.safetensors", {"model": model}, {"loop": rng}, {"seed": "0"}, {"epochs": 1})
    >>> load_checkpoint("run.safetensors", {"model": model}, {"loop": rng}, {"seed": "0"})
    {'epochs': 1}
    """
    tensors = {
        f"{part}.{name}": array
        for part, owner in parts.items()
        for name, array in owner.state_dict().items()
    }
    states = {name: generator.bit_generator.state for name, generator in generators.items()}
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
    parts: Mapping[str, Stateful],
    generators: Generators,
    run: Mapping[str, str],
) -> dict[str, Any]:
    """Put parts and generators into the state of a checkpoint.

    Parameters
    ----------
    path, parts, generators, run
        As for `save_checkpoint`; parts and generators are those to fill.

    Returns
    -------
    dict
        The history.

    Raises
    ------
    CheckpointError
        The file is missing or damaged, no checkpoint, or of another run or model.

    Examples
    --------
    >>> load_checkpoint("nowhere.safetensors", {}, {}, {})
    Traceback (most recent call last):
        ...
    pyconv.checkpoint.CheckpointError: nowhere.safetensors: no checkpoint to resume from
    """
    try:
        tensors, metadata = load_safetensors(path)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no checkpoint to resume from") from None
    except ValueError as error:
        raise CheckpointError(str(error)) from None
    if metadata.get("format") != _FORMAT:
        raise CheckpointError(f"{path}: not a checkpoint of this version of pyconv")
    groups: dict[str, dict[str, NDArray[Any]]] = {part: {} for part in parts}
    try:
        _check_run(json.loads(metadata["run"]), run)
        for name, tensor in tensors.items():
            part, _, key = name.partition(".")
            groups[part][key] = tensor
        history: dict[str, Any] = json.loads(metadata["history"])
        states = json.loads(metadata["rng"])
        if states.keys() != generators.keys():
            raise ValueError("it has other random generators than the model")
        for part, owner in parts.items():
            owner.load_state_dict(groups[part])
        for name, generator in generators.items():
            generator.bit_generator.state = states[name]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot resume from it ({error})") from None
    return history


def generators_of(model: Layer, rng: np.random.Generator) -> dict[str, np.random.Generator]:
    """Return the generator of the training loop and those of all layers that have one.

    Parameters
    ----------
    model : Layer
    rng : numpy.random.Generator
        That of the loop.

    Returns
    -------
    dict of str to numpy.random.Generator

    Examples
    --------
    >>> from pyconv import Dropout, Linear, Sequential
    >>> rng = np.random.default_rng(0)
    >>> len(generators_of(Sequential(Linear(3, 2), Dropout(rng=rng)), rng))
    2
    """
    generators = {"": rng}
    for name, layer in model.named_layers():
        generator = getattr(layer, "rng", None)
        if isinstance(generator, np.random.Generator):
            generators[name or "model"] = generator
    return generators


def _check_run(saved: Mapping[str, str], run: Mapping[str, str]) -> None:
    for key in sorted(saved.keys() | run.keys()):
        if saved.get(key) != run.get(key):
            raise ValueError(f"it was made with {key}={saved.get(key)}, not {run.get(key)}")
