# SPDX-License-Identifier: BSD-3-Clause
"""Options at and beyond the edges of what they may be, and the crashes of other libraries.

test_arguments.py does the same for arrays.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

from calls import CALLS, Call
from checks import raises_naming
from pyconv import functional as F
from reference import Array

pytestmark = pytest.mark.usefixtures("bounded_address_space")

NUMBERS = (-(2**63), -(2**31), -1, 0, 2**31, 2**62, 2**63 - 1, 2**63, 2**64)
NOT_INTEGERS: tuple[Any, ...] = (1.5, float("nan"), "1", b"1", [], {}, object(), np.float32(1), 1j)
NOT_PAIRS: tuple[Any, ...] = (
    [1, 2, 3, 4],
    (1, 2, 3, 4),
    ((1, 2), (3, 4), (5, 6), (7, 8)),
    [None, 1],
    ("1", 1),
    (1.5, 1),
)
PAIRS = ("kernel_size", "output_size", "stride", "padding", "dilation", "output_padding")
INTEGERS = ("groups", "num_groups", "size", "divisor_override", "axis", "ignore_index")
SHAPES = ("input_shape", "weight_shape", "normalized_shape")
FLOATS = (
    *("alpha", "beta", "k", "negative_slope", "eps", "p", "label_smoothing", "margin"),
    "threshold",
)
FLAGS = ("trans_a", "trans_b", "ceil_mode", "return_indices", "count_include_pad", "training")
WORDS = ("activation", "algorithm", "approximate")


def bad_values(name: str, good: Any, axes: int) -> Iterator[Any]:
    """Values that no call of the table may take for the option `name`; `axes` are spatial ones."""
    if name in PAIRS:
        lowest = 0 if "padding" in name else 1
        numbers = [value for value in NUMBERS if not lowest <= value < 2**31]
        # A huge stride has one window and is legal; so is the dilation of a kernel of one tap.
        numbers = [value for value in numbers if name != "stride" or value < lowest]
        numbers = [value for value in numbers if name != "dilation" or value != 2**31]
        yield from (*numbers, *NOT_INTEGERS, *NOT_PAIRS)
        yield from ((value,) * axes for value in numbers)
        yield from ([*[1] * (axes - 1), value] for value in numbers)
        yield from ((1,) * count for count in range(1, 6) if count != axes)
        if name != "stride":
            yield None
    elif name in INTEGERS:
        if name in {"groups", "num_groups"}:
            yield from (value for value in NUMBERS)
        elif name == "size":
            yield from (value for value in NUMBERS if not 0 < value < 2**63)
        elif name == "axis":
            yield from (value for value in NUMBERS if value not in {-1, 0})
        elif name == "divisor_override":
            yield from (0, 2**63, 2**64)
        yield from (*NOT_INTEGERS, [1], (1, 1))
        if name != "divisor_override":
            yield None
    elif name in SHAPES:
        yield from (None, 1, "1234", [], good[:-1], (*good, 1), 1.5)
        for axis in range(len(good)):
            for value in (*NUMBERS, *NOT_INTEGERS, good[axis] + 1, good[axis] - 1):
                changed = list(good)
                changed[axis] = value
                if legal_shape(good, axis, value):
                    continue
                yield changed
    elif name in FLOATS:
        yield from ("1", b"1", None, [], {}, object(), 1j)
    elif name in FLAGS:
        yield from (None, 1, 0, "yes", [], np.ones(2, bool))
    elif name in WORDS:
        yield from ("", "gelu", "winograd9", 1, b"relu", [], object())


def legal_shape(good: Any, axis: int, value: Any) -> bool:
    """Tell whether another size fits the same output: rows that no window reaches."""
    return axis > 1 and isinstance(value, int) and abs(value - good[axis]) <= 1


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_bad_option_is_named(call: Call) -> None:
    """Or another argument, where two contradict each other; never a crash, never a result."""
    arguments = call.draw(np.float32)
    # A size that no array can have is reported for the array: input for input_shape.
    names = (*call.names, "input", "weight", "output")
    axes = {"1d": 1, "3d": 3}.get(call.function.split("_")[0][-2:], 2)
    tried = 0
    for position, name in enumerate(call.names):
        positional = position < len(arguments)
        good = arguments[position] if positional else call.options.get(name)
        for value in bad_values(name, good, axes):
            changed, extra = list(arguments), {}
            if positional:
                changed[position] = value
            else:
                extra[name] = value
            tried += 1
            try:
                raises_naming(partial(call.run, changed, **extra), *names)
            except AssertionError as error:
                error.add_note(f"{name}={value!r}")
                raise
    assert tried > 0 or not set(call.names) & {*PAIRS, *INTEGERS, *SHAPES, *FLOATS, *FLAGS, *WORDS}


def _f(*shape: int) -> Array:
    return np.ones(shape, np.float32)


def _i(*shape: int, value: int = 0) -> Array:
    return np.full(shape, value, np.int32)


CONTRADICTIONS: list[tuple[Callable[[], Any], str]] = [
    (lambda: F.gemm(_f(3, 4), _f(5, 6)), "b"),
    (lambda: F.gemm(_f(3, 4), _f(4, 6), trans_a=True), "b"),
    (lambda: F.linear(_f(2, 5), _f(4, 6)), "weight"),
    (lambda: F.linear(_f(2, 5), _f(4, 5), _f(5)), "bias"),
    (lambda: F.linear_backward_input(_f(2, 5), _f(4, 6)), "weight"),
    (lambda: F.linear_backward_weight(_f(2, 5), _f(3, 6)), "input"),
    (lambda: F.conv2d(_f(1, 3, 5, 5), _f(4, 2, 3, 3)), "weight"),
    (lambda: F.conv2d(_f(1, 3, 5, 5), _f(4, 3, 3, 3), _f(3)), "bias"),
    (lambda: F.conv2d(_f(1, 3, 5, 5), _f(4, 3, 3, 3), groups=2), "groups"),
    (lambda: F.conv2d(_f(1, 4, 5, 5), _f(3, 2, 3, 3), groups=2), "groups"),
    (lambda: F.conv2d(_f(1, 3, 2, 5), _f(4, 3, 3, 3)), "weight"),
    (lambda: F.conv2d(_f(1, 3, 5, 5), _f(4, 3, 3, 3), dilation=3), "dilation"),
    (lambda: F.conv2d(_f(1, 3, 5, 5), _f(4, 3, 0, 3)), "weight"),
    (lambda: F.conv2d_backward_input(_f(1, 4, 3, 3), _f(4, 3, 3, 3), (1, 3, 6, 5)), "grad_output"),
    (lambda: F.conv2d_backward_input(_f(2, 4, 3, 3), _f(4, 3, 3, 3), (1, 3, 5, 5)), "grad_output"),
    (lambda: F.conv2d_backward_input(_f(1, 5, 3, 3), _f(4, 3, 3, 3), (1, 3, 5, 5)), "grad_output"),
    (lambda: F.conv2d_backward_input(_f(1, 4, 3, 3), _f(4, 3, 3, 3), (1, 3, 5)), "input_shape"),
    (lambda: F.conv2d_backward_weight(_f(1, 4, 3, 3), _f(1, 3, 5, 5), (4, 3, 2, 3)), "grad_output"),
    (lambda: F.conv2d_backward_weight(_f(1, 4, 3, 3), _f(1, 3, 5, 5), (4, 3, 3)), "weight_shape"),
    (lambda: F.conv2d_backward_weight(_f(1, 4, 3, 3), _f(1, 3, 5, 5), (4, 2, 3, 3)), "weight"),
    (lambda: F.conv_transpose2d(_f(1, 3, 5, 5), _f(4, 2, 3, 3)), "weight"),
    (
        lambda: F.conv_transpose2d(_f(1, 3, 5, 5), _f(3, 2, 3, 3), output_padding=1),
        "output_padding",
    ),
    (lambda: F.conv_transpose2d(_f(1, 3, 1, 1), _f(3, 2, 3, 3), padding=2), "padding"),
    (lambda: F.col2im(_f(1, 27, 9), (1, 3, 5, 6), 3), "columns"),
    (lambda: F.col2im(_f(1, 26, 9), (1, 3, 5, 5), 3), "columns"),
    (lambda: F.max_pool2d(_f(1, 3, 5, 5), 6), "kernel_size"),
    (lambda: F.max_pool2d(_f(1, 3, 5, 5), 3, padding=3), "padding"),
    (lambda: F.avg_pool2d(_f(1, 3, 5, 5), 2, padding=2), "padding"),
    (lambda: F.max_pool2d_backward(_f(1, 1, 2, 2), _i(1, 1, 2, 3), (1, 1, 4, 4)), "indices"),
    (lambda: F.max_pool2d_backward(_f(1, 2, 2, 2), _i(1, 2, 2, 2), (1, 1, 4, 4)), "grad_output"),
    (lambda: F.max_pool2d_backward(_f(1, 1, 2, 2), _f(1, 1, 2, 2), (1, 1, 4, 4)), "indices"),
    (lambda: F.avg_pool2d_backward(_f(1, 1, 2, 2), (1, 1, 6, 6), 2), "grad_output"),
    (lambda: F.adaptive_avg_pool2d_backward(_f(1, 2, 2, 2), (1, 3, 4, 4)), "grad_output"),
    (lambda: F.global_avg_pool2d_backward(_f(1, 3, 2, 1), (1, 3, 4, 4)), "grad_output"),
    (lambda: F.relu_backward(_f(3, 4), _f(4, 3)), "output"),
    (lambda: F.leaky_relu_backward(_f(3, 4), _f(4, 3)), "input"),
    (lambda: F.softmax(_f(3, 4), axis=2), "axis"),
    (lambda: F.softmax(_f(3, 4), axis=-3), "axis"),
    (lambda: F.batch_norm(_f(2, 3, 4), _f(2), _f(3)), "mean"),
    (lambda: F.batch_norm(_f(2, 3, 4), _f(3), _f(4)), "var"),
    (lambda: F.batch_norm(_f(2, 3, 4), _f(3), _f(3), _f(2)), "weight"),
    (lambda: F.batch_norm(_f(2, 3, 4), _f(3), _f(3), _f(3), _f(3, 1)), "bias"),
    (lambda: F.dropout(_f(3), 1.0, rng=np.random.default_rng()), "p"),
    (lambda: F.dropout(_f(3), -0.1, rng=np.random.default_rng()), "p"),
    (lambda: F.dropout(_f(3), float("nan"), rng=np.random.default_rng()), "p"),
    (lambda: F.dropout(_f(3), 0.5, rng=0), "rng"),  # type: ignore[arg-type]
    (lambda: F.cross_entropy(_f(3, 4), _i(4)), "target"),
    (lambda: F.cross_entropy(_f(3, 4), _i(3, value=4)), "target"),
    (lambda: F.cross_entropy(_f(3, 4), _i(3, value=-1)), "target"),
    (lambda: F.cross_entropy(_f(3, 4), _f(3)), "target"),
    (lambda: F.cross_entropy(_f(3, 4), np.ones((3, 4))), "target"),
    (lambda: F.cross_entropy(_f(3, 4), _f(3, 4), weight=_f(3)), "weight"),
    (lambda: F.cross_entropy(_f(3, 4), _f(3, 4), ignore_index=1), "ignore_index"),
    (lambda: F.cross_entropy(_f(3, 4), _i(3), weight=_f(3)), "weight"),
    (lambda: F.cross_entropy(_f(3, 4), _i(3), weight=np.ones(4)), "weight"),
    (lambda: F.cross_entropy(_f(3, 4), _i(3), label_smoothing=1.5), "label_smoothing"),
    (lambda: F.cross_entropy(_f(3, 4), _i(3), label_smoothing=float("nan")), "label_smoothing"),
    (lambda: F.cross_entropy_backward(_f(3, 4), _i(3, value=2**31 - 1)), "target"),
    (lambda: F.multiclass_hinge(_f(3, 4), _i(3, value=-1)), "target"),
    (lambda: F.multiclass_hinge_backward(_f(3, 4), _i(3, value=4)), "target"),
    (lambda: F.mse(_f(3, 4), _f(4, 3)), "target"),
    (lambda: F.l1(_f(3, 4), _f(4, 3)), "target"),
    (lambda: F.smooth_l1(_f(3, 4), np.ones((3, 4))), "target"),
    (lambda: F.bce_with_logits(_f(3, 4), _f(4, 3)), "target"),
    (lambda: F.nll(_f(3, 4), _i(3, value=4)), "target"),
    (lambda: F.nll(_f(3, 4), _i(3), weight=_f(3)), "weight"),
    (lambda: F.cross_entropy(_f(3, 0), _i(3)), "logits"),
    (lambda: F.cross_entropy(_f(3), _i(3)), "logits"),
    (lambda: F.add(_f(3, 4), _f(4, 3)), "other"),
    (lambda: F.add(_f(3, 4), np.ones((3, 4))), "other"),
    (lambda: F.gelu(_f(3), approximate="erf"), "approximate"),
]


@pytest.mark.parametrize("index", range(len(CONTRADICTIONS)))
def test_contradiction_names_the_argument(index: int) -> None:
    call, name = CONTRADICTIONS[index]
    raises_naming(call, name)


# Inputs that crashed other libraries: an identifier, a call, and what the error must name, or None
# where the call is legal and must succeed. Neighbours of each stand beside it.
x44, w33 = (1, 3, 4, 4), (2, 3, 3, 3)
HUGE = 1250999896764
CRASHES: list[tuple[str, Callable[[], Any], str | None]] = [
    ("CVE-2021-29517 no filters", lambda: F.conv2d(_f(*x44), _f(0, 3, 3, 3)), None),
    ("CVE-2021-29517 no channels", lambda: F.conv2d(_f(1, 0, 4, 4), _f(2, 0, 3, 3)), None),
    (
        "CVE-2021-29520 grad larger than the input allows",
        lambda: F.conv2d_backward_weight(_f(1, 2, 9, 9), _f(*x44), w33),
        "grad_output",
    ),
    (
        "CVE-2021-29520 grad smaller",
        lambda: F.conv2d_backward_input(_f(1, 2, 1, 1), _f(*w33), x44),
        "grad_output",
    ),
    (
        "CVE-2021-29522 empty",
        lambda: F.conv2d_backward_weight(_f(0, 2, 2, 2), _f(0, 3, 4, 4), w33),
        None,
    ),
    ("CVE-2021-29524 groups 0", lambda: F.conv2d(_f(*x44), _f(*w33), groups=0), "groups"),
    (
        "CVE-2021-29525 groups 0",
        lambda: F.conv2d_backward_input(_f(1, 2, 2, 2), _f(*w33), x44, groups=0),
        "groups",
    ),
    (
        "CVE-2021-29526 groups -1",
        lambda: F.conv2d_backward_weight(_f(1, 2, 2, 2), _f(*x44), w33, groups=-1),
        "groups",
    ),
    (
        "CVE-2021-29538 all empty",
        lambda: F.conv2d_backward_weight(_f(0, 0, 2, 2), _f(0, 0, 4, 4), (0, 0, 3, 3)),
        None,
    ),
    (
        "CVE-2021-29540 filter sizes lie",
        lambda: F.conv2d_backward_weight(_f(1, 2, 2, 2), _f(*x44), (2, 3, 2**20, 2**20)),
        "weight",
    ),
    (
        "CVE-2021-29570 index array of another size",
        lambda: F.max_pool2d_backward(_f(1, 1, 4, 4), _i(1, 1, 2, 2), (1, 1, 8, 8)),
        "indices",
    ),
    (
        "CVE-2021-29573 no images",
        lambda: F.max_pool2d_backward(_f(0, 1, 2, 2), _i(0, 1, 2, 2), (0, 1, 4, 4)),
        None,
    ),
    (
        "CVE-2021-29577 input shape lies",
        lambda: F.avg_pool2d_backward(_f(1, 1, 8, 8), (1, 1, 4, 4), 2),
        "grad_output",
    ),
    (
        "CVE-2021-29579 index beyond the plane",
        lambda: F.max_pool2d_backward(_f(1, 1, 2, 2), _i(1, 1, 2, 2, value=16), (1, 1, 4, 4)),
        "indices",
    ),
    (
        "CVE-2021-37674 index below -1",
        lambda: F.max_pool2d_backward(_f(1, 1, 2, 2), _i(1, 1, 2, 2, value=-2), (1, 1, 4, 4)),
        "indices",
    ),
    (
        "CVE-2021-37674 index at the end of int32",
        lambda: F.max_pool2d_backward(_f(1, 1, 1, 1), _i(1, 1, 1, 1, value=2**31 - 1), x44),
        "grad_output",
    ),
    (
        "tensorflow 126911 index -1 is a window without a pixel",
        lambda: F.max_pool2d_backward(_f(1, 1, 2, 2), _i(1, 1, 2, 2, value=-1), (1, 1, 4, 4)),
        None,
    ),
    (
        "indices into an empty plane",
        lambda: F.max_pool2d_backward(_f(1, 1, 2, 2), _i(1, 1, 2, 2), (1, 1, 0, 4)),
        "input",
    ),
    (
        "CVE-2021-29583 scale too short",
        lambda: F.batch_norm(_f(2, 3), _f(3), _f(3), _f(1)),
        "weight",
    ),
    ("CVE-2021-29583 no mean", lambda: F.batch_norm(_f(2, 3), _f(0), _f(3)), "mean"),
    ("CVE-2021-37684 stride 0", lambda: F.avg_pool2d(_f(*x44), 2, stride=0), "stride"),
    ("CVE-2025-2953 stride 0", lambda: F.max_pool2d(_f(*x44), 2, stride=0), "stride"),
    (
        "CVE-2021-29602 depthwise without filters",
        lambda: F.conv2d(_f(*x44), _f(0, 1, 3, 3), groups=3),
        None,
    ),
    ("CVE-2021-41209 empty filter", lambda: F.conv2d(_f(*x44), _f(2, 3, 0, 0)), "weight"),
    ("CVE-2021-41196 pool size 0", lambda: F.max_pool2d(_f(*x44), 0), "kernel_size"),
    ("CVE-2021-41196 pool size -1", lambda: F.avg_pool2d(_f(*x44), (-1, 2)), "kernel_size"),
    ("tensorflow 61905 stride 65536", lambda: F.avg_pool2d(_f(*x44), 2, stride=65536), None),
    ("tensorflow 61905 stride 65536", lambda: F.conv2d(_f(*x44), _f(*w33), stride=65536), None),
    (
        "pytorch 9404 dilation beyond the image",
        lambda: F.conv2d(_f(*x44), _f(*w33), dilation=1167),
        "dilation",
    ),
    ("pytorch 4986 kernel larger than input", lambda: F.conv2d(_f(*x44), _f(2, 3, 5, 5)), "weight"),
    ("pytorch 73190 kernel", lambda: F.max_pool2d(_f(*x44), HUGE, dilation=HUGE), "kernel_size"),
    ("pytorch 142454 kernel", lambda: F.avg_pool2d(_f(*x44), HUGE), "kernel_size"),
    ("pytorch 136719 stride", lambda: F.max_pool2d(_f(*x44), 2, stride=HUGE, ceil_mode=True), None),
    ("pytorch 73192 dilation", lambda: F.max_pool2d(_f(*x44), 2, dilation=1879048192), "dilation"),
    ("pytorch 121188 empty padding", lambda: F.conv2d(_f(*x44), _f(*w33), padding=()), "padding"),
    ("pytorch 50967 empty kernel size", lambda: F.max_pool2d(_f(*x44), []), "kernel_size"),
    (
        "pytorch 143489 padding 2**55",
        lambda: F.conv2d(_f(*x44), _f(*w33), padding=2**55),
        "padding",
    ),
    ("pytorch 143489 padding 2**40", lambda: F.conv2d(_f(*x44), _f(*w33), padding=2**40), "output"),
    (
        "pytorch 50960 adaptive size",
        lambda: F.adaptive_avg_pool2d(_f(*x44), 9 * 10**18),
        "output_size",
    ),
    (
        "pytorch 42582 adaptive size",
        lambda: F.adaptive_max_pool2d(_f(*x44), (2**31, 2**31)),
        "output",
    ),
    (
        "pytorch 94696 absurd shape without elements",
        lambda: F.avg_pool2d_backward(_f(12, 2, 1, 0), (12, 2, 2, 4634247419717959497), 2),
        "input",
    ),
    (
        "darknet 148 size that wraps to 0",
        lambda: F.conv2d_backward_input(
            _f(1, 1, 1, 1), _f(1, 2**16, 1, 1), (1, 2**16, 2**24, 2**24)
        ),
        "input",
    ),
    (
        "opencv 28352 filters * channels * k * k in int",
        lambda: F.conv2d_backward_weight(_f(1, 1, 1, 1), _f(1, 1, 1, 1), (2**16, 2**16, 2**16, 1)),
        "weight",
    ),
    (
        "col2im size that wraps",
        lambda: F.col2im(_f(1, 4, 1), (1, 2**32, 2**32, 1), 2),
        "input",
    ),
]


@pytest.mark.parametrize("index", range(len(CRASHES)), ids=[name for name, _, _ in CRASHES])
def test_known_crash_is_an_error_or_the_right_result(index: int) -> None:
    _, call, name = CRASHES[index]
    if name is None:
        assert isinstance(call(), np.ndarray)
    else:
        raises_naming(call, name)


def test_max_pool2d_backward_takes_no_index_on_trust(rng: np.random.Generator) -> None:
    """Random int32 numbers: an error, or every one of them lies in the plane."""
    g = _f(1, 2, 3, 3)
    plane = 16
    for _ in range(300):
        spread = rng.choice([5, 17, 1000, 2**31 - 1])
        indices = rng.integers(-spread, spread, g.shape, dtype=np.int32)
        if rng.random() < 0.3:
            indices = np.clip(indices, -1, plane - 1)
        if np.all((indices >= -1) & (indices < plane)):
            assert F.max_pool2d_backward(g, indices, (1, 2, 4, 4)).sum() == np.sum(indices >= 0)
        else:
            raises_naming(partial(F.max_pool2d_backward, g, indices, (1, 2, 4, 4)), "indices")


def test_failed_allocation_leaves_the_library_usable() -> None:
    """MemoryError where the address space ends, then work as before."""
    x = _f(1, 1, 8, 8)
    for size in (2**15, 2**16, 2**17):
        with pytest.raises(MemoryError):
            F.adaptive_avg_pool2d(x, (size, size))
        assert F.max_pool2d(x, 2).shape == (1, 1, 4, 4)
