# SPDX-License-Identifier: BSD-3-Clause
"""Augmentations against definitions that take one image, and one pixel, at a time."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from checks import assert_pixels_close, assert_same_bits
from pyconv import data

Array = np.ndarray[Any, Any]

AUGMENTATIONS: dict[str, Callable[..., Array]] = {
    "shift": partial(data.random_shift, pixels=2),
    "flip": partial(data.random_flip, vertical=True),
    "crop": partial(data.random_crop, padding=(3, 1)),
    "affine": partial(data.random_affine, degrees=20, scale=0.2, shear=0.1, shift=1),
    "rotation": partial(data.random_rotation, degrees=20),
    "cutout": partial(data.cutout, size=3),
    "color": partial(data.color_jitter, brightness=0.5, contrast=0.5, saturation=0.5),
    "mixup": lambda images, rng: data.mixup(
        images, np.arange(len(images)), classes=len(images), alpha=1.0, rng=rng
    )[0],
    "composed": data.compose(data.random_flip, partial(data.random_shift, pixels=1)),
}
every_augmentation = pytest.mark.parametrize("augment", AUGMENTATIONS.values(), ids=AUGMENTATIONS)
every_dtype = pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])


def draw(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> Array:
    """Return random pixels, 1 to 255."""
    return np.random.default_rng(seed).integers(1, 256, shape).astype(dtype)


@every_augmentation
@every_dtype
def test_augmentation_is_a_reproducible_copy(augment: Any, dtype: Any) -> None:
    images = draw((40, 3, 6, 5), dtype)
    original = images.copy()
    images.flags.writeable = False
    first, second, other = (augment(images, rng=np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.shape == images.shape
    assert first.dtype == dtype
    assert first.flags.c_contiguous
    assert first.flags.writeable
    assert not np.shares_memory(first, images)
    assert_same_bits(first, second)
    assert (first != other).any()
    assert_same_bits(images, original)


@every_augmentation
@pytest.mark.parametrize("shape", [(0, 3, 4, 5), (3, 3, 1, 1), (1, 3, 1, 7)])
@every_dtype
def test_augmentation_takes_any_size(augment: Any, shape: tuple[int, ...], dtype: Any) -> None:
    got = augment(draw(shape, dtype), rng=np.random.default_rng(0))
    assert got.shape == shape
    assert got.dtype == dtype


@every_augmentation
@every_dtype
def test_augmentation_takes_any_strides(augment: Any, dtype: Any) -> None:
    images = draw((6, 5, 7, 3), dtype).transpose(0, 3, 2, 1)
    copy = np.ascontiguousarray(images)
    got, expected = (augment(x, rng=np.random.default_rng(0)) for x in (images, copy))
    assert_same_bits(got, expected)
    assert got.flags.c_contiguous


@every_augmentation
def test_augmentation_changes_each_image_by_itself(augment: Any) -> None:
    images = np.broadcast_to(draw((1, 3, 8, 8), np.uint8), (30, 3, 8, 8)).copy()
    if augment is AUGMENTATIONS["mixup"]:
        images += np.arange(30, dtype=np.uint8).reshape(-1, 1, 1, 1)
    got = augment(images, rng=np.random.default_rng(0)) - images
    assert len({change.tobytes() for change in got}) > 2


@every_augmentation
def test_augmentation_refuses_what_is_no_batch_of_images(augment: Any) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(TypeError, match="images has the wrong dtype, got int16"):
        augment(np.zeros((2, 1, 3, 3), np.int16), rng=rng)
    with pytest.raises(ValueError, match=r"images has the wrong shape, got \(2, 3, 3\)"):
        augment(np.zeros((2, 3, 3), np.uint8), rng=rng)
    if augment is not AUGMENTATIONS["mixup"]:
        with pytest.raises(TypeError, match="images is not an array, got list"):
            augment([], rng=rng)


# Placement


def test_random_shift_moves_and_fills_with_zeros(rng: np.random.Generator) -> None:
    images = rng.integers(1, 256, (200, 2, 4, 5), np.uint8)
    shifted = data.random_shift(images, 1, rng=rng)
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    seen = set()
    for got, source in zip(shifted, padded, strict=True):
        found = [
            (i, j)
            for i in range(3)
            for j in range(3)
            if np.array_equal(got, source[:, i : i + 4, j : j + 5])
        ]
        assert len(found) == 1
        seen.add(found[0])
    assert len(seen) == 9
    np.testing.assert_array_equal(data.random_shift(images, 0, rng=rng), images)


def windows_of(images: Array, h: int, w: int) -> list[list[bytes]]:
    """Return every h x w window of each image, as bytes."""
    rows, columns = images.shape[2] - h + 1, images.shape[3] - w + 1
    return [
        [image[:, i : i + h, j : j + w].tobytes() for i in range(rows) for j in range(columns)]
        for image in images
    ]


@pytest.mark.parametrize(
    ("size", "padding"),
    [(None, 1), ((2, 5), 0), (3, (0, 2)), ((6, 1), (1, 0)), (None, 7), ((10, 3), (3, 0))],
)
def test_random_crop_takes_every_window(size: Any, padding: Any) -> None:
    images = draw((400, 2, 4, 5), np.float32)
    got = data.random_crop(images, size, padding=padding, rng=np.random.default_rng(0))
    h, w = (4, 5) if size is None else np.broadcast_to(size, 2)
    pad_h, pad_w = np.broadcast_to(padding, 2)
    assert got.shape == (400, 2, h, w)
    padded = np.zeros((400, 2, 4 + 2 * pad_h, 5 + 2 * pad_w), np.float32)
    padded[:, :, pad_h : pad_h + 4, pad_w : pad_w + 5] = images
    seen = set()
    for window, candidates in zip(got, windows_of(padded, h, w), strict=True):
        seen.add(candidates.index(window.tobytes()))
    # The wide padding has windows of zeros only, which all look like the first of them.
    assert len(seen) == len(candidates) or padding == 7


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        ({"size": (4, 6)}, ValueError, "size is larger than the images, got (4, 6); expected at"),
        ({"size": 8, "padding": (2, 1)}, ValueError, "expected at most (8, 7), the images (4, 5)"),
        ({"size": -1}, ValueError, "random_crop: size is negative, got -1"),
        ({"padding": (1, -1)}, ValueError, "random_crop: padding is negative, got (1, -1)"),
        ({"padding": 0.5}, TypeError, "random_crop: padding"),
    ],
)
def test_random_crop_checks_arguments(call: dict[str, Any], error: Any, message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        data.random_crop(draw((1, 1, 4, 5), np.uint8), rng=np.random.default_rng(0), **call)


def test_random_shift_checks_pixels() -> None:
    for pixels, error in ((-1, ValueError), (1.5, TypeError)):
        with pytest.raises(error, match=r"^random_shift: pixels "):
            data.random_shift(
                draw((1, 1, 4, 5), np.uint8),
                pixels,  # type: ignore[arg-type]
                rng=np.random.default_rng(0),
            )


def test_random_flip_mirrors_half_of_the_images(rng: np.random.Generator) -> None:
    images = rng.integers(0, 256, (400, 1, 3, 4), np.uint8)
    flipped = data.random_flip(images, rng=rng)
    mirrored = (flipped == images[..., ::-1]).all(axis=(1, 2, 3))
    kept = (flipped == images).all(axis=(1, 2, 3))
    assert (mirrored | kept).all()
    assert abs(mirrored.mean() - 0.5) < 5 * 0.5 / np.sqrt(400)


def test_random_flip_mirrors_along_each_axis_alone(rng: np.random.Generator) -> None:
    images = draw((400, 2, 3, 4), np.float64)
    flipped = data.random_flip(images, rng=rng, vertical=True)
    seen = np.zeros(4, int)
    for got, image in zip(flipped, images, strict=True):
        forms = [image, image[:, ::-1], image[:, :, ::-1], image[:, ::-1, ::-1]]
        seen[[np.array_equal(got, form) for form in forms].index(True)] += 1
    assert np.abs(seen - 100).max() < 5 * np.sqrt(400 * 3 / 16)
    upright = data.random_flip(images, rng=rng, horizontal=False, vertical=True)
    assert {np.array_equal(a, b[:, ::-1]) for a, b in zip(upright, images, strict=True)} == {
        True,
        False,
    }
    assert_same_bits(data.random_flip(images, rng=rng, horizontal=False), images)


# Affine maps


def test_random_affine_without_amounts_is_the_identity(rng: np.random.Generator) -> None:
    images = rng.integers(0, 256, (4, 3, 7, 5), np.uint8)
    np.testing.assert_array_equal(data.random_affine(images, rng=rng), images)


class Fixed(np.random.Generator):
    """A generator whose uniform numbers are all the upper bound."""

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
        return np.full(size, high)


def test_random_affine_rotates_about_the_centre() -> None:
    images = np.arange(9.0).reshape(1, 1, 3, 3)
    got = data.random_affine(images, rng=Fixed(np.random.PCG64()), degrees=90)
    np.testing.assert_allclose(got[0, 0], np.rot90(images[0, 0], -1), atol=1e-12)


def test_random_affine_interpolates_and_fills_with_zeros() -> None:
    images = np.array([[[[0.0, 10.0, 20.0]]]])
    got = data.random_affine(images, rng=Fixed(np.random.PCG64()), shift=0.5)
    # Half a pixel right and half a pixel down: half of what is there is outside the image.
    np.testing.assert_allclose(got[0, 0], [[2.5, 7.5, 5.0]])


@every_dtype
def test_random_affine_matches_definition(dtype: Any) -> None:
    amounts = {"degrees": 40.0, "scale": 0.3, "shear": 0.2, "shift": 1.5}
    images = draw((5, 2, 6, 7), dtype)
    got = data.random_affine(images, rng=np.random.default_rng(3), **amounts)
    rng = np.random.default_rng(3)
    angle = np.deg2rad(rng.uniform(-40, 40, 5))
    scale = np.exp(rng.uniform(-0.3, 0.3, (2, 5)))
    shear = rng.uniform(-0.2, 0.2, 5)
    shift = rng.uniform(-1.5, 1.5, (2, 5))
    expected = np.zeros(images.shape)
    for n, c, i, j in np.ndindex(images.shape):
        turn = np.array(
            [[np.cos(angle[n]), -np.sin(angle[n])], [np.sin(angle[n]), np.cos(angle[n])]]
        )
        matrix = np.diag(scale[:, n]) @ np.array([[1, 0], [shear[n], 1]]) @ turn
        center = np.array([2.5, 3.0])
        h, w = matrix @ (np.array([i, j]) - center) + center + shift[:, n]
        for y in range(6):
            for x in range(7):
                near = max(0.0, 1 - abs(h - y)) * max(0.0, 1 - abs(w - x))
                expected[n, c, i, j] += near * images[n, c, y, x]
    assert_pixels_close(got, expected)


def test_random_affine_takes_images_in_blocks() -> None:
    """More pixels than a block has, and a shift that differs from image to image."""

    class Steps(np.random.Generator):
        def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
            return np.broadcast_to(high * (np.arange(20) % 4), size)

    images = draw((20, 2, 50, 70), np.uint8)
    got = data.random_affine(images, rng=Steps(np.random.PCG64()), shift=1)
    for n, image in enumerate(images):
        expected = np.zeros_like(image)
        expected[:, : 50 - n % 4, : 70 - n % 4] = image[:, n % 4 :, n % 4 :]
        assert_same_bits(got[n], expected)


def test_random_rotation_is_an_affine_map() -> None:
    images = draw((5, 1, 9, 9), np.float32)
    got = data.random_rotation(images, 30, rng=np.random.default_rng(1))
    assert_same_bits(got, data.random_affine(images, rng=np.random.default_rng(1), degrees=30))


@pytest.mark.parametrize("name", ["degrees", "scale", "shear", "shift"])
def test_random_affine_checks_amounts(name: str) -> None:
    for value in (-1, np.nan, np.inf):
        with pytest.raises(ValueError, match=f"^random_affine: {name} is out of range, got "):
            data.random_affine(
                draw((1, 1, 2, 2), np.uint8), rng=np.random.default_rng(0), **{name: value}
            )


# Values


@pytest.mark.parametrize("size", [0, 1, 2, (3, 2), (9, 1), 20])
def test_cutout_makes_one_hole_around_any_pixel(size: Any) -> None:
    images = draw((300, 2, 4, 5), np.uint8)
    got = data.cutout(images, size, rng=np.random.default_rng(0))
    h, w = np.broadcast_to(size, 2)
    seen, possible = set(), set()
    for i in range(4):
        for j in range(5):
            rows = np.isin(np.arange(4), i - h // 2 + np.arange(h))
            columns = np.isin(np.arange(5), j - w // 2 + np.arange(w))
            possible.add(np.outer(rows, columns).tobytes())
    for result, image in zip(got, images, strict=True):
        hole = (result == 0).all(axis=0)
        np.testing.assert_array_equal(result, np.where(hole, 0, image))
        seen.add(hole.tobytes())
    assert seen == possible
    with pytest.raises(ValueError, match=r"^cutout: size is negative, got \(1, -2\)"):
        data.cutout(images, (1, -2), rng=np.random.default_rng(0))


@pytest.mark.parametrize("C", [1, 2, 3])
@every_dtype
def test_color_jitter_matches_definition(C: int, dtype: Any) -> None:
    images = draw((20, C, 3, 4), dtype)
    amounts = {"brightness": 0.6, "contrast": 1.5, "saturation": 0.8 if C == 3 else 0.0}
    got = data.color_jitter(images, rng=np.random.default_rng(5), **amounts)
    rng = np.random.default_rng(5)
    factors = [
        rng.uniform(max(0.0, 1 - most), 1 + most, (20, 1, 1, 1)).ravel()
        for most in amounts.values()
    ]
    expected = np.zeros(images.shape)

    def grey(image: Array) -> Array:
        weights = np.array([0.299, 0.587, 0.114]) if C == 3 else np.full(C, 1 / C)
        result: Array = np.einsum("chw,c->hw", image, weights)
        return result

    for n in range(20):
        b, c, s = (factor[n] for factor in factors)
        x = b * images[n].astype(np.float64)
        x = grey(x).mean() + c * (x - grey(x).mean())
        expected[n] = grey(x) + s * (x - grey(x)) if C == 3 else x
    assert_pixels_close(got, expected)


def test_color_jitter_rounds_and_clips_bytes_only() -> None:
    images = np.array([1, 100, 200, 255], np.uint8).reshape(1, 1, 2, 2)
    bright = Fixed(np.random.PCG64())
    got = data.color_jitter(images, rng=bright, brightness=0.506)
    assert got.ravel().tolist() == [2, 151, 255, 255]  # 1.506, 150.6, 301.2, 384.03
    floats = data.color_jitter(images.astype(np.float64), rng=bright, brightness=0.506)
    np.testing.assert_allclose(floats.ravel(), [1.506, 150.6, 301.2, 384.03])
    dark = data.color_jitter(images, rng=bright, contrast=1.0)
    assert dark.ravel().tolist() == [0, 61, 255, 255]  # 2 x - 139


@every_dtype
def test_color_jitter_without_amounts_is_the_identity(dtype: Any) -> None:
    images = draw((3, 3, 4, 4), dtype)
    assert_same_bits(data.color_jitter(images, rng=np.random.default_rng(0)), images)


def test_color_jitter_checks_arguments() -> None:
    images, rng = draw((1, 1, 2, 2), np.uint8), np.random.default_rng(0)
    with pytest.raises(ValueError, match="color_jitter: saturation needs three channels, got 1"):
        data.color_jitter(images, rng=rng, saturation=0.1)
    for name in ("brightness", "contrast", "saturation"):
        with pytest.raises(ValueError, match=f"color_jitter: {name} is out of range, got -0.5"):
            data.color_jitter(images, rng=rng, **{name: -0.5})


# Composition


def test_compose_takes_the_steps_in_order() -> None:
    images = draw((30, 1, 4, 4), np.uint8)
    augment = data.compose(partial(data.random_shift, pixels=1), partial(data.cutout, size=2))
    rng = np.random.default_rng(0)
    expected = data.cutout(data.random_shift(images, 1, rng=rng), 2, rng=rng)
    assert_same_bits(augment(images, np.random.default_rng(0)), expected)
    assert data.compose()(images, rng) is images
