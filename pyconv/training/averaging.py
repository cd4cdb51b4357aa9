# SPDX-License-Identifier: BSD-3-Clause
"""The exponential moving average of a model's weights.

After step t, with w the weights and d the decay::

    average += (1 - d) / (1 - d**t) * (w - average)

which is ``(1 - d) * sum(d**(t - i) * w_i) / (1 - d**t)``: the weights of all steps, each d times as
much as the next, so that those the training began with count for nothing.

References
----------
Kingma, Ba: Adam. ICLR 2015, section 7.2. Polyak, Juditsky: Acceleration of Stochastic Approximation
by Averaging. SIAM Journal on Control and Optimization 30 (4), 1992.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pyconv.layers.base import Layer

Array: TypeAlias = NDArray[Any]


class WeightAverage:
    """The average of a model's parameters and floating-point buffers.

    The running statistics of batch norm are averaged like the weights, as they belong to them;
    integers, such as its count of batches, are those of the model. The model's arrays are to be
    changed in place only, as everything in pyconv does.
    """

    def __init__(self, model: Layer, decay: float) -> None:
        self._model, self._decay = model, decay
        self._steps = 0
        self._average = model.state_dict()
        live = list(_live_arrays(model))
        # One block of scratch memory serves all arrays of a dtype, so that `update` allocates none.
        sizes: dict[np.dtype[Any], int] = {}
        for array in live:
            sizes[array.dtype] = max(sizes.get(array.dtype, 0), array.size)
        blocks = {dtype: np.empty(size, dtype) for dtype, size in sizes.items()}
        scratch = [blocks[a.dtype][: a.size].reshape(a.shape) for a in live]
        self._triples = list(zip(self._average.values(), live, scratch, strict=True))

    def update(self) -> None:
        """Take the model's weights into the average."""
        self._steps += 1
        share = (1 - self._decay) / (1 - self._decay**self._steps)
        for average, live, scratch in self._triples:
            if live.dtype.kind == "f":
                np.subtract(live, average, out=scratch)
                np.multiply(scratch, share, out=scratch)
                np.add(average, scratch, out=average)
            else:
                average[...] = live

    def apply(self) -> None:
        """Put the average into the model, for good."""
        self._model.load_state_dict(self._average)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average into the model; afterwards the model is as it was."""
        own = self._model.state_dict()
        self.apply()
        try:
            yield
        finally:
            self._model.load_state_dict(own)

    def state_dict(self) -> dict[str, Array]:
        """Return a copy of the average, and the number of steps, as arrays."""
        state = {f"average.{name}": array.copy() for name, array in self._average.items()}
        return state | {"steps": np.asarray(self._steps, np.int64)}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Take over a state that `state_dict` returned.

        Raises
        ------
        ValueError
            It is that of another model.
        """
        own = self.state_dict()
        if {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in state.items()}:
            raise ValueError("WeightAverage.load_state_dict: state does not fit the model")
        for name, array in self._average.items():
            array[...] = state[f"average.{name}"]
        self._steps = int(state["steps"])


def _live_arrays(model: Layer) -> Iterator[Array]:
    """Yield the model's own arrays in the order of its `state_dict`."""
    for _, layer in model.named_layers():
        yield from (parameter.value for parameter in layer.own_parameters().values())
        yield from layer.own_buffers().values()
