# SPDX-License-Identifier: BSD-3-Clause
"""Layers that multiply by a learned weight: convolution, its transpose, and the dense layer.

Weight and bias start uniform in ``+-1 / sqrt(fan_in)``, as in torch; `pyconv.init` has the others::

    layer.weight.value[...] = init.he_normal(layer.weight.value.shape, rng=rng)
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from pyconv import functional as F
from pyconv import init
from pyconv.layers.base import Array, Layer, Parameter, options_repr

Pair: TypeAlias = int | tuple[int, int]
# For any number of spatial axes.
Sizes: TypeAlias = int | tuple[int, ...]
Sides: TypeAlias = int | tuple[int, ...] | tuple[tuple[int, int], ...] | str
Padding: TypeAlias = int | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]] | str


class _Weighted(Layer):
    """A layer with a weight and perhaps a bias."""

    weight: Parameter
    bias: Parameter | None

    def _initialize(
        self,
        weight_shape: tuple[int, ...],
        bias_size: int | None,
        rng: np.random.Generator | None,
        dtype: DTypeLike,
    ) -> None:
        if rng is None:
            rng = np.random.default_rng()
        fan_in, _ = init.fans(weight_shape)
        self.weight = Parameter(init.fan_in_uniform(weight_shape, rng=rng, dtype=dtype))
        self.bias = None
        if bias_size is not None:
            bias = init.fan_in_uniform((bias_size,), fan_in=fan_in, rng=rng, dtype=dtype)
            self.bias = Parameter(bias)

    def own_parameters(self) -> dict[str, Parameter]:
        own = {"weight": self.weight}
        if self.bias is not None:
            own["bias"] = self.bias
        return own

    def _bias_value(self) -> Array | None:
        return None if self.bias is None else self.bias.value


class _Conv(_Weighted):
    """A convolution over `_axes` spatial axes, by four functions of `pyconv.functional`."""

    _axes: ClassVar[int]
    _conv: ClassVar[Callable[..., Array]]
    _backward_input: ClassVar[Callable[..., Array]]
    _backward_weight: ClassVar[Callable[..., Array]]
    _backward_bias: ClassVar[Callable[..., Array]]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sides = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        _check_channels(type(self).__name__, in_channels, out_channels, groups)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size = _kernel_sizes(type(self).__name__, kernel_size, self._axes)
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        self._initialize(shape, out_channels if bias else None, rng, dtype)
        self._weight_cache = F.WeightCache()
        self._cached: tuple[Array, int] | None = None  # the weight that it belongs to

    def forward(self, input: Array) -> Array:
        """Return the convolution, shape (N, out_channels, ...)."""
        output: Array = self._conv(
            input,
            self.weight.value,
            self._bias_value(),
            weight_cache=self._inference_cache(),
            **self._options(),
        )
        self._save(input)
        return output

    def backward(self, grad_output: Array) -> Array:
        """Return grad_input; add into ``weight.grad`` and ``bias.grad``."""
        input: Array = self._take_saved()
        weight, options = self.weight.value, self._options()
        self.weight.grad += self._backward_weight(grad_output, input, weight.shape, **options)
        if self.bias is not None:
            self.bias.grad += self._backward_bias(grad_output)
        grad_input: Array = self._backward_input(grad_output, weight, input.shape, **options)
        return grad_input

    def _inference_cache(self) -> F.WeightCache | None:
        """Return what earlier calls derived from this very weight; in training, where it changes
        with every step, nothing is kept.
        """  # noqa: D205
        current = None if self.training else (self.weight.value, self.weight.version)
        if (
            current is None
            or self._cached is None
            or self._cached[0] is not current[0]
            or self._cached[1] != current[1]
        ):
            self._weight_cache.clear()
            self._cached = current
        return None if current is None else self._weight_cache

    def _options(self) -> dict[str, Any]:
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
        }

    def _options_repr(self) -> str:
        return options_repr(
            self.in_channels,
            self.out_channels,
            kernel_size=(self.kernel_size, None),
            stride=(self.stride, 1),
            padding=(self.padding, 0),
            dilation=(self.dilation, 1),
            groups=(self.groups, 1),
            bias=(self.bias is not None, True),
        )


class Conv1d(_Conv):
    """1-D convolution (cross-correlation): `pyconv.functional.conv1d` with owned parameters.

    Parameters are those of `Conv2d`, with one value where that has two; `padding` is an int,
    (int,), ((begin, end),), "valid" or "same".

    Attributes
    ----------
    weight : Parameter, shape (out_channels, in_channels // groups, KL)
    bias : Parameter, shape (out_channels,), or None

    Examples
    --------
    >>> import numpy as np
    >>> layer = Conv1d(3, 8, 3, padding=1, rng=np.random.default_rng(0))
    >>> layer(np.zeros((2, 3, 32), np.float32)).shape
    (2, 8, 32)
    """

    _axes = 1
    _conv = staticmethod(F.conv1d)
    _backward_input = staticmethod(F.conv1d_backward_input)
    _backward_weight = staticmethod(F.conv1d_backward_weight)
    _backward_bias = staticmethod(F.conv1d_backward_bias)


class Conv2d(_Conv):
    """2-D convolution (cross-correlation): `pyconv.functional.conv2d` with owned parameters.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size : int or (int, int)
    stride, dilation : int or (int, int)
    padding : int, (int, int), ((top, bottom), (left, right)), "valid" or "same"
    groups : int
        Divides both channel counts; ``groups=in_channels`` is a depthwise convolution.
    bias : bool
    rng : numpy.random.Generator, optional
        Draws the initial weights; unseeded if omitted.
    dtype : float32 or float64
        Of the parameters, and so of the input.

    Attributes
    ----------
    weight : Parameter, shape (out_channels, in_channels // groups, KH, KW)
    bias : Parameter, shape (out_channels,), or None

    Examples
    --------
    >>> import numpy as np
    >>> layer = Conv2d(3, 8, 3, padding=1, rng=np.random.default_rng(0))
    >>> layer(np.zeros((2, 3, 32, 32), np.float32)).shape
    (2, 8, 32, 32)
    """

    _axes = 2
    _conv = staticmethod(F.conv2d)
    _backward_input = staticmethod(F.conv2d_backward_input)
    _backward_weight = staticmethod(F.conv2d_backward_weight)
    _backward_bias = staticmethod(F.conv2d_backward_bias)


class Conv3d(_Conv):
    """3-D convolution (cross-correlation): `pyconv.functional.conv3d` with owned parameters.

    Parameters are those of `Conv2d`, with three values where that has two; `padding` is an int,
    (int, int, int), three pairs (begin, end), "valid" or "same".

    Attributes
    ----------
    weight : Parameter, shape (out_channels, in_channels // groups, KD, KH, KW)
    bias : Parameter, shape (out_channels,), or None

    Examples
    --------
    >>> import numpy as np
    >>> layer = Conv3d(3, 8, 3, padding=1, rng=np.random.default_rng(0))
    >>> layer(np.zeros((2, 3, 4, 16, 16), np.float32)).shape
    (2, 8, 4, 16, 16)
    """

    _axes = 3
    _conv = staticmethod(F.conv3d)
    _backward_input = staticmethod(F.conv3d_backward_input)
    _backward_weight = staticmethod(F.conv3d_backward_weight)
    _backward_bias = staticmethod(F.conv3d_backward_bias)


class ConvTranspose2d(_Weighted):
    """Transposed 2-D convolution: what `Conv2d` does to gradients, as a forward layer.

    Parameters are those of `Conv2d`, in torch's order, and

    Parameters
    ----------
    output_padding : int or (int, int)
        Rows and columns added at the end of the output, to choose between the sizes that a strided
        convolution maps to the same one.

    Attributes
    ----------
    weight : Parameter, shape (in_channels, out_channels // groups, KH, KW)
    bias : Parameter, shape (out_channels,), or None
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Padding = 0,
        output_padding: Pair = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Pair = 1,
        *,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        _check_channels("ConvTranspose2d", in_channels, out_channels, groups)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size = _kernel_sizes("ConvTranspose2d", kernel_size, 2)
        self.stride, self.padding, self.output_padding = stride, padding, output_padding
        self.dilation, self.groups = dilation, groups
        shape = (in_channels, out_channels // groups, *self.kernel_size)
        self._initialize(shape, out_channels if bias else None, rng, dtype)

    def forward(self, input: Array) -> Array:
        """Return the transposed convolution, shape (N, out_channels, OH, OW)."""
        output = F.conv_transpose2d(input, self.weight.value, self._bias_value(), **self._options())
        self._save(input)
        return output

    def backward(self, grad_output: Array) -> Array:
        """Return grad_input; add into ``weight.grad`` and ``bias.grad``."""
        input: Array = self._take_saved()
        weight, options = self.weight.value, self._options()
        self.weight.grad += F.conv_transpose2d_backward_weight(
            grad_output, input, weight.shape, **options
        )
        if self.bias is not None:
            self.bias.grad += F.conv2d_backward_bias(grad_output)
        return F.conv_transpose2d_backward_input(grad_output, weight, **options)

    def _options(self) -> dict[str, Any]:
        return {
            "stride": self.stride,
            "padding": self.padding,
            "output_padding": self.output_padding,
            "dilation": self.dilation,
            "groups": self.groups,
        }

    def _options_repr(self) -> str:
        return options_repr(
            self.in_channels,
            self.out_channels,
            kernel_size=(self.kernel_size, None),
            stride=(self.stride, 1),
            padding=(self.padding, 0),
            output_padding=(self.output_padding, 0),
            groups=(self.groups, 1),
            bias=(self.bias is not None, True),
            dilation=(self.dilation, 1),
        )


class Linear(_Weighted):
    """Dense layer: ``output = input @ weight.T + bias``.

    Attributes
    ----------
    weight : Parameter, shape (out_features, in_features)
    bias : Parameter, shape (out_features,), or None
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        _check_positive("Linear", in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        shape = (out_features, in_features)
        self._initialize(shape, out_features if bias else None, rng, dtype)

    def forward(self, input: Array) -> Array:
        """Return the product, shape (N, out_features)."""
        output = F.linear(input, self.weight.value, self._bias_value())
        self._save(input)
        return output

    def backward(self, grad_output: Array) -> Array:
        """Return grad_input; add into ``weight.grad`` and ``bias.grad``."""
        input: Array = self._take_saved()
        self.weight.grad += F.linear_backward_weight(grad_output, input)
        if self.bias is not None:
            self.bias.grad += F.linear_backward_bias(grad_output)
        return F.linear_backward_input(grad_output, self.weight.value)

    def _options_repr(self) -> str:
        return options_repr(self.in_features, self.out_features, bias=(self.bias is not None, True))


# A layer has to know its sizes before there is an array, so these facts are checked here; all that
# concerns an array is checked by the functions.


def _check_positive(layer: str, **sizes: int) -> None:
    for name, size in sizes.items():
        if operator.index(size) < 1:
            raise ValueError(f"{layer}: {name} is not positive, got {size}; expected at least 1")


def _check_channels(layer: str, in_channels: int, out_channels: int, groups: int) -> None:
    _check_positive(layer, in_channels=in_channels, out_channels=out_channels, groups=groups)
    if in_channels % groups or out_channels % groups:
        raise ValueError(
            f"{layer}: groups does not divide the channels, got {groups}; "
            f"expected a divisor of in_channels={in_channels} and out_channels={out_channels}"
        )


def _kernel_sizes(layer: str, kernel_size: Sizes, axes: int) -> tuple[int, ...]:
    sizes = (kernel_size,) * axes if isinstance(kernel_size, int) else tuple(kernel_size)
    if len(sizes) != axes:
        expected = {1: "a tuple of one", 2: "a pair", 3: "a tuple of three"}[axes]
        raise ValueError(
            f"{layer}: kernel_size has {len(sizes)} entries, got {kernel_size}; "
            f"expected an int or {expected}"
        )
    _check_positive(layer, kernel_size=min(sizes))
    return sizes
