# SPDX-License-Identifier: BSD-3-Clause
"""Layers that compute nothing: another shape, or the input itself."""

from __future__ import annotations

import math

from pyconv.layers.base import Array, Layer


class Flatten(Layer):
    """(N, C, H, W) to (N, C * H * W), the step from convolution to dense layers.

    The output is a view of the input where NumPy can make one.

    Notes
    -----
    ``x.reshape(len(x), -1)``

    Examples
    --------
    >>> import numpy as np
    >>> Flatten()(np.zeros((2, 3, 4, 5))).shape
    (2, 60)
    """

    def forward(self, input: Array) -> Array:
        """Return the input with all axes but the first joined."""
        # Not reshape(N, -1): the size of the last axis could not be told for an empty batch.
        output = input.reshape(input.shape[0], math.prod(input.shape[1:]))
        self._save(input.shape)
        return output

    def backward(self, grad_output: Array) -> Array:
        """Return the gradient in the shape of the input."""
        return grad_output.reshape(self._take_saved())


class Identity(Layer):
    """The input itself, such as the branch of a Concat that hands its input on.

    Notes
    -----
    Input and output are the same array.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.zeros((2, 3))
    >>> Identity()(x) is x
    True
    """

    def forward(self, input: Array) -> Array:
        """Return the input."""
        self._save((None,))
        return input

    def backward(self, grad_output: Array) -> Array:
        """Return the gradient as it is."""
        self._take_saved()
        return grad_output
