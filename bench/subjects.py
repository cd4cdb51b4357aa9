# SPDX-License-Identifier: BSD-3-Clause
"""Who is timed: pyconv and each peer, one class a library, at its best on the same arrays.

`Subject.prepare` does everything that a user of the library would do once (copying weights into a
model, converting to the library's layout, building a session) and returns the call that is timed.
Matrix products go into a given array, which every library can do. Other outputs are allocated by
each call, as torch has to; only onnxruntime's is bound beforehand, which is its fast way.
Libraries are imported by name, because none of the peers has to be installed.
"""

from __future__ import annotations

import importlib
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

import pyconv
from bench.course import CourseConv2d
from bench.workloads import OPS, Case, Conv2d, FloatArray, Gemm, Pool2d
from pyconv import functional as F

Arrays = tuple[FloatArray, ...]


@dataclass(frozen=True)
class Run:
    """One subject made ready for one case; good for as long as the caller keeps the arrays."""

    call: Callable[[], Any]
    fetch: Callable[[Any], FloatArray]  # what `call` returned -> NCHW array


class Subject(ABC):
    """A library under test; constructing one raises ImportError where it is not installed."""

    name: ClassVar[str]
    ops: ClassVar[tuple[str, ...]]
    dtypes: ClassVar[tuple[str, ...]] = ("float32", "float64")
    version: str

    def set_threads(self, threads: int) -> None:  # noqa: B027  (most take it in `prepare`)
        """Let the library use this many threads from now on."""

    @abstractmethod
    def prepare(self, case: Case, arrays: Arrays, threads: int) -> Run | None:
        """Make the library ready for an op and dtype it has; None if it lacks this shape."""


def _as_is(output: Any) -> FloatArray:
    return np.asarray(output)


def _limit_blas(threadpoolctl: Any, threads: int) -> None:
    # The limit lasts: only a limiter used as a context manager takes it back.
    threadpoolctl.threadpool_limits(threads, user_api="blas")


class Pyconv(Subject):
    """The library this suite belongs to."""

    name = "pyconv"
    ops = OPS

    def __init__(self, algorithm: str = "auto") -> None:
        self.version = pyconv.__version__
        self._algorithm = algorithm

    def set_threads(self, threads: int) -> None:
        """Set the process's thread count."""
        pyconv.set_num_threads(threads)

    def prepare(self, case: Case, arrays: Arrays, threads: int) -> Run:
        """Bind the op's function and, for a matrix product, its result."""
        out = np.empty(case.result_shape, case.dtype) if case.op == "gemm" else None
        return Run(self.bind(case, arrays, out), _as_is)

    def bind(self, case: Case, arrays: Arrays, out: FloatArray | None) -> Callable[[], Any]:
        """Bind the function of pyconv.functional that has the op's name, result included.

        One image is inference: the weight is kept as a layer in eval mode keeps it, and as
        onnxruntime and ncnn do. Batches are timed as in training, with all work in every call.
        """
        options = case.workload.options
        if isinstance(case.workload, Conv2d):
            options |= {"algorithm": self._algorithm}
            if case.op == "conv2d" and case.workload.N == 1:
                options |= {"weight_cache": F.WeightCache()}
        return partial(getattr(F, case.op), *arrays, *case.arguments, **options, out=out)


class NumPy(Subject):
    """`np.matmul`, and pooling tap by tap; it has no convolution."""

    name = "numpy"
    ops = (*Gemm.ops, *Pool2d.ops)

    def __init__(self) -> None:
        self.version = np.__version__
        self._threadpoolctl: Any = importlib.import_module("threadpoolctl")

    def set_threads(self, threads: int) -> None:
        """Limit NumPy's BLAS."""
        _limit_blas(self._threadpoolctl, threads)

    def prepare(self, case: Case, arrays: Arrays, threads: int) -> Run | None:
        """Bind `np.matmul` or a pooling of this class."""
        w = case.workload
        if isinstance(w, Gemm):
            a, b = arrays
            out = np.empty((w.M, w.N), case.dtype)
            call = partial(np.matmul, a.T if w.trans_a else a, b.T if w.trans_b else b, out=out)
            return Run(call, _as_is)
        if isinstance(w, Pool2d):
            pool = self._max_pool2d if case.op == "max_pool2d" else self._avg_pool2d
            return Run(partial(pool, w, *arrays), _as_is)
        return None

    @classmethod
    def _max_pool2d(cls, w: Pool2d, input: FloatArray) -> FloatArray:
        taps = cls._taps(w, input, -np.inf)
        output = next(taps).copy()
        for pixels in taps:
            np.maximum(output, pixels, out=output)
        return output

    @classmethod
    def _avg_pool2d(cls, w: Pool2d, input: FloatArray) -> FloatArray:
        taps = cls._taps(w, input, 0.0)
        output = next(taps).copy()
        for pixels in taps:
            output += pixels
        output *= 1 / (w.KH * w.KW)
        return output

    @staticmethod
    def _taps(w: Pool2d, input: FloatArray, value: float) -> Iterator[FloatArray]:
        margin = (w.padding, w.padding)
        if w.padding:
            input = np.pad(input, ((0, 0), (0, 0), margin, margin), constant_values=value)
        height, width = (w.OH - 1) * w.stride + 1, (w.OW - 1) * w.stride + 1
        for kh in range(w.KH):
            for kw in range(w.KW):
                yield input[:, :, kh : kh + height : w.stride, kw : kw + width : w.stride]


class Torch(Subject):
    """PyTorch on contiguous NCHW tensors: its default layout."""

    name = "torch"
    ops: ClassVar[tuple[str, ...]] = OPS
    _memory_format: ClassVar[str] = "contiguous_format"

    def __init__(self) -> None:
        self._torch: Any = importlib.import_module("torch")
        self._torch.set_grad_enabled(False)  # gradients are computed by name, not recorded
        self.version = self._torch.__version__

    def set_threads(self, threads: int) -> None:
        """Set the process's thread count."""
        self._torch.set_num_threads(threads)

    def prepare(self, case: Case, arrays: Arrays, threads: int) -> Run:
        """Convert the arrays to tensors in the memory format and bind the ATen function."""
        tensors = [self._torch.from_numpy(array) for array in arrays]
        w = case.workload
        if isinstance(w, Gemm):
            return Run(self._gemm(w, *tensors), self._to_numpy)
        layout = getattr(self._torch, self._memory_format)
        tensors = [tensor.contiguous(memory_format=layout) for tensor in tensors]
        if isinstance(w, Conv2d):
            return Run(self._conv2d(case.op, w, *tensors), self._to_numpy)
        pool = getattr(self._torch.nn.functional, case.op)
        return Run(partial(pool, *tensors, *case.arguments, **w.options), self._to_numpy)

    def _gemm(self, w: Gemm, a: Any, b: Any) -> Callable[[], Any]:
        out = self._torch.empty((w.M, w.N), dtype=a.dtype)
        a, b = (a.T if w.trans_a else a), (b.T if w.trans_b else b)
        return partial(self._torch.mm, a, b, out=out)

    def _conv2d(self, op: str, w: Conv2d, first: Any, second: Any) -> Callable[[], Any]:
        if op == "conv2d":
            return partial(self._torch.conv2d, first, second, **w.options)
        # The backward function itself, so that only the wanted gradient is computed. It takes all
        # three tensors but reads only the shape of the one whose gradient is asked for.
        layout = getattr(self._torch, self._memory_format)
        empty = partial(self._torch.empty, dtype=first.dtype, memory_format=layout)
        if op == "conv2d_backward_input":
            grad_output, input, weight = first, empty(w.input_shape), second
        else:
            grad_output, input, weight = first, second, empty(w.weight_shape)
        wanted = [op == "conv2d_backward_input", op == "conv2d_backward_weight", False]
        backward = partial(
            self._torch.ops.aten.convolution_backward,
            grad_output,
            input,
            weight,
            None,  # bias_sizes
            [w.stride] * 2,
            [w.padding] * 2,
            [w.dilation] * 2,
            False,  # transposed
            [0, 0],  # output_padding
            w.groups,
            wanted,
        )
        index = wanted.index(True)
        return lambda: backward()[index]

    @staticmethod
    def _to_numpy(output: Any) -> FloatArray:
        return _as_is(output.contiguous().numpy())


class TorchChannelsLast(Torch):
    """PyTorch on channels_last tensors, weights and gradients included: its fast layout."""

    name = "torch channels_last"
    ops = (*Conv2d.ops, *Pool2d.ops)
    _memory_format = "channels_last"


class OnnxRuntime(Subject):
    """onnxruntime: one-node model, weight as initialiser, highest optimisation, bound outputs."""

    name = "onnxruntime"
    ops = ("gemm", "conv2d", *Pool2d.ops)
    dtypes = ("float32",)  # its CPU convolution has no other

    def __init__(self) -> None:
        self._ort: Any = importlib.import_module("onnxruntime")
        self._onnx: Any = importlib.import_module("onnx")  # describes the model
        self._helper: Any = importlib.import_module("onnx.helper")
        self.version = self._ort.__version__

    def prepare(self, case: Case, arrays: Arrays, threads: int) -> Run:
        """Build a session on a one-node model with its input and output bound."""
        w = case.workload
        if isinstance(w, Gemm):
            attributes = {"transA": int(w.trans_a), "transB": int(w.trans_b)}
            return self._run("Gemm", attributes, list(arrays), [], (w.M, w.N), threads)
        window: dict[str, Any] = {
            "kernel_shape": [w.KH, w.KW],
            "strides": [w.stride] * 2,
            "pads": [w.padding] * 4,
        }
        if isinstance(w, Pool2d):
            average = case.op == "avg_pool2d"
            node = "AveragePool" if average else "MaxPool"
            window |= {"count_include_pad": 1} if average else {}
            return self._run(node, window, list(arrays), [], w.output_shape, threads)
        window |= {"dilations": [w.dilation] * 2, "group": w.groups}
        return self._run("Conv", window, [arrays[0]], [arrays[1]], w.output_shape, threads)

    def _run(
        self,
        node: str,
        attributes: dict[str, Any],
        inputs: list[FloatArray],
        weights: list[FloatArray],
        output_shape: tuple[int, ...],
        threads: int,
    ) -> Run:
        h = self._helper
        floats = self._onnx.TensorProto.FLOAT
        input_names = [f"input{i}" for i in range(len(inputs))]
        weight_names = [f"weight{i}" for i in range(len(weights))]
        graph = h.make_graph(
            [h.make_node(node, input_names + weight_names, ["output"], **attributes)],
            "one_node",
            [
                h.make_tensor_value_info(name, floats, array.shape)
                for name, array in zip(input_names, inputs, strict=True)
            ],
            [h.make_tensor_value_info("output", floats, output_shape)],
            [
                h.make_tensor(name, floats, array.shape, array.tobytes(), raw=True)
                for name, array in zip(weight_names, weights, strict=True)
            ],
        )
        # An old opset that every onnxruntime of the last years reads, whatever the age of onnx.
        model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8)
        options = self._ort.SessionOptions()
        options.graph_optimization_level = self._ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        session = self._ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        binding = session.io_binding()
        for name, array in zip(input_names, inputs, strict=True):
            binding.bind_cpu_input(name, array)
        output = self._ort.OrtValue.ortvalue_from_shape_and_type(output_shape, np.float32)
        binding.bind_ortvalue_output("output", output)
        return Run(partial(session.run_with_iobinding, binding), lambda _: _as_is(output.numpy()))


class Ncnn(Subject):
    """ncnn: inference of one image, weights transformed beforehand (Winograd where it wins)."""

    name = "ncnn"
    ops = ("conv2d",)
    dtypes = ("float32",)

    def __init__(self) -> None:
        self._ncnn: Any = importlib.import_module("ncnn")
        self.version = self._ncnn.__version__

    def prepare(self, case: Case, arrays: Arrays, threads: int) -> Run | None:
        """Build a net of one layer that computes in float32 throughout."""
        w = case.workload
        if not isinstance(w, Conv2d) or w.N != 1:
            return None
        input, weight = arrays
        net = self._ncnn.Net()
        net.opt.num_threads = threads
        for option in dir(net.opt):
            if option.startswith(("use_fp16", "use_bf16", "use_int8", "use_vulkan")):
                setattr(net.opt, option, False)
        kind = "ConvolutionDepthWise" if w.groups > 1 else "Convolution"
        layer = {0: w.OC, 1: w.KW, 11: w.KH, 2: w.dilation, 3: w.stride, 4: w.padding}
        layer |= {6: weight.size, 7: w.groups}
        net.load_param_mem(
            "7767517\n2 2\nInput input 0 1 input\n"
            f"{kind} layer 1 1 input output {' '.join(f'{k}={v}' for k, v in layer.items())}\n"
        )
        with tempfile.TemporaryDirectory() as folder:
            model = Path(folder) / "model.bin"
            model.write_bytes(bytes(4) + weight.tobytes())  # a zero word: plain float32
            net.load_model(str(model))
        image = self._ncnn.Mat(input[0])

        def call() -> Any:
            extractor = net.create_extractor()
            extractor.input("input", image)
            return extractor.extract("output")[1]

        return Run(call, lambda output: np.array(output)[None])


class Course(Subject):
    """The Cython im2col convolution of bench/course.py."""

    name = "course"
    ops = Conv2d.ops

    def __init__(self) -> None:
        self._course = CourseConv2d()
        cython: Any = importlib.import_module("Cython")
        self.version = f"Cython {cython.__version__}"
        self._threadpoolctl: Any = importlib.import_module("threadpoolctl")

    def set_threads(self, threads: int) -> None:
        """Limit NumPy's BLAS; im2col itself is serial, as the course's is."""
        _limit_blas(self._threadpoolctl, threads)

    def prepare(self, case: Case, arrays: Arrays, threads: int) -> Run | None:
        """Bind the method that has the op's name."""
        w = case.workload
        if not isinstance(w, Conv2d) or w.groups > 1 or w.dilation > 1:
            return None
        function = getattr(self._course, case.op)
        tensors = (*arrays, *case.arguments)
        return Run(partial(function, *tensors, stride=w.stride, padding=w.padding), _as_is)


PEERS: tuple[type[Subject], ...] = (NumPy, Torch, TorchChannelsLast, OnnxRuntime, Ncnn, Course)


def installed_peers() -> tuple[list[Subject], dict[str, str]]:
    """Peers that can be timed here, and why each of the others cannot."""
    present: list[Subject] = []
    missing: dict[str, str] = {}
    for peer in PEERS:
        try:
            present.append(peer())
        except ImportError as error:
            missing[peer.name] = str(error)
    return present, missing
