# SPDX-License-Identifier: BSD-3-Clause
"""Mini-batches of a dataset, augmented in the background while the network trains on the last one.

What a batch holds is a function of the order of the images and of one seed, both drawn from the
Generator before the first batch. So it does not matter in which thread, or how far ahead, batches
are made, and an epoch moves the Generator on by these two draws, whatever becomes of its batches.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pyconv.data.augmentation import Augmentation, Mix
from pyconv.data.dataset import Dataset
from pyconv.functional._arguments import integer

Array: TypeAlias = NDArray[Any]


class DataLoader:
    """Passes over a dataset in mini-batches; each ``for`` loop is one epoch.

    Parameters
    ----------
    dataset : Dataset
    batch_size : int
        The last batch of an epoch may be smaller.
    rng : numpy.random.Generator
        Shuffles the images and drives `augment` and `mix`. An epoch draws from it when its loop
        begins and then no more: it may be shared with dropout layers, and its state after an
        epoch does not depend on `prefetch`.
    shuffle : bool
        Whether every epoch has a new order.
    augment : callable, optional
        ``augment(images, rng)`` returns a changed copy of a batch of images; `pyconv.data.compose`
        makes one of several. `rng` is a generator of the batch's own.
    mix : callable, optional
        ``mix(images, labels, rng)`` returns changed images and labels, after `augment`;
        `pyconv.data.mixup` with its options is one.
    drop_last : bool
        Leave out the last batch of an epoch if it is smaller than the others.
    prefetch : int
        How many batches are made ahead of the one in use, by one thread in the background. 0 makes
        each when it is asked for. Without `augment` and `mix` there is nothing worth a thread.

    Raises
    ------
    ValueError
        `batch_size` is not positive, or `prefetch` is negative.
    TypeError
        `rng` is no Generator, or a size is no integer.

    Notes
    -----
    `augment` and `mix` run in another thread, up to `prefetch` batches more often than batches are
    used. An exception in them comes out of the loop in place of their batch. What holds for the
    calling thread only, such as `numpy.errstate` and `pyconv.precise`, does not hold there. The
    thread ends with the loop, however that is left.

    uint8 images stay uint8: `pyconv.data.as_input` makes them the network's input.

    Examples
    --------
    >>> import numpy as np
    >>> from pyconv import data
    >>> dataset = data.Dataset(np.zeros((5, 1, 2, 2), np.uint8), np.arange(5))
    >>> loader = data.DataLoader(
    ...     dataset,
    ...     2,
    ...     rng=np.random.default_rng(0),
    ...     mix=lambda images, labels, rng: data.mixup(images, labels, classes=5, rng=rng),
    ... )
    >>> [targets.shape for images, targets in loader]
    [(2, 5), (2, 5), (1, 5)]
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        *,
        rng: np.random.Generator,
        shuffle: bool = True,
        augment: Augmentation | None = None,
        mix: Mix | None = None,
        drop_last: bool = False,
        prefetch: int = 2,
    ) -> None:
        for name, value, least in (("batch_size", batch_size, 1), ("prefetch", prefetch, 0)):
            if integer("DataLoader", name, value) < least:
                raise ValueError(
                    f"DataLoader: {name} is too small, got {value}; expected at least {least}"
                )
        _check_generator(rng)
        self.dataset, self.batch_size, self.rng = dataset, batch_size, rng
        self.shuffle, self.drop_last, self.prefetch = shuffle, drop_last, prefetch
        self.augment, self.mix = augment, mix

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        whole, rest = divmod(len(self.dataset), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        """Yield (images, labels) of each batch of an epoch."""
        N = len(self.dataset)
        order = self.rng.permutation(N) if self.shuffle else np.arange(N)
        seed = int.from_bytes(self.rng.bytes(16), "little")
        if self.prefetch and (self.augment or self.mix):
            return self._iterate_ahead(order, seed)
        return self._iterate(order, seed)

    def _iterate(self, order: Array, seed: int) -> Iterator[tuple[Array, Array]]:
        for batch in range(len(self)):
            yield self._make(order, seed, batch)

    def _iterate_ahead(self, order: Array, seed: int) -> Iterator[tuple[Array, Array]]:
        # The thread never waits for room: batches are asked for one by one, as they are used. So
        # an iterator that is forgotten holds up nothing, not even the end of the interpreter.
        thread = ThreadPoolExecutor(1, thread_name_prefix="pyconv-data")
        process = os.getpid()
        batches = range(len(self))
        waiting: deque[Future[tuple[Array, Array]]] = deque()
        try:
            for batch in batches:
                if os.getpid() != process:  # after a fork, which leaves the thread behind
                    yield self._make(order, seed, batch)
                    continue
                first = batch + len(waiting)
                for ahead in batches[first : batch + self.prefetch + 1]:
                    waiting.append(thread.submit(self._make, order, seed, ahead))
                yield waiting.popleft().result()
        finally:
            # No waiting here: Ctrl-C shall not hang on an `augment`, and the garbage collector may
            # close the iterator in any thread, this one included.
            thread.shutdown(wait=False, cancel_futures=True)

    def _make(self, order: Array, seed: int, batch: int) -> tuple[Array, Array]:
        chosen = order[batch * self.batch_size : (batch + 1) * self.batch_size]
        images, labels = self.dataset.images[chosen], self.dataset.labels[chosen]
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(batch,)))
        if self.augment is not None:
            images = self.augment(images, rng)
        if self.mix is not None:
            images, labels = self.mix(images, labels, rng)
        if len(images) != len(chosen) or len(labels) != len(chosen):
            raise ValueError(
                f"DataLoader: augment or mix changed the number of images, got {len(images)} and "
                f"{len(labels)} labels; expected {len(chosen)}"
            )
        return images, labels


def _check_generator(rng: object) -> None:
    if not isinstance(rng, np.random.Generator):
        raise TypeError(
            f"DataLoader: rng is no Generator, got {type(rng).__name__}; "
            "expected numpy.random.Generator"
        )
