# SPDX-License-Identifier: BSD-3-Clause
"""Datasets: readers against files written here byte by byte, damage, splits."""

import gzip
import io
import re
import struct
import tracemalloc
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyconv import data
from pyconv.data import Dataset

PIL_Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")


def idx(array: Any, code: int = 0x08, sizes: tuple[int, ...] | None = None) -> bytes:
    """Return the bytes of an IDX file, with other sizes in its header if asked for."""
    shape = array.shape if sizes is None else sizes
    header = struct.pack(f">BBBB{len(shape)}I", 0, 0, code, len(shape), *shape)
    body: bytes = array.astype(array.dtype.newbyteorder(">")).tobytes()
    return header + body


IMAGES = np.arange(5 * 3 * 4, dtype=np.uint8).reshape(5, 3, 4)
LABELS = np.array([0, 9, 3, 3, 1], np.uint8)


# IDX


@pytest.mark.parametrize(
    ("dtype", "code"),
    [("u1", 0x08), ("i1", 0x09), ("i2", 0x0B), ("i4", 0x0C), ("f4", 0x0D), ("f8", 0x0E)],
)
@pytest.mark.parametrize("shape", [(7,), (2, 3), (2, 3, 4), (0, 4)])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_load_idx_reads_every_type(
    tmp_path: Path, dtype: str, code: int, shape: tuple[int, ...], suffix: str
) -> None:
    array = (np.arange(np.prod(shape)).reshape(shape) - 3).astype(dtype)
    path = tmp_path / f"file{suffix}"
    path.write_bytes(gzip.compress(idx(array, code)) if suffix else idx(array, code))
    got = data.load_idx(path)
    assert got.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(got, array)


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
def test_load_idx_finds_every_truncation(tmp_path: Path, compressed: bool) -> None:
    content = gzip.compress(idx(IMAGES)) if compressed else idx(IMAGES)
    path = tmp_path / ("file.gz" if compressed else "file")
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=re.escape(str(path))):
            data.load_idx(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file, it begins with nothing"),
        (b"\x89PNG\r\n", "not an IDX file, it begins with 89 50 4e 47"),
        (struct.pack(">BBBBI", 0, 0, 0x0A, 1, 1) + b"\0", "not an IDX file"),
        (struct.pack(">BBBBI", 0, 0, 0x08, 3, 1), "truncated in its header"),
        (idx(LABELS)[:-1], "truncated, its header promises 5 bytes of (5,)"),
        (idx(LABELS) + b"\0", "too long, there is more after the 5 bytes of (5,)"),
        (idx(LABELS, sizes=(2**32 - 1,) * 3), "truncated, its header promises"),
    ],
)
def test_load_idx_refuses_bad_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file"
    if content == idx(LABELS)[:-1]:
        message = "truncated, 4 of 5 bytes"  # its size is plausible: the header is counted too
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(f"{path}: {message}")):
        data.load_idx(path)


def test_load_idx_refuses_damaged_gzip(tmp_path: Path) -> None:
    path = tmp_path / "file.gz"
    content = bytearray(gzip.compress(idx(IMAGES)))
    content[-6] ^= 1  # the checksum
    for damaged in (bytes(content), b"not gzip", idx(IMAGES)):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=re.escape(f"{path}: damaged gzip file")):
            data.load_idx(path)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_load_idx_allocates_what_is_there_not_what_is_claimed(tmp_path: Path, suffix: str) -> None:
    # 100 kB of random bytes behind a header that claims 100 MB, which gzip could just reach.
    body = np.random.default_rng(0).integers(0, 256, 10**5, np.uint8)
    lie = idx(body, sizes=(10**8,))
    path = tmp_path / f"file{suffix}"
    path.write_bytes(gzip.compress(lie) if suffix else lie)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="truncated"):
            data.load_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()


def write_mnist(
    folder: Path, replaced: Mapping[str, bytes] | None = None, *, compressed: bool = False
) -> None:
    """Write a dataset of the form of MNIST; `replaced` maps train_images etc. to other bytes."""
    for part in ("train", "t10k"):
        for kind, array, rank in (("images", IMAGES, 3), ("labels", LABELS, 1)):
            content = (replaced or {}).get(f"{part}_{kind}", idx(array))
            path = folder / f"{part}-{kind}-idx{rank}-ubyte"
            if compressed:
                path, content = path.with_name(path.name + ".gz"), gzip.compress(content)
            path.write_bytes(content)


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
def test_load_mnist_reads_four_files(tmp_path: Path, compressed: bool) -> None:
    write_mnist(tmp_path, compressed=compressed)
    train, test = data.load_mnist(tmp_path)
    np.testing.assert_array_equal(train.images, IMAGES[:, None])
    np.testing.assert_array_equal(test.labels, LABELS)
    assert test.labels.dtype == np.int64
    assert train.class_names == tuple("0123456789")
    assert data.load_fashion_mnist(tmp_path)[0].class_names[9] == "Ankle boot"


def test_load_mnist_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        data.load_mnist(tmp_path / "nowhere")
    write_mnist(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match=r"t10k-labels-idx1-ubyte\[.gz\]: no such file"):
        data.load_mnist(tmp_path)


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"train_images": idx(LABELS)}, "train-images-idx3-ubyte: holds uint8 of shape (5,)"),
        ({"t10k_labels": idx(LABELS[:4])}, "t10k-labels-idx1-ubyte: does not fit the images"),
        ({"train_labels": idx(LABELS + 5)}, "labels are out of range, got 5 to 14"),
        ({"train_images": idx(IMAGES[:0])}, "holds uint8 of shape (0, 3, 4)"),
        ({"train_labels": idx(LABELS.astype("f4"), 0x0D)}, "holds float32 of shape (5,)"),
    ],
)
def test_load_mnist_refuses_files_that_do_not_fit(
    tmp_path: Path, replaced: dict[str, bytes], message: str
) -> None:
    write_mnist(tmp_path, replaced)
    with pytest.raises(ValueError, match=re.escape(message)):
        data.load_mnist(tmp_path)


# npz


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_load_npz_reads_images_and_labels(tmp_path: Path, save: Callable[..., None]) -> None:
    path = tmp_path / "data.npz"
    save(path, images=IMAGES, labels=LABELS, x=IMAGES[:, None])
    got = data.load_npz(path)
    np.testing.assert_array_equal(got.images, IMAGES[:, None])
    np.testing.assert_array_equal(data.load_npz(path, images="x").images, IMAGES[:, None])


def test_load_npz_refuses_bad_files(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, images=IMAGES, labels=np.array([{}] * 5, dtype=object))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        data.load_npz(path)
    np.savez(path, images=IMAGES)
    with pytest.raises(ValueError, match=r"There is no item named 'labels\.npy'"):
        data.load_npz(path)
    np.savez(path, images=IMAGES, labels=LABELS)
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=re.escape(str(path))):
            data.load_npz(path)


def test_load_npz_refuses_a_header_that_lies(tmp_path: Path) -> None:
    member = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        member, {"descr": "<f8", "fortran_order": False, "shape": (10**9, 8, 8)}
    )
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", member.getvalue())
    with pytest.raises(ValueError, match="images claims shape"):
        data.load_npz(path)


# Pictures


def save_picture(path: Path, size: tuple[int, int] = (9, 6), color: Any = 200) -> None:
    """Write a picture of one colour; `size` is (W, H), as Pillow has it."""
    PIL_Image.new("L" if isinstance(color, int) else "RGB", size, color).save(path)


def test_load_image_scales_and_converts(tmp_path: Path) -> None:
    save_picture(tmp_path / "grey.png")
    save_picture(tmp_path / "red.png", color=(250, 0, 10))
    grey = data.load_image(tmp_path / "grey.png", (4, 5))
    assert grey.shape == (1, 4, 5)
    assert (grey == 200).all()
    red = data.load_image(tmp_path / "red.png", (4, 5), channels=3)
    np.testing.assert_array_equal(red, np.broadcast_to([[[250]], [[0]], [[10]]], (3, 4, 5)))


def test_load_image_keeps_pixels_of_the_right_size(tmp_path: Path) -> None:
    PIL_Image.fromarray(IMAGES[1]).save(tmp_path / "image.png")
    np.testing.assert_array_equal(data.load_image(tmp_path / "image.png", (3, 4)), IMAGES[1:2])


def test_load_image_refuses_damage(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    PIL_Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 20), np.uint8)).save(path)
    content = path.read_bytes()
    for length in (0, 4, 20, 40, len(content) // 2):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=re.escape(f"{path}: cannot be read as a picture")):
            data.load_image(path, (8, 8))
    with pytest.raises(FileNotFoundError):
        data.load_image(tmp_path / "missing.png", (8, 8))


def test_load_image_folder_takes_classes_from_sub_folders(tmp_path: Path) -> None:
    for name, shades in (("dog", [10, 20]), ("cat", [30])):
        (tmp_path / name).mkdir()
        for shade in shades:
            save_picture(tmp_path / name / f"{shade}.png", color=shade)
    (tmp_path / "cat" / "notes.txt").write_text("not a picture")
    got = data.load_image_folder(tmp_path, (4, 4))
    assert got.class_names == ("cat", "dog")
    np.testing.assert_array_equal(got.labels, [0, 1, 1])
    np.testing.assert_array_equal(got.images[:, 0, 0, 0], [30, 10, 20])
    with pytest.raises(FileNotFoundError, match="no such folder"):
        data.load_image_folder(tmp_path / "missing", (4, 4))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no PNG or JPEG files"):
        data.load_image_folder(tmp_path / "empty", (4, 4))


# Datasets


def test_load_digits_are_the_1797_digits() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    digits = data.load_digits()
    assert digits.images.shape == (1797, 1, 8, 8)
    assert digits.images.dtype == np.uint8
    assert (digits.images.min(), digits.images.max()) == (0, 255)
    assert np.bincount(digits.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_split_keeps_the_mix_and_loses_nothing() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    labels = np.repeat(np.arange(4), [40, 30, 20, 10])
    dataset = Dataset(np.arange(100, dtype=np.uint8).reshape(100, 1, 1, 1), labels)
    rest, part = data.split(dataset, 0.2, rng=np.random.default_rng(0))
    assert np.bincount(part.labels).tolist() == [8, 6, 4, 2]
    assert sorted([*rest.images.flat, *part.images.flat]) == list(range(100))
    np.testing.assert_array_equal(labels[part.images.ravel()], part.labels)
    again = data.split(dataset, 0.2, rng=np.random.default_rng(0))[1]
    other = data.split(dataset, 0.2, rng=np.random.default_rng(1))[1]
    np.testing.assert_array_equal(again.images, part.images)
    assert (other.images != part.images).any()


@pytest.mark.parametrize(
    ("images", "labels", "names", "message"),
    [
        (IMAGES, LABELS, (), "images has the wrong shape, got (5, 3, 4)"),
        (IMAGES[:, None], LABELS[:3], (), "labels has the wrong length, got 3; expected 5"),
        (IMAGES[:, None], LABELS, ("a", "b"), "labels are out of range, got 0 to 9"),
    ],
)
def test_dataset_checks_its_parts(images: Any, labels: Any, names: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Dataset(images, labels, names)


def test_as_input_scales_bytes_only() -> None:
    images = np.array([0, 51, 255], np.uint8)
    got = data.as_input(images, np.float64)
    np.testing.assert_allclose(got, [0, 0.2, 1], rtol=1e-15)
    assert data.as_input(images).dtype == np.float32
    assert data.as_input(got) is got
