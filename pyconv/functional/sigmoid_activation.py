# SPDX-License-Identifier: BSD-3-Clause
"""S-shaped curves, sigmoid and tanh, the units that one of them gates, SiLU and GELU, and gradients.

`out` may be the input, or one of the inputs, of any of these.
"""

from pyconv import _core
from pyconv.functional._arguments import Array, text


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


def _is_approximate(function: str, approximate: object) -> bool:
    name = text(function, "approximate", approximate)
    if name not in {"none", "tanh"}:
        raise ValueError(
            f"{function}: approximate is unknown, got {name!r}; expected 'none' or 'tanh'"
        )
    return name == "tanh"
