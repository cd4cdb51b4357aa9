# SPDX-License-Identifier: BSD-3-Clause
"""Layers that are taken over by the one before them: the same results as one after the other."""

from collections.abc import Callable

import numpy as np
import pytest

from checks import assert_same_bits
from pyconv import layers as L
from pyconv.layers.base import Array, Layer

F64 = np.float64


def _conv(C: int, OC: int, rng: np.random.Generator, **options: object) -> L.Conv2d:
    return L.Conv2d(C, OC, 3, padding=1, rng=rng, dtype=F64, **options)  # type: ignore[arg-type]


def _norm(C: int, rng: np.random.Generator) -> L.BatchNorm2d:
    norm = L.BatchNorm2d(C, dtype=F64)
    norm.weight.value[...] = rng.uniform(0.5, 1.5, C)
    norm.bias.value[...] = rng.standard_normal(C)
    norm.running_mean[...] = rng.standard_normal(C)
    norm.running_var[...] = rng.uniform(0.5, 2, C)
    return norm


CHAINS: dict[str, Callable[[np.random.Generator], tuple[Layer, ...]]] = {
    "conv_relu": lambda rng: (_conv(4, 6, rng), L.ReLU()),
    "conv_relu6": lambda rng: (_conv(4, 6, rng), L.ReLU6()),
    "conv_hardswish": lambda rng: (_conv(4, 6, rng, groups=2), L.Hardswish()),
    "conv_sigmoid": lambda rng: (_conv(4, 6, rng), L.Sigmoid()),
    "conv_norm": lambda rng: (_conv(4, 6, rng, bias=False), _norm(6, rng)),
    "conv_norm_relu": lambda rng: (_conv(4, 6, rng), _norm(6, rng), L.ReLU()),
    "conv_norm_hardswish": lambda rng: (_conv(4, 6, rng), _norm(6, rng), L.Hardswish()),
    "norm_relu_conv": lambda rng: (_norm(4, rng), L.ReLU(), _conv(4, 3, rng)),
    "depthwise": lambda rng: (
        _conv(4, 4, rng, groups=4, stride=2, bias=False),
        _norm(4, rng),
        L.ReLU6(),
    ),
    "nested": lambda rng: (
        L.Sequential(_conv(4, 6, rng), _norm(6, rng)),
        L.Sequential(L.ReLU(), L.Sequential(_conv(6, 2, rng), L.ReLU())),
    ),
    "residual": lambda rng: (
        L.Residual(L.Sequential(_conv(4, 4, rng), _norm(4, rng), L.ReLU(), _conv(4, 4, rng))),
        L.ReLU(),
    ),
    "residual_norm": lambda rng: (
        L.Residual(
            L.Sequential(_conv(4, 6, rng), _norm(6, rng)),
            L.Sequential(_conv(4, 6, rng), _norm(6, rng)),
        ),
        L.ReLU(),
        L.Residual(_conv(6, 6, rng)),
        L.Hardswish(),
    ),
    "concat": lambda rng: (
        L.Concat(L.Sequential(_conv(4, 3, rng), _norm(3, rng), L.ReLU()), _conv(4, 2, rng)),
        L.ReLU(),
    ),
    "linear": lambda rng: (
        L.Flatten(),
        L.Linear(4 * 36, 5, rng=rng, dtype=F64),
        L.ReLU(),
        L.Linear(5, 3, rng=rng, dtype=F64),
    ),
}


def _one_by_one(layer: Layer) -> None:
    """Make every layer of a model run alone: a forward that was replaced is always called."""
    for _, part in layer.named_layers():
        part.forward = part.forward  # type: ignore[method-assign]


def _pair(name: str) -> tuple[L.Sequential, L.Sequential]:
    fused, plain = (L.Sequential(*CHAINS[name](np.random.default_rng(0))) for _ in range(2))
    _one_by_one(plain)
    return fused, plain


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("mode", ["train", "frozen"])
def test_forward_and_backward_are_those_of_the_layers(
    name: str, mode: str, rng: np.random.Generator
) -> None:
    fused, plain = _pair(name)
    x = rng.standard_normal((3, 4, 6, 6))
    if mode == "frozen":
        fused.eval(differentiable=True)
        plain.eval(differentiable=True)
    y, expected = fused(x), plain(x)
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)
    g = rng.standard_normal(y.shape)
    np.testing.assert_allclose(fused.backward(g), plain.backward(g), rtol=1e-10, atol=1e-11)
    for one, other in zip(fused.parameters(), plain.parameters(), strict=True):
        np.testing.assert_allclose(one.grad, other.grad, rtol=1e-10, atol=1e-11)
    for key, array in plain.state_dict().items():
        np.testing.assert_allclose(fused.state_dict()[key], array, rtol=1e-13, err_msg=key)


@pytest.mark.parametrize("name", CHAINS)
def test_inference_is_that_of_the_layers(name: str, rng: np.random.Generator) -> None:
    fused, plain = _pair(name)
    fused.eval()
    plain.eval()
    for N in (3, 1):
        x = rng.standard_normal((N, 4, 6, 6))
        np.testing.assert_allclose(fused(x), plain(x), rtol=1e-11, atol=1e-11)
    with pytest.raises(RuntimeError, match="without a preceding forward"):
        fused.backward(fused(x))


@pytest.mark.parametrize("name", CHAINS)
def test_backward_parameters_leaves_out_the_input_gradient(
    name: str, rng: np.random.Generator
) -> None:
    one, other = (L.Sequential(*CHAINS[name](np.random.default_rng(0))) for _ in range(2))
    x = rng.standard_normal((3, 4, 6, 6))
    g = rng.standard_normal(one(x).shape)
    other(x)
    one.backward(g)
    assert other.backward_parameters(g) is None  # type: ignore[func-returns-value]
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        assert_same_bits(mine.grad, theirs.grad)
    with pytest.raises(RuntimeError, match="without a preceding forward"):
        other.backward_parameters(g)


def _change_weight(conv: L.Conv2d, norm: L.BatchNorm2d) -> None:
    conv.weight.value *= 2
    conv.weight.bump()


def _replace_weight(conv: L.Conv2d, norm: L.BatchNorm2d) -> None:
    conv.weight.value = conv.weight.value * 2


def _change_norm_weight(conv: L.Conv2d, norm: L.BatchNorm2d) -> None:
    norm.weight.value *= 2
    norm.weight.bump()


def _change_norm_bias(conv: L.Conv2d, norm: L.BatchNorm2d) -> None:
    norm.bias.value += 1
    norm.bias.bump()


def _change_statistics(conv: L.Conv2d, norm: L.BatchNorm2d) -> None:
    norm.running_var[1] *= 2


def _load(conv: L.Conv2d, norm: L.BatchNorm2d) -> None:
    norm.load_state_dict({key: value * 2 for key, value in norm.state_dict().items()})


def _train(conv: L.Conv2d, norm: L.BatchNorm2d) -> None:
    model = L.Sequential(conv, norm).train()
    model(np.random.default_rng(3).standard_normal((3, 4, 6, 6)))
    model.eval()


@pytest.mark.parametrize(
    "change",
    [
        _change_weight,
        _replace_weight,
        _change_norm_weight,
        _change_norm_bias,
        _change_statistics,
        _load,
        _train,
    ],
)
def test_folded_weights_follow_what_they_were_made_from(
    change: Callable[[L.Conv2d, L.BatchNorm2d], None], rng: np.random.Generator
) -> None:
    conv, norm = _conv(4, 6, rng), _norm(6, rng)
    model = L.Sequential(conv, norm).eval()
    x = rng.standard_normal((2, 4, 6, 6))
    before = model(x)
    change(conv, norm)
    after = model(x)
    assert not np.allclose(before, after)
    np.testing.assert_allclose(after, norm(conv(x)), rtol=1e-11, atol=1e-11)
    assert_same_bits(model(x), after)


def test_float32_folds_within_rounding(rng: np.random.Generator) -> None:
    conv, norm = L.Conv2d(16, 8, 3, rng=rng), L.BatchNorm2d(8)
    norm.running_mean[...] = rng.standard_normal(8)
    norm.running_var[...] = rng.uniform(0.5, 2, 8)
    x = rng.standard_normal((2, 16, 9, 9)).astype(np.float32)
    model = L.Sequential(conv, norm).eval()
    np.testing.assert_allclose(model(x), norm(conv(x)), rtol=1e-5, atol=1e-5)
    assert model(x).dtype == np.float32


class _Doubling(L.Conv2d):
    """A subclass with a forward of its own, on top of its parent's."""

    def forward(self, input: Array) -> Array:
        return 2 * super().forward(input)


class _NegativeReLU(L.ReLU):
    def forward(self, input: Array) -> Array:
        return -super().forward(input)


class _Reversed(L.Sequential):
    def forward(self, input: Array) -> Array:
        return super().forward(input[::-1])


def test_a_subclass_with_its_own_forward_is_called(rng: np.random.Generator) -> None:
    conv = _Doubling(4, 6, 3, rng=rng, dtype=F64)
    x = rng.standard_normal((2, 4, 6, 6))
    plain = L.Conv2d.forward(conv, x)
    assert_same_bits(L.Sequential(conv, L.ReLU())(x), np.maximum(2 * plain, 0))
    assert_same_bits(L.Sequential(conv, _NegativeReLU())(x), -np.maximum(2 * plain, 0))
    assert_same_bits(L.Sequential(_Reversed(conv, L.ReLU()))(x), np.maximum(2 * plain[::-1], 0))


def test_a_replaced_forward_sees_every_layer(rng: np.random.Generator) -> None:
    model = L.Sequential(_conv(4, 6, rng), _norm(6, rng), L.ReLU()).eval()
    x = rng.standard_normal((2, 4, 6, 6))
    expected, seen = model(x), []

    def watch(layer: Layer) -> None:
        forward = layer.forward

        def watched(input: Array) -> Array:
            seen.append((type(layer).__name__, input.min()))
            return forward(input)

        layer.forward = watched  # type: ignore[method-assign]

    for layer in model:
        watch(layer)
    np.testing.assert_allclose(model(x), expected, rtol=1e-11, atol=1e-11)
    assert [name for name, _ in seen] == ["Conv2d", "BatchNorm2d", "ReLU"]
    assert seen[2][1] < 0


def test_a_norm_in_training_mode_is_not_folded(rng: np.random.Generator) -> None:
    conv, norm = _conv(4, 6, rng), _norm(6, rng)
    model = L.Sequential(conv, norm).eval()
    norm.training = True
    x = rng.standard_normal((3, 4, 6, 6))
    output = model(x)
    np.testing.assert_allclose(output.mean(axis=(0, 2, 3)), norm.bias.value, rtol=0, atol=1e-12)
    assert norm.num_batches_tracked == 1


def test_folding_leaves_mismatched_norms_to_their_own_error(rng: np.random.Generator) -> None:
    model = L.Sequential(_conv(4, 6, rng), _norm(5, rng)).eval()
    with pytest.raises(ValueError, match="batch_norm"):
        model(rng.standard_normal((2, 4, 6, 6)))
