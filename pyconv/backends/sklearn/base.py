# SPDX-License-Identifier: BSD-3-Clause
"""What classifier and regressor have in common: checks of parameters and data, and the training loop.

With weights w_i of the samples scaled to mean 1, a batch of B of the n samples has the objective ::

    sum(w_i * loss_i) / B  +  alpha / 2 * sum(weights ** 2) / (B * mean(sample_weight))

which is that of scikit-learn's perceptrons, and has the same expectation however batches are cut. In one
batch of all samples, the default up to 200 of them, a sample of weight 2 is two samples, and one of weight
0 is none.
"""

from __future__ import annotations

import copy
import math
import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from pyconv import optim, training
from pyconv.backends.sklearn.parameters import check_parameters, sample_shape
from pyconv.data import as_input
from pyconv.layers import Conv2d, Flatten, Layer, Linear, MaxPool2d, ReLU, Sequential

Array: TypeAlias = NDArray[Any]
Network: TypeAlias = Layer | Callable[[tuple[int, ...], int, np.random.Generator], Layer]


class ConvNet(BaseEstimator):
    """Base of the two estimators; `ConvNetClassifier` describes the parameters."""

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
        callbacks: Sequence[Callable[[Any], bool | None]] | None = None,
    ) -> None:
        self.network, self.image_shape = network, image_shape
        self.channels, self.hidden_layer_sizes = channels, hidden_layer_sizes
        self.solver, self.alpha, self.batch_size = solver, alpha, batch_size
        self.learning_rate_init, self.max_iter = learning_rate_init, max_iter
        self.random_state, self.tol, self.verbose = random_state, tol, verbose
        self.warm_start, self.momentum, self.early_stopping = warm_start, momentum, early_stopping
        self.validation_fraction, self.n_iter_no_change = validation_fraction, n_iter_no_change
        self.callbacks = callbacks

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train the network; from scratch, unless there is one and `warm_start` is set.

        Parameters
        ----------
        X : array-like, shape (N, features) or (N, C, H, W)
            Images of dtype uint8 are divided by 255.
        y : array-like, shape (N,), or (N, outputs) for a regressor
        sample_weight : array-like, shape (N,), optional

        Returns
        -------
        self
        """
        check_parameters(self)
        fresh = not (self.warm_start and hasattr(self, "network_"))
        X, target, weight = self._prepare(X, y, sample_weight, fresh=fresh)
        if fresh:
            self._start(X)
        self._optimizer = self._new_optimizer()
        self._learn(X, target, weight)
        return self

    def _partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None,
        classes: ArrayLike | None = None,
    ) -> Self:
        check_parameters(self)
        if self.early_stopping:
            raise ValueError(
                f"{type(self).__name__}.partial_fit: early_stopping is set, got "
                f"{self.early_stopping}; expected False"
            )
        fresh = not hasattr(self, "network_")
        X, target, weight = self._prepare(X, y, sample_weight, fresh=fresh, classes=classes)
        if fresh:
            self._start(X)
            self._optimizer = self._new_optimizer()
        self._epoch(X, target, weight)
        return self

    # What the two differ in.

    @abstractmethod
    def _encode(self, y: Array, classes: ArrayLike | None, *, fresh: bool) -> Array:
        """Return the targets that `_loss` takes, and learn what `predict` needs for the way back."""

    @abstractmethod
    def _class_weight(self, target: Array) -> Array | None:
        """Return the weight of each sample's class."""

    @abstractmethod
    def _loss(self, output: Array, target: Array) -> tuple[Array, Array]:
        """Return the loss of each sample and its gradient with respect to the output."""

    # Data.

    def _prepare(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        *,
        fresh: bool,
        classes: ArrayLike | None = None,
    ) -> tuple[Array, Array, Array]:
        """Return checked X, targets and weights, without the samples that do not count."""
        regression = self.__sklearn_tags__().estimator_type == "regressor"
        X, shape = _flat(X)
        X, y = validate_data(
            self,
            X,
            y,
            reset=fresh,
            dtype=_dtypes(X, shape is not None or self.image_shape is not None),
            multi_output=regression,
            y_numeric=regression,
        )
        if fresh:
            self.input_shape_ = sample_shape(self, shape, X.shape[1])
        self._check_shape(shape)
        target = self._encode(y, classes, fresh=fresh)
        weight = np.ones(len(X))
        if sample_weight is not None:
            weight = check_array(
                sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight"
            )
            if weight.shape != (len(X),):
                raise ValueError(
                    f"{type(self).__name__}: sample_weight has the wrong shape, "
                    f"got {weight.shape}; expected {(len(X),)}"
                )
        class_weight = self._class_weight(target)
        if class_weight is not None:
            weight = weight * class_weight
        if not (weight.min() >= 0 and weight.max() > 0):
            raise ValueError(
                f"{type(self).__name__}: sample_weight is negative or zero everywhere, got values "
                f"from {weight.min()} to {weight.max()}; expected at least one weight above zero"
            )
        counts = weight > 0
        return (X, target, weight) if counts.all() else (X[counts], target[counts], weight[counts])

    def _output(self, X: Any) -> Array:
        """Return what the network makes of new samples."""
        check_is_fitted(self)
        X, shape = _flat(X)
        X = validate_data(self, X, reset=False, dtype=_dtypes(X, len(self.input_shape_) == 3))
        self._check_shape(shape)
        return self._network_output(X)

    def _network_output(self, X: Array) -> Array:
        return training.predict(self.network_, self._samples(X))

    def _check_shape(self, shape: tuple[int, ...] | None) -> None:
        if shape not in (None, self.input_shape_):
            raise ValueError(
                f"{type(self).__name__}: X is not made of the same images as in fit, "
                f"got {shape}; expected {self.input_shape_}"
            )

    def _samples(self, X: Array) -> Array:
        """Return rows of X in the shape and, unless they are bytes, in the dtype of the network."""
        samples = X.reshape(len(X), *self.input_shape_)
        return samples if X.dtype == np.uint8 else samples.astype(self._dtype(), copy=False)

    def _dtype(self) -> np.dtype[Any]:
        return next(self.network_.parameters()).value.dtype

    # Training.

    def _start(self, X: Array) -> None:
        """Make the network and the empty records of a run."""
        seeds = check_random_state(self.random_state).randint(2**31 - 1, size=4)
        self._rng = np.random.default_rng(seeds)
        self.n_iter_ = 0
        self.loss_curve_: list[float] = []
        self.validation_scores_: list[float] = []
        if isinstance(self.network, Layer):
            self.network_ = copy.deepcopy(self.network)
        elif self.network is not None:
            self.network_ = self.network(self.input_shape_, self.n_outputs_, self._rng)
        else:
            self.network_ = self._default_network(
                np.float64 if X.dtype == np.float64 else np.float32
            )

    def _default_network(self, dtype: Any) -> Layer:
        """Return 3 x 3 convolutions, each halving the image, and dense layers; of features, only these.

        Nothing in it is random or looks at the rest of a batch, or weights would not be repetitions.
        """
        layers: list[Layer] = []
        features = math.prod(self.input_shape_)
        if len(self.input_shape_) == 3:
            C, H, W = self.input_shape_
            for count in self.channels:
                layers += [Conv2d(C, count, 3, padding=1, rng=self._rng, dtype=dtype), ReLU()]
                C = count
                if min(H, W) >= 2:
                    layers.append(MaxPool2d(2))
                    H, W = H // 2, W // 2
            layers.append(Flatten())
            features = C * H * W
        for count in self.hidden_layer_sizes:
            layers += [Linear(features, count, rng=self._rng, dtype=dtype), ReLU()]
            features = count
        return Sequential(*layers, Linear(features, self.n_outputs_, rng=self._rng, dtype=dtype))

    def _new_optimizer(self) -> optim.Optimizer:
        parameters, lr = self.network_.parameters(), self.learning_rate_init
        if self.solver == "sgd":
            return optim.SGD(parameters, lr, self.momentum)
        return optim.Adam(parameters, lr)

    def _learn(self, X: Array, target: Array, weight: Array) -> None:
        """Run epochs until nothing improves, a callback says so, or `max_iter` is reached."""
        validation = None
        if self.early_stopping:
            rest, part = self._divide(target)
            validation = (X[part], target[part], weight[part])
            X, target, weight = X[rest], target[rest], weight[rest]
        self.n_iter_ = 0
        best, waited, best_state = -math.inf, 0, None
        for _ in range(self.max_iter):
            merit = -self._epoch(X, target, weight)
            if validation is not None:
                merit = self._validation_score(*validation)
                self.validation_scores_.append(merit)
                if merit > best:
                    best_state = self.network_.state_dict()
            waited = 0 if merit > best + self.tol else waited + 1
            best = max(best, merit)
            stops = [callback(self) for callback in self.callbacks or ()]
            if waited > self.n_iter_no_change or any(stops):
                break
        else:
            warnings.warn(
                f"{type(self).__name__}: max_iter is reached and the network still improves, "
                f"got {self.max_iter} iterations; expected more, or a larger tol",
                ConvergenceWarning,
                stacklevel=3,
            )
        if best_state is not None:
            self.network_.load_state_dict(best_state)

    def _divide(self, target: Array) -> tuple[Array, Array]:
        """Return which samples are trained on, and which validate."""
        classes = target if target.dtype.kind in "iu" else None
        seed = int(self._rng.integers(2**31))
        rest, part = train_test_split(
            np.arange(len(target)),
            test_size=self.validation_fraction,
            stratify=classes,
            random_state=seed,
        )
        return rest, part

    @abstractmethod
    def _validation_score(self, X: Array, target: Array, weight: Array) -> float:
        """Return what early stopping maximises."""

    def _epoch(self, X: Array, target: Array, weight: Array) -> float:
        """Take one step for each batch of a new order, record and return the mean objective."""
        count = min(200 if self.batch_size == "auto" else int(self.batch_size), len(X))
        decay = self.alpha / (count * weight.mean())
        weight = weight / weight.mean()
        order = self._rng.permutation(len(X))
        self.network_.train()
        total = 0.0
        for start in range(0, len(X), count):
            chosen = order[start : start + count]
            objective = self._step(X[chosen], target[chosen], weight[chosen], decay)
            total += objective * len(chosen)
        self.network_.eval()
        self.n_iter_ += 1
        self.loss_ = total / len(X)
        self.loss_curve_.append(self.loss_)
        if self.verbose:
            print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")
        return self.loss_

    def _step(self, X: Array, target: Array, weight: Array, decay: float) -> float:
        output = self.network_(as_input(self._samples(X), self._dtype()))
        if output.shape != (len(X), self.n_outputs_):
            raise ValueError(
                f"{type(self).__name__}: network returns the wrong shape, got {output.shape}; "
                f"expected {(len(X), self.n_outputs_)}"
            )
        losses, grad = self._loss(output, target)
        share = weight / len(X)
        objective = float(losses @ share)
        self._optimizer.zero_grad()
        self.network_.backward_parameters(grad * share.astype(grad.dtype)[:, np.newaxis])
        for parameter in self._optimizer.parameters:
            if parameter.value.ndim > 1:  # not the biases
                objective += decay / 2 * float(np.vdot(parameter.value, parameter.value))
                parameter.grad += decay * parameter.value
        if not math.isfinite(objective):
            raise FloatingPointError(
                f"{type(self).__name__}: the loss became {objective} in iteration "
                f"{self.n_iter_ + 1}; a lower learning_rate_init may help"
            )
        self._optimizer.step()
        return objective


def _flat(X: Any) -> tuple[Any, tuple[int, ...] | None]:
    """Return X with a row for each sample, and the shape of the images if they were images."""
    ndim = np.ndim(X) if isinstance(X, list | tuple) else getattr(X, "ndim", None)
    if ndim != 4:
        return X, None
    X = np.asarray(X)
    return X.reshape(len(X), math.prod(X.shape[1:])), X.shape[1:]


def _dtypes(X: Any, images: bool) -> Any:
    """Return what X may be after its checks: bytes stay bytes if they are pixels."""
    return (
        np.uint8 if images and getattr(X, "dtype", None) == np.uint8 else (np.float64, np.float32)
    )
