# SPDX-License-Identifier: BSD-3-Clause
"""Convolution over one, two or three axes, and transposed convolution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import DTypeLike

from pyconv import functional as F
from pyconv.layers.base import Array, Layer, options_repr
from pyconv.layers.fusion import Following, Shortcut, activation_of, is_plain
from pyconv.layers.linear import Weighted, check_positive
from pyconv.layers.regularization import BatchNorm2d

Pair: TypeAlias = int | tuple[int, int]
# For any number of spatial axes.
Sizes: TypeAlias = int | tuple[int, ...]
Sides: TypeAlias = int | tuple[int, ...] | tuple[tuple[int, int], ...] | str
Padding: TypeAlias = int | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]] | str


class _Inference(NamedTuple):
    """The weights that inference uses, and what they were made from."""

    source: Array
    versions: tuple[Any, ...]
    weight: Array
    bias: Array | None


class _Conv(Weighted):
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
        self._inference: _Inference | None = None

    def forward(self, input: Array) -> Array:
        """Return the convolution, shape (N, out_channels, ...)."""
        return _Conv._forward_with(self, input, ())[0]

    def _forward_with(self, input: Array, following: Following) -> tuple[Array, int]:
        taken, norm, residual, activation = 0, None, None, None
        if following and self._folds(next_one := following[0]):
            norm = next_one
            taken += 1
        if len(following) > taken and is_plain(next_one := following[taken], Shortcut):
            residual = next_one.addend
            taken += 1
        if len(following) > taken and (activation := activation_of(following[taken])):
            taken += 1
        weight, bias, cache = self._weights(norm)
        output: Array = self._conv(
            input,
            weight,
            bias,
            activation=activation,
            residual=residual,
            weight_cache=cache,
            **self._options(),
        )
        self._save(input)
        if activation is not None:
            following[taken - 1]._save(output)
        return output, taken

    def backward(self, grad_output: Array) -> Array:
        """Return grad_input; add into ``weight.grad`` and ``bias.grad``."""
        input: Array = self._take_saved()
        shape = input.shape
        self._add_gradients(grad_output, input)
        del input  # so that grad_input can have its memory
        grad_input: Array = self._backward_input(
            grad_output, self.weight.value, shape, **self._options()
        )
        return grad_input

    def backward_parameters(self, grad_output: Array) -> None:
        """Add into ``weight.grad`` and ``bias.grad``."""
        self._add_gradients(grad_output, self._take_saved())

    def _add_gradients(self, grad_output: Array, input: Array) -> None:
        shape = self.weight.value.shape
        self.weight.grad += self._backward_weight(grad_output, input, shape, **self._options())
        if self.bias is not None:
            self.bias.grad += self._backward_bias(grad_output)

    def _folds(self, norm: Layer) -> TypeGuard[BatchNorm2d]:
        """Return whether a layer is a batch norm that can become part of the weights."""
        return (
            self._axes == 2
            and is_plain(norm, BatchNorm2d)
            and not self._saving
            and not norm.training
            and norm.num_features == self.out_channels
            and norm.weight.value.dtype == self.weight.value.dtype
        )

    def _weights(
        self, norm: BatchNorm2d | None
    ) -> tuple[Array, Array | None, F.WeightCache | None]:
        """Return weight and bias, those of `norm` folded in, and what earlier calls derived from
        them. In training, where they change with every step, nothing is kept.
        """  # noqa: D205
        if self.training:
            self._inference = None
            self._weight_cache.clear()
            return self.weight.value, self._bias_value(), None
        weight, bias = self.weight.value, self._bias_value()
        versions = (self.weight.version, self.bias and self.bias.version, norm and norm.version())
        kept = self._inference
        if kept is None or kept.source is not weight or kept.versions != versions:
            if norm is not None:
                weight, bias = norm.fold(weight, bias)
            self._weight_cache.clear()
            kept = self._inference = _Inference(self.weight.value, versions, weight, bias)
        return kept.weight, bias if norm is None else kept.bias, self._weight_cache

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what was derived from the weights; a copy derives it again."""
        return super().__getstate__() | {"_weight_cache": None, "_inference": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Start with an empty cache of one's own."""
        self.__dict__.update(state)
        self._weight_cache = F.WeightCache()

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


class ConvTranspose2d(Weighted):
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

    Examples
    --------
    >>> import numpy as np
    >>> layer = ConvTranspose2d(8, 3, 2, stride=2, rng=np.random.default_rng(0))
    >>> layer(np.zeros((2, 8, 16, 16), np.float32)).shape
    (2, 3, 32, 32)
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


def _check_channels(layer: str, in_channels: int, out_channels: int, groups: int) -> None:
    check_positive(layer, in_channels=in_channels, out_channels=out_channels, groups=groups)
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
    check_positive(layer, kernel_size=min(sizes))
    return sizes
