# SPDX-License-Identifier: BSD-3-Clause
"""Readers of image files: IDX (MNIST's format), .npz, and a folder of pictures by class.

Files are not trusted. A header is compared with the number of bytes there are before anything of
the size it claims is allocated, and whatever is wrong is a ValueError that names the file.
"""

from __future__ import annotations

import gzip
import math
import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pyconv.data.dataset import Dataset
from pyconv.optional import need

PathLike: TypeAlias = str | os.PathLike[str]

# IDX: two zero bytes, a type code, the number of dimensions, that many big-endian uint32 sizes, data.
_IDX_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

# Deflate cannot shrink data by more than about 1032:1, so a larger claim is a lie.
_MAX_DEFLATE_RATIO = 1040

_CHUNK = 2**20

# More pixels than any training picture has; a small file can claim billions.
_MAX_PIXELS = 10**8


def load_idx(path: PathLike) -> NDArray[Any]:
    """Read one IDX file, gzip-compressed if its name ends in ".gz".

    Returns
    -------
    ndarray
        In native byte order.

    Raises
    ------
    OSError
        The file cannot be opened.
    ValueError
        It is not an IDX file, or is truncated or damaged.

    References
    ----------
    LeCun, Cortes, Burges: The MNIST database, section "File formats".

    Examples
    --------
    >>> from pathlib import Path
    >>> header = bytes([0, 0, 8, 1]) + (3).to_bytes(4, "big")  # uint8, one axis of 3
    >>> _ = Path("labels-idx1-ubyte").write_bytes(header + bytes([5, 0, 4]))
    >>> load_idx("labels-idx1-ubyte")
    array([5, 0, 4], dtype=uint8)
    """
    path = Path(path)
    compressed = path.suffix == ".gz"
    available = path.stat().st_size * (_MAX_DEFLATE_RATIO if compressed else 1)
    with gzip.open(path, "rb") if compressed else path.open("rb") as file:
        try:
            return _read_idx(file, available)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path}: damaged gzip file ({error})") from None
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None


def _read_idx(file: IO[bytes] | gzip.GzipFile, available: int) -> NDArray[Any]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _IDX_DTYPES:
        raise ValueError(f"not an IDX file, it begins with {magic.hex(' ') or 'nothing'}")
    sizes = file.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise ValueError("truncated in its header")
    dtype = np.dtype(_IDX_DTYPES[magic[2]])
    shape = tuple(np.frombuffer(sizes, ">u4").tolist())
    expected = math.prod(shape) * dtype.itemsize
    if expected > available:
        raise ValueError(f"truncated, its header promises {expected} bytes of {shape}")

    # In pieces, so that memory grows with what is there, not with what the header says.
    data = bytearray()
    while len(data) < expected and (chunk := file.read(min(_CHUNK, expected - len(data)))):
        data += chunk
    if len(data) < expected:
        raise ValueError(f"truncated, {len(data)} of {expected} bytes of data are there")
    if file.read(1):
        raise ValueError(f"too long, there is more after the {expected} bytes of {shape}")
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def load_mnist(folder: PathLike, *, class_names: Sequence[str] = ()) -> tuple[Dataset, Dataset]:
    """Read the four IDX files of MNIST or a dataset of its form.

    Parameters
    ----------
    folder : path-like
        Holds ``{train,t10k}-images-idx3-ubyte`` and ``{train,t10k}-labels-idx1-ubyte``, each
        plain or with ``.gz``.
    class_names : sequence of str, optional
        "0" to "9" if omitted.

    Returns
    -------
    train, test : Dataset

    Raises
    ------
    FileNotFoundError
        The folder or one of the files is missing.
    ValueError
        A file is damaged, or images and labels do not belong together.

    Examples
    --------
    >>> load_mnist("nowhere")
    Traceback (most recent call last):
        ...
    FileNotFoundError: nowhere: no such folder
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    names = tuple(class_names) or tuple("0123456789")
    return _load_mnist_part(folder, "train", names), _load_mnist_part(folder, "t10k", names)


def _load_mnist_part(folder: Path, part: str, class_names: tuple[str, ...]) -> Dataset:
    images_path = _plain_or_gz(folder / f"{part}-images-idx3-ubyte")
    labels_path = _plain_or_gz(folder / f"{part}-labels-idx1-ubyte")
    images, labels = load_idx(images_path), load_idx(labels_path)
    for path, array, ndim in ((images_path, images, 3), (labels_path, labels, 1)):
        if array.ndim != ndim or array.dtype != np.uint8 or array.size == 0:
            raise ValueError(
                f"{path}: holds {array.dtype} of shape {array.shape}; "
                f"expected uint8 with {ndim} dimensions"
            )
    try:
        return Dataset(images[:, np.newaxis], labels.astype(np.int64), class_names)
    except ValueError as error:
        raise ValueError(f"{labels_path}: does not fit the images ({error})") from None


def _plain_or_gz(path: Path) -> Path:
    for candidate in (path, path.with_name(path.name + ".gz")):
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(f"{path}[.gz]: no such file")


def load_npz(path: PathLike, *, images: str = "images", labels: str = "labels") -> Dataset:
    """Read a Dataset from two arrays of an .npz file, without pickle.

    Parameters
    ----------
    path : path-like
    images, labels : str
        Names of the arrays. Images are (N, C, H, W), or (N, H, W) for one channel.

    Raises
    ------
    OSError
        The file cannot be opened.
    ValueError
        It is damaged, lacks an array, or holds Python objects.

    Examples
    --------
    >>> np.savez("pets.npz", images=np.zeros((2, 8, 8), np.uint8), labels=np.array([0, 1]))
    >>> load_npz("pets.npz").images.shape
    (2, 1, 8, 8)
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            pixels = _read_npz_array(archive, images, path.stat().st_size)
            classes = _read_npz_array(archive, labels, path.stat().st_size)
        return Dataset(pixels[:, np.newaxis] if pixels.ndim == 3 else pixels, classes)
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise ValueError(f"{path}: cannot be read as a dataset ({error})") from None
    except KeyError as error:
        raise ValueError(f"{path}: {error.args[0]}") from None


def _read_npz_array(archive: zipfile.ZipFile, name: str, file_size: int) -> NDArray[Any]:
    """Read one array after comparing the size that its header claims with that of the file."""
    info = archive.getinfo(f"{name}.npy")
    if info.file_size > file_size * _MAX_DEFLATE_RATIO:
        raise ValueError(f"{name} claims {info.file_size} bytes in a file of {file_size}")
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        else:
            shape, _, dtype = np.lib.format.read_array_header_2_0(file)
        if math.prod(shape) * dtype.itemsize > info.file_size:
            raise ValueError(f"{name} claims shape {shape} in {info.file_size} bytes")
    with archive.open(info) as file:
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return array


def load_image(path: PathLike, size: tuple[int, int], *, channels: int = 1) -> NDArray[np.uint8]:
    """Read one picture of any format Pillow knows, scaled to a network's input.

    Parameters
    ----------
    path : path-like
    size : (int, int)
        Height and width to scale to.
    channels : {1, 3}
        Grey or RGB.

    Returns
    -------
    ndarray, shape (channels, H, W)

    Raises
    ------
    OSError
        The file cannot be opened.
    ValueError
        It is not a picture, or damaged.
    ImportError
        Pillow, which matplotlib brings, is missing.

    Examples
    --------
    >>> from matplotlib.image import imsave
    >>> imsave("grey.png", np.full((20, 30, 3), 128, np.uint8))
    >>> load_image("grey.png", (8, 8)).shape
    (1, 8, 8)
    """
    if channels not in (1, 3):
        raise ValueError(f"load_image: channels is {channels}; expected 1 or 3")
    Image = need("PIL.Image", "reading pictures")
    with Path(path).open("rb") as file:
        try:
            with Image.open(file) as picture:
                if picture.width * picture.height > _MAX_PIXELS:
                    raise ValueError(f"{picture.width} x {picture.height} pixels are too many")
                converted = picture.convert("L" if channels == 1 else "RGB")
        # Pillow reports damage in all these ways, depending on the format.
        except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"{path}: cannot be read as a picture ({reason})") from None
    H, W = size
    if converted.size != (W, H):
        converted = converted.resize((W, H), Image.Resampling.BILINEAR)
    return np.asarray(converted, np.uint8).reshape(H, W, channels).transpose(2, 0, 1).copy()


def load_image_folder(folder: PathLike, size: tuple[int, int], *, channels: int = 1) -> Dataset:
    """Read a folder that holds one sub-folder of PNG or JPEG files for each class.

    Classes are the sub-folders in alphabetical order.

    Parameters
    ----------
    folder : path-like
    size, channels
        As for `load_image`.

    Returns
    -------
    Dataset

    Raises
    ------
    FileNotFoundError
        The folder is missing.
    ValueError
        It has no pictures, or one of them is damaged.

    Examples
    --------
    >>> from pathlib import Path
    >>> from matplotlib.image import imsave
    >>> for name in ("cat", "dog"):
    ...     Path("pets", name).mkdir(parents=True)
    ...     imsave(f"pets/{name}/1.png", np.zeros((20, 30, 3), np.uint8))
    >>> pets = load_image_folder("pets", (8, 8))
    >>> pets.images.shape, pets.class_names
    ((2, 1, 8, 8), ('cat', 'dog'))
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    classes = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    files = [
        (path, label)
        for label, entry in enumerate(classes)
        for path in sorted(entry.iterdir())
        if path.suffix.lower() in {".png", ".jpg", ".jpeg"}
    ]
    if not files:
        raise ValueError(f"{folder}: no PNG or JPEG files in sub-folders")
    images = np.stack([load_image(path, size, channels=channels) for path, _ in files])
    labels = np.array([label for _, label in files], np.int64)
    return Dataset(images, labels, tuple(entry.name for entry in classes))
