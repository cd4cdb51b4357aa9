# SPDX-License-Identifier: BSD-3-Clause
"""Activation layers. Each keeps for `backward` what its gradient needs: its output, or its input."""

from __future__ import annotations

from pyconv import functional as F
from pyconv.layers.base import Array, Layer, options_repr

# What ReLU saves if the layer before it, batch norm, also does its part of the backward pass.
PASSED_ON = object()


class ReLU(Layer):
    """max(x, 0)."""

    def forward(self, input: Array) -> Array:
        """Return max(x, 0), elementwise."""
        output = F.relu(input)
        self._save(output)
        return output

    def backward(self, grad_output: Array) -> Array:
        """Return the gradient where the output was positive, else 0."""
        output = self._take_saved()
        return grad_output if output is PASSED_ON else F.relu_backward(grad_output, output)


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


class ReLU6(Layer):
    """min(max(x, 0), 6)."""

    def forward(self, input: Array) -> Array:
        """Return the activation, elementwise."""
        output = F.relu6(input)
        self._save(output)
        return output

    def backward(self, grad_output: Array) -> Array:
        """Return the gradient, elementwise."""
        return F.relu6_backward(grad_output, self._take_saved())


class Hardsigmoid(Layer):
    """min(max(x + 3, 0), 6) / 6."""

    def forward(self, input: Array) -> Array:
        """Return the activation, elementwise."""
        output = F.hardsigmoid(input)
        self._save(input)
        return output

    def backward(self, grad_output: Array) -> Array:
        """Return the gradient, elementwise."""
        return F.hardsigmoid_backward(grad_output, self._take_saved())


class Hardswish(Layer):
    """x * min(max(x + 3, 0), 6) / 6."""

    def forward(self, input: Array) -> Array:
        """Return the activation, elementwise."""
        output = F.hardswish(input)
        self._save(input)
        return output

    def backward(self, grad_output: Array) -> Array:
        """Return the gradient, elementwise."""
        return F.hardswish_backward(grad_output, self._take_saved())


class SiLU(Layer):
    """x * sigmoid(x), also known as swish."""

    def forward(self, input: Array) -> Array:
        """Return the activation, elementwise."""
        output = F.silu(input)
        self._save(input)
        return output

    def backward(self, grad_output: Array) -> Array:
        """Return the gradient, elementwise."""
        return F.silu_backward(grad_output, self._take_saved())


class ELU(Layer):
    """Identity where x > 0, else ``alpha * (exp(x) - 1)``."""

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def forward(self, input: Array) -> Array:
        """Return the activation, elementwise."""
        output = F.elu(input, alpha=self.alpha)
        self._save(input)
        return output

    def backward(self, grad_output: Array) -> Array:
        """Return the gradient, elementwise."""
        return F.elu_backward(grad_output, self._take_saved(), alpha=self.alpha)

    def _options_repr(self) -> str:
        return options_repr(alpha=(self.alpha, 1.0))


class SELU(Layer):
    """ELU with the scale and alpha of self-normalising networks."""

    def forward(self, input: Array) -> Array:
        """Return the activation, elementwise."""
        output = F.selu(input)
        self._save(input)
        return output

    def backward(self, grad_output: Array) -> Array:
        """Return the gradient, elementwise."""
        return F.selu_backward(grad_output, self._take_saved())


class GELU(Layer):
    """x times the distribution function of the normal law, which "tanh" approximates."""

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = approximate

    def forward(self, input: Array) -> Array:
        """Return the activation, elementwise."""
        output = F.gelu(input, approximate=self.approximate)
        self._save(input)
        return output

    def backward(self, grad_output: Array) -> Array:
        """Return the gradient, elementwise."""
        return F.gelu_backward(grad_output, self._take_saved(), approximate=self.approximate)

    def _options_repr(self) -> str:
        return options_repr(approximate=(self.approximate, "none"))


class Softplus(Layer):
    """log(1 + exp(beta x)) / beta; x itself where ``beta * x > threshold``."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        self.beta, self.threshold = beta, threshold

    def forward(self, input: Array) -> Array:
        """Return the activation, elementwise."""
        output = F.softplus(input, beta=self.beta, threshold=self.threshold)
        self._save(input)
        return output

    def backward(self, grad_output: Array) -> Array:
        """Return the gradient, elementwise."""
        return F.softplus_backward(
            grad_output, self._take_saved(), beta=self.beta, threshold=self.threshold
        )

    def _options_repr(self) -> str:
        return options_repr(beta=(self.beta, 1.0), threshold=(self.threshold, 20.0))


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
