# SPDX-License-Identifier: BSD-3-Clause
"""Dropout, and the float64 form of arrays.

Backward functions are derivatives written out by hand; the tests compare them with central
differences of the forward functions too.
"""

from reference.window import Array, double


def dropout_backward(grad_output: Array, mask: Array) -> Array:
    """Multiply by the mask."""
    return double(grad_output) * mask
