# SPDX-License-Identifier: BSD-3-Clause
"""Files: written whole or not at all, and read without trust.

`atomic_write` is the only way pyconv writes a file. It writes a temporary file beside the target,
flushes it to the disk and renames it, so that after a crash at any moment the target holds the old
or the new bytes, never a part. Models are safetensors files, a format that cannot hold code; the
``safetensors`` package encodes and validates it, and a SHA-256 kept in the metadata finds bit rot.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pyconv.layers.base import Layer
from pyconv.optional import need

__all__ = [
    "atomic_write",
    "load_model",
    "load_safetensors",
    "load_weights",
    "save_model",
    "save_safetensors",
    "write_json",
]

PathLike: TypeAlias = str | os.PathLike[str]

_DIGEST_KEY = "pyconv.sha256"


def atomic_write(path: PathLike, data: bytes) -> None:
    """Write `data` to `path` so that the file is replaced whole or, on any error, not touched.

    The mode of an existing file is kept, and a symbolic link is followed. The temporary file is
    called ``.<name>.tmp-<pid>-<random>`` and only a killed process can leave one behind.

    Parameters
    ----------
    path : path-like
    data : bytes

    Raises
    ------
    OSError
        The folder is missing or not writable, or the disk is full.

    Examples
    --------
    >>> atomic_write("answer.txt", b"42")
    >>> Path("answer.txt").read_text()
    '42'
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.tmp-{os.getpid()}-{secrets.token_hex(4)}")
    file = temporary.open("xb")  # x: O_EXCL, so never through someone else's file
    try:
        with file:
            if target.exists():
                temporary.chmod(stat.S_IMODE(target.stat().st_mode))
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:  # KeyboardInterrupt too
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable. Windows cannot open folders and does without."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: PathLike, value: object) -> None:
    """Write `value` as indented JSON, atomically. NaN is refused, as JSON has no word for it.

    Parameters
    ----------
    path : path-like
    value
        What the json module can write.

    Examples
    --------
    >>> write_json("answer.json", {"answer": 42})
    >>> json.loads(Path("answer.json").read_text())
    {'answer': 42}
    """
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False)
    atomic_write(path, (text + "\n").encode())


def save_safetensors(
    path: PathLike, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None
) -> None:
    """Write arrays and string metadata to a safetensors file, atomically.

    Parameters
    ----------
    path : path-like
    tensors : mapping of str to ndarray
        Any shape and strides; stored little-endian and in C order.
    metadata : mapping of str to str, optional
        Stored in the file's header beside a SHA-256 of everything.

    Raises
    ------
    ImportError
        The ``safetensors`` package is missing.

    Examples
    --------
    >>> save_safetensors("a.safetensors", {"x": np.arange(3.0)}, {"made by": "hand"})
    >>> load_safetensors("a.safetensors")
    ({'x': array([0., 1., 2.])}, {'made by': 'hand'})
    """
    library = need("safetensors.numpy", "writing a model file")
    # Not ascontiguousarray, which would give a scalar an axis.
    arrays = {
        name: np.asarray(tensor, tensor.dtype.newbyteorder("<"), order="C")
        for name, tensor in tensors.items()
    }
    header = dict(metadata or {})
    header[_DIGEST_KEY] = _digest(arrays, header)
    atomic_write(path, _with_sorted_metadata(library.save(arrays, metadata=header)))


def load_safetensors(path: PathLike) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Read a safetensors file.

    Returns
    -------
    tensors : dict of str to ndarray
    metadata : dict of str to str

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        It is not a whole, undamaged safetensors file.
    ImportError
        The ``safetensors`` package is missing.

    Examples
    --------
    >>> save_safetensors("a.safetensors", {"x": np.arange(3.0)})
    >>> tensors, metadata = load_safetensors("a.safetensors")
    >>> tensors["x"]
    array([0., 1., 2.])
    """
    library = need("safetensors", "reading a model file")
    with Path(path).open("rb"):
        pass  # the library would report a missing file or a folder in its own words
    try:
        with library.safe_open(os.fspath(path), framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        for name, tensor in tensors.items():
            # Where ml_dtypes happens to be installed, NumPy is lent such types; the answer stays the same.
            if tensor.dtype.isbuiltin != 1:
                raise TypeError(f"{name} has the dtype {tensor.dtype}, which NumPy has not")
    except (library.SafetensorError, TypeError, AttributeError, KeyError) as error:
        # The last three: a dtype, such as bfloat16, that the library knows and NumPy does not.
        raise ValueError(f"{path}: not a valid safetensors file ({error})") from None
    digest = metadata.pop(_DIGEST_KEY, None)
    if digest is not None and digest != _digest(tensors, metadata):
        raise ValueError(f"{path}: damaged, its contents do not match the SHA-256 stored in it")
    return tensors, metadata


def save_model(model: Layer, path: PathLike, metadata: Mapping[str, str] | None = None) -> None:
    """Write the parameters and buffers of `model` to a safetensors file, atomically.

    Parameters
    ----------
    model : Layer
    path : path-like
    metadata : mapping of str to str, optional

    Examples
    --------
    >>> from pyconv import Linear
    >>> save_model(Linear(3, 2), "linear.safetensors", {"task": "none"})
    >>> load_model(Linear(3, 2), "linear.safetensors")
    {'task': 'none'}
    """
    save_safetensors(path, model.state_dict(), metadata)


def load_model(model: Layer, path: PathLike) -> dict[str, str]:
    """Read a safetensors file into `model` and return the file's metadata.

    Parameters
    ----------
    model : Layer
    path : path-like

    Returns
    -------
    dict of str to str

    Raises
    ------
    ValueError
        The file is damaged or belongs to another model, which is left as it was.

    Examples
    --------
    >>> from pyconv import Linear
    >>> first, second = Linear(3, 2), Linear(3, 2)
    >>> save_model(first, "linear.safetensors")
    >>> _ = load_model(second, "linear.safetensors")
    >>> bool((first.weight.value == second.weight.value).all())
    True
    """
    tensors, metadata = load_safetensors(path)
    try:
        model.load_state_dict(tensors)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: does not fit the model ({error})") from None
    return metadata


def load_weights(model: Layer, path: PathLike, *, skip: Sequence[str] = ()) -> None:
    """Read weights made elsewhere, such as a torchvision state dict, into `model`.

    Names and shapes must be those of the model, as with `load_model`, but floating types are
    converted to the model's, and a count of batches (``num_batches_tracked``) that the file lacks,
    as old ones do, stays as it is.

    Parameters
    ----------
    model : Layer
    path : path-like
        A safetensors file, which torch users write with ``safetensors.torch.save_file(
        model.state_dict(), path)``.
    skip : sequence of str
        Beginnings of names that are left alone, in the file and in the model: ``("fc.",)`` keeps
        the new last layer of a ResNet that is to learn other classes.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        It is damaged or belongs to another model, which is left as it was; or an entry of `skip`
        is the beginning of no name.

    Examples
    --------
    >>> from pyconv import models
    >>> save_model(models.LeNet(1, 10), "ten.safetensors")
    >>> five = models.LeNet(1, 5)
    >>> last = list(five.state_dict())[-1].rpartition(".")[0] + "."
    >>> load_weights(five, "ten.safetensors", skip=(last,))
    """
    tensors, _ = load_safetensors(path)
    own = model.state_dict()
    for prefix in skip:
        if not any(name.startswith(prefix) for name in (*tensors, *own)):
            raise ValueError(
                f"load_weights: skip names nothing, got {prefix!r}; "
                "expected the beginning of a name in the file or the model"
            )
    skipped = tuple(skip)
    state = {}
    for name, tensor in tensors.items():
        if not name.startswith(skipped):
            both_float = name in own and own[name].dtype.kind == tensor.dtype.kind == "f"
            state[name] = tensor.astype(own[name].dtype, copy=False) if both_float else tensor
    for name, array in own.items():
        if name.startswith(skipped) or name.endswith("num_batches_tracked"):
            state.setdefault(name, array)
    try:
        model.load_state_dict(state)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: does not fit the model ({error})") from None


def _with_sorted_metadata(data: bytes) -> bytes:
    """Put the metadata of a safetensors file in order: equal contents become equal bytes.

    The library writes it in an order that changes from call to call. A file is the length of the
    header as 8 bytes, the header as JSON padded with spaces to a multiple of 8, and the tensors.
    """
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[start:]


def _digest(tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> str:
    """Return the SHA-256 of names, types, shapes, contents and metadata, in order of name."""
    sha = hashlib.sha256(json.dumps(sorted(metadata.items())).encode())
    for name, tensor in sorted(tensors.items()):
        sha.update(json.dumps([name, tensor.dtype.str, tensor.shape]).encode())
        sha.update(tensor.tobytes())
    return sha.hexdigest()
