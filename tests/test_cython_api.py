# SPDX-License-Identifier: BSD-3-Clause
"""Extensions of others, in Cython and in C, built against the installed pyconv and called without the GIL."""

import importlib.util
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import pyconv
from checks import assert_exact
from children import run_python
from pyconv import functional as F

COMPILER = shlex.split(sysconfig.get_config_var("CC") or "cc")[0]
pytestmark = pytest.mark.skipif(
    shutil.which(COMPILER) is None, reason=f"no C compiler: {COMPILER} is not installed"
)

CYTHON = """
# cython: language_level=3, boundscheck=False, wraparound=False
from libc.stdint cimport int32_t, int64_t
from pyconv cimport cython_api as pc

ctypedef fused real:
    float
    double

def gemm(real[:, ::1] a, real[:, ::1] b, real[:, ::1] c, real alpha, real beta, bint ta, bint tb):
    with nogil:
        pc.gemm(alpha, a, b, beta, c, ta, tb)

def conv2d(const real[:, :, :, ::1] x, const real[:, :, :, ::1] w, const real[::1] b,
           real[:, :, :, ::1] y, real[:, :, :, ::1] dx, real[:, :, :, ::1] dw,
           int64_t stride, int64_t padding, int64_t groups):
    cdef pc.pyconv_conv2d s = pc.conv2d_shape(
        x.shape[0], x.shape[1], x.shape[2], x.shape[3], w.shape[0], w.shape[2], w.shape[3],
        stride, padding, 1, groups)
    with nogil:
        if b is None:
            pc.conv2d(&s, x, w, y)
        else:
            pc.conv2d(&s, x, w, y, b)
        pc.conv2d_backward_input(&s, y, w, dx)
        pc.conv2d_backward_weight(&s, y, x, dw)

def pool2d(real[:, :, :, ::1] x, real[:, :, :, ::1] y, int32_t[:, :, :, ::1] indices,
           real[:, :, :, ::1] dx, real[:, :, :, ::1] mean, real[:, :, :, ::1] dx_mean,
           int64_t size, int64_t stride, int64_t padding):
    cdef pc.pyconv_pool2d s = pc.pool2d_shape(
        x.shape[0], x.shape[1], x.shape[2], x.shape[3], size, size, stride, padding)
    with nogil:
        pc.max_pool2d(&s, x, y, indices)
        pc.max_pool2d_backward(&s, y, indices, dx)
        pc.avg_pool2d(&s, x, mean)
        pc.avg_pool2d_backward(&s, mean, dx_mean)

def output_size(int64_t H, int64_t W, int64_t K, int64_t stride, int64_t padding):
    cdef int64_t OH, OW
    cdef pc.pyconv_conv2d s = pc.conv2d_shape(1, 1, H, W, 1, K, K, stride, padding)
    pc.conv2d_output_size(&s, &OH, &OW)
    return OH, OW

def average_with_dilation(double[:, :, :, ::1] x, double[:, :, :, ::1] y):
    cdef pc.pyconv_pool2d s = pc.pool2d_shape(1, 1, 5, 5, 2, 2)
    s.dilation_h = s.dilation_w = 2
    pc.avg_pool2d(&s, x, y)

def product_by_pointers(double[::1] a, double[::1] b):
    cdef double c = 0
    with nogil:
        pc.gemm_double(False, False, 1, 1, a.shape[0], 1, &a[0], a.shape[0], &b[0], 1, 0, &c, 1)
    return c
"""

C = """
#include <Python.h>
#include <pthread.h>
#include <pyconv.h>

static PyObject *blur(PyObject *self, PyObject *arguments) {
    const pyconv_api *api = pyconv_import();
    long size;
    if (api == NULL || !PyArg_ParseTuple(arguments, "l", &size)) return NULL;
    float image[16], weight[4] = {1, 1, 1, 1}, output[9];
    for (int i = 0; i < 16; ++i) image[i] = (float)i;
    pyconv_conv2d shape = {.N = 1, .C = 1, .H = 4, .W = 4, .OC = 1, .KH = size, .KW = size,
                           .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1, .groups = 1};
    if (api->conv2d_float(&shape, image, weight, NULL, output) != PYCONV_OK)
        return PyErr_Format(PyExc_RuntimeError, "%s", api->last_error());
    return Py_BuildValue("ff", output[0], output[8]);
}

static const pyconv_api *api;
static int code = -1;
static float image[4 * 16 * 32 * 32], weight[16 * 16], output[4 * 16 * 32 * 32];

static void *convolve(void *unused) {
    pyconv_conv2d shape = {.N = 4, .C = 16, .H = 32, .W = 32, .OC = 16, .KH = 1, .KW = 1,
                           .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1, .groups = 1};
    code = api->conv2d_float(&shape, image, weight, NULL, output);
    return unused;
}

/* In a thread of C's own, while this one keeps the GIL. */
static PyObject *in_thread(PyObject *self, PyObject *unused) {
    pthread_t thread;
    api = pyconv_import();
    if (api == NULL || pthread_create(&thread, NULL, convolve, NULL) != 0) return NULL;
    pthread_join(thread, NULL);
    return PyLong_FromLong(code);
}

static PyMethodDef methods[] = {{"blur", blur, METH_VARARGS, NULL},
                                {"in_thread", in_thread, METH_NOARGS, NULL},
                                {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "in_c", NULL, -1, methods};
PyMODINIT_FUNC PyInit_in_c(void) { return PyModule_Create(&module); }
"""


def _compiled(source: Path) -> ModuleType:
    """Compile a C file into an extension beside it, and import that."""
    library = source.with_suffix(".so")
    command = [COMPILER, "-O1", "-shared", "-fPIC", "-pthread", str(source), "-o", str(library)]
    command += [f"-I{sysconfig.get_path('include')}", f"-I{pyconv.get_include()}"]
    subprocess.run(command, check=True)
    spec = importlib.util.spec_from_file_location(source.stem, library)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def downstream(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("downstream")
    (folder / "in_cython.pyx").write_text(CYTHON)
    installed = Path(pyconv.__file__).parents[1]
    subprocess.run(
        [sys.executable, "-m", "cython", f"-I{installed}", "in_cython.pyx"], cwd=folder, check=True
    )
    return _compiled(folder / "in_cython.c")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gemm(downstream: Any, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    for trans_a in (False, True):
        for trans_b in (False, True):
            a = rng.integers(-4, 5, (7, 5) if trans_a else (5, 7)).astype(dtype)
            b = rng.integers(-4, 5, (9, 7) if trans_b else (7, 9)).astype(dtype)
            c = np.ones((5, 9), dtype)
            downstream.gemm(a, b, c, 2.0, 3.0, trans_a, trans_b)
            assert_exact(c, 2 * F.gemm(a, b, trans_a=trans_a, trans_b=trans_b) + 3)
    with pytest.raises(ValueError, match="gemm: b has the wrong shape"):
        downstream.gemm(a, b, c, 1.0, 0.0, False, False)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bias", [True, False])
def test_conv2d_and_its_gradients(downstream: Any, dtype: Any, bias: bool) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(-4, 5, (2, 4, 9, 8)).astype(dtype)
    w = rng.integers(-4, 5, (6, 2, 3, 3)).astype(dtype)
    b = rng.integers(-4, 5, 6).astype(dtype) if bias else None
    for array in (x, w):
        array.flags.writeable = False
    options: dict[str, Any] = {"stride": 2, "padding": 1, "groups": 2}
    expected = F.conv2d(x, w, b, **options)
    y, dx, dw = np.empty_like(expected), np.empty_like(x), np.empty_like(w)
    downstream.conv2d(x, w, b, y, dx, dw, 2, 1, 2)
    assert_exact(y, expected)
    assert_exact(dx, F.conv2d_backward_input(y, w, x.shape, **options))
    assert_exact(dw, F.conv2d_backward_weight(y, x, w.shape, **options))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pooling_and_its_gradients(downstream: Any, dtype: Any) -> None:
    x = np.random.default_rng(0).integers(-4, 5, (2, 3, 9, 8)).astype(dtype)
    expected, indices = F.max_pool2d(x, 3, stride=2, padding=1, return_indices=True)
    y, mean, at = np.empty_like(expected), np.empty_like(expected), np.empty_like(indices)
    dx, dx_mean = np.empty_like(x), np.empty_like(x)
    downstream.pool2d(x, y, at, dx, mean, dx_mean, 3, 2, 1)
    assert_exact(y, expected)
    assert_exact(at, indices)
    assert_exact(dx, F.max_pool2d_backward(expected, indices, x.shape))
    assert_exact(mean, F.avg_pool2d(x, 3, stride=2, padding=1))
    assert_exact(dx_mean, F.avg_pool2d_backward(mean, x.shape, 3, stride=2, padding=1))


def test_pointers_and_sizes(downstream: Any) -> None:
    assert downstream.product_by_pointers(np.array([1.0, 2.0]), np.array([3.0, 4.0])) == 11.0
    assert downstream.output_size(224, 200, 7, 2, 3) == (112, 100)


def test_wrong_sizes_raise_and_name_the_argument(downstream: Any) -> None:
    x, w = np.zeros((1, 2, 5, 5)), np.zeros((3, 2, 3, 3))
    y, short = np.empty((1, 3, 3, 3)), np.empty((1, 3, 3, 2))
    with pytest.raises(ValueError, match="conv2d: output has the wrong shape"):
        downstream.conv2d(x, w, None, short, np.empty_like(x), np.empty_like(w), 1, 0, 1)
    with pytest.raises(ValueError, match="conv2d: bias has the wrong shape"):
        downstream.conv2d(x, w, np.zeros(2), y, np.empty_like(x), np.empty_like(w), 1, 0, 1)
    with pytest.raises(ValueError, match="conv2d: stride"):
        downstream.conv2d(x, w, None, y, np.empty_like(x), np.empty_like(w), 0, 0, 1)
    with pytest.raises(ValueError, match="conv2d: groups"):
        downstream.conv2d(x, w, None, y, np.empty_like(x), np.empty_like(w), 1, 0, 0)
    with pytest.raises(ValueError, match="max_pool2d: output has the wrong shape"):
        downstream.pool2d(x, x, np.zeros(x.shape, np.int32), x, x, x, 3, 1, 2)


def test_averages_have_no_dilation(downstream: Any) -> None:
    with pytest.raises(ValueError, match="avg_pool2d: dilation is not 1"):
        downstream.average_with_dilation(np.zeros((1, 1, 5, 5)), np.zeros((1, 1, 3, 3)))


def test_c(tmp_path: Path) -> None:
    (tmp_path / "in_c.c").write_text(C)
    module = _compiled(tmp_path / "in_c.c")
    assert module.blur(2) == (0 + 1 + 4 + 5, 10 + 11 + 14 + 15)
    with pytest.raises(RuntimeError, match="conv2d: weight"):
        module.blur(5)


def test_a_thread_that_python_does_not_know_never_waits_for_the_gil(tmp_path: Path) -> None:
    (tmp_path / "in_c.c").write_text(C)
    _compiled(tmp_path / "in_c.c")
    script = f"""
        from importlib import machinery, util
        loader = machinery.ExtensionFileLoader("in_c", {str(tmp_path / "in_c.so")!r})
        module = util.module_from_spec(util.spec_from_loader("in_c", loader))
        print(module.in_thread())
        """
    assert run_python(script, timeout=60) == "0"


def test_numba() -> None:
    extending: Any = pytest.importorskip(
        "numba.extending", reason="numba is not installed", exc_type=ImportError
    )
    import ctypes  # noqa: PLC0415

    address = extending.get_cython_function_address("pyconv.cython_api", "gemm_double")
    integer, real, pointer = ctypes.c_int64, ctypes.c_double, ctypes.c_void_p
    signature: list[Any] = [
        ctypes.c_int,
        ctypes.c_int,
        integer,
        integer,
        integer,
        real,
        pointer,
        integer,
    ]
    signature += [pointer, integer, real, pointer, integer]
    gemm = ctypes.CFUNCTYPE(ctypes.c_int, *signature)(address)
    numba: Any = pytest.importorskip("numba")

    @numba.njit  # type: ignore[untyped-decorator]
    def product(a: Any, b: Any, c: Any) -> Any:
        (M, K), N = a.shape, b.shape[1]
        return gemm(0, 0, M, N, K, 1.0, a.ctypes, K, b.ctypes, N, 0.0, c.ctypes, N)

    a, b = np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4)
    c = np.empty((2, 4))
    assert product(a, b, c) == 0
    assert_exact(c, a @ b)
