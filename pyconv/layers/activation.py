# SPDX-License-Identifier: BSD-3-Clause
"""Activation layers. Each keeps for `backward` what its gradient needs: its output, or its input."""

from __future__ import annotations

from pyconv import functional as F
from pyconv.layers.base import Array, Layer, options_repr

# What ReLU saves if the layer before it, batch norm, also does its part of the backward pass.
PASSED_ON = object()


class ReLU(Layer):
    """max(x, 0).

    Notes
    -----
    ``np.maximum(x, 0)``, as `pyconv.functional.relu`.

    Examples
    --------
    >>> import numpy as np
    >>> ReLU()(np.array([[-1.0, 0.5]]))
    array([[0. , 0.5]])
    """

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
    """Identity where x > 0, else ``negative_slope * x``.

    Parameters
    ----------
    negative_slope : float

    Examples
    --------
    >>> import numpy as np
    >>> LeakyReLU(0.1)(np.array([[-1.0, 0.5]]))
    array([[-0.1,  0.5]])
    """

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
    """1 / (1 + exp(-x)).

    Notes
    -----
    Its slope is ``y * (1 - y)``, at most 1/4.

    Examples
    --------
    >>> import numpy as np
    >>> Sigmoid()(np.array([[-1000.0, 0.0, 1000.0]]))
    array([[0. , 0.5, 1. ]])
    """

    def forward(self, input: Array) -> Array:
        """Return the activation, elementwise."""
        output = F.sigmoid(input)
        self._save(output)
        return output

    def backward(self, grad_output: Array) -> Array:
        """Return ``grad_output * y * (1 - y)``."""
        return F.sigmoid_backward(grad_output, self._take_saved())


class Tanh(Layer):
    """Hyperbolic tangent.

    Notes
    -----
    Its slope is ``1 - y**2``, at most 1.

    Examples
    --------
    >>> import numpy as np
    >>> Tanh()(np.array([[-1000.0, 0.0, 1000.0]]))
    array([[-1.,  0.,  1.]])
    """

    def forward(self, input: Array) -> Array:
        """Return tanh(x), elementwise."""
        output = F.tanh(input)
        self._save(output)
        return output

    def backward(self, grad_output: Array) -> Array:
        """Return ``grad_output * (1 - y**2)``."""
        return F.tanh_backward(grad_output, self._take_saved())


class ReLU6(Layer):
    """min(max(x, 0), 6).

    Notes
    -----
    ``np.clip(x, 0, 6)``, as `pyconv.functional.relu6`.

    Examples
    --------
    >>> import numpy as np
    >>> ReLU6()(np.array([[-1.0, 5.0, 7.0]]))
    array([[0., 5., 6.]])
    """

    def forward(self, input: Array) -> Array:
        """Return the activation, elementwise."""
        output = F.relu6(input)
        self._save(output)
        return output

    def backward(self, grad_output: Array) -> Array:
        """Return the gradient, elementwise."""
        return F.relu6_backward(grad_output, self._take_saved())


class Hardsigmoid(Layer):
    """min(max(x + 3, 0), 6) / 6.

    Notes
    -----
    ``np.clip(x + 3, 0, 6) / 6``, as `pyconv.functional.hardsigmoid`.

    Examples
    --------
    >>> import numpy as np
    >>> Hardsigmoid()(np.array([[-4.0, 0.0, 4.0]]))
    array([[0. , 0.5, 1. ]])
    """

    def forward(self, input: Array) -> Array:
        """Return the activation, elementwise."""
        output = F.hardsigmoid(input)
        self._save(input)
        return output

    def backward(self, grad_output: Array) -> Array:
        """Return the gradient, elementwise."""
        return F.hardsigmoid_backward(grad_output, self._take_saved())


class Hardswish(Layer):
    """x * min(max(x + 3, 0), 6) / 6.

    Notes
    -----
    ``x * np.clip(x + 3, 0, 6) / 6``, as `pyconv.functional.hardswish`.

    Examples
    --------
    >>> import numpy as np
    >>> Hardswish()(np.array([[-4.0, 0.0, 3.0]]))
    array([[-0.,  0.,  3.]])
    """

    def forward(self, input: Array) -> Array:
        """Return the activation, elementwise."""
        output = F.hardswish(input)
        self._save(input)
        return output

    def backward(self, grad_output: Array) -> Array:
        """Return the gradient, elementwise."""
        return F.hardswish_backward(grad_output, self._take_saved())


class SiLU(Layer):
    """x * sigmoid(x), also known as swish.

    Notes
    -----
    ``x * sigmoid(x)``, as `pyconv.functional.silu`.

    Examples
    --------
    >>> import numpy as np
    >>> SiLU()(np.array([[-1.0, 0.0, 1.0]])).round(4)
    array([[-0.2689,  0.    ,  0.7311]])
    """

    def forward(self, input: Array) -> Array:
        """Return the activation, elementwise."""
        output = F.silu(input)
        self._save(input)
        return output

    def backward(self, grad_output: Array) -> Array:
        """Return the gradient, elementwise."""
        return F.silu_backward(grad_output, self._take_saved())


class ELU(Layer):
    """Identity where x > 0, else ``alpha * (exp(x) - 1)``.

    Parameters
    ----------
    alpha : float
        What the output goes to for small x, with the sign changed.

    Examples
    --------
    >>> import numpy as np
    >>> ELU(2.0)(np.array([[-1000.0, 0.0, 1.0]]))
    array([[-2.,  0.,  1.]])
    """

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
    """ELU with the scale and alpha of self-normalising networks.

    Notes
    -----
    The constants keep the mean at 0 and the variance at 1 from layer to layer: `pyconv.functional.selu`.

    Examples
    --------
    >>> import numpy as np
    >>> SELU()(np.array([[0.0, 1.0]])).round(4)
    array([[0.    , 1.0507]])
    """

    def forward(self, input: Array) -> Array:
        """Return the activation, elementwise."""
        output = F.selu(input)
        self._save(input)
        return output

    def backward(self, grad_output: Array) -> Array:
        """Return the gradient, elementwise."""
        return F.selu_backward(grad_output, self._take_saved())


class GELU(Layer):
    """x times the distribution function of the normal law, which "tanh" approximates.

    Parameters
    ----------
    approximate : {"none", "tanh"}

    Examples
    --------
    >>> import numpy as np
    >>> GELU()(np.array([[-1.0, 0.0, 1.0]])).round(4)
    array([[-0.1587,  0.    ,  0.8413]])
    """

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
    """log(1 + exp(beta x)) / beta; x itself where ``beta * x > threshold``.

    Parameters
    ----------
    beta, threshold : float

    Examples
    --------
    >>> import numpy as np
    >>> Softplus()(np.array([[0.0, 100.0]])).round(4)
    array([[  0.6931, 100.    ]])
    """

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
    """exp(x) / sum(exp(x)) along `axis`. For training prefer `pyconv.losses.CrossEntropyLoss`.

    Parameters
    ----------
    axis : int
        The axis whose values add up to 1.

    Examples
    --------
    >>> import numpy as np
    >>> Softmax()(np.log([[1.0, 3.0]]))
    array([[0.25, 0.75]])
    """

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
    """Logarithm of the softmax along `axis`.

    Parameters
    ----------
    axis : int
        The axis along which the exponentials add up to 1.

    Examples
    --------
    >>> import numpy as np
    >>> np.exp(LogSoftmax()(np.zeros((1, 4))))
    array([[0.25, 0.25, 0.25, 0.25]])
    """

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
