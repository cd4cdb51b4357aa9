# SPDX-License-Identifier: BSD-3-Clause
"""The dense layer, and what it has in common with convolutions: a weight and perhaps a bias.

Both start uniform in ``+-1 / sqrt(fan_in)``, as in torch; `pyconv.init` has the others::

    layer.weight.value[...] = init.he_normal(layer.weight.value.shape, rng=rng)
"""

from __future__ import annotations

import operator

import numpy as np
from numpy.typing import DTypeLike

from pyconv import functional as F
from pyconv import init
from pyconv.layers.activation import ReLU
from pyconv.layers.base import Array, Layer, Parameter, options_repr
from pyconv.layers.fusion import Following, is_plain


class Weighted(Layer):
    """A layer with a weight and perhaps a bias.

    Both start uniform in ``+-1 / sqrt(fan_in)``, as in torch; `pyconv.init` has the others::

        layer.weight.value[...] = init.he_normal(layer.weight.value.shape, rng=rng)
    """

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
        """Return weight and, if there is one, bias."""
        own = {"weight": self.weight}
        if self.bias is not None:
            own["bias"] = self.bias
        return own

    def _bias_value(self) -> Array | None:
        return None if self.bias is None else self.bias.value


class Linear(Weighted):
    """Dense layer: ``output = input @ weight.T + bias``.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
    rng : numpy.random.Generator, optional
        Draws the initial weights; unseeded if omitted.
    dtype : float32 or float64

    Attributes
    ----------
    weight : Parameter, shape (out_features, in_features)
    bias : Parameter, shape (out_features,), or None

    Examples
    --------
    >>> layer = Linear(4, 3, rng=np.random.default_rng(0))
    >>> layer(np.zeros((2, 4), np.float32)).shape
    (2, 3)
    >>> layer.backward(np.ones((2, 3), np.float32)).shape
    (2, 4)
    >>> layer.bias.grad
    array([2., 2., 2.], dtype=float32)
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
        check_positive("Linear", in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        shape = (out_features, in_features)
        self._initialize(shape, out_features if bias else None, rng, dtype)

    def forward(self, input: Array) -> Array:
        """Return the product, shape (N, out_features)."""
        return Linear._forward_with(self, input, ())[0]

    def _forward_with(self, input: Array, following: Following) -> tuple[Array, int]:
        relu = following[0] if following and is_plain(following[0], ReLU) else None
        output = F.linear(
            input,
            self.weight.value,
            self._bias_value(),
            activation=None if relu is None else "relu",
        )
        self._save(input)
        if relu is None:
            return output, 0
        relu._save(output)
        return output, 1

    def backward(self, grad_output: Array) -> Array:
        """Return grad_input; add into ``weight.grad`` and ``bias.grad``."""
        self.backward_parameters(grad_output)
        return F.linear_backward_input(grad_output, self.weight.value)

    def backward_parameters(self, grad_output: Array) -> None:
        """Add into ``weight.grad`` and ``bias.grad``."""
        input: Array = self._take_saved()
        self.weight.grad += F.linear_backward_weight(grad_output, input)
        if self.bias is not None:
            self.bias.grad += F.linear_backward_bias(grad_output)

    def _options_repr(self) -> str:
        return options_repr(self.in_features, self.out_features, bias=(self.bias is not None, True))


def check_positive(layer: str, **sizes: int) -> None:
    """Check the sizes that a layer has to know before there is an array."""
    for name, size in sizes.items():
        if operator.index(size) < 1:
            raise ValueError(f"{layer}: {name} is not positive, got {size}; expected at least 1")
