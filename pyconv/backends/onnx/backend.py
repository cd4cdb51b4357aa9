# SPDX-License-Identifier: BSD-3-Clause
"""ONNX models run by pyconv: the contract of ``onnx.backend.base``.

`prepare` looks up everything once: the graph is folded and fused, every node becomes a kernel, every
value a place in a list, and the last reader of a value knows that it is the last. A run is then a
loop over calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pyconv.backends.onnx.graph import Graph, fold, fuse, load, subgraph_inputs
from pyconv.backends.onnx.operators import Kernel, Node, kernel_of
from pyconv.backends.onnx.reference import Reference
from pyconv.io import PathLike
from pyconv.optional import need

onnx = need("onnx", "pyconv.backends.onnx", extra="onnx")
base = need("onnx.backend.base", "pyconv.backends.onnx", extra="onnx")

# Names, since the classes are not there for mypy.
_Backend: Any = base.Backend
_BackendRep: Any = base.BackendRep


class PyconvBackend(_Backend):  # type: ignore[misc]
    """The backend, for programs that take one, such as ``onnx.backend.test``.

    Notes
    -----
    The functions of `pyconv.backends.onnx` are its methods.

    Examples
    --------
    >>> issubclass(PyconvBackend, base.Backend)
    True
    """

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Return whether this is the CPU.

        Parameters
        ----------
        device : str

        Examples
        --------
        >>> supports_device("CPU"), supports_device("CUDA")
        (True, False)
        """
        return device.partition(":")[0] == "CPU"

    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **kwargs: Any) -> PyconvRep:
        """Return a model in a form that runs.

        Parameters
        ----------
        model : onnx.ModelProto
        device : str
            "CPU".
        **kwargs
            Of other backends; ignored.

        Raises
        ------
        ValueError
            The device is another, or neither pyconv nor ONNX's reference has an operator.
        onnx.checker.ValidationError
            The model is not valid.

        Examples
        --------
        >>> import numpy as np
        >>> from pyconv.layers import Linear
        >>> rep = prepare(convert(Linear(3, 2), (1, 3)))
        >>> rep.run([np.zeros((4, 3), np.float32)])[0].shape
        (4, 2)
        """
        if not cls.supports_device(device):
            raise ValueError(f"prepare: device is not supported, got {device!r}; expected 'CPU'")
        onnx.checker.check_model(model)
        return PyconvRep(load(model), model.opset_import)

    @classmethod
    def run_model(
        cls, model: Any, inputs: Sequence[Any], device: str = "CPU", **kwargs: Any
    ) -> tuple[Any, ...]:
        """Return the outputs of a model that runs once.

        Parameters
        ----------
        model, device, **kwargs
            As of `prepare`.
        inputs : sequence of ndarray
            As of `PyconvRep.run`.

        Returns
        -------
        tuple of ndarray

        Examples
        --------
        >>> import numpy as np
        >>> from pyconv.layers import ReLU
        >>> run_model(convert(ReLU(), (1, 2)), [np.array([[-1, 2]], np.float32)])[0]
        array([[0., 2.]], dtype=float32)
        """
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(
        cls,
        node: Any,
        inputs: Sequence[Any],
        device: str = "CPU",
        outputs_info: Any = None,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """Return the outputs of one node.

        Parameters
        ----------
        node : onnx.NodeProto
        inputs : sequence of ndarray
            One for each input of the node that has a name.
        device : str
            "CPU".
        outputs_info
            Not needed.
        **kwargs
            ``opset_version``, by default the newest; others are ignored.

        Examples
        --------
        >>> import numpy as np
        >>> from onnx.helper import make_node
        >>> run_node(make_node("Relu", ["x"], ["y"]), [np.array([-1, 2], np.float32)])[0]
        array([0., 2.], dtype=float32)
        """
        super().run_node(node, inputs, device, outputs_info, **kwargs)  # checks the node
        version = kwargs.get("opset_version", onnx.defs.onnx_opset_version())
        names = dict.fromkeys(name for name in node.input if name)
        graph = onnx.helper.make_graph(
            [node],
            "node",
            [onnx.ValueInfoProto(name=name) for name in names],
            [onnx.ValueInfoProto(name=name) for name in node.output if name],
        )
        opsets = [onnx.helper.make_opsetid(node.domain, version)]
        model = onnx.helper.make_model(graph, opset_imports=opsets)
        return PyconvRep(load(model), opsets).run(inputs)


class _Step(NamedTuple):
    kernel: Kernel
    inputs: tuple[int, ...]  # places in the list of values
    outputs: tuple[int, ...]
    dead: tuple[int, ...]  # what nobody reads after this step


class _Input(NamedTuple):
    name: str
    place: int
    dtype: np.dtype[Any] | None  # None: no tensor, or the model does not say
    sizes: tuple[int | None, ...] | None


class PyconvRep(_BackendRep):  # type: ignore[misc]
    """A model that is ready to run.

    Attributes
    ----------
    input_names, output_names : list of str
    by_reference : set of str
        The operators that ONNX's reference implementation has computed so far, because pyconv has
        no kernel for them, for their attributes or for the types of their inputs.

    Examples
    --------
    >>> from pyconv.layers import Linear
    >>> from pyconv.backends.onnx import convert
    >>> rep = PyconvBackend.prepare(convert(Linear(3, 2), (1, 3)))
    >>> rep.input_names, sorted(rep.by_reference)
    (['input'], [])
    """

    def __init__(self, graph: Graph, opsets: Any) -> None:
        self.by_reference: set[str] = set()
        self._opsets = opsets
        fold(graph, self._kernel_for)
        fuse(graph)
        places: dict[str | None, int] = {
            "": 0,
            None: 1,
        }  # what is not there is None; where outputs go that nobody reads

        def place(name: str | None) -> int:
            return places.setdefault(name, len(places))

        self.input_names = [info.name for info in graph.inputs]
        self.output_names = list(graph.outputs)
        self._inputs = [_input(info, place(info.name)) for info in graph.inputs]
        self._outputs = [place(name) for name in graph.outputs]
        kept = {*self._outputs, 0}
        last_read: dict[int, int] = {}
        wired = []
        for i, node in enumerate(graph.nodes):
            reads = tuple(place(name) for name in node.inputs + subgraph_inputs(node))
            writes = tuple(place(name or None) for name in node.outputs)
            last_read |= dict.fromkeys((*writes, *reads), i)
            wired.append((self._kernel_for(node), reads, writes))
        constants = {places[name]: a for name, a in graph.constants.items() if name in places}
        self._values: list[Any] = [constants.get(i) for i in range(len(places))]
        for array in constants.values():
            if isinstance(array, np.ndarray):
                array.setflags(write=False)
        self._steps = [
            _Step(
                kernel,
                reads,
                writes,
                tuple(
                    at for at in {*reads, *writes} - kept - constants.keys() if last_read[at] == i
                ),
            )
            for i, (kernel, reads, writes) in enumerate(wired)
        ]

    def run(self, inputs: Sequence[Any], **kwargs: Any) -> tuple[Any, ...]:
        """Run the model.

        Parameters
        ----------
        inputs : sequence of ndarray
            In the order of the graph's inputs, those with an initializer left out. Only read, and
            of any strides.
        **kwargs
            Of other backends; ignored.

        Returns
        -------
        tuple of ndarray
            New arrays, in the order of the graph's outputs.

        Raises
        ------
        ValueError
            The number of inputs or a shape is wrong.
        TypeError
            A dtype is not the model's.
        """
        values = self._values.copy()
        self._put(values, inputs)
        with np.errstate(all="ignore"):  # NaN and infinity are results like others
            for kernel, reads, writes, dead in self._steps:
                result = kernel(*[values[at] for at in reads])
                if type(result) is tuple:
                    for at, part in zip(writes, result, strict=False):
                        values[at] = part
                else:
                    values[writes[0]] = result
                for at in dead:
                    values[at] = None
        return tuple(_owned(values[at], inputs) for at in self._outputs)

    def _put(self, values: list[Any], inputs: Sequence[Any]) -> None:
        """Check the inputs and put them in their places."""
        if not isinstance(inputs, list | tuple):
            got = type(inputs).__name__
            raise TypeError(
                f"run: inputs is of the wrong type, got {got}; expected a list of arrays"
            )
        if len(inputs) != len(self._inputs):
            raise ValueError(
                f"run: inputs has the wrong length, got {len(inputs)}; expected "
                f"{len(self._inputs)} ({', '.join(self.input_names)})"
            )
        for (name, place, dtype, sizes), x in zip(self._inputs, inputs, strict=True):
            if dtype is not None:
                array = np.asarray(x)
                if array.dtype != dtype:
                    raise TypeError(
                        f"run: input {name!r} has the wrong dtype, got {array.dtype}; "
                        f"expected {dtype}"
                    )
                if sizes is not None and not _fits(array.shape, sizes):
                    raise ValueError(
                        f"run: input {name!r} has the wrong shape, got {array.shape}; "
                        f"expected ({', '.join('any' if n is None else str(n) for n in sizes)})"
                    )
                values[place] = array
            else:
                values[place] = x

    def _kernel_for(self, node: Node) -> Kernel:
        """Return pyconv's kernel of a node, with the reference behind it where it gives up."""
        kernel, reference = kernel_of(node), Reference(node, self._opsets)

        def by_reference(*inputs: Any) -> Any:
            self.by_reference.add(node.op_type)
            outputs = reference(*inputs)
            if node.activation is None:
                return outputs
            return np.maximum(outputs[0], outputs[0].dtype.type(0))

        if kernel is None:
            reference.make()
            return by_reference

        def run(*inputs: Any) -> Any:
            result = kernel(*inputs)
            return by_reference(*inputs) if result is NotImplemented else result

        return run


def _input(info: Any, place: int) -> _Input:
    """Return what a model says about an input."""
    kind = info.type.tensor_type
    if not info.type.HasField("tensor_type") or kind.elem_type == onnx.TensorProto.STRING:
        return _Input(info.name, place, None, None)
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
    if not kind.HasField("shape"):
        return _Input(info.name, place, dtype, None)
    # Some write 0 or -1 where a size is not known.
    sizes = tuple(dim.dim_value if dim.dim_value > 0 else None for dim in kind.shape.dim)
    return _Input(info.name, place, dtype, sizes)


def _fits(shape: tuple[int, ...], sizes: tuple[int | None, ...]) -> bool:
    return len(shape) == len(sizes) and all(
        want is None or have == want for have, want in zip(shape, sizes, strict=True)
    )


def _owned(output: Any, inputs: Sequence[Any]) -> Any:
    """Return an output that the caller may write to, without harm to the model or the inputs."""
    if not isinstance(output, np.ndarray):
        return output
    shared = any(isinstance(x, np.ndarray) and np.may_share_memory(output, x) for x in inputs)
    return output.copy() if shared or not output.flags.writeable else output


def prepare_file(path: PathLike) -> PyconvRep:
    """Return the model of an ONNX file in a form that runs.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    PyconvRep

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        It is not a valid ONNX file, or an operator is not supported.

    Examples
    --------
    >>> from pyconv.layers import Linear
    >>> from pyconv.backends.onnx import export
    >>> export(Linear(3, 2), "linear.onnx", (1, 3))
    >>> prepare_file("linear.onnx").run([np.zeros((4, 3), np.float32)])[0].shape
    (4, 2)
    """
    try:
        return prepare(onnx.load(path))
    except (OSError, ValueError):
        raise
    except Exception as error:  # onnx and protobuf have many, without a common base
        raise ValueError(f"{path}: not a valid ONNX file ({error})") from error


prepare = PyconvBackend.prepare
run_model = PyconvBackend.run_model
run_node = PyconvBackend.run_node
supports_device = PyconvBackend.supports_device
is_compatible = PyconvBackend.is_compatible
