# SPDX-License-Identifier: BSD-3-Clause
"""Losses: ``value = loss(logits, target)``, then ``grad = loss.backward()``, once for each call.

Thin shells over `pyconv.functional`; the mean over the batch is taken, as in torch's default.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from pyconv import functional as F
from pyconv.functional.loss import cross_entropy_with_gradient

__all__ = [
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "L1Loss",
    "Loss",
    "MSELoss",
    "MultiClassHingeLoss",
    "NLLLoss",
    "SmoothL1Loss",
]


class Loss:
    """A scalar function of a batch of outputs and their targets.

    Notes
    -----
    A loss of one's own defines `value` and `gradient`; calling it keeps both arrays for `backward`, which takes them once.

    Examples
    --------
    >>> import numpy as np
    >>> class Sum(Loss):
    ...     def value(self, input, target):
    ...         return float((input * target).sum())
    ...     def gradient(self, input, target):
    ...         return target
    >>> loss = Sum()
    >>> loss(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    11.0
    >>> loss.backward()
    array([3., 4.])
    """

    _saved: tuple[NDArray[Any], NDArray[Any]] | None = None

    def __call__(self, input: NDArray[Any], target: NDArray[Any]) -> float:
        """Return the loss and remember both arrays for `backward`."""
        value = self.value(input, target)
        self._saved = (input, target)
        return value

    def value(self, input: NDArray[Any], target: NDArray[Any]) -> float:
        """Return the loss, remembering nothing."""
        raise NotImplementedError(f"{type(self).__name__} has no value")

    def gradient(self, input: NDArray[Any], target: NDArray[Any]) -> NDArray[Any]:
        """Return the gradient of `value` with respect to `input`."""
        raise NotImplementedError(f"{type(self).__name__} has no gradient")

    def backward(self) -> NDArray[Any]:
        """Return the gradient of the last call with respect to its first argument.

        Raises
        ------
        RuntimeError
            The loss was not called since the last backward.
        """
        if self._saved is None:
            raise RuntimeError(f"{type(self).__name__}.backward called without a preceding call")
        saved, self._saved = self._saved, None
        return self.gradient(*saved)

    def __repr__(self) -> str:
        """Return the name."""
        return f"{type(self).__name__}()"


class CrossEntropyLoss(Loss):
    """Cross entropy of a softmax over logits (N, K) or (N, K, ...).

    Targets are classes, integers (N,) or (N, ...), or the probability of every class, of the shape
    and dtype of the logits.

    Parameters
    ----------
    weight : ndarray, shape (K,), optional
        Weight of each class; the mean over classes is weighted too, that over probabilities is not.
    ignore_index : int
        Targets with this value do not count; negative for probabilities.
    label_smoothing : float
        Share of the target that is spread over all classes, 0 to 1.

    Examples
    --------
    >>> import numpy as np
    >>> round(CrossEntropyLoss()(np.zeros((1, 10)), np.array([3])), 4)  # log(10)
    2.3026
    """

    def __init__(
        self,
        weight: NDArray[Any] | None = None,
        ignore_index: int = -100,
        label_smoothing: float = 0.0,
    ) -> None:
        self.weight, self.ignore_index = weight, ignore_index
        self.label_smoothing = label_smoothing
        self._grad: NDArray[Any] | None = None

    def __call__(self, input: NDArray[Any], target: NDArray[Any]) -> float:
        """Return the loss and keep its gradient, which costs little more than the loss alone."""
        value, self._grad = cross_entropy_with_gradient(input, target, **self._options())
        return value

    def backward(self) -> NDArray[Any]:
        """Return the gradient of the last call with respect to its first argument."""
        if self._grad is None:
            return super().backward()  # which raises
        grad, self._grad = self._grad, None
        return grad

    def value(self, input: NDArray[Any], target: NDArray[Any]) -> float:
        """Return the loss, remembering nothing."""
        return F.cross_entropy(input, target, **self._options())

    def gradient(self, input: NDArray[Any], target: NDArray[Any]) -> NDArray[Any]:
        """Return the gradient with respect to the logits."""
        return F.cross_entropy_backward(input, target, **self._options())

    def _options(self) -> dict[str, Any]:
        return {
            "weight": self.weight,
            "ignore_index": self.ignore_index,
            "label_smoothing": self.label_smoothing,
        }


class MultiClassHingeLoss(Loss):
    """Sum over wrong classes of ``max(0, s_j - s_y + margin)``, the multi-class SVM of CS231n.

    Parameters
    ----------
    margin : float

    Examples
    --------
    >>> import numpy as np
    >>> MultiClassHingeLoss()(np.array([[3.0, 2.5, -1.0]]), np.array([0]))
    0.5
    """

    def __init__(self, margin: float = 1.0) -> None:
        self.margin = margin

    def value(self, input: NDArray[Any], target: NDArray[Any]) -> float:
        """Return the loss, remembering nothing."""
        return F.multiclass_hinge(input, target, margin=self.margin)

    def gradient(self, input: NDArray[Any], target: NDArray[Any]) -> NDArray[Any]:
        """Return the gradient with respect to the scores."""
        return F.multiclass_hinge_backward(input, target, margin=self.margin)


class MSELoss(Loss):
    """Mean of squared differences over all elements.

    Notes
    -----
    ``np.mean((input - target) ** 2)``

    Examples
    --------
    >>> import numpy as np
    >>> loss = MSELoss()
    >>> loss(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
    2.0
    >>> loss.backward()
    array([ 0., -2.])
    """

    def value(self, input: NDArray[Any], target: NDArray[Any]) -> float:
        """Return the loss, remembering nothing."""
        return F.mse(input, target)

    def gradient(self, input: NDArray[Any], target: NDArray[Any]) -> NDArray[Any]:
        """Return the gradient with respect to `input`."""
        return F.mse_backward(input, target)


class L1Loss(Loss):
    """Mean of absolute differences over all elements.

    Notes
    -----
    ``np.mean(abs(input - target))``

    Examples
    --------
    >>> import numpy as np
    >>> L1Loss()(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
    1.0
    """

    def value(self, input: NDArray[Any], target: NDArray[Any]) -> float:
        """Return the loss, remembering nothing."""
        return F.l1(input, target)

    def gradient(self, input: NDArray[Any], target: NDArray[Any]) -> NDArray[Any]:
        """Return the gradient with respect to `input`."""
        return F.l1_backward(input, target)


class SmoothL1Loss(Loss):
    """Mean of absolute differences, with a parabola between -beta and beta.

    Parameters
    ----------
    beta : float
        Where the parabola ``d**2 / (2 * beta)`` ends and the line ``abs(d) - beta / 2`` begins.

    Examples
    --------
    >>> import numpy as np
    >>> SmoothL1Loss()(np.array([0.5, 2.0]), np.zeros(2))
    0.8125
    """

    def __init__(self, beta: float = 1.0) -> None:
        self.beta = beta

    def value(self, input: NDArray[Any], target: NDArray[Any]) -> float:
        """Return the loss, remembering nothing."""
        return F.smooth_l1(input, target, beta=self.beta)

    def gradient(self, input: NDArray[Any], target: NDArray[Any]) -> NDArray[Any]:
        """Return the gradient with respect to `input`."""
        return F.smooth_l1_backward(input, target, beta=self.beta)


class BCEWithLogitsLoss(Loss):
    """Mean binary cross entropy of sigmoids of logits with targets from 0 to 1.

    Notes
    -----
    ``-np.mean(t * log(sigmoid(x)) + (1 - t) * log(1 - sigmoid(x)))``, without overflow for any x.

    Examples
    --------
    >>> import numpy as np
    >>> round(BCEWithLogitsLoss()(np.zeros(3), np.array([0.0, 1.0, 0.5])), 4)  # log(2)
    0.6931
    """

    def value(self, input: NDArray[Any], target: NDArray[Any]) -> float:
        """Return the loss, remembering nothing."""
        return F.bce_with_logits(input, target)

    def gradient(self, input: NDArray[Any], target: NDArray[Any]) -> NDArray[Any]:
        """Return the gradient with respect to the logits."""
        return F.bce_with_logits_backward(input, target)


class NLLLoss(Loss):
    """Mean negative log-likelihood of integer targets under log-probabilities (N, K) or (N, K, ...).

    Parameters
    ----------
    weight : ndarray, shape (K,), optional
        Weight of each class; the mean is weighted too.
    ignore_index : int
        Targets with this value do not count.

    Examples
    --------
    >>> import numpy as np
    >>> round(NLLLoss()(np.log([[0.25, 0.75]]), np.array([1])), 4)
    0.2877
    """

    def __init__(self, weight: NDArray[Any] | None = None, ignore_index: int = -100) -> None:
        self.weight, self.ignore_index = weight, ignore_index

    def value(self, input: NDArray[Any], target: NDArray[Any]) -> float:
        """Return the loss, remembering nothing."""
        return F.nll(input, target, weight=self.weight, ignore_index=self.ignore_index)

    def gradient(self, input: NDArray[Any], target: NDArray[Any]) -> NDArray[Any]:
        """Return the gradient with respect to the log-probabilities."""
        return F.nll_backward(input, target, weight=self.weight, ignore_index=self.ignore_index)
