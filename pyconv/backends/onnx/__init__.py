# SPDX-License-Identifier: BSD-3-Clause
"""ONNX: models out of pyconv.

`export` writes a model made of layers to an ONNX file; `convert` returns it instead. It needs the
package ``onnx``: ``python -m pip install 'pyconv-nn[onnx]'``.
"""

from pyconv.backends.onnx.export import convert, export

__all__ = ["convert", "export"]
