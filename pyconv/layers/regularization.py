# SPDX-License-Identifier: BSD-3-Clause
"""Layers that behave differently in training and in eval mode: batch norm and dropout."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from pyconv import functional as F
from pyconv.layers.activation import PASSED_ON, ReLU
from pyconv.layers.base import Array, Layer, Parameter, options_repr
from pyconv.layers.fusion import Following, is_plain


class BatchNorm2d(Layer):
    """Normalises every channel to mean 0 and variance 1, then scales and shifts it.

    Training uses the statistics of the batch and follows them in ``running_mean`` and
    ``running_var``; eval mode uses the running ones.

    Parameters
    ----------
    num_features : int
        Channels C of the input (N, C, H, W).
    eps : float
        Added to the variance.
    momentum : float
        Weight of the new batch: ``running = (1 - momentum) * running + momentum * batch``.

    Notes
    -----
    The running variance is the unbiased estimate (divisor n - 1), the one used for normalising the
    batch is the biased one, as in torch.

    References
    ----------
    Ioffe, Szegedy: Batch Normalization. ICML 2015, algorithms 1 and 2.

    Examples
    --------
    >>> import numpy as np
    >>> layer = BatchNorm2d(3)
    >>> x = np.random.default_rng(0).normal(5, 2, (8, 3, 4, 4)).astype(np.float32)
    >>> bool(abs(layer(x).mean()) < 1e-6)
    True
    >>> layer.eval()(x).shape
    (8, 3, 4, 4)
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        *,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.weight = Parameter(np.ones(num_features, dtype))
        self.bias = Parameter(np.zeros(num_features, dtype))
        self.running_mean: Array = np.zeros(num_features, dtype)
        self.running_var: Array = np.ones(num_features, dtype)
        self.num_batches_tracked: Array = np.zeros((), np.int64)

    def own_parameters(self) -> dict[str, Parameter]:
        """Return weight and bias."""
        return {"weight": self.weight, "bias": self.bias}

    def own_buffers(self) -> dict[str, Array]:
        """Return the running statistics and the number of batches they have seen."""
        return {
            "running_mean": self.running_mean,
            "running_var": self.running_var,
            "num_batches_tracked": self.num_batches_tracked,
        }

    def forward(self, input: Array) -> Array:
        """Return the normalised input, same shape."""
        return self._forward(input, None)

    def _forward_with(self, input: Array, following: Following) -> tuple[Array, int]:
        if not following or not is_plain(following[0], ReLU):
            return self.forward(input), 0
        following[0]._save(PASSED_ON)
        return self._forward(input, "relu"), 1

    def _forward(self, input: Array, activation: str | None) -> Array:
        weight, bias = self.weight.value, self.bias.value
        if self.training:
            output, mean, var = F.batch_norm_training(
                input, weight, bias, eps=self.eps, activation=activation
            )
            self._follow(mean, var, input.size // input.shape[1])
        else:
            mean, var = self.running_mean, self.running_var
            output = F.batch_norm(
                input, mean, var, weight, bias, eps=self.eps, activation=activation
            )
        self._save((input, mean, var, self.training, activation))
        return output

    def backward(self, grad_output: Array) -> Array:
        """Return grad_input; add into ``weight.grad`` and ``bias.grad``."""
        input, mean, var, training, activation = self._take_saved()
        grad_input, grad_weight, grad_bias = F.batch_norm_backward(
            grad_output,
            input,
            mean,
            var,
            self.weight.value,
            self.bias.value,
            training=training,
            eps=self.eps,
            activation=activation,
        )
        self.weight.grad += grad_weight
        self.bias.grad += grad_bias
        return grad_input

    def version(self) -> tuple[int | bytes, ...]:
        """Return something that is another whenever eval mode would give another result."""
        return (
            self.weight.version,
            self.bias.version,
            self.running_mean.tobytes(),
            self.running_var.tobytes(),
        )

    def fold(self, weight: Array, bias: Array | None) -> tuple[Array, Array]:
        """Return weight and bias of a convolution that does what it and this layer do in eval mode.

        Notes
        -----
        ``scale = self.weight / sqrt(running_var + eps)``; ``weight * scale`` for each output channel and
        ``(bias - running_mean) * scale + self.bias``, computed in float64.
        """
        dtype = weight.dtype
        scale = self.weight.value / np.sqrt(self.running_var.astype(np.float64) + self.eps)
        shift = -self.running_mean if bias is None else bias - self.running_mean
        folded = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
        return folded.astype(dtype), (shift * scale + self.bias.value).astype(dtype)

    def _follow(self, mean: Array, var: Array, count: int) -> None:
        """Move the running statistics towards those of a batch of `count` values a channel."""
        if count < 2:
            raise ValueError(
                f"BatchNorm2d: input has too few values per channel to train on, got {count}; "
                "expected at least 2"
            )
        self.running_mean *= 1 - self.momentum
        self.running_mean += self.momentum * mean
        self.running_var *= 1 - self.momentum
        self.running_var += (self.momentum * count / (count - 1)) * var
        self.num_batches_tracked += 1

    def _options_repr(self) -> str:
        return options_repr(
            self.num_features,
            eps=(self.eps, 1e-5),
            momentum=(self.momentum, 0.1),
        )


class Dropout(Layer):
    """Sets each value to 0 with probability `p` in training and scales the rest by 1 / (1 - p).

    Eval mode returns the input itself.

    Parameters
    ----------
    p : float
        Probability of dropping a value, from 0 to below 1.
    rng : numpy.random.Generator, optional
        Draws what is dropped; unseeded if omitted.

    References
    ----------
    Srivastava et al.: Dropout: a simple way to prevent neural networks from overfitting. JMLR 2014.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Dropout(0.5, rng=np.random.default_rng(0))
    >>> layer(np.ones((1, 4)))
    array([[2., 0., 0., 0.]])
    >>> layer.eval()(np.ones((1, 4)))
    array([[1., 1., 1., 1.]])
    """

    def __init__(self, p: float = 0.5, *, rng: np.random.Generator | None = None) -> None:
        if not 0 <= p < 1:
            raise ValueError(f"Dropout: p is out of range, got {p}; expected 0 <= p < 1")
        self.p = p
        self.rng = np.random.default_rng() if rng is None else rng

    def forward(self, input: Array) -> Array:
        """Return the thinned input in training, the input in eval mode."""
        if not self.training:
            self._save((None,))
            return input
        output, mask = F.dropout(input, self.p, rng=self.rng)
        self._save((mask,))
        return output

    def backward(self, grad_output: Array) -> Array:
        """Return the gradient, 0 where the value was dropped and scaled elsewhere."""
        (mask,) = self._take_saved()
        return grad_output if mask is None else F.dropout_backward(grad_output, mask)

    def _options_repr(self) -> str:
        return options_repr(self.p)
