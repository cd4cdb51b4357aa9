# SPDX-License-Identifier: BSD-3-Clause
"""pyconv's kernels as operators of ONNX's reference evaluator, in the place of its own."""

from __future__ import annotations

from typing import Any

from pyconv.backends.onnx.graph import node_of
from pyconv.backends.onnx.operators import kernel_of
from pyconv.backends.onnx.reference import Reference
from pyconv.optional import need

onnx = need("onnx", "pyconv.backends.onnx", extra="onnx")

# Where time goes, and NumPy alone is slow.
REPLACED = (
    "AveragePool", "BatchNormalization", "Conv", "ConvTranspose", "Gemm", "GlobalAveragePool",
    "GlobalMaxPool", "GroupNormalization", "InstanceNormalization", "LRN", "LayerNormalization",
    "LogSoftmax", "LpPool", "MaxPool", "Softmax",
)  # fmt: skip


def new_ops() -> list[type[Any]]:
    """Return classes for ``onnx.reference.ReferenceEvaluator(model, new_ops=new_ops())``.

    They stand for the convolutions, pools, normalisations and softmaxes of every operator set; what
    pyconv has no kernel for goes to ONNX's own classes as before. `prepare` is faster: it also merges
    neighbouring nodes and keeps packed weights.

    Returns
    -------
    list of type

    Examples
    --------
    >>> import numpy as np
    >>> from onnx.reference import ReferenceEvaluator
    >>> from pyconv.layers import Conv2d
    >>> model = convert(Conv2d(3, 8, 3), (1, 3, 32, 32))
    >>> evaluator = ReferenceEvaluator(model, new_ops=new_ops())
    >>> evaluator.run(None, {"input": np.zeros((1, 3, 32, 32), np.float32)})[0].shape
    (1, 8, 30, 30)
    """
    base: Any = need("onnx.reference.op_run", "pyconv.backends.onnx", extra="onnx").OpRun

    class PyconvOp(base):  # type: ignore[misc]
        """A node of the evaluator; subclasses are called after the operator that they are."""

        op_domain = ""

        def __init__(self, onnx_node: Any, run_params: dict[str, Any], schema: Any = None) -> None:
            super().__init__(onnx_node, run_params, schema)
            versions = run_params["opsets"]
            node = node_of(onnx_node, versions)
            self._kernel = kernel_of(node)
            self._reference = Reference(
                node, [onnx.helper.make_opsetid(*opset) for opset in versions.items()]
            )

        def _run(self, *inputs: Any, **attributes: Any) -> tuple[Any, ...]:
            del attributes  # the kernel knows them
            result = NotImplemented if self._kernel is None else self._kernel(*inputs)
            if result is NotImplemented:
                return self._reference(*inputs)
            return result if isinstance(result, tuple) else (result,)

    return [type(name, (PyconvOp,), {"__module__": __name__}) for name in REPLACED]
