# SPDX-License-Identifier: BSD-3-Clause
"""The convolution that course users have today: im2col in Cython, matrix products in NumPy.

Written from the textbook definition, one group, dilation 1. `load` compiles im2col_cython.pyx on
first use into the user's cache folder, never into the source tree.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
import sysconfig
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from bench.workloads import FloatArray

NAME = "im2col_cython"
SOURCE = Path(__file__).with_name(f"{NAME}.pyx")


class CourseConv2d:
    """Forward and both gradients over the compiled im2col and col2im."""

    def __init__(self) -> None:
        self._core: Any = load()

    def conv2d(
        self, input: FloatArray, weight: FloatArray, *, stride: int, padding: int
    ) -> FloatArray:
        """``output[n] = weight (OC, C*KH*KW) @ columns[n]``."""
        OC, _, KH, KW = weight.shape
        columns, OH, OW = self._columns(input, KH, KW, stride, padding)
        output: FloatArray = weight.reshape(OC, -1) @ columns
        return output.reshape(-1, OC, OH, OW)

    def conv2d_backward_input(
        self,
        grad_output: FloatArray,
        weight: FloatArray,
        input_shape: tuple[int, int, int, int],
        *,
        stride: int,
        padding: int,
    ) -> FloatArray:
        """``grad_input[n] = col2im(weight.T @ grad_output[n])``."""
        N, C, H, W = input_shape
        _, OC, OH, OW = grad_output.shape
        _, _, KH, KW = weight.shape
        columns = weight.reshape(OC, -1).T @ grad_output.reshape(N, OC, OH * OW)
        padded = np.zeros((N, C, H + 2 * padding, W + 2 * padding), dtype=weight.dtype)
        self._core.col2im(columns, padded, KH, KW, OH, OW, stride)
        return padded[:, :, padding : padding + H, padding : padding + W]

    def conv2d_backward_weight(
        self,
        grad_output: FloatArray,
        input: FloatArray,
        weight_shape: tuple[int, int, int, int],
        *,
        stride: int,
        padding: int,
    ) -> FloatArray:
        """``grad_weight = sum(n) grad_output[n] @ columns[n].T``."""
        OC, _, KH, KW = weight_shape
        columns, OH, OW = self._columns(input, KH, KW, stride, padding)
        grad = grad_output.reshape(-1, OC, OH * OW)
        grad_weight: FloatArray = (grad @ columns.swapaxes(1, 2)).sum(axis=0)
        return grad_weight.reshape(weight_shape)

    def _columns(
        self, input: FloatArray, KH: int, KW: int, stride: int, padding: int
    ) -> tuple[FloatArray, int, int]:
        padded = np.pad(input, [(0, 0), (0, 0), (padding, padding), (padding, padding)])
        N, C, H, W = padded.shape
        OH, OW = (H - KH) // stride + 1, (W - KW) // stride + 1
        columns: FloatArray = np.empty((N, C * KH * KW, OH * OW), dtype=input.dtype)
        self._core.im2col(padded, columns, KH, KW, OH, OW, stride)
        return columns, OH, OW


def load() -> ModuleType:
    """Import the compiled im2col_cython, compiling it first if this source never was.

    Raises
    ------
    ImportError
        Cython, setuptools or a C compiler is missing.
    """
    try:
        cython = importlib.import_module("Cython")
    except ImportError as error:
        message = "the course peer needs Cython: pip install cython setuptools"
        raise ImportError(message) from error
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    fingerprint = hashlib.sha256(
        SOURCE.read_bytes() + f"{cython.__version__} {suffix}".encode()
    ).hexdigest()[:16]
    library = _cache_folder() / fingerprint / f"{NAME}{suffix}"
    if not library.exists():
        _compile(library)
    spec = importlib.util.spec_from_file_location(NAME, library)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {library}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _cache_folder() -> Path:
    if sys.platform == "win32":
        home = Path(os.environ.get("LOCALAPPDATA", Path.home()))
    else:
        home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return home / "pyconv-bench"


def _compile(library: Path) -> None:
    """Build in a temporary folder and move the result, so that two builders do not meet."""
    try:
        build = importlib.import_module("Cython.Build")
        setuptools: Any = importlib.import_module("setuptools")
    except ImportError as error:
        message = "the course peer needs setuptools to compile: pip install setuptools"
        raise ImportError(message) from error
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        flags = [] if sys.platform == "win32" else ["-O3"]
        source = Path(folder) / SOURCE.name
        source.write_bytes(SOURCE.read_bytes())
        extension = setuptools.Extension(NAME, [str(source)], extra_compile_args=flags)
        modules = build.cythonize([extension], quiet=True)
        command = setuptools.Distribution({"ext_modules": modules}).get_command_obj("build_ext")
        command.build_lib = command.build_temp = folder
        command.ensure_finalized()
        try:
            command.run()
        except Exception as error:  # setuptools wraps a compiler's failure in types of its own
            raise ImportError(f"the course peer did not compile: {error}") from error
        (Path(folder) / library.name).replace(library)
