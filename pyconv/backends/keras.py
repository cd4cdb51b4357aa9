# SPDX-License-Identifier: BSD-3-Clause
"""Keras 3 on its NumPy backend, with pyconv's convolutions and pools.

Keras's NumPy backend leaves both to jax. Its functions are looked up in the module
``keras.src.backend.numpy.nn`` at each call, so putting others there reaches layers, models and
``keras.ops`` alike. Keras has the axes (N, H, W, C) and kernels (KH, KW, C, OC): images are passed on as
transposed views, and results are such views too, so that a layer finds what the layer before it left.

Examples
--------
>>> import os
>>> os.environ["KERAS_BACKEND"] = "numpy"  # before keras is imported
>>> import keras
>>> import numpy as np
>>> from pyconv.backends import keras as backend
>>> with backend.enabled():
...     y = keras.ops.conv(np.ones((1, 3, 3, 1)), np.ones((2, 2, 1, 1)), padding="same")
>>> y[0, :, :, 0]
array([[4., 4., 2.],
       [4., 4., 2.],
       [2., 2., 1.]])
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from pyconv import functional as F
from pyconv.functional._arguments import Array
from pyconv.optional import need

need("keras", "pyconv.backends.keras", extra="keras")
need("jax", "the NumPy backend of keras", extra="keras")

import keras
from keras.src.backend import standardize_data_format
from keras.src.backend.common.backend_utils import (
    compute_conv_transpose_output_shape,
    compute_conv_transpose_padding_args_for_jax,
)
from keras.src.backend.numpy import nn

__all__ = ["enabled"]

IntOrInts = int | Sequence[int]
Function = Callable[..., Any]

_CONV: dict[int, Function] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_BACKWARD_INPUT: dict[int, Function] = {
    1: F.conv1d_backward_input,
    2: F.conv2d_backward_input,
    3: F.conv3d_backward_input,
}


@contextmanager
def enabled() -> Iterator[None]:
    """Let Keras convolve and pool with pyconv inside a ``with`` block.

    It holds for all threads of the process, as Keras's backend does. What pyconv does not compute (other
    dtypes than float32 and float64, 3-D pools, adaptive pools) is left to Keras.

    Raises
    ------
    RuntimeError
        Keras runs on another backend than NumPy.

    Examples
    --------
    >>> import keras
    >>> import numpy as np
    >>> from pyconv.backends import keras as backend
    >>> with backend.enabled():
    ...     keras.ops.max_pool(np.arange(4.0).reshape(1, 2, 2, 1), 2, 2)
    array([[[[3.]]]])
    """
    if keras.config.backend() != "numpy":
        raise RuntimeError(
            f"enabled: the backend of keras is another, got {keras.config.backend()!r}; "
            "expected 'numpy', by KERAS_BACKEND=numpy before keras is imported"
        )
    before = {name: getattr(nn, name) for name in _REPLACEMENTS}
    try:
        vars(nn).update(_REPLACEMENTS)
        yield
    finally:
        vars(nn).update(before)


# Arguments ---------------------------------------------------------------------------------------


def _computes(padding: Any, *arrays: Array) -> bool:
    """Tell whether pyconv takes these arrays and this padding."""
    dtypes = {array.dtype for array in arrays}
    return (
        padding in ("valid", "same")
        and len(dtypes) == 1
        and dtypes <= {np.dtype(np.float32), np.dtype(np.float64)}
        and {array.ndim for array in arrays} in ({3}, {4}, {5})
    )


def _array(value: Any) -> Array:
    """Return an array as it is, and what Keras takes in place of one (variables, lists) as an array.

    Keras's own conversion copies arrays, and makes float32 of float64.
    """
    return value if isinstance(value, np.ndarray) else np.asarray(nn.convert_to_tensor(value))


def _each(value: IntOrInts, axes: int) -> tuple[int, ...]:
    """Return an int for each spatial axis."""
    return (value,) * axes if isinstance(value, int) else tuple(value)


def _channels_first(array: Array, data_format: str) -> Array:
    return np.moveaxis(array, -1, 1) if data_format == "channels_last" else array


def _back(array: Array, data_format: str) -> Array:
    return np.moveaxis(array, 1, -1) if data_format == "channels_last" else array


def _require(function: str, inputs: Array, kernel: Array, fits: bool) -> None:
    if not fits:
        raise ValueError(
            f"{function}: kernel does not fit the channels of inputs, got shape {kernel.shape}; "
            f"inputs {inputs.shape}"
        )


def _outputs_first(kernel: Array) -> Array:
    """Return a kernel (K..., C, OC) as (OC, C, K...)."""
    return np.moveaxis(kernel, (-1, -2), (0, 1))


# Convolution -------------------------------------------------------------------------------------


def conv(
    inputs: Any,
    kernel: Any,
    strides: IntOrInts = 1,
    padding: Any = "valid",
    data_format: str | None = None,
    dilation_rate: IntOrInts = 1,
) -> Any:
    """Convolve in 1 to 3 dimensions, in groups if the kernel has fewer channels: `keras.ops.conv`."""
    inputs, kernel = _array(inputs), _array(kernel)
    if not _computes(padding, inputs, kernel):
        return _KERAS["conv"](inputs, kernel, strides, padding, data_format, dilation_rate)
    layout = standardize_data_format(data_format)
    x, weight = _channels_first(inputs, layout), _outputs_first(kernel)
    axes = x.ndim - 2
    fits = weight.shape[1] > 0 and x.shape[1] % weight.shape[1] == 0
    _require("conv", inputs, kernel, fits)
    y = _CONV[axes](
        x,
        weight,
        stride=_each(strides, axes),
        padding=padding,
        dilation=_each(dilation_rate, axes),
        groups=x.shape[1] // weight.shape[1],
    )
    return _back(y, layout)


def depthwise_conv(
    inputs: Any,
    kernel: Any,
    strides: IntOrInts = 1,
    padding: Any = "valid",
    data_format: str | None = None,
    dilation_rate: IntOrInts = 1,
) -> Any:
    """Convolve each channel by itself, kernel (K..., C, multiplier): `keras.ops.depthwise_conv`."""
    inputs, kernel = _array(inputs), _array(kernel)
    x = _channels_first(inputs, standardize_data_format(data_format))
    _require("depthwise_conv", inputs, kernel, kernel.shape[-2] == x.shape[1])
    # Outputs are ordered by channel, then by multiple, as those of groups are.
    kernel = kernel.reshape(*kernel.shape[:-2], 1, -1)
    return conv(inputs, kernel, strides, padding, data_format, dilation_rate)


def conv_transpose(
    inputs: Any,
    kernel: Any,
    strides: IntOrInts = 1,
    padding: Any = "valid",
    output_padding: Any = None,
    data_format: str | None = None,
    dilation_rate: IntOrInts = 1,
) -> Any:
    """Transposed convolution, kernel (K..., OC, C): `keras.ops.conv_transpose`.

    It is the input gradient of the convolution from OC channels to C with that kernel. Where jax pads by
    p before it correlates, that convolution pads by the reach of the kernel less p.
    """
    inputs, kernel = _array(inputs), _array(kernel)
    original = (inputs, kernel, strides, padding, output_padding, data_format, dilation_rate)
    if not _computes(padding, inputs, kernel):
        return _KERAS["conv_transpose"](*original)
    layout = standardize_data_format(data_format)
    x, size = _channels_first(inputs, layout), kernel.shape[:-2]
    _require("conv_transpose", inputs, kernel, kernel.shape[-1] == x.shape[1])
    steps, dilation = _each(strides, len(size)), _each(dilation_rate, len(size))
    pads = compute_conv_transpose_padding_args_for_jax(
        inputs.shape, kernel.shape, steps, padding, output_padding, dilation
    )
    reach = [(k - 1) * d for k, d in zip(size, dilation, strict=True)]
    sides = [(r - begin, r - end) for r, (begin, end) in zip(reach, pads, strict=True)]
    # Less than 0 at the end: pixels that the convolution never reads, which is so if they are less
    # than a step.
    if any(begin < 0 or end <= -step for (begin, end), step in zip(sides, steps, strict=True)):
        return _KERAS["conv_transpose"](*original)
    channels = kernel.shape[-2]
    shape = compute_conv_transpose_output_shape(
        x.shape, size, channels, steps, padding, output_padding, "channels_first", dilation
    )
    y = _CONV_BACKWARD_INPUT[len(size)](
        x,
        _outputs_first(kernel),
        tuple(shape),
        stride=steps,
        padding=[(begin, max(end, 0)) for begin, end in sides],
        dilation=dilation,
    )
    return _back(y, layout)


# Pooling -----------------------------------------------------------------------------------------


def _pool(
    name: str,
    pool: Function,
    inputs: Any,
    pool_size: IntOrInts,
    strides: IntOrInts | None,
    padding: Any,
    data_format: str | None,
) -> Any:
    inputs = _array(inputs)
    strides = pool_size if strides is None else strides
    axes = inputs.ndim - 2
    layout = standardize_data_format(data_format)
    x = _channels_first(inputs, layout)
    window = _each(pool_size, axes)
    fits = padding == "same" or all(w <= s for w, s in zip(window, x.shape[2:], strict=False))
    if not (_computes(padding, inputs) and axes < 3 and fits):
        return _KERAS[name](inputs, pool_size, strides, padding, data_format)
    steps = _each(strides, axes)
    if axes == 1:  # as images of one row
        x, window, steps = x[:, :, None], (1, *window), (1, *steps)
    y = pool(x, window, stride=steps, padding=padding)
    return _back(y[:, :, 0] if axes == 1 else y, layout)


def max_pool(
    inputs: Any,
    pool_size: IntOrInts,
    strides: IntOrInts | None = None,
    padding: Any = "valid",
    data_format: str | None = None,
) -> Any:
    """Return the largest value of each window, in 1 or 2 dimensions: `keras.ops.max_pool`."""
    return _pool("max_pool", F.max_pool2d, inputs, pool_size, strides, padding, data_format)


def average_pool(
    inputs: Any,
    pool_size: IntOrInts,
    strides: IntOrInts | None = None,
    padding: Any = "valid",
    data_format: str | None = None,
) -> Any:
    """Return the mean of what each window holds of the input: `keras.ops.average_pool`."""
    return _pool("average_pool", _mean, inputs, pool_size, strides, padding, data_format)


def _mean(x: Array, window: tuple[int, ...], **options: Any) -> Array:
    return F.avg_pool2d(x, window, count_include_pad=False, **options)


_REPLACEMENTS: dict[str, Function] = {
    "conv": conv,
    "depthwise_conv": depthwise_conv,  # and through both of them, separable_conv
    "conv_transpose": conv_transpose,
    "max_pool": max_pool,
    "average_pool": average_pool,
}
_KERAS: dict[str, Function] = {name: getattr(nn, name) for name in _REPLACEMENTS}
