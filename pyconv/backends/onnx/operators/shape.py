# SPDX-License-Identifier: BSD-3-Clause
"""Operators that move values about, or make them. They return views where NumPy can."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from pyconv import functional as F
from pyconv.backends.onnx.operators.node import Kernel, Node, is_float, is_number, operator
from pyconv.functional._channels import join_channels
from pyconv.layers.base import Array

# TensorProto.DataType of what NumPy itself has. Strings and the small floats are left to ONNX.
_DTYPES = {
    1: np.float32, 2: np.uint8, 3: np.int8, 4: np.uint16, 5: np.int16, 6: np.int32, 7: np.int64,
    9: np.bool, 10: np.float16, 11: np.float64, 12: np.uint32, 13: np.uint64,
}  # fmt: skip


@operator("Reshape")
def reshape(node: Node) -> Kernel:
    """Reshape; the new shape is an attribute until version 5, and 0 keeps a size."""
    attribute, allow_zero = node.get("shape"), bool(node.get("allowzero", 0))

    def run(x: Array, shape: Array | None = None) -> Any:
        sizes = [int(size) for size in (attribute if shape is None else shape)]
        if not allow_zero:
            sizes = [x.shape[d] if size == 0 else size for d, size in enumerate(sizes)]
        return x.reshape(sizes)

    return run


@operator("Identity")
def identity(node: Node) -> Kernel:
    """Return the input, whatever it is."""
    del node
    return lambda x: x


@operator("Flatten")
def flatten(node: Node) -> Kernel:
    """Make a matrix: the axes before `axis`, and the others."""
    axis = node.get("axis", 1)

    def run(x: Array) -> Any:
        first = axis + x.ndim if axis < 0 else axis
        return x.reshape(math.prod(x.shape[:first]), math.prod(x.shape[first:]))

    return run


@operator("Transpose")
def transpose(node: Node) -> Kernel:
    """Axes in another order."""
    order = node.get("perm")
    return lambda x: x.transpose(order)


@operator("Squeeze")
def squeeze(node: Node) -> Kernel:
    """Axes are an attribute until version 13, then an input."""
    fixed = node.get("axes")

    def run(x: Array, axes: Array | None = None) -> Any:
        chosen = fixed if axes is None else axes
        return np.squeeze(x, None if chosen is None else tuple(int(axis) for axis in chosen))

    return run


@operator("Unsqueeze")
def unsqueeze(node: Node) -> Kernel:
    """Axes are an attribute until version 13, then an input."""
    fixed = node.get("axes")

    def run(x: Array, axes: Array | None = None) -> Any:
        chosen = fixed if axes is None else np.ravel(axes)
        return np.expand_dims(x, tuple(int(axis) for axis in chosen))

    return run


@operator("Concat")
def concat(node: Node) -> Kernel:
    """Arrays one after the other."""
    axis = node.get("axis", 1)

    def run(*arrays: Array) -> Array:
        if axis == 1 and is_float(arrays[0]) and arrays[0].ndim > 1:
            return join_channels(arrays)
        return np.concatenate(arrays, axis=axis)

    return run


@operator("Split")
def split(node: Node) -> Kernel:
    """Parts of given sizes, else as equal as they can be."""
    axis, fixed, parts = node.get("axis", 0), node.get("split"), len(node.outputs)

    def run(x: Array, sizes: Array | None = None) -> Any:
        chosen = fixed if sizes is None else sizes
        if chosen is None:
            size = -(-x.shape[axis] // parts)  # only the last one is smaller
            ends = [size * (part + 1) for part in range(parts - 1)]
        else:
            ends = np.cumsum(chosen)[:-1].tolist()
        return tuple(np.split(x, ends, axis))

    return run


@operator("Slice")
def slice_(node: Node) -> Kernel:
    """Ranges of axes; attributes until version 10, then inputs."""
    attributes = [node.get(name) for name in ("starts", "ends", "axes")]

    def run(x: Array, *inputs: Array | None) -> Any:
        values = [None if array is None else array.tolist() for array in inputs] or attributes
        starts, ends, axes, steps = [*values, None, None][:4]
        index = [slice(None)] * x.ndim
        for i, start in enumerate(starts or []):
            axis = i if axes is None else axes[i]
            index[axis] = slice(start, (ends or [])[i], None if steps is None else steps[i])
        return x[tuple(index)]

    return run


@operator("Gather")
def gather(node: Node) -> Kernel:
    """Slices of an axis by number."""
    axis = node.get("axis", 0)
    return lambda x, indices: np.asarray(np.take(x, indices, axis))


@operator("Expand")
def expand(node: Node) -> Kernel:
    """Axes of size 1 repeated, without a copy."""
    del node
    return lambda x, shape: np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(shape)))


@operator("Tile")
def tile(node: Node) -> Kernel | None:
    """Repeat the whole array along its axes."""
    return None if node.version < 6 else np.tile


@operator("Shape")
def shape(node: Node) -> Kernel:
    """Return the sizes of an array, or of a range of its axes."""
    start, end = node.get("start", 0), node.get("end")
    return lambda x: np.array(x.shape[start:end], np.int64)


@operator("Size")
def size(node: Node) -> Kernel:
    """Return the number of values."""
    del node
    return lambda x: np.array(x.size, np.int64)


@operator("Cast")
def cast(node: Node) -> Kernel | None:
    """Numbers of another type."""
    dtype = _DTYPES.get(node.get("to"))

    def run(x: Array) -> Any:
        if x.dtype.type not in _DTYPES.values():
            return NotImplemented
        return x.astype(dtype, copy=False)

    return None if dtype is None else run


@operator("Constant")
def constant(node: Node) -> Kernel | None:
    """Return an array in the graph."""
    types = {
        "value": None,
        "value_float": "f4",
        "value_floats": "f4",
        "value_int": "i8",
        "value_ints": "i8",
    }
    for name, dtype in types.items():
        if name in node.attributes:
            value = np.asarray(node.get(name), dtype)
            return lambda: value
    return None


@operator("ConstantOfShape")
def constant_of_shape(node: Node) -> Kernel:
    """Make an array of one value."""
    value = node.get("value", np.zeros(1, np.float32))
    return lambda shape: np.full(tuple(shape), value[0], value.dtype)


@operator("Range")
def range_(node: Node) -> Kernel:
    """Numbers at equal distances."""
    del node

    def run(start: Array, limit: Array, delta: Array) -> Any:
        if not is_number(start):
            return NotImplemented
        return np.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)

    return run


@operator("Pad")
def pad(node: Node) -> Kernel:
    """Values around an array; negative pads cut off. Inputs from version 11 on."""
    mode = node.get("mode", "constant")  # the names are NumPy's
    fixed = node.get("pads", node.get("paddings"))

    def run(
        x: Array, pads: Array | None = None, value: Array | None = None, axes: Array | None = None
    ) -> Any:
        sides = fixed if pads is None else pads.tolist()
        count = len(sides) // 2
        widths = [(0, 0)] * x.ndim
        for i, axis in enumerate(range(count) if axes is None else axes.tolist()):
            widths[axis] = sides[i], sides[count + i]
        options: dict[str, Any] = {}
        if mode == "constant":
            fill = node.get("value", 0.0) if value is None else value
            options["constant_values"] = np.asarray(fill).reshape(-1)[0] if np.size(fill) else 0
        if min(map(min, widths), default=0) < 0:
            cut = tuple(
                slice(max(-begin, 0), size - max(-end, 0))
                for size, (begin, end) in zip(x.shape, widths, strict=True)
            )
            x = x[cut]
        return np.pad(x, [(max(begin, 0), max(end, 0)) for begin, end in widths], mode, **options)

    return run


def _depth_space(rearrange: Callable[[Node, Array, int], Array]) -> Callable[[Node], Kernel]:
    def build(node: Node) -> Kernel:
        block = node.get("blocksize")
        return lambda x: rearrange(node, x, block)

    return build


def _depth_to_space(node: Node, x: Array, block: int) -> Array:
    N, C, H, W = x.shape
    if node.get("mode", "DCR") == "DCR":
        parts = x.reshape(N, block, block, -1, H, W).transpose(0, 3, 4, 1, 5, 2)
    else:
        parts = x.reshape(N, -1, block, block, H, W).transpose(0, 1, 4, 2, 5, 3)
    return parts.reshape(N, C // block**2, H * block, W * block)


def _space_to_depth(node: Node, x: Array, block: int) -> Array:
    N, C, H, W = x.shape
    order = (0, 3, 5, 1, 2, 4) if node.get("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    parts = x.reshape(N, C, H // block, block, W // block, block).transpose(order)
    return parts.reshape(N, C * block**2, H // block, W // block)


operator("DepthToSpace")(_depth_space(_depth_to_space))
operator("SpaceToDepth")(_depth_space(_space_to_depth))


@operator("Col2Im")
def col2im(node: Node) -> Kernel:
    """Columns of windows summed up to images, over two axes."""
    strides = tuple(node.get("strides") or (1, 1))
    dilations = tuple(node.get("dilations") or (1, 1))
    pads = node.get("pads") or (0, 0, 0, 0)

    def run(columns: Array, image: Array, block: Array) -> Any:
        if len(image) != 2 or not is_float(columns):
            return NotImplemented
        kernel, sizes = tuple(block.tolist()), tuple(image.tolist())
        N, rows = columns.shape[:2]
        padding = ((pads[0], pads[2]), (pads[1], pads[3]))
        return F.col2im(
            columns,
            (N, rows // math.prod(kernel), *sizes),
            kernel,
            stride=strides,
            padding=padding,
            dilation=dilations,
        )

    return run
