# SPDX-License-Identifier: BSD-3-Clause
"""Checkpoint: the bits of the block, at the price of a second forward pass and not of memory."""

import numpy as np
import pytest

from checks import assert_same_bits
from pyconv import layers as L


def _block(seed: int) -> L.Sequential:
    rng = np.random.default_rng(seed)
    return L.Sequential(
        L.Conv2d(4, 4, 3, padding=1, rng=rng), L.BatchNorm2d(4), L.ReLU(), L.Dropout(0.4, rng=rng)
    )


def _models() -> tuple[L.Sequential, L.Sequential]:
    plain = L.Sequential(_block(0), L.Residual(_block(1)), _block(2))
    checkpointed = L.Sequential(
        L.Checkpoint(_block(0)), L.Checkpoint(L.Residual(_block(1))), L.Checkpoint(_block(2))
    )
    return plain, checkpointed


@pytest.mark.parametrize("parameters_only", [False, True])
def test_steps_give_the_same_bits(parameters_only: bool, rng: np.random.Generator) -> None:
    plain, checkpointed = _models()
    for _ in range(3):
        x, g = rng.standard_normal((2, 3, 4, 8, 8)).astype(np.float32)
        assert_same_bits(checkpointed(x), plain(x))
        if parameters_only:
            checkpointed.backward_parameters(g)
            plain.backward_parameters(g)
        else:
            assert_same_bits(checkpointed.backward(g), plain.backward(g))
        for one, other in zip(checkpointed.parameters(), plain.parameters(), strict=True):
            assert_same_bits(one.grad, other.grad)
            one.value -= 0.1 * one.grad
            other.value -= 0.1 * other.grad
    theirs = plain.state_dict()
    assert list(checkpointed.state_dict()) == list(theirs)
    for key, array in checkpointed.state_dict().items():
        assert_same_bits(array, theirs[key])
    x = rng.standard_normal((2, 4, 8, 8)).astype(np.float32)
    assert_same_bits(checkpointed.eval()(x), plain.eval()(x))
    # Frozen statistics; the mode is that of the last train() or eval().
    assert_same_bits(checkpointed.eval(differentiable=True)(x), plain.eval(differentiable=True)(x))
    assert_same_bits(checkpointed.backward(x), plain.backward(x))


def test_blocks_may_share_a_generator(rng: np.random.Generator) -> None:
    shared = np.random.default_rng(5), np.random.default_rng(5)
    plain = L.Sequential(L.Dropout(0.5, rng=shared[0]), L.Dropout(0.5, rng=shared[0]))
    checkpointed = L.Sequential(
        L.Checkpoint(L.Dropout(0.5, rng=shared[1])), L.Checkpoint(L.Dropout(0.5, rng=shared[1]))
    )
    for _ in range(3):
        x, g = rng.standard_normal((2, 4, 50))
        assert_same_bits(checkpointed(x), plain(x))
        assert_same_bits(checkpointed.backward(g), plain.backward(g))


def test_only_the_input_is_kept(rng: np.random.Generator) -> None:
    _, model = _models()
    model(rng.standard_normal((2, 4, 8, 8)).astype(np.float32))
    keeping = [type(layer) for _, layer in model.named_layers() if layer._saved is not None]
    assert keeping == [L.Checkpoint] * 3
    model.backward(np.ones((2, 4, 8, 8), np.float32))
    with pytest.raises(RuntimeError, match=r"Checkpoint\.backward called without a preceding"):
        model.backward(np.ones((2, 4, 8, 8), np.float32))


def test_eval_keeps_nothing(rng: np.random.Generator) -> None:
    _, model = _models()
    model.eval()(rng.standard_normal((2, 4, 8, 8)).astype(np.float32))
    assert all(layer._saved is None for _, layer in model.named_layers())


def test_a_block_is_a_layer() -> None:
    with pytest.raises(TypeError, match="Checkpoint: block is not a Layer, got 3"):
        L.Checkpoint(3)  # type: ignore[arg-type]
    assert repr(L.Checkpoint(L.ReLU())) == "Checkpoint(ReLU())"
