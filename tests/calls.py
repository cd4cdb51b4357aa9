# SPDX-License-Identifier: BSD-3-Clause
"""At least one representative call of every public function of ``pyconv.functional``.

The properties that every function has to have (determinism, memory safety, special values, bad
input) are tested over this one table, so a new function gets them with its row here;
test_package.py fails while a public function has no row.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

import reference
from pyconv import functional
from reference import Array


@dataclass(frozen=True)
class Draw:
    """A source of arguments: call it with a shape for normally distributed numbers."""

    rng: np.random.Generator
    dtype: npt.DTypeLike

    def __call__(self, *shape: int) -> Array:
        return self.rng.standard_normal(shape).astype(self.dtype)

    def positive(self, *shape: int) -> Array:
        return self.rng.uniform(0.5, 2.0, shape).astype(self.dtype)

    def labels(self, *shape: int, K: int) -> Array:
        return self.rng.integers(0, K, shape)

    def indices(self, *shape: int, plane: int) -> Array:
        """Pooling indices, some of them -1: a window without a pixel."""
        return self.rng.integers(-1, plane, shape).astype(np.int32)


@dataclass(frozen=True)
class Call:
    """One way to call one function; `arguments(draw, N)` makes them for a batch of N."""

    function: str
    arguments: Callable[[Draw, int], tuple[Any, ...]]
    options: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    large: int = 64
    per_image: bool = True

    def __str__(self) -> str:
        return f"{self.function}-{self.name}" if self.name else self.function

    @property
    def signature(self) -> inspect.Signature:
        return inspect.signature(getattr(functional, self.function))

    @property
    def names(self) -> list[str]:
        """Names of the positional arguments."""
        return list(self.signature.parameters)

    @property
    def takes_out(self) -> bool:
        return "out" in self.signature.parameters

    def draw(self, dtype: npt.DTypeLike, N: int = 2, *, seed: int = 7) -> list[Any]:
        return list(self.arguments(Draw(np.random.default_rng(seed), dtype), N))

    def run(self, arguments: list[Any], **extra: Any) -> tuple[Array, ...]:
        """Call the library; always a tuple of arrays."""
        return self._run(functional, arguments, extra)

    def define(self, arguments: list[Any]) -> tuple[Array, ...]:
        """Call the float64 definition."""
        return self._run(reference, arguments, {})

    def _run(self, module: Any, arguments: list[Any], extra: dict[str, Any]) -> tuple[Array, ...]:
        options = {**self.options, **extra}
        if self.function == "dropout":
            options["rng"] = np.random.default_rng(3)
        if module is reference:
            options.pop("algorithm", None)
        result = getattr(module, self.function)(*arguments, **options)
        return tuple(map(np.asarray, result if isinstance(result, tuple) else (result,)))


def arrays_of(arguments: list[Any]) -> list[int]:
    """Positions of the arguments that are arrays."""
    return [i for i, argument in enumerate(arguments) if isinstance(argument, np.ndarray)]


Sizes = tuple[int, ...]


def _convolution(name: str, x: Sizes, w: Sizes, g: Sizes, options: Mapping[str, Any]) -> list[Call]:
    """Return conv1d, 2d or 3d and two gradients; x, w and g are the shapes without the batch."""
    stem = f"conv{len(x) - 1}d"
    return [
        Call(stem, lambda d, N: (d(N, *x), d(*w), d(w[0])), options, name),
        Call(f"{stem}_backward_input", lambda d, N: (d(N, *g), d(*w), (N, *x)), options, name),
        Call(
            f"{stem}_backward_weight",
            lambda d, N: (d(N, *g), d(N, *x), w),
            options,
            name,
            per_image=False,
        ),
    ]


def _transposed(name: str, x: Sizes, w: Sizes, g: Sizes, options: Mapping[str, Any]) -> list[Call]:
    stem = "conv_transpose2d"
    return [
        Call(stem, lambda d, N: (d(N, *x), d(*w), d(g[0])), options, name),
        Call(f"{stem}_backward_input", lambda d, N: (d(N, *g), d(*w)), options, name),
        Call(
            f"{stem}_backward_weight",
            lambda d, N: (d(N, *g), d(N, *x), w),
            options,
            name,
            per_image=False,
        ),
    ]


_CONVOLUTIONS = [
    *_convolution("3x3", (5, 9, 11), (7, 5, 3, 3), (7, 9, 11), {"padding": 1}),
    *_convolution("1x1", (8, 6, 7), (9, 8, 1, 1), (9, 6, 7), {}),
    *_convolution(
        "strided",
        (4, 9, 10),
        (6, 4, 3, 2),
        (6, 5, 4),
        {"stride": (2, 3), "padding": ((1, 1), (0, 1))},
    ),
    *_convolution("dilated", (3, 11, 12), (4, 3, 3, 3), (4, 7, 8), {"dilation": 2}),
    *_convolution("grouped", (6, 8, 9), (8, 3, 3, 3), (8, 8, 9), {"groups": 2, "padding": "same"}),
    *_convolution("depthwise", (6, 8, 9), (6, 1, 3, 3), (6, 8, 9), {"groups": 6, "padding": 1}),
    *_convolution(
        "im2col",
        (4, 9, 10),
        (6, 4, 3, 3),
        (6, 9, 10),
        {"padding": 1, "algorithm": "im2col"},
    ),
    *_convolution(
        "implicit",
        (4, 9, 10),
        (6, 4, 3, 3),
        (6, 5, 5),
        {"padding": 1, "stride": 2, "algorithm": "implicit_gemm"},
    ),
    Call(
        "conv2d",
        lambda d, N: (d(N, 4, 9, 10), d(6, 4, 3, 3), d(6)),
        {"padding": 1, "activation": "relu"},
        "relu",
    ),
    Call(
        "conv2d",
        lambda d, N: (d(N, 4, 9, 10), d(4, 1, 3, 3), d(4)),
        {"padding": 1, "activation": "relu6", "groups": 4},
        "relu6",
    ),
    Call(
        "conv2d",
        lambda d, N: (d(N, 4, 9, 10), d(6, 4, 3, 3), d(6)),
        {"padding": 1, "activation": "hardswish"},
        "hardswish",
    ),
    *_convolution(
        "strided", (4, 19), (6, 2, 3), (6, 10), {"stride": 2, "padding": ((2, 1),), "groups": 2}
    ),
    *_convolution(
        "strided",
        (4, 5, 4, 7),
        (6, 2, 3, 2, 3),
        (6, 3, 4, 3),
        {"stride": (2, 1, 3), "padding": (1, (0, 1), (1, 2)), "groups": 2},
    ),
    *_convolution(
        "dilated",
        (3, 4, 5, 6),
        (5, 3, 2, 3, 2),
        (5, 4, 5, 6),
        {"dilation": 2, "padding": "same", "algorithm": "im2col"},
    ),
    Call("conv1d_backward_bias", lambda d, N: (d(N, 7, 99),), per_image=False),
    Call("conv3d_backward_bias", lambda d, N: (d(N, 7, 3, 4, 5),), per_image=False),
    *_transposed(
        "strided",
        (6, 5, 6),
        (6, 4, 3, 3),
        (4, 10, 12),
        {"stride": 2, "padding": 1, "output_padding": 1},
    ),
    *_transposed("grouped", (6, 5, 6), (6, 2, 3, 3), (4, 7, 8), {"groups": 2}),
]


def _normalized_batch(draw: Draw, N: int) -> tuple[Array, ...]:
    """grad_output, input, its own mean and variance, weight: what training hands backward."""
    x = draw(N, 3, 5, 41)
    mean, var = reference.batch_norm_statistics(x) if N else (np.zeros(3), np.ones(3))
    return draw(N, 3, 5, 41), x, mean.astype(draw.dtype), var.astype(draw.dtype), draw(3)


def _normalizations(function: str, arguments: Any, x: Sizes, w: Sizes) -> list[Call]:
    """Return a normalisation by an image's own statistics, and its gradient."""
    return [
        Call(function, lambda d, N: (d(N, *x), *arguments, d(*w), d(*w)), large=1024),
        Call(function, lambda d, N: (d(N, *x), *arguments), {"eps": 0.1}, "plain", large=1024),
        Call(
            f"{function}_backward",
            lambda d, N: (d(N, *x), d(N, *x), *arguments, d(*w)),
            large=1024,
            per_image=False,
        ),
        Call(
            f"{function}_backward",
            lambda d, N: (d(N, *x), d(N, *x), *arguments),
            {"eps": 0.1},
            "plain",
            large=1024,
            per_image=False,
        ),
    ]


_NORMALIZATIONS = [
    Call("batch_norm_statistics", lambda d, N: (d(N, 3, 5, 41),), large=1024, per_image=False),
    Call(
        "batch_norm",
        lambda d, N: (d(N, 3, 5, 41), d(3), d.positive(3), d(3), d(3)),
        large=1024,
    ),
    Call(
        "batch_norm",
        lambda d, N: (d(N, 3, 41), d(3), d.positive(3), d(3), d(3)),
        {"activation": "relu"},
        "relu",
        large=1024,
    ),
    Call(
        "batch_norm_training",
        lambda d, N: (d(N, 3, 5, 41), d(3), d(3)),
        large=1024,
        per_image=False,
    ),
    Call(
        "batch_norm_training",
        lambda d, N: (d(N, 3, 41), d(3), d(3)),
        {"activation": "relu"},
        "relu",
        large=1024,
        per_image=False,
    ),
    Call("batch_norm_backward", _normalized_batch, large=1024, per_image=False),
    Call(
        "batch_norm_backward",
        lambda d, N: (*_normalized_batch(d, N), d(3)),
        {"activation": "relu"},
        "relu",
        large=1024,
        per_image=False,
    ),
    *(
        Call(
            "batch_norm_backward",
            lambda d, N: (d(N, 3, 41), d(N, 3, 41), d(3), d.positive(3), d(3), d(3)),
            {"training": False, "activation": activation},
            name,
            large=1024,
            per_image=False,
        )
        for activation, name in ((None, "eval"), ("relu", "eval_relu"))
    ),
    *_normalizations("group_norm", (2,), (6, 3, 41), (6,)),
    *_normalizations("instance_norm", (), (3, 41), (3,)),
    *_normalizations("layer_norm", ((5, 41),), (5, 41), (5, 41)),
    Call(
        "local_response_norm",
        lambda d, N: (d(N, 7, 41), 5),
        {"alpha": 0.5},
        large=1024,
    ),
    Call(
        "local_response_norm",
        lambda d, N: (d(N, 5, 41), 4),
        {"alpha": 0.5, "beta": 0.6, "k": 2.0},
        "power",
    ),
    Call(
        "local_response_norm_backward",
        lambda d, N: (d(N, 7, 41), d(N, 7, 41), 4),
        {"alpha": 0.5},
        large=1024,
    ),
]

_PLANE = (3, 12, 41)
_POOL = {"stride": 2, "padding": 1}

_PRODUCTS = [
    Call("gemm", lambda d, N: (d(N, 19), d(19, 23)), name="nn", large=2048),
    Call("gemm", lambda d, N: (d(19, N), d(23, 19)), {"trans_a": True, "trans_b": True}, "tt"),
    Call("gemm", lambda d, N: (d(N, 300), d(300, 37)), {"alpha": 1.5}, "deep", large=515),
    Call("linear", lambda d, N: (d(N, 19), d(23, 19), d(23)), large=2048),
    Call("linear", lambda d, N: (d(N, 9), d(5, 9)), {"activation": "relu"}, "relu", large=2048),
    Call("linear_backward_input", lambda d, N: (d(N, 23), d(23, 19)), large=2048),
    Call("linear_backward_weight", lambda d, N: (d(N, 23), d(N, 19)), large=2048, per_image=False),
    Call("linear_backward_bias", lambda d, N: (d(N, 23),), large=16384, per_image=False),
    Call("im2col", lambda d, N: (d(N, 3, 8, 9), (3, 2)), {"stride": (2, 1), "padding": 1}),
    Call(
        "col2im",
        lambda d, N: (d(N, 18, 40), (N, 3, 8, 9), (3, 2)),
        {"stride": (2, 1), "padding": 1},
    ),
    Call("conv2d_backward_bias", lambda d, N: (d(N, 7, 9, 11),), per_image=False),
]

_POOLS = [
    Call("max_pool2d", lambda d, N: (d(N, *_PLANE), 3), {**_POOL, "return_indices": True}),
    Call("max_pool2d", lambda d, N: (d(N, *_PLANE), 2), {}, "2x2"),
    Call("max_pool2d", lambda d, N: (d(N, *_PLANE), 2), {"dilation": 3, "padding": 1}, "dilated"),
    Call(
        "max_pool2d_backward",
        lambda d, N: (d(N, 3, 6, 21), d.indices(N, 3, 6, 21, plane=12 * 41), (N, *_PLANE)),
    ),
    Call("avg_pool2d", lambda d, N: (d(N, *_PLANE), 3), _POOL),
    Call("avg_pool2d", lambda d, N: (d(N, *_PLANE), 3), {"count_include_pad": False}, "exclude"),
    Call("avg_pool2d_backward", lambda d, N: (d(N, 3, 6, 21), (N, *_PLANE), 3), _POOL),
    Call("avg_pool2d_backward", lambda d, N: (d(N, 3, 6, 20), (N, *_PLANE), 2), {}, "2x2"),
    Call("lp_pool2d", lambda d, N: (d(N, *_PLANE), 3), _POOL),
    Call("lp_pool2d", lambda d, N: (d.positive(N, *_PLANE), 2), {"norm_type": 3.0}, "cube"),
    Call(
        "lp_pool2d_backward",
        lambda d, N: (d(N, 3, 6, 21), d(N, *_PLANE), d.positive(N, 3, 6, 21), 3),
        _POOL,
    ),
    Call(
        "max_unpool2d",
        lambda d, N: (d(N, 3, 6, 21), d.indices(N, 3, 6, 21, plane=12 * 41), (N, *_PLANE)),
    ),
    Call(
        "max_unpool2d_backward",
        lambda d, N: (d(N, *_PLANE), d.indices(N, 3, 6, 21, plane=12 * 41)),
    ),
    Call("adaptive_avg_pool2d", lambda d, N: (d(N, *_PLANE), (5, 7))),
    Call("adaptive_avg_pool2d_backward", lambda d, N: (d(N, 3, 5, 7), (N, *_PLANE))),
    Call("adaptive_max_pool2d", lambda d, N: (d(N, *_PLANE), (5, 7)), {"return_indices": True}),
    Call("global_avg_pool2d", lambda d, N: (d(N, *_PLANE),)),
    Call("global_avg_pool2d_backward", lambda d, N: (d(N, 3, 1, 1), (N, *_PLANE))),
    Call("global_max_pool2d", lambda d, N: (d(N, *_PLANE),), {"return_indices": True}),
]


def _pair(
    function: str,
    options: Mapping[str, Any] = MappingProxyType({}),
    name: str = "",
    *,
    saved: str = "input",
) -> list[Call]:
    """Return an activation and its gradient, which takes `saved`; both have kinks to meet."""
    scale = {"relu6": 5, "hardsigmoid": 3, "hardswish": 3}.get(function, 1)
    second = getattr(reference, function) if saved == "output" else lambda x: x

    def both(d: Draw, N: int) -> tuple[Array, ...]:
        return d(N, 41), second(scale * d(N, 41)).astype(d.dtype)

    return [
        Call(function, lambda d, N: (scale * d(N, 41),), options, name, large=16384),
        Call(f"{function}_backward", both, options, name, large=16384),
    ]


_POINTWISE = [
    Call("relu", lambda d, N: (d(N, 41),), large=16384),
    Call("relu_backward", lambda d, N: (d(N, 41), d(N, 41)), large=16384),
    Call("leaky_relu", lambda d, N: (d(N, 41),), {"negative_slope": 0.25}, large=16384),
    Call("leaky_relu_backward", lambda d, N: (d(N, 41), d(N, 41)), large=16384),
    Call("sigmoid", lambda d, N: (d(N, 41),), large=16384),
    Call("sigmoid_backward", lambda d, N: (d(N, 41), d(N, 41)), large=16384),
    Call("tanh", lambda d, N: (d(N, 41),), large=16384),
    Call("tanh_backward", lambda d, N: (d(N, 41), d(N, 41)), large=16384),
    *_pair("relu6", saved="output"),
    *_pair("hardsigmoid"),
    *_pair("hardswish"),
    *_pair("silu"),
    *_pair("elu", {"alpha": 0.75}),
    *_pair("selu"),
    *_pair("gelu"),
    *_pair("gelu", {"approximate": "tanh"}, "tanh"),
    *_pair("softplus", {"beta": 1.5, "threshold": 2.5}),
    Call("add", lambda d, N: (d(N, 41), d(N, 41)), large=16384),
    Call("add", lambda d, N: (d(N, 41), d(N, 41)), {"activation": "relu"}, "relu", large=16384),
    Call("softmax", lambda d, N: (d(N, 41),), large=16384),
    Call("softmax", lambda d, N: (d(N, 157),), {}, "long", large=4096),
    Call("softmax", lambda d, N: (d(N, 1030, 3),), {"axis": 1}, "deep", large=64),
    Call("softmax", lambda d, N: (d(N, 5, 41),), {"axis": 1}, "inner", large=1024),
    Call("softmax_backward", lambda d, N: (d(N, 41), d.positive(N, 41)), large=16384),
    Call(
        "softmax_backward",
        lambda d, N: (d(N, 5, 41), d.positive(N, 5, 41)),
        {"axis": 1},
        "inner",
        large=1024,
    ),
    Call("log_softmax", lambda d, N: (d(N, 41),), large=16384),
    Call("log_softmax", lambda d, N: (d(N, 5, 41),), {"axis": 1}, "inner", large=1024),
    Call("log_softmax_backward", lambda d, N: (d(N, 41), -d.positive(N, 41)), large=16384),
    Call("dropout", lambda d, N: (d(N, 41), 0.4), large=16384, per_image=False),
    Call("dropout_backward", lambda d, N: (d(N, 41), d.positive(N, 41)), large=16384),
]

_LOSSES = [
    Call(function, arguments, options, name, large=8192, per_image=False)
    for stem, arguments, options, name in (
        ("cross_entropy", lambda d, N: (d(N, 41), d.labels(N, K=41)), {}, ""),
        (
            "cross_entropy",
            lambda d, N: (d(N, 5, 3, 7), d.labels(N, 3, 7, K=5)),
            {"label_smoothing": 0.1, "ignore_index": 0},
            "dense",
        ),
        (
            "cross_entropy",
            lambda d, N: (d(N, 41), d.positive(N, 41) / 41),
            {"label_smoothing": 0.1},
            "soft",
        ),
        ("multiclass_hinge", lambda d, N: (d(N, 41), d.labels(N, K=41)), {"margin": 0.5}, ""),
        ("nll", lambda d, N: (-d.positive(N, 41), d.labels(N, K=41)), {"ignore_index": 3}, ""),
        ("mse", lambda d, N: (d(N, 41), d(N, 41)), {}, ""),
        ("l1", lambda d, N: (d(N, 41), d(N, 41)), {}, ""),
        ("smooth_l1", lambda d, N: (d(N, 41), d(N, 41)), {"beta": 0.7}, ""),
        ("bce_with_logits", lambda d, N: (d(N, 41), d.positive(N, 41) / 2), {}, ""),
    )
    for function in (stem, f"{stem}_backward")
]

# Functions whose `out` may be one of their inputs.
IN_PLACE = {call.function for call in _POINTWISE if call.takes_out}

CALLS = [*_PRODUCTS, *_CONVOLUTIONS, *_POOLS, *_POINTWISE, *_NORMALIZATIONS, *_LOSSES]
