# SPDX-License-Identifier: BSD-3-Clause
"""Convolutional networks as scikit-learn estimators.

`ConvNetClassifier` and `ConvNetRegressor` have the parameter names of scikit-learn's multi-layer
perceptrons, and go where those go: pipelines, grid searches, cross-validation with ``n_jobs``, joblib
with any backend. X has a row of features for each sample, or is a stack of images (N, C, H, W).

Workers of joblib and Dask are told by ``OMP_NUM_THREADS`` how many threads they have, which pyconv
respects; ``threadpoolctl.threadpool_limits`` limits it too once this module is imported.

Examples
--------
>>> from sklearn.datasets import load_digits
>>> from pyconv.backends.sklearn import ConvNetClassifier
>>> X, y = load_digits(return_X_y=True)
>>> network = ConvNetClassifier(image_shape=(8, 8), batch_size=32, tol=0.01, random_state=0)
>>> network.fit(X[:1000] / 16, y[:1000]).score(X[1000:] / 16, y[1000:]) > 0.9
True
"""

from pyconv.optional import need

need("sklearn", "pyconv.backends.sklearn")

from pyconv.backends.sklearn.estimators import ConvNetClassifier, ConvNetRegressor
from pyconv.runtime import register_threadpoolctl

__all__ = ["ConvNetClassifier", "ConvNetRegressor"]

register_threadpoolctl()  # threadpoolctl comes with scikit-learn
