# SPDX-License-Identifier: BSD-3-Clause
"""Pooling layers. Arguments mean what they mean in `pyconv.functional`, which checks them."""

from __future__ import annotations

from typing import Any

from pyconv import functional as F
from pyconv.layers.base import Array, Layer, options_repr
from pyconv.layers.convolution import Pair


class MaxPool2d(Layer):
    """Largest value of each window; the first one takes the gradient.

    Parameters
    ----------
    kernel_size : int or (int, int)
    stride : int or (int, int), optional
        That of the windows beside each other if omitted.
    padding, dilation : int or (int, int)
        Padding is never the largest.
    ceil_mode : bool
        Have windows that reach over the end.

    Examples
    --------
    >>> import numpy as np
    >>> MaxPool2d(2)(np.arange(16.0).reshape(1, 1, 4, 4))
    array([[[[ 5.,  7.],
             [13., 15.]]]])
    """

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        dilation: Pair = 1,
        *,
        ceil_mode: bool = False,
    ) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.dilation, self.ceil_mode = dilation, ceil_mode

    def forward(self, input: Array) -> Array:
        """Return the maxima, shape (N, C, OH, OW)."""
        options: dict[str, Any] = {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "ceil_mode": self.ceil_mode,
        }
        output: Array
        if not self._saving:  # indices cost more than the maxima
            output = F.max_pool2d(input, self.kernel_size, **options)
            return output
        output, indices = F.max_pool2d(input, self.kernel_size, return_indices=True, **options)
        self._save((indices, input.shape))
        return output

    def backward(self, grad_output: Array) -> Array:
        """Return grad_input: each gradient goes where its maximum was."""
        indices, input_shape = self._take_saved()
        return F.max_pool2d_backward(grad_output, indices, input_shape)

    def _options_repr(self) -> str:
        return options_repr(
            kernel_size=(self.kernel_size, None),
            stride=(self.stride, None),
            padding=(self.padding, 0),
            dilation=(self.dilation, 1),
            ceil_mode=(self.ceil_mode, False),
        )


class AvgPool2d(Layer):
    """Mean of each window.

    Parameters
    ----------
    kernel_size : int or (int, int)
    stride : int or (int, int), optional
        That of the windows beside each other if omitted.
    padding : int or (int, int)
    ceil_mode : bool
        Have windows that reach over the end.
    count_include_pad : bool
        Count padding as zeros.
    divisor_override : int, optional
        Divide by this instead of the number of pixels.

    Examples
    --------
    >>> import numpy as np
    >>> AvgPool2d(2)(np.arange(16.0).reshape(1, 1, 4, 4))
    array([[[[ 2.5,  4.5],
             [10.5, 12.5]]]])
    """

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        *,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: Array) -> Array:
        """Return the means, shape (N, C, OH, OW)."""
        output = F.avg_pool2d(input, self.kernel_size, **self._options())
        self._save(input.shape)
        return output

    def backward(self, grad_output: Array) -> Array:
        """Return grad_input: each gradient is shared among the pixels of its window."""
        input_shape = self._take_saved()
        return F.avg_pool2d_backward(grad_output, input_shape, self.kernel_size, **self._options())

    def _options(self) -> dict[str, Any]:
        return {
            "stride": self.stride,
            "padding": self.padding,
            "ceil_mode": self.ceil_mode,
            "count_include_pad": self.count_include_pad,
            "divisor_override": self.divisor_override,
        }

    def _options_repr(self) -> str:
        return options_repr(
            kernel_size=(self.kernel_size, None),
            stride=(self.stride, None),
            padding=(self.padding, 0),
            ceil_mode=(self.ceil_mode, False),
            count_include_pad=(self.count_include_pad, True),
            divisor_override=(self.divisor_override, None),
        )


class LPPool2d(Layer):
    """Root of the sum of powers of each window.

    Parameters
    ----------
    norm_type : float
        The power p, and the root: ``sum(x**p) ** (1 / p)``.
    kernel_size : int or (int, int)
    stride : int or (int, int), optional
        That of the windows beside each other if omitted.
    ceil_mode : bool
        Have windows that reach over the end.

    Examples
    --------
    >>> import numpy as np
    >>> LPPool2d(2, (1, 2))(np.array([[[[3.0, 4.0]]]]))
    array([[[[5.]]]])
    """

    def __init__(
        self,
        norm_type: float,
        kernel_size: Pair,
        stride: Pair | None = None,
        *,
        ceil_mode: bool = False,
    ) -> None:
        self.norm_type, self.kernel_size = norm_type, kernel_size
        self.stride, self.ceil_mode = stride, ceil_mode

    def forward(self, input: Array) -> Array:
        """Return the norms, shape (N, C, OH, OW)."""
        output = F.lp_pool2d(input, self.kernel_size, **self._options())
        self._save((input, output))
        return output

    def backward(self, grad_output: Array) -> Array:
        """Return grad_input."""
        input, output = self._take_saved()
        return F.lp_pool2d_backward(grad_output, input, output, self.kernel_size, **self._options())

    def _options(self) -> dict[str, Any]:
        return {
            "norm_type": self.norm_type,
            "stride": self.stride,
            "ceil_mode": self.ceil_mode,
        }

    def _options_repr(self) -> str:
        return options_repr(
            norm_type=(self.norm_type, None),
            kernel_size=(self.kernel_size, None),
            stride=(self.stride, None),
            ceil_mode=(self.ceil_mode, False),
        )


class AdaptiveAvgPool2d(Layer):
    """Mean over windows that divide the image into a grid of `output_size`.

    Parameters
    ----------
    output_size : int or (int, int)
        OH and OW; window i reaches from ``i * H // OH`` to ``ceil((i + 1) * H / OH)``.

    Examples
    --------
    >>> import numpy as np
    >>> AdaptiveAvgPool2d(2)(np.zeros((1, 3, 7, 9))).shape
    (1, 3, 2, 2)
    """

    def __init__(self, output_size: Pair) -> None:
        self.output_size = output_size

    def forward(self, input: Array) -> Array:
        """Return the means, shape (N, C, *output_size)."""
        output = F.adaptive_avg_pool2d(input, self.output_size)
        self._save(input.shape)
        return output

    def backward(self, grad_output: Array) -> Array:
        """Return grad_input: each gradient is shared among the pixels of its window."""
        return F.adaptive_avg_pool2d_backward(grad_output, self._take_saved())

    def _options_repr(self) -> str:
        return repr(self.output_size)


class AdaptiveMaxPool2d(Layer):
    """Largest value of windows that divide the image into a grid of `output_size`.

    Parameters
    ----------
    output_size : int or (int, int)
        OH and OW; window i reaches from ``i * H // OH`` to ``ceil((i + 1) * H / OH)``.

    Examples
    --------
    >>> import numpy as np
    >>> AdaptiveMaxPool2d(2)(np.zeros((1, 3, 7, 9))).shape
    (1, 3, 2, 2)
    """

    def __init__(self, output_size: Pair) -> None:
        self.output_size = output_size

    def forward(self, input: Array) -> Array:
        """Return the maxima, shape (N, C, *output_size)."""
        if not self._saving:
            return F.adaptive_max_pool2d(input, self.output_size)
        output: Array
        output, indices = F.adaptive_max_pool2d(input, self.output_size, return_indices=True)
        self._save((indices, input.shape))
        return output

    def backward(self, grad_output: Array) -> Array:
        """Return grad_input: each gradient goes where its maximum was."""
        indices, input_shape = self._take_saved()
        return F.max_pool2d_backward(grad_output, indices, input_shape)

    def _options_repr(self) -> str:
        return repr(self.output_size)


class GlobalAvgPool2d(Layer):
    """Mean over each whole channel, shape (N, C, 1, 1).

    Notes
    -----
    ``x.mean(axis=(2, 3), keepdims=True)``

    Examples
    --------
    >>> import numpy as np
    >>> GlobalAvgPool2d()(np.arange(8.0).reshape(1, 2, 2, 2)).ravel()
    array([1.5, 5.5])
    """

    def forward(self, input: Array) -> Array:
        """Return the means, shape (N, C, 1, 1)."""
        output = F.global_avg_pool2d(input)
        self._save(input.shape)
        return output

    def backward(self, grad_output: Array) -> Array:
        """Return grad_input: each gradient is shared among the pixels of its channel."""
        return F.global_avg_pool2d_backward(grad_output, self._take_saved())


class GlobalMaxPool2d(Layer):
    """Largest value of each whole channel, shape (N, C, 1, 1).

    Notes
    -----
    ``x.max(axis=(2, 3), keepdims=True)``

    Examples
    --------
    >>> import numpy as np
    >>> GlobalMaxPool2d()(np.arange(8.0).reshape(1, 2, 2, 2)).ravel()
    array([3., 7.])
    """

    def forward(self, input: Array) -> Array:
        """Return the maxima, shape (N, C, 1, 1)."""
        output: Array
        output, indices = F.global_max_pool2d(input, return_indices=True)
        self._save((indices, input.shape))
        return output

    def backward(self, grad_output: Array) -> Array:
        """Return grad_input: each gradient goes where its maximum was."""
        indices, input_shape = self._take_saved()
        return F.max_pool2d_backward(grad_output, indices, input_shape)
