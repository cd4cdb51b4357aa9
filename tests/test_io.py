# SPDX-License-Identifier: BSD-3-Clause
"""Files: whole or untouched, readable by others, and every kind of damage found."""

import errno
import importlib
import os
import re
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from checks import assert_same_bits
from pyconv import io
from pyconv.layers import BatchNorm2d, Conv2d, Linear, Sequential
from pyconv.models import GoogLeNet

safetensors_numpy = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")

TENSORS: dict[str, Any] = {
    "weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "scalar": np.array(7, np.int64),
    "empty": np.zeros((0, 5)),
}


# atomic_write


def test_atomic_write_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    io.atomic_write(path, b"old")
    io.atomic_write(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]  # noqa: PTH208


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o640, 0o444])
def test_atomic_write_keeps_the_mode(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(mode)
    io.atomic_write(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_atomic_write_honours_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        io.atomic_write(tmp_path / "file", b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_atomic_write_follows_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target = tmp_path / "real" / "file"
    target.write_bytes(b"old")
    link = tmp_path / "link"
    link.symlink_to(target)
    io.atomic_write(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize(
    ("owner", "function", "error"),
    [
        (os, "fsync", OSError(errno.ENOSPC, "No space left on device")),
        (Path, "replace", OSError(errno.EACCES, "Permission denied")),
        (Path, "replace", KeyboardInterrupt()),
        (Path, "chmod", OSError(errno.EPERM, "Operation not permitted")),
    ],
)
def test_atomic_write_leaves_the_old_file_on_error(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    function: str,
    error: BaseException,
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(owner, function, fail)
    with pytest.raises(type(error)):
        io.atomic_write(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_atomic_write_syncs_file_then_renames_then_syncs_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    fsync, replace = os.fsync, Path.replace

    def record_fsync(descriptor: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def record_replace(source: Path, target: Path) -> Path:
        calls.append("rename")
        assert re.fullmatch(rf"\.file\.tmp-{os.getpid()}-[0-9a-f]{{8}}", source.name)
        assert source.parent == target.parent
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(Path, "replace", record_replace)
    io.atomic_write(tmp_path / "file", b"new")
    assert calls == ["file", "rename", "folder"]


def test_atomic_write_reports_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        io.atomic_write(tmp_path / "missing" / "file", b"new")


def test_write_json_refuses_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        io.write_json(tmp_path / "report.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


# safetensors


def test_safetensors_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    io.save_safetensors(path, TENSORS, {"name": "größe", "empty": ""})
    tensors, metadata = io.load_safetensors(path)
    assert metadata == {"name": "größe", "empty": ""}
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert_same_bits(tensors[name], tensor)


@given(
    array=hnp.arrays(
        dtype=st.sampled_from(["f2", "f4", "f8", "i1", "i8", "u1", "u4", "?", ">f4", ">i8"]),
        shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
    ),
    order=st.sampled_from(["C", "F", "reversed"]),
)
def test_safetensors_round_trip_of_any_array(
    tmp_path_factory: pytest.TempPathFactory, array: Any, order: str
) -> None:
    path = tmp_path_factory.mktemp("io") / "file"
    source = np.asarray(array, order="F") if order == "F" else array
    if order == "reversed" and array.ndim:
        source = array[::-1]
    original = source.copy()
    io.save_safetensors(path, {"a": source})
    got = io.load_safetensors(path)[0]["a"]
    assert got.dtype == source.dtype.newbyteorder("=")
    np.testing.assert_array_equal(got, source)
    np.testing.assert_array_equal(source, original)
    np.testing.assert_array_equal(safetensors_numpy.load_file(path)["a"], source)


def test_equal_contents_make_equal_files(tmp_path: Path) -> None:
    metadata = {letter: letter for letter in "abcdefgh"}
    for path in (tmp_path / "first", tmp_path / "second"):
        io.save_safetensors(path, TENSORS, metadata)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_load_safetensors_reads_files_of_others(tmp_path: Path) -> None:
    path = tmp_path / "file"
    safetensors_numpy.save_file(TENSORS, path)
    tensors, metadata = io.load_safetensors(path)
    assert metadata == {}
    assert_same_bits(tensors["weight"], TENSORS["weight"])


def test_every_truncation_is_found(tmp_path: Path) -> None:
    path = tmp_path / "file"
    io.save_safetensors(path, TENSORS)
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(ValueError, match="not a valid safetensors file"):
            io.load_safetensors(path)
    path.write_bytes(data + b"\0")
    with pytest.raises(ValueError, match="not a valid safetensors file"):
        io.load_safetensors(path)


def test_every_flipped_bit_of_the_data_is_found(tmp_path: Path) -> None:
    path = tmp_path / "file"
    io.save_safetensors(path, TENSORS, {"name": "model"})
    data = path.read_bytes()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    for position in range(start, len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[position] ^= 1 << bit
            path.write_bytes(damaged)
            with pytest.raises(ValueError, match="damaged, its contents do not match the SHA-256"):
                io.load_safetensors(path)


def test_flipped_bits_of_the_header_are_found_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "file"
    io.save_safetensors(path, TENSORS, {"name": "model"})
    data = path.read_bytes()
    for position in range(8 + struct.unpack("<Q", data[:8])[0]):
        damaged = bytearray(data)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        try:
            tensors, metadata = io.load_safetensors(path)
        except ValueError:
            continue
        # Only the name of the digest may have changed; all it protects is intact.
        assert metadata["name"] == "model"
        for name, tensor in TENSORS.items():
            assert_same_bits(tensors[name], tensor)


def _header(text: str, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text)) + text.encode() + data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a safetensors file at all",
        b"\x80\x04\x95pickle",
        struct.pack("<Q", 2**63) + b"{}",
        _header("[]"),
        _header('{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}'),
        _header('{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', bytes(8)),
        _header('{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}', bytes(4)),
        _header('{"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}', bytes(4)),
        _header('{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', bytes(4)),
    ],
)
def test_load_safetensors_refuses_bad_files(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: not a valid safetensors file"):
        io.load_safetensors(path)


def test_load_safetensors_reports_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        io.load_safetensors(tmp_path / "missing")
    with pytest.raises(IsADirectoryError):
        io.load_safetensors(tmp_path)


def test_missing_package_is_named(tmp_path: Path, hide_module: Callable[[str], None]) -> None:
    hide_module("safetensors")
    with pytest.raises(ImportError, match=re.escape("needs safetensors, got no module")) as raised:
        io.save_safetensors(tmp_path / "file", TENSORS)
    assert "pip install 'pyconv-nn[train]'" in str(raised.value)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def hide_module(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that makes a package look as if it were not installed."""

    def hide(name: str) -> None:
        original = importlib.import_module

        def import_module(module: str) -> Any:
            if module.partition(".")[0] == name:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            return original(module)

        monkeypatch.setattr("importlib.import_module", import_module)

    return hide


# Models


def test_save_and_load_model(tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "model.safetensors"
    first = Sequential(Conv2d(1, 2, 3, rng=rng), BatchNorm2d(2))
    second = Sequential(Conv2d(1, 2, 3, rng=rng), BatchNorm2d(2))
    first(rng.standard_normal((4, 1, 5, 5)).astype(np.float32))
    io.save_model(first, path, {"epochs": "3"})
    assert io.load_model(second, path) == {"epochs": "3"}
    for name, array in second.state_dict().items():
        assert_same_bits(array, first.state_dict()[name])


def test_load_model_leaves_the_model_alone_on_error(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    io.save_model(Linear(3, 3), path)
    model = Linear(3, 2)
    before = model.state_dict()
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: does not fit the model"):
        io.load_model(model, path)
    for name, array in model.state_dict().items():
        assert_same_bits(array, before[name])


# Weights from elsewhere


def small_network(dtype: Any = np.float32) -> Sequential:
    return Sequential(
        {
            "conv": Conv2d(1, 2, 3, rng=np.random.default_rng(1), dtype=dtype),
            "bn": BatchNorm2d(2, dtype=dtype),
            "fc": Linear(4, 3, rng=np.random.default_rng(2), dtype=dtype),
        }
    )


def other_weights(rng: np.random.Generator) -> dict[str, Any]:
    return {
        name: rng.standard_normal(array.shape).astype(array.dtype)
        for name, array in small_network().state_dict().items()
    }


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("stored", [np.float16, np.float32, np.float64])
def test_load_weights_converts_floats(
    tmp_path: Path, rng: np.random.Generator, stored: Any, dtype: Any
) -> None:
    path = tmp_path / "weights.safetensors"
    weights = other_weights(rng)
    weights = {n: a.astype(stored) if a.dtype.kind == "f" else a for n, a in weights.items()}
    safetensors_numpy.save_file(weights, path)
    model = small_network(dtype)
    io.load_weights(model, path)
    for name, array in model.state_dict().items():
        assert_same_bits(array, weights[name].astype(array.dtype))


def test_load_weights_does_without_the_count_of_batches(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    path = tmp_path / "weights.safetensors"
    weights = other_weights(rng)
    del weights["bn.num_batches_tracked"]
    safetensors_numpy.save_file(weights, path)
    model = small_network()
    io.load_weights(model, path)
    assert model.state_dict()["bn.num_batches_tracked"] == 0
    assert_same_bits(model.state_dict()["bn.weight"], weights["bn.weight"])


def test_load_weights_skips_what_it_is_told(tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "weights.safetensors"
    weights = other_weights(rng)
    weights["fc.weight"] = np.zeros((1000, 4), np.float32)  # other classes
    weights["aux.weight"] = np.zeros(3, np.float32)
    safetensors_numpy.save_file(weights, path)
    model = small_network()
    before = model.state_dict()
    io.load_weights(model, path, skip=("fc.", "aux."))
    for name, array in model.state_dict().items():
        assert_same_bits(array, before[name] if name.startswith("fc.") else weights[name])


@pytest.mark.parametrize(
    ("change", "skip", "message"),
    [
        ({"extra": np.zeros(1, np.float32)}, (), "does not fit the model (.* unknown keys extra"),
        ({"fc.bias": np.zeros(4, np.float32)}, (), "fc.bias has the wrong shape"),
        ({"fc.bias": np.zeros(3, np.int64)}, (), "fc.bias has the wrong dtype, got int64"),
        ({"fc.bias": None}, (), "state lacks fc.bias"),
        ({}, ("head.",), "load_weights: skip names nothing, got 'head.'"),
    ],
)
def test_load_weights_is_strict_and_all_or_nothing(
    tmp_path: Path,
    rng: np.random.Generator,
    change: dict[str, Any],
    skip: tuple[str, ...],
    message: str,
) -> None:
    path = tmp_path / "weights.safetensors"
    weights = {n: a for n, a in (other_weights(rng) | change).items() if a is not None}
    safetensors_numpy.save_file(weights, path)
    model = small_network()
    before = model.state_dict()
    with pytest.raises(ValueError, match=message.replace("(", r"\(", 1)):
        io.load_weights(model, path, skip=skip)
    for name, array in model.state_dict().items():
        assert_same_bits(array, before[name])


def test_load_weights_leaves_out_the_auxiliary_classifiers_of_googlenet(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    first, second = (GoogLeNet(1, 2, rng=np.random.default_rng(seed)) for seed in (0, 1))
    auxiliary = {f"aux{i}.fc1.weight": np.zeros((2, 2), np.float32) for i in (1, 2)}
    safetensors_numpy.save_file(first.state_dict() | auxiliary, path)
    io.load_weights(second, path)
    for name, array in second.state_dict().items():
        assert_same_bits(array, first.state_dict()[name])
