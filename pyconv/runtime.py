# SPDX-License-Identifier: BSD-3-Clause
"""Threads, instruction sets, memory and build facts.

`pyconv` re-exports the functions that programs use; the rest is for tests, benchmarks and reports.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from operator import index
from pathlib import Path
from typing import Any

from pyconv import _core
from pyconv._core import __version__

__all__ = [
    "available_isas",
    "build_info",
    "get_include",
    "get_isa",
    "get_num_threads",
    "kernels",
    "measure_fma_peak",
    "memory_info",
    "num_threads",
    "precise",
    "register_threadpoolctl",
    "release_memory",
    "set_num_threads",
    "use_isa",
]


def _thread_count(function: str, n: object) -> int:
    try:
        if isinstance(n, bool):
            raise TypeError
        count = index(n)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{function}: n is not an integer, got {n!r}; expected 1 to 1024") from None
    if not 1 <= count <= 1024:
        raise ValueError(f"{function}: n is out of range, got {count}; expected 1 to 1024")
    return count


def get_include() -> str:
    """Return the folder of ``pyconv.h``, for compilers of extensions that call pyconv from C.

    Extensions in Cython need it too, beside ``from pyconv cimport cython_api``.

    Returns
    -------
    str

    Examples
    --------
    >>> from pathlib import Path
    >>> import pyconv
    >>> (Path(pyconv.get_include()) / "pyconv.h").exists()
    True
    """
    return str(Path(__file__).parent / "include")


def get_num_threads() -> int:
    """Return the number of threads that a call from this thread may use.

    The default is ``PYCONV_NUM_THREADS``, else ``OMP_NUM_THREADS``, else the smaller of the
    process's affinity mask and its cgroup's CPU quota. Results never depend on it.

    Returns
    -------
    int

    Examples
    --------
    >>> import pyconv
    >>> with pyconv.num_threads(1):
    ...     pyconv.get_num_threads()
    1
    """
    return _core.get_num_threads()


def set_num_threads(n: int) -> None:
    """Set the number of threads for the whole process.

    Parameters
    ----------
    n : int
        1 to 1024.

    Examples
    --------
    >>> before = get_num_threads()
    >>> set_num_threads(3)
    >>> get_num_threads()
    3
    >>> set_num_threads(before)
    """
    _core.set_num_threads(_thread_count("set_num_threads", n))


@contextmanager
def num_threads(n: int) -> Iterator[None]:
    """Use `n` threads for the calls that this thread makes inside the ``with`` block.

    Parameters
    ----------
    n : int
        1 to 1024.

    Examples
    --------
    >>> with num_threads(3):
    ...     get_num_threads()
    3
    """
    previous = _core.set_thread_num_threads(_thread_count("num_threads", n))
    try:
        yield
    finally:
        _core.set_thread_num_threads(previous)


@contextmanager
def precise() -> Iterator[None]:
    """Sum products directly in the calls that this thread makes inside the ``with`` block.

    ``algorithm="auto"`` then never chooses Winograd's algorithm, whose rounding error is up to
    three times as large, and ``algorithm="winograd"`` is a ValueError.

    Notes
    -----
    `pyconv.functional.conv2d` says which algorithms there are.

    Examples
    --------
    >>> import numpy as np
    >>> import pyconv
    >>> from pyconv import functional as F
    >>> with pyconv.precise():
    ...     F.conv2d(np.ones((1, 1, 3, 3)), np.ones((1, 1, 3, 3)))
    array([[[[9.]]]])
    """
    previous = _core.set_precise(True)
    try:
        yield
    finally:
        _core.set_precise(previous)


def register_threadpoolctl() -> None:
    """Make pyconv's threads visible to threadpoolctl.

    Afterwards ``threadpoolctl.threadpool_info()`` lists pyconv and ``threadpool_limits`` limits it,
    as the ``user_api`` called "pyconv".

    Raises
    ------
    ImportError
        threadpoolctl is not installed.

    Examples
    --------
    >>> from threadpoolctl import threadpool_info
    >>> register_threadpoolctl()
    >>> [pool["user_api"] for pool in threadpool_info() if pool["user_api"] == "pyconv"]
    ['pyconv']
    """
    import threadpoolctl  # type: ignore[import-untyped]  # noqa: PLC0415 (optional)

    class PyconvController(threadpoolctl.LibController):  # type: ignore[misc]
        user_api = "pyconv"
        internal_api = "pyconv"
        filename_prefixes = ("_core",)
        check_symbols = ("pyconv_get_num_threads", "pyconv_set_num_threads", "pyconv_version")

        def get_num_threads(self) -> int:
            return int(self.dynlib.pyconv_get_num_threads())

        def set_num_threads(self, num_threads: int) -> None:
            self.dynlib.pyconv_set_num_threads(num_threads)

        def get_version(self) -> str:
            return __version__

        def set_additional_attributes(self) -> None:
            pass

    threadpoolctl.register(PyconvController)


def release_memory() -> None:
    """Give the memory that is kept for reuse back to the system.

    Without it, at most 64 MiB are held beyond the largest amount that was ever in use at once.

    Notes
    -----
    Memory of arrays that are in use is not touched.

    Examples
    --------
    >>> release_memory()
    >>> memory_info()["retained"]
    0
    """
    _core.release_memory()


def memory_info() -> dict[str, int]:
    """Return how much memory there is for outputs and scratch.

    Returns
    -------
    dict of str to int
        Bytes: "live" are in use, "retained" are kept for reuse, "peak" is the most that was in use at once since
        the start or the last `release_memory`.

    Examples
    --------
    >>> sorted(memory_info())
    ['live', 'peak', 'retained']
    """
    return _core.memory_info()


def get_isa() -> str:
    """Return the name of the instruction set whose kernels run.

    Returns
    -------
    str
        One of `available_isas`.

    Examples
    --------
    >>> with use_isa("generic"):
    ...     get_isa()
    'generic'
    """
    return _core.get_isa()


def available_isas() -> list[str]:
    """Return the instruction sets that this build has and this machine runs, the best last.

    ``avx2_512``, in builds for tests only, is the AVX-512 kernels lowered to AVX2; it is never
    chosen by itself.

    Returns
    -------
    list of str

    Examples
    --------
    >>> available_isas()[0]
    'generic'
    """
    return _core.available_isas()


class _IsaRestorer(AbstractContextManager[None]):
    def __init__(self, previous: str) -> None:
        self._previous = previous

    def __exit__(self, *exception: object) -> None:
        _core.set_isa(self._previous)


def use_isa(name: str) -> AbstractContextManager[None]:
    """Run the kernels of another instruction set, from now on, in the whole process.

    Parameters
    ----------
    name : str
        One of `available_isas`. The environment variable ``PYCONV_ISA`` does the same at import.

    Returns
    -------
    context manager
        In a ``with`` statement, the previous instruction set comes back at its end.

    Examples
    --------
    >>> from pyconv import runtime
    >>> with runtime.use_isa("generic"):
    ...     runtime.get_isa()
    'generic'
    """
    if not isinstance(name, str):
        raise TypeError(f"use_isa: name is not a str, got {name!r}; expected a name")
    restorer = _IsaRestorer(_core.get_isa())
    _core.set_isa(name)
    return restorer


def build_info() -> dict[str, Any]:
    """Return how the extension was built, and which instruction sets it has and uses.

    Returns
    -------
    dict
        "version", "compiler", "flags", "isas_compiled", "isas_available", "isa", "assertions".

    Examples
    --------
    >>> build_info()["isa"] == get_isa()
    True
    """
    return _core.build_info()


def kernels() -> list[dict[str, Any]]:
    """Return the kernel table: a row for each kernel, dtype and available instruction set.

    ``MR`` and ``NR`` are the register tile of a gemm kernel, ``MC``, ``KC`` and ``NC`` its cache
    blocks, in the terms of BLIS; 0 for other kernels.

    Returns
    -------
    list of dict

    Examples
    --------
    >>> gemm = [row for row in kernels() if row["op"] == "gemm" and row["isa"] == "generic"]
    >>> [(row["dtype"], row["MR"], row["NR"]) for row in gemm]
    [('float32', 6, 8), ('float64', 6, 4)]
    """
    return _core.kernels()


def measure_fma_peak(threads: int = 1, *, dtype: str = "float32", seconds: float = 0.2) -> float:
    """Measure the arithmetic peak of the machine, in GFLOP/s: the ceiling of every kernel.

    Parameters
    ----------
    threads : int
        How many at once.
    dtype : {"float32", "float64"}
    seconds : float
        How long to measure.

    Returns
    -------
    float
        Multiply-adds on registers alone, two operations each, in the current instruction set.

    Examples
    --------
    >>> measure_fma_peak(seconds=0.01) > 1
    True
    """
    if dtype not in {"float32", "float64"}:
        raise ValueError(
            f"measure_fma_peak: dtype is unknown, got {dtype!r}; expected 'float32' or 'float64'"
        )
    count = _thread_count("measure_fma_peak", threads)
    return _core.measure_fma_peak(count, dtype == "float64", float(seconds))
