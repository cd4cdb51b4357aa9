# SPDX-License-Identifier: BSD-3-Clause
"""The two estimators: what a network's outputs and its loss are, for classes and for numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from pyconv import functional as F
from pyconv.backends.sklearn.base import Array, ConvNet, Network


class ConvNetClassifier(ClassifierMixin, ConvNet):
    """A network that tells classes apart, trained by cross entropy.

    Parameters
    ----------
    network : Layer, callable or None
        A Layer is copied, and trained from the weights it has. A function is called
        ``network(sample_shape, outputs, rng)``, with (C, H, W) or (features,), and returns a Layer from a batch
        of samples to (N, outputs). None is a small network of 3 x 3 convolutions, ReLU and max pooling with
        dense layers behind it, or of the dense layers alone where samples are no images.
    image_shape : (H, W) or (C, H, W), optional
        What a row of X is, if it is an image. X of shape (N, C, H, W) needs no telling.
    channels : tuple of int
        Channels of each convolution of the default network.
    hidden_layer_sizes : tuple of int
        Sizes of its hidden dense layers.
    solver : {"adam", "sgd"}
    alpha : float
        Coefficient of the L2 penalty of all weights, divided by the samples of a batch.
    batch_size : int or "auto"
        "auto" is the smaller of 200 and the number of samples.
    learning_rate_init : float
    max_iter : int
        Most epochs of `fit`.
    random_state : int, RandomState instance or None
        Draws the first weights, the order of samples and the validation part.
    tol, n_iter_no_change : float, int
        `fit` ends when the loss, or with `early_stopping` the validation score, has not improved by
        `tol` for more than `n_iter_no_change` epochs.
    verbose : bool
        Print the loss of every epoch.
    warm_start : bool
        Have `fit` go on with the network of the last call.
    momentum : float
        For ``solver="sgd"``.
    early_stopping : bool
        Keep `validation_fraction` of the samples from training and end with the weights that scored best
        on them.
    validation_fraction : float
    callbacks : sequence of callables, optional
        ``callback(estimator)`` after every epoch of `fit`; returning True ends it.
    class_weight : dict, "balanced" or None
        Weight of each class; ``N / (K * count)`` when balanced, which `partial_fit` cannot know.

    Attributes
    ----------
    classes_ : ndarray, shape (K,)
    network_ : Layer
        The trained network.
    n_iter_ : int
        Epochs of the last `fit` and of `partial_fit` since.
    loss_, loss_curve_ : float, list of float
        The objective in the last and in every epoch, averaged while the weights were changing.
    validation_scores_ : list of float
        Accuracy, or R^2, of every epoch with `early_stopping`.
    n_features_in_, n_outputs_ : int
    input_shape_ : tuple of int
        Of one sample.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> network = ConvNetClassifier(image_shape=(8, 8), n_iter_no_change=2, tol=1, random_state=0)
    >>> network.fit(X / 16, y).predict_proba(X[:2] / 16).shape
    (2, 10)
    """

    def __init__(
        self,
        network: Network | None = None,
        *,
        image_shape: Sequence[int] | None = None,
        channels: Sequence[int] = (16, 32),
        hidden_layer_sizes: Sequence[int] = (100,),
        solver: str = "adam",
        alpha: float = 1e-4,
        batch_size: int | str = "auto",
        learning_rate_init: float = 1e-3,
        max_iter: int = 200,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        class_weight: Mapping[Any, float] | str | None = None,
        callbacks: Sequence[Callable[[Any], bool | None]] | None = None,
    ) -> None:
        super().__init__(
            network,
            image_shape=image_shape,
            channels=channels,
            hidden_layer_sizes=hidden_layer_sizes,
            solver=solver,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate_init=learning_rate_init,
            max_iter=max_iter,
            random_state=random_state,
            tol=tol,
            verbose=verbose,
            warm_start=warm_start,
            momentum=momentum,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            callbacks=callbacks,
        )
        self.class_weight = class_weight

    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train for one epoch on these samples, going on from where the last call ended.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.
        classes : array-like, shape (K,)
            All classes that will ever come; needed in the first call.

        Returns
        -------
        self
        """
        if classes is None and not hasattr(self, "classes_"):
            raise ValueError(
                "ConvNetClassifier.partial_fit: classes is missing in the first call, got None; "
                "expected all classes"
            )
        if self.class_weight == "balanced":
            raise ValueError(
                "ConvNetClassifier.partial_fit: class_weight needs all samples, got "
                f"{self.class_weight!r}; expected a dict or None"
            )
        return self._partial_fit(X, y, sample_weight, classes)

    def predict(self, X: ArrayLike) -> Array:
        """Return the most probable class of each sample, shape (N,)."""
        output = self._output(X)
        chosen: Array = self.classes_[output.argmax(axis=1)]
        return chosen

    def predict_proba(self, X: ArrayLike) -> Array:
        """Return the probability of each class, shape (N, K)."""
        return F.softmax(self._output(X))

    def predict_log_proba(self, X: ArrayLike) -> Array:
        """Return the logarithm of the probability of each class, shape (N, K)."""
        return F.log_softmax(self._output(X))

    def _encode(self, y: Array, classes: ArrayLike | None, *, fresh: bool) -> Array:
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        known = np.unique(y if classes is None else np.asarray(classes))
        if fresh:
            self.classes_, self.n_outputs_ = known, len(known)
        elif classes is not None and not np.array_equal(known, self.classes_):
            raise ValueError(
                f"ConvNetClassifier: classes is not what it was, got {known}; "
                f"expected {self.classes_}"
            )
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise ValueError(
                f"ConvNetClassifier: y has unknown classes, got {unknown}; expected {self.classes_}"
            )
        return np.searchsorted(self.classes_, y)

    def _class_weight(self, target: Array) -> Array | None:
        if self.class_weight is None:
            return None
        if isinstance(self.class_weight, str) and self.class_weight == "balanced":
            counts = np.bincount(target, minlength=self.n_outputs_)
            weight = len(target) / (self.n_outputs_ * np.maximum(counts, 1))
        elif isinstance(self.class_weight, Mapping) and set(self.class_weight) <= set(
            self.classes_
        ):
            weight = np.array([self.class_weight.get(name, 1.0) for name in self.classes_])
        else:
            raise ValueError(
                f"ConvNetClassifier: class_weight is not valid, got {self.class_weight!r}; "
                f"expected a dict with keys among {self.classes_}, 'balanced' or None"
            )
        return weight[target]

    def _loss(self, output: Array, target: Array) -> tuple[Array, Array]:
        """Return ``-log p[target]`` and ``p - onehot(target)``, where p is the softmax."""
        rows = np.arange(len(target))
        log_probabilities = F.log_softmax(output)
        grad = np.exp(log_probabilities)
        grad[rows, target] -= 1
        return -log_probabilities[rows, target], grad

    def _validation_score(self, X: Array, target: Array, weight: Array) -> float:
        predicted = self._network_output(X).argmax(axis=1)
        return float(accuracy_score(target, predicted, sample_weight=weight))


class ConvNetRegressor(RegressorMixin, ConvNet):
    """A network that predicts numbers, one or several, trained by squared error.

    Parameters and attributes are those of `ConvNetClassifier` that have nothing to do with classes. The loss
    of a sample is half its squared error, the mean over outputs; what early stopping looks at is R^2.

    Parameters
    ----------
    network, image_shape, channels, ...
        As of `ConvNetClassifier`.

    Examples
    --------
    >>> X = np.linspace(-1, 1, 50)[:, np.newaxis]
    >>> network = ConvNetRegressor(learning_rate_init=1e-2, random_state=0).fit(X, np.abs(X[:, 0]))
    >>> network.score(X, np.abs(X[:, 0])) > 0.9
    True
    """

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's description of what the estimator can do."""
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train for one epoch on these samples, going on from where the last call ended.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.

        Returns
        -------
        self
        """
        return self._partial_fit(X, y, sample_weight)

    def predict(self, X: ArrayLike) -> Array:
        """Return the prediction for each sample, shape (N,) or (N, outputs) as y had."""
        output = self._output(X)
        return output[:, 0] if self._flat_target else output

    def _encode(self, y: Array, classes: ArrayLike | None, *, fresh: bool) -> Array:
        outputs = y.size // len(y)
        if fresh:
            self.n_outputs_, self._flat_target = outputs, y.ndim == 1
        elif outputs != self.n_outputs_:
            raise ValueError(
                f"ConvNetRegressor: y has the wrong shape, got {y.shape}; "
                f"expected {(len(y), self.n_outputs_)}"
            )
        return y.reshape(len(y), outputs)

    def _class_weight(self, target: Array) -> None:
        return None

    def _loss(self, output: Array, target: Array) -> tuple[Array, Array]:
        difference = output - target.astype(output.dtype)
        return 0.5 * np.mean(difference**2, axis=1), difference / self.n_outputs_

    def _validation_score(self, X: Array, target: Array, weight: Array) -> float:
        return float(r2_score(target, self._network_output(X), sample_weight=weight))
