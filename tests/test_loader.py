# SPDX-License-Identifier: BSD-3-Clause
"""The batch loader: every image once, the same bits however far it reads ahead, no thread left."""

import re
import threading
import time
import traceback
from functools import partial
from typing import Any

import numpy as np
import pytest

from checks import assert_same_bits
from children import run_python
from pyconv import data
from pyconv.data import DataLoader, Dataset

Batch = tuple[Any, Any]

N = 23
DATASET = Dataset(
    np.random.default_rng(0).integers(0, 256, (N, 2, 5, 4), np.uint8), np.arange(N) % 3
)
AUGMENT = data.compose(data.random_flip, partial(data.random_shift, pixels=1))


def mix(images: Any, labels: Any, rng: np.random.Generator) -> Batch:
    return data.mixup(images, labels, classes=3, rng=rng)


def loader(seed: int = 0, **options: Any) -> DataLoader:
    arguments: dict[str, Any] = {"batch_size": 4, "rng": np.random.default_rng(seed)} | options
    return DataLoader(DATASET, **arguments)


def threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("pyconv-data")]


def assert_threads_end() -> None:
    """Fail unless all threads of loaders end by themselves, and soon."""
    limit = time.monotonic() + 20
    while threads() and time.monotonic() < limit:
        time.sleep(0.001)
    assert not threads()


def assert_same_batches(one: list[Batch], two: list[Batch]) -> None:
    for (images, labels), (other_images, other_labels) in zip(one, two, strict=True):
        assert_same_bits(images, other_images)
        assert_same_bits(labels, other_labels)


@pytest.mark.parametrize("shuffle", [True, False])
def test_loader_gives_every_image_once_with_its_label(shuffle: bool) -> None:
    batches = loader(shuffle=shuffle)
    orders = []
    for _ in range(2):
        epoch = list(batches)
        assert [len(labels) for _, labels in epoch] == [4, 4, 4, 4, 4, 3]
        assert len(batches) == 6
        images = np.concatenate([images for images, _ in epoch])
        labels = np.concatenate([labels for _, labels in epoch])
        order = [int(np.argmax((DATASET.images == x).all(axis=(1, 2, 3)))) for x in images]
        assert sorted(order) == list(range(N))
        assert images.dtype == np.uint8
        np.testing.assert_array_equal(labels, DATASET.labels[order])
        orders.append(order)
    assert (orders[0] == list(range(N))) is (not shuffle)
    assert (orders[0] == orders[1]) is (not shuffle)


@pytest.mark.parametrize(
    ("batch_size", "sizes"), [(4, [4] * 5), (23, [23]), (24, []), (1, [1] * N)]
)
def test_loader_can_leave_out_the_last_batch(batch_size: int, sizes: list[int]) -> None:
    batches = loader(batch_size=batch_size, drop_last=True, augment=AUGMENT)
    assert [len(images) for images, _ in batches] == sizes
    assert len(batches) == len(sizes)


def test_loader_of_nothing_has_no_batches() -> None:
    nothing = Dataset(DATASET.images[:0], DATASET.labels[:0])
    assert list(DataLoader(nothing, 4, rng=np.random.default_rng(0), augment=AUGMENT)) == []


@pytest.mark.parametrize("prefetch", [1, 2, 5, 100])
@pytest.mark.parametrize("options", [{"augment": AUGMENT}, {"augment": AUGMENT, "mix": mix}])
def test_loader_gives_the_same_bits_however_far_ahead(
    prefetch: int, options: dict[str, Any]
) -> None:
    """Also while others, such as dropout layers, draw from the same generator."""

    def run(prefetch: int) -> tuple[list[Batch], list[float]]:
        batches = loader(prefetch=prefetch, **options)
        got, draws = [], []
        for _ in range(3):
            for batch in batches:
                got.append(batch)
                draws.append(batches.rng.random())
        return got, draws

    (expected, expected_draws), (got, draws) = run(0), run(prefetch)
    assert_same_batches(got, expected)
    assert draws == expected_draws
    assert len({images.tobytes() for images, _ in got}) == 18
    assert_threads_end()


def test_loader_draws_when_its_loop_begins_only() -> None:
    """What is drawn, and so the order of the images, does not depend on augmentation."""
    plain, augmented, restored = loader(), loader(augment=AUGMENT), loader(seed=1)
    iterators = [iter(plain), iter(augmented)]
    state = plain.rng.bit_generator.state
    assert augmented.rng.bit_generator.state == state
    first = [list(batches) for batches in iterators]
    assert plain.rng.bit_generator.state == augmented.rng.bit_generator.state == state
    for (_, labels), (_, other_labels) in zip(*first, strict=True):
        np.testing.assert_array_equal(labels, other_labels)
    # An epoch that begins with a state that was kept is the same epoch.
    restored.rng.bit_generator.state = state
    assert_same_batches(list(restored), list(plain))


def test_loader_makes_batches_ahead_but_no_more_than_asked_for() -> None:
    made = [threading.Event() for _ in range(6)]
    names = []

    def augment(images: Any, rng: np.random.Generator) -> Any:
        del rng
        names.append(threading.current_thread().name)
        made[len(names) - 1].set()
        return images

    for number, _ in enumerate(loader(augment=augment, prefetch=2)):
        # With this batch still in use, the two behind it get made, and no third.
        assert made[min(number + 2, 5)].wait(20)
        time.sleep(0.01)
        assert len(names) == min(number + 3, 6)
    assert all(name.startswith("pyconv-data") for name in names)
    assert_threads_end()


def test_every_batch_of_every_epoch_has_draws_of_its_own() -> None:
    draws: list[float] = []

    def augment(images: Any, rng: np.random.Generator) -> Any:
        draws.append(rng.random())
        return images

    batches = loader(augment=augment, shuffle=False)
    assert len([*batches, *batches]) == 12
    assert len(set(draws)) == 12


class Failing:
    """An augmentation that raises at a certain call, and at all that follow."""

    def __init__(self, call: int, error: BaseException) -> None:
        self.calls, self.call, self.error = 0, call, error

    def __call__(self, images: Any, rng: np.random.Generator) -> Any:
        del rng
        self.calls += 1
        if self.calls > self.call:
            raise self.error
        return images


@pytest.mark.parametrize("prefetch", [0, 1, 3, 10])
@pytest.mark.parametrize("call", [0, 2, 5])
@pytest.mark.parametrize("error", [OSError("no such picture"), KeyboardInterrupt(), SystemExit(3)])
def test_loader_passes_exceptions_on_in_their_turn(
    prefetch: int, call: int, error: BaseException
) -> None:
    received: list[Batch] = []
    with pytest.raises(type(error)) as raised:
        received.extend(loader(augment=Failing(call, error), prefetch=prefetch))
    assert raised.value is error
    assert len(received) == call
    assert any(frame.name == "__call__" for frame in traceback.extract_tb(error.__traceback__))
    error.__traceback__ = None
    assert_threads_end()


@pytest.mark.parametrize("prefetch", [0, 2])
def test_loader_does_not_take_a_stray_stop_for_the_end(prefetch: int) -> None:
    with pytest.raises(RuntimeError, match="StopIteration"):
        list(loader(augment=Failing(2, StopIteration()), prefetch=prefetch))
    assert_threads_end()


def test_loader_ends_its_thread_when_left_early() -> None:
    batches = loader(augment=AUGMENT)
    for _ in batches:
        break
    assert_threads_end()
    iterators = [iter(batches), iter(batches)]  # two at a time have a thread each
    for iterator in iterators:
        next(iterator)
    assert len(threads()) == 2
    del iterator, iterators
    assert_threads_end()
    assert len(list(batches)) == 6


def test_augment_that_outlasts_the_loop_holds_up_nobody() -> None:
    release, calls = threading.Event(), []

    def slow(images: Any, rng: np.random.Generator) -> Any:
        del rng
        calls.append(len(images))
        assert len(calls) == 1 or release.wait(60)
        return images

    started = time.monotonic()
    for _ in loader(augment=slow):
        break
    assert time.monotonic() - started < 30
    release.set()
    assert_threads_end()
    assert len(calls) <= 2


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size is too small, got 0; expected at least 1"),
        ({"batch_size": 2.0}, TypeError, "batch_size is not an integer, got 2.0"),
        ({"prefetch": -1}, ValueError, "prefetch is too small, got -1; expected at least 0"),
        ({"rng": 0}, TypeError, "rng is no Generator, got int"),
    ],
)
def test_loader_checks_arguments(options: dict[str, Any], error: Any, message: str) -> None:
    with pytest.raises(error, match="^" + re.escape(f"DataLoader: {message}")):
        loader(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"augment": lambda images, rng: images[1:]},
        {"mix": lambda images, labels, rng: (images, labels[1:])},
    ],
)
def test_loader_refuses_batches_that_lost_images(options: dict[str, Any]) -> None:
    message = "DataLoader: augment or mix changed the number of images, got"
    with pytest.raises(ValueError, match=message):
        list(loader(**options))


# What takes a process of its own.

SETUP = """
import os, signal, sys, time, threading
import numpy as np
from pyconv import data

dataset = data.Dataset(np.arange(40 * 9, dtype=np.float32).reshape(40, 1, 3, 3), np.arange(40))

def augment(images, rng):
    return data.random_shift(images, 1, rng=rng)

def loader(prefetch=2):
    return data.DataLoader(
        dataset, 4, rng=np.random.default_rng(0), augment=augment, prefetch=prefetch
    )

"""


def test_interpreter_ends_while_batches_are_waiting() -> None:
    script = SETUP + "kept = iter(loader(5)); next(kept); print('end')"
    assert run_python(script, timeout=30) == "end"
    script = SETUP + "kept = iter(loader(5)); next(kept); raise SystemExit"
    assert run_python(script, timeout=30) == ""


def test_ctrl_c_ends_the_loop_and_the_thread() -> None:
    script = """
    def augment(images, rng):
        time.sleep(0.05)  # the main thread waits when the signal comes
        return images

    threading.Timer(0.12, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        while True:
            for batch in loader():
                pass
    except KeyboardInterrupt:
        print("interrupted")
    """
    lines = [line[4:] for line in script.splitlines()]
    assert run_python(SETUP + "\n".join(lines), timeout=30) == "interrupted"


def test_forked_child_makes_its_own_batches() -> None:
    """In the middle of an epoch, and a whole new one; both processes end as usual."""
    script = """
    expected = [images.tobytes() for images, _ in loader(0)]
    batches = iter(loader())
    got = [next(batches)[0].tobytes() for _ in range(3)]
    import warnings
    warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads, in Python 3.12
    child = os.fork()
    got += [images.tobytes() for images, _ in batches]
    assert got == expected
    assert [images.tobytes() for images, _ in loader()] == expected
    if child:
        assert os.waitpid(child, 0)[1] == 0
        print("both")
    """
    lines = [line[4:] for line in script.splitlines()]
    for _ in range(3):
        assert run_python(SETUP + "\n".join(lines), timeout=30) == "both"
