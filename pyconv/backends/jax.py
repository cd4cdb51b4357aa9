# SPDX-License-Identifier: BSD-3-Clause
"""pyconv's convolutions and pools as functions of jax: under jit and vmap, with gradients of any order.

jax calls back into Python for each of them (`jax.pure_callback`), on the CPU. The gradients are
`jax.custom_vjp`, whose own gradients are again pyconv's; forward mode (`jax.jvp`) is not there.

Examples
--------
>>> import jax
>>> import jax.numpy as jnp
>>> from pyconv.backends import jax as F
>>> x, w = jnp.ones((1, 1, 3, 3)), jnp.ones((1, 1, 2, 2))
>>> gradient = jax.jit(jax.grad(lambda w: jnp.sum(F.conv2d(x, w) ** 2)))(w)
>>> print(gradient[0, 0])
[[32. 32.]
 [32. 32.]]
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np

from pyconv import functional as F
from pyconv.functional._arguments import IntOrInts, IntOrPair, Padding, each, integer, sides
from pyconv.optional import need

need("jax", "pyconv.backends.jax", extra="jax")

import jax
import jax.numpy as jnp

__all__ = ["avg_pool2d", "conv1d", "conv2d", "conv3d", "max_pool2d"]

# An array of jax, or what it traces in place of one.
Array = Any
Function = Callable[..., Any]
# Options as jax wants what is not differentiated: hashable.
Options = tuple[tuple[str, Any], ...]


@lru_cache(maxsize=1024)
def _on_arrays(function: Function, options: Options) -> Function:
    """Return a function of arrays alone; the same one each time, so that jax compiles its call once."""
    return lambda *arrays: function(*map(np.asarray, arrays), **dict(options))


def _call(function: Function, options: Options, results: Any, *arrays: Array) -> Any:
    """Let jax call a function of NumPy arrays; `results` has the shapes and dtypes of what it returns."""
    call = _on_arrays(function, options)
    return jax.pure_callback(call, results, *arrays, vmap_method="sequential")


def _require_threads() -> None:
    """Raise where jax would hang: on its only thread a callback waits for its arguments to be copied.

    https://github.com/jax-ml/jax/issues/24255
    """
    default = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = os.environ.get("PJRT_NPROC", default)
    if threads in (1, "1"):
        raise RuntimeError(
            "pyconv.backends.jax: jax has one thread, on which callbacks wait for ever; "
            "expected PJRT_NPROC=2 in the environment before jax is imported"
        )


def _like(shape: tuple[int, ...], array: Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, array.dtype)


def _arrays(function: str, **arrays: Any) -> list[Array]:
    """Return arrays of one floating dtype as those of jax."""
    _require_threads()
    converted = {name: jnp.asarray(array) for name, array in arrays.items()}
    dtypes = {name: array.dtype for name, array in converted.items()}
    first = next(iter(dtypes.values()))
    for name, dtype in dtypes.items():
        if dtype not in (np.float32, np.float64) or dtype != first:
            raise TypeError(
                f"{function}: {name} has dtype {dtype}; expected float32 or float64, the same for all arrays"
            )
    return list(converted.values())


def _empty(array: Array) -> Any:
    """Return no images of the shape of these: what pyconv makes of them tells shapes, and errors, early."""
    return np.empty((0, *array.shape[1:]), array.dtype)


# Convolution -------------------------------------------------------------------------------------


def _convolution(forward: Function, to_input: Function, to_weight: Function) -> Any:
    """Return a convolution without bias, to be differentiated any number of times.

    It and its two gradients are one trilinear form seen from three sides, so that the gradient of each
    is made of the other two.
    """

    @partial(jax.custom_vjp, nondiff_argnums=(2,))
    def conv(x: Array, w: Array, options: Options) -> Array:
        nothing = forward(_empty(x), np.empty(w.shape, w.dtype), **dict(options))
        return _call(forward, options, _like((len(x), *nothing.shape[1:]), x), x, w)

    @partial(jax.custom_vjp, nondiff_argnums=(2, 3))
    def grad_input(g: Array, w: Array, shape: tuple[int, ...], options: Options) -> Array:
        return _call(to_input, (("input_shape", shape), *options), _like(shape, g), g, w)

    @partial(jax.custom_vjp, nondiff_argnums=(2, 3))
    def grad_weight(g: Array, x: Array, shape: tuple[int, ...], options: Options) -> Array:
        return _call(to_weight, (("weight_shape", shape), *options), _like(shape, g), g, x)

    conv.defvjp(
        lambda x, w, options: (conv(x, w, options), (x, w)),
        lambda options, saved, g: (
            grad_input(g, saved[1], saved[0].shape, options),
            grad_weight(g, saved[0], saved[1].shape, options),
        ),
    )
    grad_input.defvjp(
        lambda g, w, shape, options: (grad_input(g, w, shape, options), (g, w)),
        lambda shape, options, saved, h: (
            conv(h, saved[1], options),
            grad_weight(saved[0], h, saved[1].shape, options),
        ),
    )
    grad_weight.defvjp(
        lambda g, x, shape, options: (grad_weight(g, x, shape, options), (g, x)),
        lambda shape, options, saved, h: (
            conv(saved[1], h, options),
            grad_input(saved[0], h, saved[1].shape, options),
        ),
    )
    return conv


_CONVOLUTIONS = {
    1: _convolution(F.conv1d, F.conv1d_backward_input, F.conv1d_backward_weight),
    2: _convolution(F.conv2d, F.conv2d_backward_input, F.conv2d_backward_weight),
    3: _convolution(F.conv3d, F.conv3d_backward_input, F.conv3d_backward_weight),
}


def _conv(
    axes: int,
    input: Any,
    weight: Any,
    bias: Any,
    stride: IntOrInts,
    padding: Padding,
    dilation: IntOrInts,
    groups: int,
) -> Array:
    function = f"conv{axes}d"
    options: Options = (
        ("stride", each(function, "stride", stride, axes)),
        ("padding", sides(function, padding, axes) or "same"),
        ("dilation", each(function, "dilation", dilation, axes)),
        ("groups", integer(function, "groups", groups)),
    )
    named = {"input": input, "weight": weight} | ({} if bias is None else {"bias": bias})
    x, w, *b = _arrays(function, **named)
    y = _CONVOLUTIONS[axes](x, w, options)
    if not b:
        return y
    if b[0].shape != w.shape[:1]:
        raise ValueError(
            f"{function}: bias has the wrong shape, got {b[0].shape}; expected {w.shape[:1]}"
        )
    return y + b[0].reshape(-1, *(1,) * axes)


def conv1d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: IntOrInts = 1,
    padding: Padding = 0,
    dilation: IntOrInts = 1,
    groups: int = 1,
) -> Array:
    """`pyconv.functional.conv1d`: `input` (N, C, L), `weight` (OC, C // groups, KL).

    Parameters
    ----------
    input, weight, bias, stride, padding, dilation, groups
        As of `pyconv.functional.conv1d`.

    Returns
    -------
    jax.Array, shape (N, OC, OL)

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from pyconv.backends import jax as F
    >>> F.conv1d(jnp.ones((1, 1, 4)), jnp.ones((2, 1, 3))).shape
    (1, 2, 2)
    """
    return _conv(1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: IntOrPair = 1,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    groups: int = 1,
) -> Array:
    """2-D convolution, differentiable in its three arrays: `pyconv.functional.conv2d`.

    Parameters
    ----------
    input : array, shape (N, C, H, W)
        float32 or float64 (which jax has to be told to keep); all arrays of one call share the dtype.
    weight : array, shape (OC, C // groups, KH, KW)
    bias : array, shape (OC,), optional
    stride, padding, dilation, groups
        As in `pyconv.functional.conv2d`.

    Returns
    -------
    array, shape (N, OC, OH, OW)

    Raises
    ------
    ValueError
        Shapes do not fit together: when it is called or traced, not when it runs.
    TypeError
        A dtype is neither float32 nor float64, or dtypes differ.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from pyconv.backends import jax as F
    >>> print(F.conv2d(jnp.ones((1, 1, 3, 3)), jnp.ones((1, 1, 3, 3)), padding="same")[0, 0])
    [[4. 6. 4.]
     [6. 9. 6.]
     [4. 6. 4.]]
    """
    return _conv(2, input, weight, bias, stride, padding, dilation, groups)


def conv3d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: IntOrInts = 1,
    padding: Padding = 0,
    dilation: IntOrInts = 1,
    groups: int = 1,
) -> Array:
    """`pyconv.functional.conv3d`: `conv2d` with axes (D, H, W).

    Parameters
    ----------
    input, weight, bias, stride, padding, dilation, groups
        As of `pyconv.functional.conv3d`.

    Returns
    -------
    jax.Array, shape (N, OC, OD, OH, OW)

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from pyconv.backends import jax as F
    >>> F.conv3d(jnp.ones((1, 1, 3, 3, 3)), jnp.ones((2, 1, 3, 3, 3))).shape
    (1, 2, 1, 1, 1)
    """
    return _conv(3, input, weight, bias, stride, padding, dilation, groups)


# Pooling -----------------------------------------------------------------------------------------


def _pool_options(
    function: str, kernel_size: IntOrPair, stride: IntOrPair | None, padding: Padding
) -> dict[str, Any]:
    window = each(function, "kernel_size", kernel_size, 2)
    return {
        "kernel_size": window,
        "stride": window if stride is None else each(function, "stride", stride, 2),
        "padding": sides(function, padding, 2) or "same",
    }


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _max_pool2d(x: Array, options: Options) -> Array:
    nothing = F.max_pool2d(_empty(x), **dict(options))
    return _call(F.max_pool2d, options, _like((len(x), *nothing.shape[1:]), x), x)


def _max_pool2d_forward(x: Array, options: Options) -> tuple[Array, Any]:
    both = (*options, ("return_indices", True))
    nothing = F.max_pool2d(_empty(x), **dict(both))
    results = [_like((len(x), *part.shape[1:]), part) for part in nothing]
    y, indices = _call(F.max_pool2d, both, results, jax.lax.stop_gradient(x))
    return _maxima(x, y, indices), (x, indices)


@jax.custom_vjp
def _maxima(x: Array, y: Array, indices: Array) -> Array:
    """Return `y`, the values of `x` at `indices`, which are found already."""
    return y


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _scatter(g: Array, indices: Array, shape: tuple[int, ...]) -> Array:
    return _call(F.max_pool2d_backward, (("input_shape", shape),), _like(shape, g), g, indices)


def _gather(x: Array, indices: Array) -> Array:
    """Return the values of (N, C, H, W) at indices in the plane; 0 for -1, a window without pixels."""
    planes, places = (a.reshape(*a.shape[:2], -1) for a in (x, indices))
    found = jnp.take_along_axis(planes, jnp.maximum(places, 0), axis=2)
    return jnp.where(places < 0, 0, found).reshape(indices.shape)


_max_pool2d.defvjp(
    _max_pool2d_forward, lambda options, saved, g: (_scatter(g, saved[1], saved[0].shape),)
)
_maxima.defvjp(
    lambda x, y, indices: (_maxima(x, y, indices), (x, indices)),
    lambda saved, g: (_scatter(g, saved[1], saved[0].shape), None, None),
)
_scatter.defvjp(
    lambda g, indices, shape: (_scatter(g, indices, shape), indices),
    lambda shape, indices, h: (_gather(h, indices), None),
)


def max_pool2d(
    input: Array,
    kernel_size: IntOrPair,
    *,
    stride: IntOrPair | None = None,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
) -> Array:
    """`pyconv.functional.max_pool2d`: largest value of each window of `input` (N, C, H, W).

    Parameters
    ----------
    input, kernel_size, stride, padding, dilation, ceil_mode
        As of `pyconv.functional.max_pool2d`.

    Returns
    -------
    jax.Array, shape (N, C, OH, OW)

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from pyconv.backends import jax as F
    >>> float(F.max_pool2d(jnp.arange(4.0).reshape(1, 1, 2, 2), 2)[0, 0, 0, 0])
    3.0
    """
    options = _pool_options("max_pool2d", kernel_size, stride, padding)
    options["dilation"] = each("max_pool2d", "dilation", dilation, 2)
    options["ceil_mode"] = ceil_mode
    (x,) = _arrays("max_pool2d", input=input)
    return _max_pool2d(x, tuple(options.items()))


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _avg_pool2d(x: Array, options: Options) -> Array:
    nothing = F.avg_pool2d(_empty(x), **dict(options))
    return _call(F.avg_pool2d, options, _like((len(x), *nothing.shape[1:]), x), x)


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _avg_pool2d_backward(g: Array, shape: tuple[int, ...], options: Options) -> Array:
    options = (("input_shape", shape), *options)
    return _call(F.avg_pool2d_backward, options, _like(shape, g), g)


# Linear, and each other's adjoints.
_avg_pool2d.defvjp(
    lambda x, options: (_avg_pool2d(x, options), x),
    lambda options, x, g: (_avg_pool2d_backward(g, x.shape, options),),
)
_avg_pool2d_backward.defvjp(
    lambda g, shape, options: (_avg_pool2d_backward(g, shape, options), None),
    lambda shape, options, _, h: (_avg_pool2d(h, options),),
)


def avg_pool2d(
    input: Array,
    kernel_size: IntOrPair,
    *,
    stride: IntOrPair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Array:
    """`pyconv.functional.avg_pool2d`: average of each window of `input` (N, C, H, W).

    Parameters
    ----------
    input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
        As of `pyconv.functional.avg_pool2d`.

    Returns
    -------
    jax.Array, shape (N, C, OH, OW)

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from pyconv.backends import jax as F
    >>> float(F.avg_pool2d(jnp.arange(4.0).reshape(1, 1, 2, 2), 2)[0, 0, 0, 0])
    1.5
    """
    options = _pool_options("avg_pool2d", kernel_size, stride, padding)
    options["ceil_mode"] = ceil_mode
    options["count_include_pad"] = count_include_pad
    options["divisor_override"] = divisor_override
    (x,) = _arrays("avg_pool2d", input=input)
    return _avg_pool2d(x, tuple(options.items()))
