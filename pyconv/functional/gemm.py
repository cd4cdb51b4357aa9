# SPDX-License-Identifier: BSD-3-Clause
"""Matrix products: gemm, and the linear layer with its gradients."""

from pyconv import _core
from pyconv.functional._arguments import Array, boolean, number, text_or_none


def gemm(
    a: Array,
    b: Array,
    *,
    trans_a: bool = False,
    trans_b: bool = False,
    alpha: float = 1.0,
    beta: float = 0.0,
    out: Array | None = None,
) -> Array:
    """General matrix multiplication, ``alpha * op(a) @ op(b) + beta * out``.

    Parameters
    ----------
    a : ndarray, shape (M, K), or (K, M) with `trans_a`
        float32 or float64; all arrays of one call share the dtype.
    b : ndarray, shape (K, N), or (N, K) with `trans_b`
    trans_a, trans_b : bool
        Use the transpose of `a`, of `b`.
    alpha, beta : float
    out : ndarray, shape (M, N), optional
        Overwritten and returned. Required when `beta` is not 0; not read when it is.

    Returns
    -------
    ndarray, shape (M, N)

    Raises
    ------
    ValueError
        Shapes do not fit together, or `out` cannot hold the result.
    TypeError
        A dtype is neither float32 nor float64, or dtypes differ.

    Notes
    -----
    ``alpha * (a.T if trans_a else a) @ (b.T if trans_b else b) + beta * out``

    References
    ----------
    K. Goto and R. van de Geijn, "Anatomy of high-performance matrix multiplication", ACM TOMS
    34(3), 2008.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.gemm(np.array([[1.0, 2.0]]), np.array([[3.0], [4.0]]))
    array([[11.]])
    """
    # Plain values go through as they are: beside a small product each call counts.
    if trans_a is not False or trans_b is not False:
        trans_a, trans_b = (
            boolean("gemm", "trans_a", trans_a),
            boolean("gemm", "trans_b", trans_b),
        )
    if type(alpha) is not float or type(beta) is not float:
        alpha, beta = number("gemm", "alpha", alpha), number("gemm", "beta", beta)
    return _core.gemm(a, b, trans_a, trans_b, alpha, beta, out)


def linear(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    activation: str | None = None,
    out: Array | None = None,
) -> Array:
    """Fully connected layer.

    Parameters
    ----------
    input : ndarray, shape (N, in_features)
        float32 or float64; all arrays of one call share the dtype.
    weight : ndarray, shape (out_features, in_features)
    bias : ndarray, shape (out_features,), optional
    activation : {None, "relu"}
        Applied to the result while it is in registers.
    out : ndarray, shape (N, out_features), optional
        C-contiguous and overlapping no other argument. Returned.

    Returns
    -------
    ndarray, shape (N, out_features)

    Raises
    ------
    ValueError
        Shapes do not fit together, or `out` cannot hold the result.
    TypeError
        A dtype is neither float32 nor float64, or dtypes differ.

    Notes
    -----
    ``activation(input @ weight.T + bias)``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.linear(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [5.0, -6.0]]), activation="relu")
    array([[11.,  0.]])
    """
    return _core.linear(input, weight, bias, text_or_none("linear", "activation", activation), out)


def linear_backward_input(grad_output: Array, weight: Array, *, out: Array | None = None) -> Array:
    """Gradient of `linear` with respect to its input.

    Parameters
    ----------
    grad_output : ndarray, shape (N, out_features)
    weight : ndarray, shape (out_features, in_features)
    out : ndarray, shape (N, in_features), optional

    Returns
    -------
    ndarray, shape (N, in_features)

    Notes
    -----
    ``grad_output @ weight``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.linear_backward_input(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [5.0, 6.0]]))
    array([[13., 16.]])
    """
    return _core.linear_backward_input(grad_output, weight, out)


def linear_backward_weight(grad_output: Array, input: Array, *, out: Array | None = None) -> Array:
    """Gradient of `linear` with respect to its weight.

    Parameters
    ----------
    grad_output : ndarray, shape (N, out_features)
    input : ndarray, shape (N, in_features)
    out : ndarray, shape (out_features, in_features), optional

    Returns
    -------
    ndarray, shape (out_features, in_features)

    Notes
    -----
    ``grad_output.T @ input``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.linear_backward_weight(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]]))
    array([[3., 4.],
           [6., 8.]])
    """
    return _core.linear_backward_weight(grad_output, input, out)


def linear_backward_bias(grad_output: Array, *, out: Array | None = None) -> Array:
    """Gradient of `linear` with respect to its bias.

    Parameters
    ----------
    grad_output : ndarray, shape (N, out_features)
    out : ndarray, shape (out_features,), optional

    Returns
    -------
    ndarray, shape (out_features,)

    Notes
    -----
    ``grad_output.sum(axis=0)``

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import functional as F
    >>> F.linear_backward_bias(np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([4., 6.])
    """
    return _core.linear_backward_bias(grad_output, out)
