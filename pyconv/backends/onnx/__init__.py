# SPDX-License-Identifier: BSD-3-Clause
"""ONNX: models out of pyconv, and models run by pyconv.

`export` writes a model made of layers to an ONNX file; `convert` returns it instead. `prepare`, and
`prepare_file`, make any ONNX model ready to run::

    rep = prepare_file("model.onnx")
    (output,) = rep.run([x])

The module has the functions of an ONNX backend, as `PyconvBackend` does; `new_ops` puts pyconv's
kernels into ``onnx.reference.ReferenceEvaluator``. All need the package ``onnx``:
``python -m pip install 'pyconv-nn[onnx]'``.
"""

from pyconv.backends.onnx.backend import (
    PyconvBackend,
    PyconvRep,
    is_compatible,
    prepare,
    prepare_file,
    run_model,
    run_node,
    supports_device,
)
from pyconv.backends.onnx.export import convert, export
from pyconv.backends.onnx.new_ops import new_ops

__all__ = [
    "PyconvBackend",
    "PyconvRep",
    "convert",
    "export",
    "is_compatible",
    "new_ops",
    "prepare",
    "prepare_file",
    "run_model",
    "run_node",
    "supports_device",
]
