# SPDX-License-Identifier: BSD-3-Clause
"""Activation layers. Each keeps its output for `backward`, LeakyReLU its input."""

from __future__ import annotations

from pyconv import functional as F
from pyconv.layers.base import Array, Layer, options_repr


class ReLU(Layer):
    """max(x, 0)."""

    def forward(self, input: Array) -> Array:
        """Return max(x, 0), elementwise."""
        output = F.relu(input)
        self._save(output)
        return output

    def backward(self, grad_output: Array) -> Array:
        """Return the gradient where the output was positive, else 0."""
        return F.relu_backward(grad_output, self._take_saved())


class LeakyReLU(Layer):
    """Identity where x > 0, else ``negative_slope * x``."""

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

    def forward(self, input: Array) -> Array:
        """Return the activation, elementwise."""
        output = F.leaky_relu(input, negative_slope=self.negative_slope)
        self._save(input)
        return output

    def backward(self, grad_output: Array) -> Array:
        """Return the gradient, times the slope where the input was not positive."""
        return F.leaky_relu_backward(
            grad_output, self._take_saved(), negative_slope=self.negative_slope
        )

    def _options_repr(self) -> str:
        return options_repr(negative_slope=(self.negative_slope, 0.01))


class Sigmoid(Layer):
    """1 / (1 + exp(-x))."""

    def forward(self, input: Array) -> Array:
        """Return the activation, elementwise."""
        output = F.sigmoid(input)
        self._save(output)
        return output

    def backward(self, grad_output: Array) -> Array:
        """Return ``grad_output * y * (1 - y)``."""
        return F.sigmoid_backward(grad_output, self._take_saved())


class Tanh(Layer):
    """Hyperbolic tangent."""

    def forward(self, input: Array) -> Array:
        """Return tanh(x), elementwise."""
        output = F.tanh(input)
        self._save(output)
        return output

    def backward(self, grad_output: Array) -> Array:
        """Return ``grad_output * (1 - y**2)``."""
        return F.tanh_backward(grad_output, self._take_saved())


class Softmax(Layer):
    """exp(x) / sum(exp(x)) along `axis`. For training prefer `pyconv.losses.CrossEntropyLoss`."""

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def forward(self, input: Array) -> Array:
        """Return the probabilities."""
        output = F.softmax(input, axis=self.axis)
        self._save(output)
        return output

    def backward(self, grad_output: Array) -> Array:
        """Return ``y * (g - sum(g * y))``."""
        return F.softmax_backward(grad_output, self._take_saved(), axis=self.axis)

    def _options_repr(self) -> str:
        return options_repr(axis=(self.axis, -1))


class LogSoftmax(Layer):
    """Logarithm of the softmax along `axis`."""

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def forward(self, input: Array) -> Array:
        """Return the log-probabilities."""
        output = F.log_softmax(input, axis=self.axis)
        self._save(output)
        return output

    def backward(self, grad_output: Array) -> Array:
        """Return ``g - exp(y) * sum(g)``."""
        return F.log_softmax_backward(grad_output, self._take_saved(), axis=self.axis)

    def _options_repr(self) -> str:
        return options_repr(axis=(self.axis, -1))
