# SPDX-License-Identifier: BSD-3-Clause
"""What a call costs above its arithmetic, from Cython and from Python: tiny arrays, 1,000 calls at a time."""

import shlex
import subprocess
import sys
import sysconfig
from importlib import machinery, util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pyconv
from pyconv import functional as F

CALLS = 1000
SOURCE = """
# cython: language_level=3, boundscheck=False, wraparound=False
from pyconv cimport cython_api as pc

def gemm(double[:, ::1] a, double[:, ::1] b, double[:, ::1] c, int calls):
    with nogil:
        for _ in range(calls):
            pc.gemm(1.0, a, b, 0.0, c)

def conv2d(float[:, :, :, ::1] x, float[:, :, :, ::1] w, float[:, :, :, ::1] y, int calls):
    cdef pc.pyconv_conv2d s = pc.conv2d_shape(
        x.shape[0], x.shape[1], x.shape[2], x.shape[3], w.shape[0], w.shape[2], w.shape[3])
    with nogil:
        for _ in range(calls):
            pc.conv2d(&s, x, w, y)
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("compiled")
    (folder / "calls.pyx").write_text(SOURCE)
    installed = f"-I{Path(pyconv.__file__).parents[1]}"
    subprocess.run([sys.executable, "-m", "cython", installed, "calls.pyx"], cwd=folder, check=True)
    command = [*shlex.split(sysconfig.get_config_var("CC") or "cc"), "-O2", "-shared", "-fPIC"]
    command += [f"-I{sysconfig.get_path('include')}", f"-I{pyconv.get_include()}"]
    subprocess.run([*command, "calls.c", "-o", "calls.so"], cwd=folder, check=True)
    loader = machinery.ExtensionFileLoader("calls", str(folder / "calls.so"))
    spec = util.spec_from_loader("calls", loader)
    assert spec is not None
    module = util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_gemm_from_cython(compiled: Any, benchmark: Any) -> None:
    a, c = np.ones((1, 1)), np.empty((1, 1))
    benchmark(compiled.gemm, a, a, c, CALLS)


def test_gemm_from_python(benchmark: Any) -> None:
    a = np.ones((1, 1))
    benchmark(lambda: [F.gemm(a, a) for _ in range(CALLS)])


def test_conv2d_from_cython(compiled: Any, benchmark: Any) -> None:
    x, w = np.ones((1, 1, 8, 8), np.float32), np.ones((1, 1, 1, 1), np.float32)
    benchmark(compiled.conv2d, x, w, np.empty_like(x), CALLS)


def test_conv2d_from_python(benchmark: Any) -> None:
    x, w = np.ones((1, 1, 8, 8), np.float32), np.ones((1, 1, 1, 1), np.float32)
    benchmark(lambda: [F.conv2d(x, w) for _ in range(CALLS)])
