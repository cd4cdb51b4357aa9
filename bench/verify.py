# SPDX-License-Identifier: BSD-3-Clause
"""Is the answer right? Float64 checks that cost a fraction of the op they check.

A product of matrices ``C = A @ B`` obeys ``C @ R == A @ (B @ R)`` for any R, which costs O(n^2)
when R has a few columns (Freivalds' check). A convolution is such a product of pixels by filters,
and so are its gradients, so each is checked by projecting one channel axis with an R of three
columns: random signs, which see every element of the output, and two single channels, whose
elements are seen at full precision. The reference is written in NumPy tap by tap and shares
nothing with any subject.

How far rounding may move a sum of K products is known because the arrays are independent standard
normal numbers: the k-th partial sum is about sqrt(k), its rounding error u / sqrt(3) of that (u the
unit roundoff), and the squares of K such errors and of K rounded products add up to a standard
deviation of 0.41 u K, that is ``0.41 * u * |a| * |b|`` in 2-norms, for plain summation, the worst
order. The bound is six of these, times ten because Winograd's transforms amplify: about 2e-6
sqrt(K) of a typical output, so that half-precision arithmetic or a missing tile falls out of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.workloads import Case, Conv2d, FloatArray, Gemm, Pool2d

BOUND = 6 * 0.41 * 10  # units of u |a| |b|

Float64Array = NDArray[np.float64]
Projection = Callable[[Float64Array], Float64Array]


class WrongAnswerError(ValueError):
    """A subject's answer is not the op's."""


@dataclass(frozen=True)
class Check:
    """What a projection of the output must be, and how far rounding may move it."""

    shape: tuple[int, ...]
    dtype: str
    project: Projection
    expected: Float64Array
    bound: Float64Array

    def __call__(self, output: FloatArray) -> None:
        """Raise `WrongAnswerError` unless `output` is right."""
        if output.shape != self.shape or output.dtype != self.dtype:
            raise WrongAnswerError(
                f"output is {output.dtype} {output.shape}; expected {self.dtype} {self.shape}"
            )
        error = np.abs(self.project(output.astype(np.float64)) - self.expected)
        wrong = ~(error <= self.bound)  # also true for NaN
        if wrong.any():
            where = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise WrongAnswerError(
                f"{np.count_nonzero(wrong)} of {wrong.size} checked values are wrong, the first by "
                f"{error[where]:.3g} at {where}; expected at most {self.bound[where]:.3g}"
            )


def check_for(case: Case, arrays: tuple[FloatArray, ...], rng: np.random.Generator) -> Check:
    """Compute the check of one case; it then serves every subject."""
    wide = tuple(array.astype(np.float64) for array in arrays)
    w = case.workload
    if isinstance(w, Pool2d):
        return _pool2d(case, w, wide[0])
    first, second = wide
    if isinstance(w, Gemm):
        shape, project, expected, magnitude = _gemm(w, first, second, rng)
    else:
        reference = {
            "conv2d": _conv2d,
            "conv2d_backward_input": _conv2d_backward_input,
            "conv2d_backward_weight": _conv2d_backward_weight,
        }[case.op]
        shape, project, expected, magnitude = reference(w, first, second, rng)
    unit_roundoff = np.finfo(case.dtype).eps / 2
    return Check(shape, case.dtype, project, expected, BOUND * unit_roundoff * magnitude)


# What a reference returns: output shape, projection, projected output, magnitude |a| |b|.
Reference = tuple[tuple[int, ...], Projection, Float64Array, Float64Array]


def _probe(size: int, rng: np.random.Generator) -> Float64Array:
    """R, of shape (size, 3): signs, the last channel and a random one; the identity if small."""
    if size <= 3:
        return np.eye(size)
    probe = np.zeros((size, 3))
    probe[:, 0] = rng.choice([-1.0, 1.0], size)
    probe[size - 1, 1] = 1.0
    probe[rng.integers(size - 1), 2] = 1.0
    return probe


def _gemm(w: Gemm, a: Float64Array, b: Float64Array, rng: np.random.Generator) -> Reference:
    a = a.T if w.trans_a else a
    b = b.T if w.trans_b else b
    probe = _probe(w.N, rng)
    rows = np.linalg.norm(a, axis=1)
    columns = np.sqrt((b**2).sum(axis=0) @ probe**2)
    return (w.M, w.N), lambda c: c @ probe, a @ (b @ probe), np.outer(rows, columns)


def _taps(w: Conv2d | Pool2d) -> Iterator[tuple[int, int, tuple[Any, ...]]]:
    """Each filter tap (kh, kw) and the padded pixels that it meets, an OH x OW grid."""
    for kh in range(w.KH):
        for kw in range(w.KW):
            top, left = kh * w.dilation, kw * w.dilation
            h = slice(top, top + (w.OH - 1) * w.stride + 1, w.stride)
            x = slice(left, left + (w.OW - 1) * w.stride + 1, w.stride)
            yield kh, kw, (..., h, x)


def _pad(w: Conv2d | Pool2d, image: Float64Array, value: float = 0.0) -> Float64Array:
    margin = [(0, 0)] * (image.ndim - 2) + [(w.padding, w.padding)] * 2
    return np.pad(image, margin, constant_values=value)


def _grouped(w: Conv2d, array: Float64Array, axis: int) -> Float64Array:
    """Split a channel axis into (groups, channels of one group)."""
    shape = (*array.shape[:axis], w.groups, -1, *array.shape[axis + 1 :])
    return array.reshape(shape)


def _mix(matrix: Float64Array, channels: Float64Array) -> Float64Array:
    """``matrix (G, m, c)`` times ``channels (N, G, c, h, w)`` along c."""
    N, G, _, height, width = channels.shape
    flat = channels.reshape(N, G, -1, height * width)
    return (matrix @ flat).reshape(N, G, -1, height, width)


def _conv2d(
    w: Conv2d, input: Float64Array, weight: Float64Array, rng: np.random.Generator
) -> Reference:
    image = _pad(w, _grouped(w, input, 1))  # n g c h w
    filters = _grouped(w, weight, 0)  # g oc c kh kw
    probe = _probe(filters.shape[1], rng)
    mixed = np.einsum("gockl,om->gmckl", filters, probe)
    energy = (image**2).sum(axis=2)
    expected = np.zeros((w.N, w.groups, probe.shape[1], w.OH, w.OW))
    patch = np.zeros((w.N, w.groups, w.OH, w.OW))  # sum of squares under the filter
    for kh, kw, pixels in _taps(w):
        expected += _mix(mixed[..., kh, kw], image[pixels])
        patch += energy[pixels]
    norms = np.sqrt((filters**2).sum(axis=(2, 3, 4)) @ probe**2)  # g m
    magnitude = np.sqrt(patch)[:, :, None] * norms[:, :, None, None]

    def project(output: Float64Array) -> Float64Array:
        return _mix(np.broadcast_to(probe.T, (w.groups, *probe.T.shape)), _grouped(w, output, 1))

    return w.output_shape, project, expected, magnitude


def _conv2d_backward_input(
    w: Conv2d, grad_output: Float64Array, weight: Float64Array, rng: np.random.Generator
) -> Reference:
    grad = _grouped(w, grad_output, 1)  # n g oc oh ow
    filters = _grouped(w, weight, 0)  # g oc c kh kw
    probe = _probe(filters.shape[2], rng)
    mixed = np.einsum("gockl,cm->gmokl", filters, probe)
    energy = (grad**2).sum(axis=2)
    expected = _pad(w, np.zeros((w.N, w.groups, probe.shape[1], w.H, w.W)))
    patch = _pad(w, np.zeros((w.N, w.groups, w.H, w.W)))  # sum of squares that reach the pixel
    for kh, kw, pixels in _taps(w):
        expected[pixels] += _mix(mixed[..., kh, kw], grad)
        patch[pixels] += energy
    norms = np.sqrt((filters**2).sum(axis=(1, 3, 4)) @ probe**2)  # g m
    inside = (..., slice(w.padding, w.padding + w.H), slice(w.padding, w.padding + w.W))
    magnitude = np.sqrt(patch)[:, :, None] * norms[:, :, None, None]

    def project(grad_input: Float64Array) -> Float64Array:
        images = _grouped(w, grad_input, 1)
        return _mix(np.broadcast_to(probe.T, (w.groups, *probe.T.shape)), images)

    return w.input_shape, project, expected[inside], magnitude[inside]


def _conv2d_backward_weight(
    w: Conv2d, grad_output: Float64Array, input: Float64Array, rng: np.random.Generator
) -> Reference:
    image = _pad(w, _grouped(w, input, 1))  # n g c h w
    grad = _grouped(w, grad_output, 1)  # n g oc oh ow
    probe = _probe(grad.shape[2], rng)
    mixed = _mix(np.broadcast_to(probe.T, (w.groups, *probe.T.shape)), grad)
    mixed = mixed.reshape(*mixed.shape[:3], -1)  # n g m pixel
    energy = image**2
    expected = np.zeros((w.groups, probe.shape[1], image.shape[2], w.KH, w.KW))
    channel = np.zeros((w.groups, image.shape[2], w.KH, w.KW))  # sum of squares that a tap meets
    for kh, kw, pixels in _taps(w):
        met = image[pixels].reshape(*image.shape[:3], -1)
        expected[..., kh, kw] = (mixed @ met.swapaxes(2, 3)).sum(axis=0)
        channel[..., kh, kw] = energy[pixels].sum(axis=(0, 3, 4))
    norms = np.sqrt((grad**2).sum(axis=(0, 3, 4)) @ probe**2)  # g m
    magnitude = np.sqrt(channel)[:, None] * norms[:, :, None, None, None]

    def project(grad_weight: Float64Array) -> Float64Array:
        projected: Float64Array = np.einsum("gockl,om->gmckl", _grouped(w, grad_weight, 0), probe)
        return projected

    return w.weight_shape, project, expected, magnitude


def _pool2d(case: Case, w: Pool2d, input: Float64Array) -> Check:
    """Every output is checked: a maximum exactly, an average to (taps + 2) roundings."""
    if case.op == "max_pool2d":
        image = _pad(w, input, -np.inf)
        expected = np.full(w.output_shape, -np.inf)
        for _, _, pixels in _taps(w):
            np.maximum(expected, image[pixels], out=expected)
        bound = np.zeros(w.output_shape)
    else:
        image = _pad(w, input)
        expected = np.zeros(w.output_shape)
        bound = np.zeros(w.output_shape)
        taps = w.KH * w.KW
        for _, _, pixels in _taps(w):
            expected += image[pixels] / taps
            bound += np.abs(image[pixels]) / taps
        bound *= (taps + 2) * np.finfo(case.dtype).eps
    return Check(w.output_shape, case.dtype, lambda output: output, expected, bound)
