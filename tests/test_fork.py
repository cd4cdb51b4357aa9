# SPDX-License-Identifier: BSD-3-Clause
"""fork() with a warm pool, in and out of kernels; and processes that end in the middle of one.

Every child has an alarm, so that a hang fails instead of lasting.
"""

import sys

import pytest

from children import run_python

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")

PREAMBLE = """
import os, signal, threading, time
import numpy as np
import pyconv
from pyconv import functional as F

pyconv.set_num_threads(3)
rng = np.random.default_rng(0)
x = rng.standard_normal((4, 8, 40, 40)).astype("f")
w = rng.standard_normal((16, 8, 3, 3)).astype("f")
expected = F.conv2d(x, w).tobytes()

def check():
    assert F.conv2d(x, w).tobytes() == expected

def in_child(work):
    # Returns what the child's work returned as an exit status: 0 when all went well.
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)
    return os.waitpid(pid, 0)[1]
"""


def test_parent_and_child_work_after_fork() -> None:
    script = """
for _ in range(50):
    assert in_child(check) == 0
    check()
"""
    run_python(PREAMBLE + script)


def test_nested_children_work() -> None:
    script = """
def nested():
    check()
    assert in_child(check) == 0
    check()

for _ in range(20):
    assert in_child(nested) == 0
    check()
"""
    run_python(PREAMBLE + script)


def test_fork_during_a_kernel_of_another_thread() -> None:
    """The fork does not wait for the kernel, and the child does not wait for dead workers."""
    script = """
stop = threading.Event()
big = rng.standard_normal((8, 16, 64, 64)).astype("f")
filters = rng.standard_normal((32, 16, 3, 3)).astype("f")

def busy():
    while not stop.is_set():
        F.conv2d(big, filters)

thread = threading.Thread(target=busy)
thread.start()
for _ in range(50):
    assert in_child(check) == 0
stop.set()
thread.join(30)
assert not thread.is_alive()
check()
"""
    run_python(PREAMBLE + script)


def test_child_may_start_threads_and_change_their_number() -> None:
    script = """
def more():
    check()
    pyconv.set_num_threads(5)
    check()
    thread = threading.Thread(target=check)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    pyconv.release_memory()
    check()

for _ in range(10):
    assert in_child(more) == 0
assert pyconv.get_num_threads() == 3
"""
    run_python(PREAMBLE + script)


def test_multiprocessing_pool_of_forked_workers() -> None:
    script = """
import multiprocessing

def task(seed):
    check()
    return seed

with multiprocessing.get_context("fork").Pool(3) as pool:
    assert pool.map_async(task, range(30)).get(60) == list(range(30))
"""
    run_python(PREAMBLE + script)


def test_process_ends_cleanly_while_a_daemon_thread_computes() -> None:
    script = """
def busy():
    while True:
        F.conv2d(x, w)

threading.Thread(target=busy, daemon=True).start()
time.sleep(0.05)
"""
    for _ in range(3):
        run_python(PREAMBLE + script)
        run_python(PREAMBLE + script + "os._exit(0)\n")


def test_many_short_threads_leave_nothing_behind() -> None:
    """Scratch memory belongs to the process, not to each thread that ever called."""
    script = """
import resource

def once():
    F.conv2d_backward_weight(F.conv2d(x, w), x, w.shape)

def churn(count):
    for _ in range(count):
        thread = threading.Thread(target=once)
        thread.start()
        thread.join()

churn(50)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
churn(1000)
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
assert grown <= 16 << 10, grown  # KiB
"""
    run_python(PREAMBLE + script)
