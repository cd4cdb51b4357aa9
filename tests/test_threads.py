# SPDX-License-Identifier: BSD-3-Clause
"""Threads: how many, who decides, who shares them, and what they inherit.

What could hang, crash or poison the test process runs in a child with a time limit.
test_determinism.py tests that results do not depend on the number, test_fork.py what fork() does.
"""

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import pyconv
from checks import assert_same_bits
from children import run_python
from pyconv import _core, runtime
from pyconv import functional as F
from reference import Array

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc or its libm")
NOT_COUNTS = [0, -1, 1025, 2**31, 2**64, -(2**63), 1.5, "2", None, [], float("nan")]


@pytest.fixture
def image(rng: np.random.Generator) -> tuple[Array, Array]:
    """Return operands of a convolution that is large enough for several threads."""
    x = rng.standard_normal((4, 16, 40, 40)).astype(np.float32)
    return x, rng.standard_normal((24, 16, 3, 3)).astype(np.float32)


def test_thread_count_is_set_for_the_process() -> None:
    before = pyconv.get_num_threads()
    try:
        pyconv.set_num_threads(3)
        assert pyconv.get_num_threads() == 3
        assert in_new_thread(pyconv.get_num_threads) == 3
    finally:
        pyconv.set_num_threads(before)


def test_thread_count_in_a_block_is_for_this_thread_only() -> None:
    before = pyconv.get_num_threads()
    with pyconv.num_threads(before + 2):
        assert pyconv.get_num_threads() == before + 2
        assert in_new_thread(pyconv.get_num_threads) == before
        with pyconv.num_threads(1):
            assert pyconv.get_num_threads() == 1
        assert pyconv.get_num_threads() == before + 2
    assert pyconv.get_num_threads() == before


def test_thread_count_comes_back_after_an_exception() -> None:
    before = pyconv.get_num_threads()

    def fail() -> None:
        with pyconv.num_threads(before + 1):
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert pyconv.get_num_threads() == before


@pytest.mark.parametrize("count", NOT_COUNTS, ids=repr)
def test_bad_thread_count_is_named(count: Any) -> None:
    before = pyconv.get_num_threads()
    with pytest.raises((ValueError, TypeError), match=r"^set_num_threads: n is "):
        pyconv.set_num_threads(count)
    with pytest.raises((ValueError, TypeError), match=r"^num_threads: n is "):
        pyconv.num_threads(count).__enter__()
    assert pyconv.get_num_threads() == before


PRINT_COUNT = "import pyconv; print(pyconv.get_num_threads())"


@pytest.mark.parametrize(
    ("environment", "count"),
    [
        ({"PYCONV_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "5"}, 5),
        ({"PYCONV_NUM_THREADS": "3", "OMP_NUM_THREADS": "5"}, 3),
        ({"OMP_NUM_THREADS": "5,2"}, 5),
    ],
)
def test_thread_count_comes_from_the_environment(environment: dict[str, str], count: int) -> None:
    assert run_python(PRINT_COUNT, environment) == str(count)


@pytest.mark.parametrize("value", ["", "0", "-4", "many", "99999999999999999999"])
def test_nonsense_in_the_environment_is_ignored(value: str) -> None:
    assert 1 <= int(run_python(PRINT_COUNT, {"PYCONV_NUM_THREADS": value})) <= 1024


@on_linux
def test_thread_count_respects_the_affinity_mask() -> None:
    first = min(os.sched_getaffinity(0))
    assert run_python(f"import os; os.sched_setaffinity(0, [{first}])\n{PRINT_COUNT}") == "1"


@on_linux
def test_threads_start_with_the_first_work_and_not_at_import() -> None:
    script = """
        import os
        import numpy as np
        before = len(os.listdir("/proc/self/task"))
        import pyconv
        from pyconv import functional as F
        pyconv.set_num_threads(3)
        F.relu(np.ones((2, 2)))
        assert len(os.listdir("/proc/self/task")) == before
        F.conv2d(np.ones((4, 16, 40, 40)), np.ones((24, 16, 3, 3)))
        assert len(os.listdir("/proc/self/task")) == before + 2
        """
    run_python(script)


def in_new_thread(call: Callable[[], Any]) -> Any:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(call()))
    thread.start()
    thread.join(60)
    assert not thread.is_alive(), "hangs"
    return results[0]


def test_concurrent_callers_get_the_same_bits(image: tuple[Array, Array]) -> None:
    """Eight Python threads share the inputs and the pool; each has its own outputs."""
    x, w = image
    expected = F.conv2d(x, w, padding=1)
    expected_gradient = F.conv2d_backward_weight(expected, x, w.shape, padding=1)
    barrier = threading.Barrier(8)

    def work() -> None:
        barrier.wait(60)
        for _ in range(5):
            output = F.conv2d(x, w, padding=1)
            assert_same_bits(output, expected)
            gradient = F.conv2d_backward_weight(output, x, w.shape, padding=1)
            assert_same_bits(gradient, expected_gradient)

    with ThreadPoolExecutor(8) as callers:
        for future in [callers.submit(work) for _ in range(8)]:
            future.result(120)


def test_kernels_release_the_interpreter_lock(rng: np.random.Generator) -> None:
    """Another Python thread keeps counting during one long call."""
    a = rng.standard_normal((900, 900))
    count, stop = [0], threading.Event()

    def tick() -> None:
        while not stop.is_set():
            count[0] += 1

    thread = threading.Thread(target=tick)
    with runtime.use_isa("generic"), pyconv.num_threads(1):
        thread.start()
        before = count[0]
        F.gemm(a, a)
        counted = count[0] - before
        stop.set()
        thread.join()
    assert counted > 1000


def test_interrupt_stops_a_kernel() -> None:
    script = """
        import os, signal, threading, time
        import numpy as np
        import pyconv
        from pyconv import functional as F, runtime
        runtime.use_isa("generic")
        a = np.ones((6000, 6000))
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        start = time.monotonic()
        try:
            F.gemm(a, a)
            raise SystemExit("not interrupted")
        except KeyboardInterrupt:
            print(time.monotonic() - start)
        assert (F.gemm(a[:50, :50], a[:50, :50]) == 50).all()
        """
    # About a minute of work if nothing stops it; loaded machines answer late.
    assert float(run_python(script)) < 10


@on_linux
def test_workers_take_over_the_rounding_mode_of_the_caller() -> None:
    """And so every other bit of the control register, flush-to-zero among them."""
    script = """
        import ctypes
        import numpy as np
        import pyconv
        from pyconv import functional as F
        rng = np.random.default_rng(0)
        x = rng.standard_normal((4, 8, 40, 40))
        w = rng.standard_normal((8, 8, 3, 3))
        nearest = F.conv2d(x, w)
        libm = ctypes.CDLL("libm.so.6")
        upward = 0x800
        assert libm.fesetround(upward) == 0
        results = []
        for threads in (1, 2, 5):
            with pyconv.num_threads(threads):
                results.append(F.conv2d(x, w))
            assert libm.fegetround() == upward
        libm.fesetround(0)
        for result in results:
            assert result.tobytes() == results[0].tobytes()
            assert (result >= nearest).all() and (result > nearest).any()
        assert F.conv2d(x, w).tobytes() == nearest.tobytes()
        """
    if os.uname().machine != "x86_64":
        pytest.skip("the number of the rounding mode is that of x86-64")
    run_python(script)


def test_import_and_calls_leave_the_floating_point_state_alone() -> None:
    """A library linked with -ffast-math would flush denormals of the whole process."""
    script = """
        import warnings
        import numpy as np
        tiny = np.float32(1e-45)
        assert tiny * np.float32(1) == tiny
        import pyconv.functional as F
        F.conv2d(np.ones((4, 16, 40, 40), "f"), np.ones((24, 16, 3, 3), "f"))
        F.softmax(np.array([[1e30, -1e30]], "f"))
        assert tiny * np.float32(1) == tiny
        warnings.simplefilter("error")
        assert np.finfo(np.float32).smallest_subnormal > 0
        assert np.finfo(np.float64).smallest_subnormal > 0
        """
    run_python(script)


def test_extension_exports_what_threadpoolctl_reads() -> None:
    library = ctypes.CDLL(_core.__file__)
    library.pyconv_version.restype = ctypes.c_char_p
    assert library.pyconv_version().decode() == pyconv.__version__
    assert library.pyconv_get_num_threads() == pyconv.get_num_threads()


def test_threadpoolctl_sees_and_limits_pyconv() -> None:
    pytest.importorskip("threadpoolctl", reason="threadpoolctl is not installed")
    script = """
        import threadpoolctl
        import pyconv

        pyconv.runtime.register_threadpoolctl()
        pyconv.set_num_threads(3)
        found = [i for i in threadpoolctl.threadpool_info() if i["user_api"] == "pyconv"]
        assert [info["num_threads"] for info in found] == [3], found
        with threadpoolctl.threadpool_limits(1, user_api="pyconv"):
            assert pyconv.get_num_threads() == 1
        assert pyconv.get_num_threads() == 3
        """
    run_python(script)
