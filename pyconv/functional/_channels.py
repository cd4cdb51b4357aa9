# SPDX-License-Identifier: BSD-3-Clause
"""Arrays joined along their channels, and cut apart again: what `pyconv.layers.Concat` does.

`np.concatenate` and `np.split` for axis 1, by all threads and into recycled memory.
"""

from collections.abc import Sequence

from pyconv import _core
from pyconv.functional._arguments import Array


def join_channels(outputs: Sequence[Array]) -> Array:
    """Return arrays (N, C, ...) of one dtype, which differ in C alone, as one."""
    return _core.join_channels(outputs)


def split_channels(grad_output: Array, channels: Sequence[int]) -> list[Array]:
    """Return arrays of so many channels each."""
    return _core.split_channels(grad_output, channels)
