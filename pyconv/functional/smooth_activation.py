# SPDX-License-Identifier: BSD-3-Clause
"""Activations made of exponentials, and their gradients.

`out` may be the input, or one of the inputs, of any of these.
"""

from pyconv import _core
from pyconv.functional._arguments import Array, number, text

# The constants of self-normalising networks.
_SELU_SCALE = 1.0507009873554804934193349852946
_SELU_ALPHA = 1.6732632423543772848170429916717


def sigmoid(input: Array, *, out: Array | None = None) -> Array:
    """Logistic function.

    Parameters
    ----------
    input : ndarray
        float32 or float64, any shape.
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `input`

    Notes
    -----
    ``1 / (1 + np.exp(-input))``, computed so that nothing overflows.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.sigmoid(np.array([0.0, -1000.0]))
    array([0.5, 0. ])
    """
    return _core.sigmoid(input, out)


def sigmoid_backward(grad_output: Array, output: Array, *, out: Array | None = None) -> Array:
    """Gradient of `sigmoid`, from its output.

    Parameters
    ----------
    grad_output, output : ndarray, one shape
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `grad_output`

    Notes
    -----
    ``grad_output * output * (1 - output)``: at most 1/4 of what came in, and next to nothing where
    the unit is saturated.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.sigmoid_backward(np.ones(1), np.array([0.5]))
    array([0.25])
    """
    return _core.sigmoid_backward(grad_output, output, out)


def tanh(input: Array, *, out: Array | None = None) -> Array:
    """Hyperbolic tangent.

    Parameters
    ----------
    input : ndarray
        float32 or float64, any shape.
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `input`

    Notes
    -----
    ``np.tanh(input)``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.tanh(np.array([0.0, 100.0]))
    array([0., 1.])
    """
    return _core.tanh(input, out)


def tanh_backward(grad_output: Array, output: Array, *, out: Array | None = None) -> Array:
    """Gradient of `tanh`, from its output.

    Parameters
    ----------
    grad_output, output : ndarray, one shape
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `grad_output`

    Notes
    -----
    ``grad_output * (1 - output) * (1 + output)``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.tanh_backward(np.ones(1), np.array([0.5]))
    array([0.75])
    """
    return _core.tanh_backward(grad_output, output, out)


def silu(input: Array, *, out: Array | None = None) -> Array:
    """Sigmoid linear unit, also known as swish.

    Parameters
    ----------
    input : ndarray
        float32 or float64, any shape.
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `input`

    Notes
    -----
    ``input * sigmoid(input)``

    References
    ----------
    S. Elfwing, E. Uchibe and K. Doya, "Sigmoid-weighted linear units for neural network function
    approximation in reinforcement learning", Neural Networks 107, 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.silu(np.array([0.0, 100.0]))
    array([  0., 100.])
    """
    return _core.silu(input, out)


def silu_backward(grad_output: Array, input: Array, *, out: Array | None = None) -> Array:
    """Gradient of `silu`.

    Parameters
    ----------
    grad_output, input : ndarray, one shape
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `grad_output`

    Notes
    -----
    ``grad_output * s * (1 + input * (1 - s))`` with ``s = sigmoid(input)``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.silu_backward(np.ones(1), np.zeros(1))
    array([0.5])
    """
    return _core.silu_backward(grad_output, input, out)


def elu(input: Array, *, alpha: float = 1.0, out: Array | None = None) -> Array:
    """Exponential linear unit.

    Parameters
    ----------
    input : ndarray
        float32 or float64, any shape.
    alpha : float
        Minus the limit for negative arguments.
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `input`

    Notes
    -----
    ``np.where(input > 0, input, alpha * np.expm1(input))``

    References
    ----------
    D. Clevert, T. Unterthiner and S. Hochreiter, "Fast and accurate deep network learning by
    exponential linear units", ICLR 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.elu(np.array([-1000.0, 0.0, 2.0]))
    array([-1.,  0.,  2.])
    """
    return _core.elu(input, number("elu", "alpha", alpha), out)


def elu_backward(
    grad_output: Array, input: Array, *, alpha: float = 1.0, out: Array | None = None
) -> Array:
    """Gradient of `elu`.

    Parameters
    ----------
    grad_output, input : ndarray, one shape
    alpha : float
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `grad_output`

    Notes
    -----
    ``grad_output * np.where(input > 0, 1, alpha * np.exp(input))``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.elu_backward(np.ones(2), np.array([0.0, 2.0]), alpha=0.5)
    array([0.5, 1. ])
    """
    return _core.elu_backward(grad_output, input, number("elu_backward", "alpha", alpha), out)


def selu(input: Array, *, out: Array | None = None) -> Array:
    """Scaled exponential linear unit, which keeps mean 0 and variance 1.

    Parameters
    ----------
    input : ndarray
        float32 or float64, any shape.
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `input`

    Notes
    -----
    ``scale * elu(input, alpha=alpha)`` with ``scale = 1.0507009873554805`` and
    ``alpha = 1.6732632423543772``

    References
    ----------
    G. Klambauer et al., "Self-normalizing neural networks", NeurIPS 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.selu(np.array([0.0, 1.0])).round(4)
    array([0.    , 1.0507])
    """
    return _core.selu(input, _SELU_SCALE * _SELU_ALPHA, _SELU_SCALE, out)


def selu_backward(grad_output: Array, input: Array, *, out: Array | None = None) -> Array:
    """Gradient of `selu`.

    Parameters
    ----------
    grad_output, input : ndarray, one shape
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `grad_output`

    Notes
    -----
    ``scale * elu_backward(grad_output, input, alpha=alpha)``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.selu_backward(np.ones(2), np.array([0.0, 1.0])).round(4)
    array([1.7581, 1.0507])
    """
    return _core.selu_backward(grad_output, input, _SELU_SCALE * _SELU_ALPHA, _SELU_SCALE, out)


def gelu(input: Array, *, approximate: str = "none", out: Array | None = None) -> Array:
    """Gaussian error linear unit.

    Parameters
    ----------
    input : ndarray
        float32 or float64, any shape.
    approximate : {"none", "tanh"}
        Whether Phi is approximated by a hyperbolic tangent.
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `input`

    Notes
    -----
    ``input * Phi(input)``, where Phi is the distribution function of the standard normal law; with
    "tanh" ``0.5 * input * (1 + np.tanh(np.sqrt(2 / np.pi) * (input + 0.044715 * input**3)))``.
    Both keep their relative accuracy for negative arguments.

    References
    ----------
    D. Hendrycks and K. Gimpel, "Gaussian error linear units (GELUs)", arXiv:1606.08415, 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.gelu(np.array([-1.0, 0.0, 1.0])).round(4)
    array([-0.1587,  0.    ,  0.8413])
    """
    if _is_approximate("gelu", approximate):
        return _core.gelu_tanh(input, out)
    return _core.gelu(input, out)


def gelu_backward(
    grad_output: Array, input: Array, *, approximate: str = "none", out: Array | None = None
) -> Array:
    """Gradient of `gelu`.

    Parameters
    ----------
    grad_output, input : ndarray, one shape
    approximate : {"none", "tanh"}
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `grad_output`

    Notes
    -----
    ``grad_output * (Phi(input) + input * phi(input))``, phi being the density of the law; with
    "tanh" the derivative of that formula

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.gelu_backward(np.ones(1), np.zeros(1))
    array([0.5])
    """
    if _is_approximate("gelu_backward", approximate):
        return _core.gelu_tanh_backward(grad_output, input, out)
    return _core.gelu_backward(grad_output, input, out)


def softplus(
    input: Array, *, beta: float = 1.0, threshold: float = 20.0, out: Array | None = None
) -> Array:
    """Smooth form of `relu`.

    Parameters
    ----------
    input : ndarray
        float32 or float64, any shape.
    beta : float
        Not 0; the larger, the nearer to `relu`.
    threshold : float
        Where ``beta * input`` is larger, the result is `input`.
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `input`

    Notes
    -----
    ``np.where(beta * input > threshold, input, np.log1p(np.exp(beta * input)) / beta)``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.softplus(np.array([-1000.0, 0.0, 1000.0])).round(4)
    array([0.000e+00, 6.931e-01, 1.000e+03])
    """
    return _core.softplus(input, *_softplus_options("softplus", beta, threshold), out)


def softplus_backward(
    grad_output: Array,
    input: Array,
    *,
    beta: float = 1.0,
    threshold: float = 20.0,
    out: Array | None = None,
) -> Array:
    """Gradient of `softplus`.

    Parameters
    ----------
    grad_output, input : ndarray, one shape
    beta, threshold : float
    out : ndarray, the same shape, optional

    Returns
    -------
    ndarray, the shape of `grad_output`

    Notes
    -----
    ``grad_output * np.where(beta * input > threshold, 1, sigmoid(beta * input))``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.softplus_backward(np.ones(2), np.array([0.0, 1000.0]))
    array([0.5, 1. ])
    """
    options = _softplus_options("softplus_backward", beta, threshold)
    return _core.softplus_backward(grad_output, input, *options, out)


def _is_approximate(function: str, approximate: object) -> bool:
    name = text(function, "approximate", approximate)
    if name not in {"none", "tanh"}:
        raise ValueError(
            f"{function}: approximate is unknown, got {name!r}; expected 'none' or 'tanh'"
        )
    return name == "tanh"


def _softplus_options(function: str, beta: object, threshold: object) -> tuple[float, float]:
    factor = number(function, "beta", beta)
    if factor == 0:
        raise ValueError(f"{function}: beta is out of range, got {beta}; expected a number but 0")
    return factor, number(function, "threshold", threshold)
