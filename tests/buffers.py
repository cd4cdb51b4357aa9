# SPDX-License-Identifier: BSD-3-Clause
"""Arrays laid out in memory so that a stray access shows.

``canary``    surrounds an array with bytes that must not change;
``guarded``   puts an array against pages that may not be touched at all (Linux);
``at_offset`` places the first byte anywhere relative to a cache line;
``layouts``   gives the same values under every kind of strides.
"""

import ctypes
import mmap
import sys
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from reference import Array, Shape

CACHE_LINE = 64
MARGIN = 512
CANARY_BYTE = 0xA5
HAS_GUARD_PAGES = sys.platform == "linux"


def at_offset(array: Array, offset: int, *, margin: int = 0) -> Array:
    """Copy `array` so that it starts `offset` bytes after a cache line boundary."""
    raw = np.full(array.nbytes + 2 * margin + 2 * CACHE_LINE, CANARY_BYTE, np.uint8)
    start = -raw.ctypes.data % CACHE_LINE + offset + margin
    placed = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    placed[...] = array
    return placed


def canary(shape: Shape, dtype: npt.DTypeLike, fill: float) -> tuple[Array, Callable[[], None]]:
    """Make a filled array between two margins, and a function that asserts the margins intact."""
    nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.full(nbytes + 2 * (MARGIN + CACHE_LINE), CANARY_BYTE, np.uint8)
    start = -raw.ctypes.data % CACHE_LINE + MARGIN
    array = raw[start : start + nbytes].view(dtype).reshape(shape)
    array[...] = fill

    def assert_margins_intact() -> None:
        before, after = raw[:start], raw[start + nbytes :]
        assert np.all(before == CANARY_BYTE), "wrote in front of the array"
        assert np.all(after == CANARY_BYTE), "wrote behind the array"

    return array, assert_margins_intact


def guarded(array: Array, *, at_end: bool) -> Array:
    """Copy `array` to end (or begin) exactly at a page that faults on any access."""
    page = mmap.PAGESIZE
    room = -(-max(array.nbytes, 1) // page) * page
    raw = np.frombuffer(mmap.mmap(-1, room + 2 * page), np.uint8)
    start = page + (room - array.nbytes if at_end else 0)
    copy = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    mprotect = ctypes.CDLL(None, use_errno=True).mprotect
    mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for first in (raw.ctypes.data, raw.ctypes.data + page + room):
        if mprotect(first, page, 0) != 0:
            raise OSError(ctypes.get_errno(), "mprotect")
    return copy


def layouts(array: Array) -> Iterator[tuple[str, Array]]:
    """Yield (name, array of equal values with unusual strides)."""
    for axis in range(array.ndim):
        shape = list(array.shape)
        shape[axis] *= 2
        spaced = np.full(shape, np.nan if array.dtype.kind == "f" else 1, array.dtype)
        spaced = np.moveaxis(spaced, axis, 0)[::2]
        spaced = np.moveaxis(spaced, 0, axis)
        spaced[...] = array
        yield f"every other of axis {axis}", spaced
    backwards = (slice(None, None, -1),) * array.ndim
    yield "reversed", array[backwards].copy()[backwards]
    yield "Fortran order", np.asfortranarray(array)
    if array.ndim > 2:
        yield "channels last", np.moveaxis(np.moveaxis(array, 1, -1).copy(), -1, 1)
    yield "repeated images", np.broadcast_to(array[:1], array.shape)
    read_only = array.copy()
    read_only.flags.writeable = False
    yield "read-only", read_only
