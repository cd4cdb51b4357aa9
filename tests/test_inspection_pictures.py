# SPDX-License-Identifier: BSD-3-Clause
"""Pictures for teaching: what they are made of is right, and what they say is what was computed."""

import io
import re
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread
from scipy import ndimage  # type: ignore[import-untyped]
from sklearn.datasets import load_sample_image

import pyconv
from checks import assert_same_bits
from pyconv import functional as F
from pyconv import inspection
from pyconv.inspection import demonstration, features
from pyconv.inspection.canvas import png


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Collect the figures that are made into files."""
    made: list[Any] = []

    def keep(figure: Any) -> bytes:
        made.append(figure)
        return png(figure)

    for module in (demonstration, features):
        monkeypatch.setattr(module, "png", keep)
    return made


def texts(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.findobj(lambda part: hasattr(part, "get_text"))]


def frames(figure: Any) -> list[tuple[str, tuple[float, ...]]]:
    """Return (title of the table, left, top, width, height) of every marked window."""
    return [
        (axes.get_title(loc="left"), (*patch.get_xy(), patch.get_width(), patch.get_height()))
        for axes in figure.findobj(lambda part: hasattr(part, "patches"))
        if hasattr(axes, "get_title")
        for patch in axes.patches
        if patch.get_linewidth() == 2
    ]


# Kernels -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", inspection.KERNELS)
def test_kernels_do_to_a_photograph_what_scipy_does(name: str) -> None:
    image = load_sample_image("flower.jpg")[100:180, 200:300]
    kernel = inspection.KERNELS[name]
    expected = [ndimage.correlate(image[..., c] / 255, kernel, mode="nearest") for c in range(3)]
    got = inspection.apply_kernel(image, kernel)
    np.testing.assert_allclose(got, np.stack(expected, axis=2), atol=1e-13)
    np.testing.assert_allclose(
        inspection.apply_kernel(image[..., 1] / 255, kernel), expected[1], atol=1e-13
    )


def test_kernels_leave_a_plain_area_or_darken_it() -> None:
    """A sum of 1 keeps brightness, one of 0 answers to differences only."""
    for name, kernel in inspection.KERNELS.items():
        assert kernel.sum() == pytest.approx(0 if "edges" in name else 1)


def test_kernels_are_drawn_on_a_photograph() -> None:
    image = load_sample_image("china.jpg")[::4, ::4]
    picture = inspection.draw_kernels(image)
    pixels = imread(io.BytesIO(picture), format="png")
    assert pixels.shape[1] > pixels.shape[0] > 500
    assert inspection.draw_kernels(image[..., 0], {"one": np.full((3, 3), 0.123)}) != picture


@pytest.mark.parametrize(
    ("image", "kernel", "message"),
    [
        ((4,), (3, 3), "image has the wrong shape, got (4,); expected (H, W)"),
        ((4, 4), (2, 3), "kernel has the wrong shape, got (2, 3); expected (KH, KW), both odd"),
    ],
)
def test_bad_picture_is_named(image: Any, kernel: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"apply_kernel: {message}")):
        inspection.apply_kernel(np.zeros(image), np.zeros(kernel))


# Numbers -----------------------------------------------------------------------------------------


def test_convolution_demo_shows_the_sum_of_the_marked_output(
    figures: list[Any], rng: np.random.Generator
) -> None:
    x = rng.integers(-3, 4, (2, 5, 5)).astype(np.float64)
    w = rng.integers(-1, 2, (3, 2, 3, 3)).astype(np.float64)
    b = np.array([1.0, -2.0, 0.0])
    options: dict[str, Any] = {"stride": 2, "padding": 1}
    inspection.draw_convolution(x, w, b, **options, position=(1, 2, 0))
    (figure,) = figures
    result = F.conv2d(x[np.newaxis], w, b, **options)[0, 1, 2, 0]
    (words,) = (text for text in texts(figure) if text.startswith("output "))
    lines = words.replace("\N{MINUS SIGN}", "-").splitlines()
    assert float(lines[0].split()[1].rstrip(",")) == result
    assert lines[-1] == f"together with the bias -2:  {result:g}"
    sums = []
    for line in lines[1:-1]:
        terms, total = line.split(":")[1].split("  =  ")
        pairs = [term.replace("(", "").replace(")", "").split("·") for term in terms.split(" + ")]
        sums.append(sum(float(np.prod([float(v) for v in pair])) for pair in pairs))
        assert sums[-1] == float(total)
    assert sum(sums) - 2 == result
    marked = dict(frames(figure))
    assert marked["input, channel 0"] == marked["input, channel 1"] == (-0.5, 3.5, 3, 3)
    assert marked["output, channel 1"] == (-0.5, 1.5, 1, 1)
    assert "filter 1, channel 0" in marked
    assert "filter 0, channel 0" not in marked


def test_im2col_picture_marks_the_window_in_both(
    figures: list[Any], rng: np.random.Generator
) -> None:
    x = rng.permutation(32).reshape(2, 4, 4).astype(np.float64)
    inspection.draw_im2col(x, 3, column=2)
    (figure,) = figures
    marked = frames(figure)
    assert ("channel 0", (-0.5, 0.5, 3, 3)) in marked
    assert ("matrix, 18 x 4", (1.5, -0.5, 1, 9)) in marked
    assert ("matrix, 18 x 4", (1.5, 8.5, 1, 9)) in marked
    assert {"2, 0", "1, 2, 2"} & set(texts(figure)) == {"1, 2, 2"}


def test_what_cannot_be_read_is_refused() -> None:
    with pytest.raises(ValueError, match="draw_im2col: input is too large to be read, got"):
        inspection.draw_im2col(np.zeros((3, 20, 20)), 3)
    with pytest.raises(ValueError, match="draw_convolution: position is outside of the output"):
        inspection.draw_convolution(np.zeros((1, 4, 4)), np.zeros((1, 1, 3, 3)), position=(0, 2, 0))


# Features ----------------------------------------------------------------------------------------


@pytest.fixture
def classifier(rng: np.random.Generator) -> pyconv.Sequential:
    return pyconv.Sequential(
        pyconv.Conv2d(3, 5, 3, rng=rng, dtype=np.float64),
        pyconv.BatchNorm2d(5, dtype=np.float64),
        pyconv.ReLU(),
        pyconv.Flatten(),
        pyconv.Linear(5 * 36, 4, rng=rng, dtype=np.float64),
    )


@pytest.mark.parametrize("target", [None, 2])
def test_saliency_is_the_slope_of_the_score(
    target: int | None, classifier: pyconv.Sequential, rng: np.random.Generator
) -> None:
    image = rng.standard_normal((3, 8, 8))
    before = classifier.state_dict()
    got = inspection.saliency(classifier, image, target)
    assert classifier.training
    for key, array in classifier.state_dict().items():
        assert_same_bits(array, before[key])
    classifier.eval()
    chosen = int(classifier(image[np.newaxis]).argmax()) if target is None else target
    slopes = np.zeros(image.shape)
    for index in np.ndindex(image.shape):
        scores = []
        for step in (1e-6, -1e-6):
            moved = image.copy()
            moved[index] += step
            scores.append(classifier(moved[np.newaxis])[0, chosen])
        slopes[index] = (scores[0] - scores[1]) / 2e-6
    np.testing.assert_allclose(got, np.abs(slopes).max(axis=0), atol=1e-7)


def test_activations_are_those_of_the_layer(
    figures: list[Any], classifier: pyconv.Sequential, rng: np.random.Generator
) -> None:
    image = rng.standard_normal((3, 8, 8))
    inspection.draw_activations(classifier, image, "0")
    (figure,) = figures
    drawn = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    expected = classifier.eval()[:1](image[np.newaxis])[0]
    np.testing.assert_allclose(np.stack(drawn), expected)
    assert "Activations of layer 0 (Conv2d)" in texts(figure)


def test_filters_are_drawn_in_colour_or_on_one_scale(
    figures: list[Any], rng: np.random.Generator
) -> None:
    weight = rng.standard_normal((9, 4, 3, 3))
    inspection.draw_filters(weight, most=5)
    inspection.draw_filters(weight[:, :3])
    gray: list[Any]
    colour: list[Any]
    gray, colour = ([a.images[0].get_array() for a in f.axes if a.images] for f in figures)
    np.testing.assert_allclose(np.stack(gray), weight[:5].mean(axis=1))
    assert np.shape(colour) == (9, 3, 3, 3)
    assert (np.min(colour), np.max(colour)) == (0, 1)


def test_saliency_is_drawn_beside_its_image(figures: list[Any], rng: np.random.Generator) -> None:
    for channels in (1, 3):
        inspection.draw_saliency(rng.random((channels, 6, 9)), rng.random((6, 9)))
    assert [text for text in texts(figures[0]) if text in {"image", "saliency", "both"}] == [
        "image", "saliency", "both",
    ]  # fmt: skip


def test_what_has_no_maps_is_refused(classifier: pyconv.Sequential) -> None:
    image = np.zeros((3, 8, 8))
    with pytest.raises(ValueError, match="layer is unknown, got '9'; expected one of 0, 1, 2, 3"):
        inspection.draw_activations(classifier, image, "9")
    with pytest.raises(ValueError, match="layer makes no maps, got an output"):
        inspection.draw_activations(classifier, image, "4")
    with pytest.raises(ValueError, match="target is out of range, got 4; expected 0 to 3"):
        inspection.saliency(classifier, image, 4)
    with pytest.raises(ValueError, match="draw_saliency: shapes do not fit"):
        inspection.draw_saliency(np.zeros((2, 4, 4)), np.zeros((4, 4)))
    with pytest.raises(ValueError, match="draw_filters: weight has the wrong shape"):
        inspection.draw_filters(np.zeros((3, 3)))
