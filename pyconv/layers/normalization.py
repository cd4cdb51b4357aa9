# SPDX-License-Identifier: BSD-3-Clause
"""Normalisation that is the same in training and in eval mode: no statistics are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from pyconv import functional as F
from pyconv.layers.base import Array, Layer, Parameter, options_repr


class _Normalization(Layer):
    """Base of the layers that have a weight and a bias, or neither."""

    weight: Parameter | None = None
    bias: Parameter | None = None
    eps: float

    def own_parameters(self) -> dict[str, Parameter]:
        """Return weight and bias, as far as there are any."""
        named = {"weight": self.weight, "bias": self.bias}
        return {name: parameter for name, parameter in named.items() if parameter is not None}

    def _values(self) -> tuple[Array | None, Array | None]:
        weight = None if self.weight is None else self.weight.value
        return weight, None if self.bias is None else self.bias.value

    def _add_gradients(self, grad_weight: Array, grad_bias: Array) -> None:
        if self.weight is not None:
            self.weight.grad += grad_weight
        if self.bias is not None:
            self.bias.grad += grad_bias


class LayerNorm(_Normalization):
    """Normalises the last axes to mean 0 and variance 1, then scales and shifts each value.

    Parameters
    ----------
    normalized_shape : int or sequence of int
        The sizes of the axes that are normalised together.
    eps : float
        Added to the variance.
    elementwise_affine : bool
        Have a weight for each value.
    bias : bool
        Have a bias too; only together with the weight.
    dtype : float32 or float64

    References
    ----------
    Ba, Kiros, Hinton: Layer Normalization. arXiv:1607.06450, 2016.

    Examples
    --------
    >>> import numpy as np
    >>> LayerNorm(2)(np.array([[1, 3]], np.float32)).round(3)
    array([[-1.,  1.]], dtype=float32)
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: DTypeLike = np.float32,
    ) -> None:
        shape = (
            (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        )
        self.normalized_shape, self.eps = shape, eps
        self.elementwise_affine = elementwise_affine
        if elementwise_affine:
            self.weight = Parameter(np.ones(shape, dtype))
            if bias:
                self.bias = Parameter(np.zeros(shape, dtype))

    def forward(self, input: Array) -> Array:
        """Return the normalised input, same shape."""
        self._save((input,))
        return F.layer_norm(input, self.normalized_shape, *self._values(), eps=self.eps)

    def backward(self, grad_output: Array) -> Array:
        """Return grad_input; add into ``weight.grad`` and ``bias.grad``."""
        (input,) = self._take_saved()
        weight, _ = self._values()
        grad_input, *gradients = F.layer_norm_backward(
            grad_output, input, self.normalized_shape, weight, eps=self.eps
        )
        self._add_gradients(*gradients)
        return grad_input

    def _options_repr(self) -> str:
        affine = self.elementwise_affine
        return options_repr(
            self.normalized_shape,
            eps=(self.eps, 1e-5),
            elementwise_affine=(affine, True),
            bias=(self.bias is not None or not affine, True),
        )


class GroupNorm(_Normalization):
    """Normalises groups of channels of each image, then scales and shifts each channel.

    Parameters
    ----------
    num_groups : int
        Divides `num_channels`.
    num_channels : int
        Channels C of the input (N, C, ...).
    eps : float
        Added to the variance.
    affine : bool
        Have a weight and a bias for each channel.
    dtype : float32 or float64

    References
    ----------
    Wu, He: Group Normalization. ECCV 2018.

    Examples
    --------
    >>> import numpy as np
    >>> layer = GroupNorm(2, 4)
    >>> y = layer(np.random.default_rng(0).normal(5, 2, (1, 4, 8, 8)).astype(np.float32))
    >>> bool(abs(y[:, :2].mean()) < 1e-5)
    True
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        dtype: DTypeLike = np.float32,
    ) -> None:
        if num_groups < 1 or num_channels % num_groups:
            raise ValueError(
                f"GroupNorm: num_groups does not divide num_channels, got {num_groups} and "
                f"{num_channels}; expected a divisor"
            )
        self.num_groups, self.num_channels = num_groups, num_channels
        self.eps, self.affine = eps, affine
        if affine:
            self.weight = Parameter(np.ones(num_channels, dtype))
            self.bias = Parameter(np.zeros(num_channels, dtype))

    def forward(self, input: Array) -> Array:
        """Return the normalised input, same shape."""
        self._save((input,))
        return F.group_norm(input, self.num_groups, *self._values(), eps=self.eps)

    def backward(self, grad_output: Array) -> Array:
        """Return grad_input; add into ``weight.grad`` and ``bias.grad``."""
        (input,) = self._take_saved()
        weight, _ = self._values()
        grad_input, *gradients = F.group_norm_backward(
            grad_output, input, self.num_groups, weight, eps=self.eps
        )
        self._add_gradients(*gradients)
        return grad_input

    def _options_repr(self) -> str:
        return options_repr(
            self.num_groups, self.num_channels, eps=(self.eps, 1e-5), affine=(self.affine, True)
        )


class InstanceNorm2d(_Normalization):
    """Normalises each channel of each image, then scales and shifts it.

    Parameters
    ----------
    num_features : int
        Channels C of the input (N, C, H, W).
    eps : float
        Added to the variance.
    momentum : float
        Not used: it is here for torch's order of arguments.
    affine : bool
        Have a weight and a bias for each channel; as in torch, not by default.
    track_running_stats : bool
        Only False: running statistics are not built.
    dtype : float32 or float64

    References
    ----------
    Ulyanov, Vedaldi, Lempitsky: Instance Normalization. arXiv:1607.08022, 2016.

    Examples
    --------
    >>> import numpy as np
    >>> y = InstanceNorm2d(3)(np.arange(24, dtype=np.float32).reshape(1, 3, 2, 4))
    >>> bool(abs(y[0, 2].mean()) < 1e-6)
    True
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        *,
        dtype: DTypeLike = np.float32,
    ) -> None:
        if track_running_stats:
            raise ValueError(
                "InstanceNorm2d: track_running_stats is not supported, got True; expected False"
            )
        self.num_features, self.eps, self.affine = num_features, eps, affine
        self.momentum = momentum
        if affine:
            self.weight = Parameter(np.ones(num_features, dtype))
            self.bias = Parameter(np.zeros(num_features, dtype))

    def forward(self, input: Array) -> Array:
        """Return the normalised input, same shape."""
        self._save((input,))
        return F.instance_norm(input, *self._values(), eps=self.eps)

    def backward(self, grad_output: Array) -> Array:
        """Return grad_input; add into ``weight.grad`` and ``bias.grad``."""
        (input,) = self._take_saved()
        weight, _ = self._values()
        grad_input, *gradients = F.instance_norm_backward(grad_output, input, weight, eps=self.eps)
        self._add_gradients(*gradients)
        return grad_input

    def _options_repr(self) -> str:
        return options_repr(self.num_features, eps=(self.eps, 1e-5), affine=(self.affine, False))


class LocalResponseNorm(Layer):
    """Divides each value by a power of the mean square of the channels around it.

    Parameters
    ----------
    size : int
        Channels of a window.
    alpha, beta, k : float
        ``input / (k + alpha * mean_square) ** beta``.

    References
    ----------
    Krizhevsky, Sutskever, Hinton: ImageNet Classification with Deep Convolutional Neural Networks.
    NeurIPS 2012, section 3.3.

    Examples
    --------
    >>> import numpy as np
    >>> LocalResponseNorm(5)(np.ones((1, 8, 4, 4), np.float32)).shape
    (1, 8, 4, 4)
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, input: Array) -> Array:
        """Return the normalised input, same shape."""
        self._save((input,))
        return F.local_response_norm(input, self.size, **self._options())

    def backward(self, grad_output: Array) -> Array:
        """Return grad_input."""
        (input,) = self._take_saved()
        return F.local_response_norm_backward(grad_output, input, self.size, **self._options())

    def _options(self) -> dict[str, Any]:
        return {"alpha": self.alpha, "beta": self.beta, "k": self.k}

    def _options_repr(self) -> str:
        return options_repr(
            self.size, alpha=(self.alpha, 1e-4), beta=(self.beta, 0.75), k=(self.k, 1.0)
        )
