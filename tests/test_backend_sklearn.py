# SPDX-License-Identifier: BSD-3-Clause
"""The scikit-learn estimators: scikit-learn's own checks, all of them, and what those do not see."""

import pickle
import re
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import has_fit_parameter

import pyconv
from checks import assert_same_bits
from children import run_python
from pyconv.backends.sklearn import ConvNetClassifier, ConvNetRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def digits() -> tuple[Any, Any]:
    X, y = load_digits(return_X_y=True)
    return X[:600] / 16, y[:600]


def quick(**options: Any) -> ConvNetClassifier:
    """Return a small classifier of the digits."""
    small: dict[str, Any] = {
        "image_shape": (8, 8), "channels": (6,), "hidden_layer_sizes": (), "max_iter": 3,
        "learning_rate_init": 0.01, "random_state": 0,
    }  # fmt: skip
    return ConvNetClassifier(**small | options)


def assert_same_weights(first: Any, second: Any) -> None:
    for a, b in zip(first.network_.parameters(), second.network_.parameters(), strict=True):
        assert_same_bits(a.value, b.value)


@parametrize_with_checks([ConvNetClassifier(), ConvNetRegressor()])  # type: ignore[untyped-decorator]
def test_estimators_pass_the_checks_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


# The loss ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("task", ["classes", "numbers"])
def test_full_batches_descend_as_scikit_learns_perceptron_does(task: str, weighted: bool) -> None:
    """From the same weights; loss, penalty, weighting and step are then all the same."""
    X, y = load_iris(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    if weighted and not has_fit_parameter(MLPClassifier(), "sample_weight"):
        pytest.skip("scikit-learn's perceptrons take weights from 1.7 on")
    weight = (np.arange(150) % 4 + 0.5,) if weighted else ()
    options: dict[str, Any] = {
        "solver": "sgd", "learning_rate_init": 0.2, "momentum": 0.5, "alpha": 3.0,
        "batch_size": 150, "tol": 0.0,
    }  # fmt: skip
    host, ours = (
        (MLPClassifier, ConvNetClassifier)
        if task == "classes"
        else (MLPRegressor, ConvNetRegressor)
    )
    target = y if task == "classes" else X[:, 0] * X[:, 1]
    oracle = host(
        hidden_layer_sizes=(7,),
        **options,
        max_iter=1,
        nesterovs_momentum=False,
        random_state=0,
        warm_start=True,
    ).fit(X, target, *weight)
    outputs = oracle.coefs_[1].shape[1]
    network = pyconv.Sequential(
        pyconv.Linear(4, 7, dtype=np.float64),
        pyconv.ReLU(),
        pyconv.Linear(7, outputs, dtype=np.float64),
    )
    arrays = zip(oracle.coefs_, oracle.intercepts_, strict=True)
    for parameter, array in zip(
        network.parameters(), (a for w, b in arrays for a in (w.T, b)), strict=True
    ):
        parameter.value[...] = array
    model = ours(network, **options, max_iter=20).fit(X, target, *weight)
    oracle.set_params(max_iter=20).fit(X, target, *weight)
    np.testing.assert_allclose(model.loss_curve_, oracle.loss_curve_[1:], rtol=1e-10)
    last = list(model.network_.parameters())[2]
    np.testing.assert_allclose(last.value.T, oracle.coefs_[1], rtol=1e-8)


@pytest.mark.parametrize("task", ["classes", "numbers"])
def test_loss_has_the_gradient_of_its_value(task: str, rng: np.random.Generator) -> None:
    X, numbers = rng.standard_normal((6, 2)), rng.standard_normal((6, 3))
    target: Any = np.arange(6) % 3 if task == "classes" else numbers
    estimator = ConvNetClassifier if task == "classes" else ConvNetRegressor
    model = estimator(max_iter=1).fit(X, target)
    output = rng.standard_normal((6, 3))
    _, grad = model._loss(output, target)
    slopes = np.zeros_like(grad)
    for index in np.ndindex(output.shape):
        values = []
        for step in (1e-6, -1e-6):
            moved = output.copy()
            moved[index] += step
            values.append(model._loss(moved, target)[0][index[0]])
        slopes[index] = (values[0] - values[1]) / 2e-6
    np.testing.assert_allclose(grad, slopes, atol=1e-9)


def test_penalty_is_the_same_for_weights_that_are_all_doubled(digits: tuple[Any, Any]) -> None:
    """Twice the samples with twice the penalty."""
    X, y = digits
    once = quick(alpha=1.0).fit(X, y)
    twice = quick(alpha=2.0).fit(X, y, np.full(len(y), 2.0))
    assert_same_weights(once, twice)


def test_class_weight_is_a_weight_of_samples(digits: tuple[Any, Any]) -> None:
    X, y = digits
    by_class = quick(class_weight={3: 5.0, 8: 0.0}).fit(X, y)
    by_sample = quick().fit(X, y, np.where(y == 3, 5.0, np.where(y == 8, 0.0, 1.0)))
    assert_same_weights(by_class, by_sample)
    assert 8 not in by_class.predict(X)


def test_balanced_classes_weigh_the_same(digits: tuple[Any, Any]) -> None:
    X, y = digits
    balanced = quick(class_weight="balanced").fit(X, y)
    shares = {c: len(y) / (10 * np.count_nonzero(y == c)) for c in range(10)}
    assert_same_weights(balanced, quick(class_weight=shares).fit(X, y))


# Data --------------------------------------------------------------------------------------------


def test_images_and_their_rows_are_the_same(digits: tuple[Any, Any]) -> None:
    X, y = digits
    images = X.reshape(-1, 1, 8, 8)
    by_row = quick().fit(X, y)
    by_image = quick(image_shape=None).fit(images, y)
    assert_same_weights(by_row, by_image)
    assert by_image.input_shape_ == (1, 8, 8)
    assert by_image.n_features_in_ == 64
    assert_same_bits(by_row.predict_proba(images), by_image.predict_proba(X))
    np.testing.assert_array_equal(by_image.predict(images.tolist()), by_image.predict(X))


def test_default_network_learns_images() -> None:
    X, y = load_digits(return_X_y=True)
    model = ConvNetClassifier(image_shape=(8, 8), max_iter=12, batch_size=32, random_state=0)
    assert model.fit(X[::2] / 16, y[::2]).score(X[1::2] / 16, y[1::2]) > 0.93


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (2, 3), (3, 5, 4)])
def test_default_network_takes_any_image(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    X = rng.standard_normal((9, int(np.prod(shape))))
    model = ConvNetRegressor(image_shape=shape, max_iter=2, channels=(2, 2, 2)).fit(X, X[:, 0])
    assert model.predict(X).shape == (9,)


def test_bytes_are_divided_by_255(rng: np.random.Generator) -> None:
    images = rng.integers(0, 256, (40, 3, 6, 6), np.uint8)
    y = rng.integers(0, 2, 40)
    network = pyconv.Sequential(pyconv.Flatten(), pyconv.Linear(108, 2))
    bytes_model = ConvNetClassifier(network, max_iter=2, random_state=0).fit(images, y)
    float_model = ConvNetClassifier(network, max_iter=2, random_state=0)
    float_model.fit(np.multiply(images, np.float32(1 / 255)), y)
    np.testing.assert_allclose(
        bytes_model.predict_proba(images), float_model.predict_proba(images), rtol=1e-5
    )
    rows = images.reshape(40, -1)
    assert_same_bits(bytes_model.predict_proba(rows), bytes_model.predict_proba(images))
    table = ConvNetClassifier(max_iter=2, random_state=0).fit(
        rows, y
    )  # no pixels, for all it knows
    assert_same_bits(table.predict_proba(rows), table.predict_proba(rows.astype(np.float64)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_network_has_the_dtype_of_the_samples(dtype: Any, digits: tuple[Any, Any]) -> None:
    model = quick().fit(digits[0].astype(dtype), digits[1])
    assert model.predict_proba(digits[0]).dtype == dtype


def test_names_of_classes_may_be_anything(digits: tuple[Any, Any]) -> None:
    X, y = digits
    names = np.array(["zero", "one", "two"])
    few = y < 3
    model = quick(batch_size=16).fit(X[few], names[y[few]])
    assert model.classes_.tolist() == ["one", "two", "zero"]
    assert model.score(X[few], names[y[few]]) > 0.9
    np.testing.assert_allclose(
        model.predict_log_proba(X), np.log(model.predict_proba(X)), atol=1e-12
    )


# Networks ----------------------------------------------------------------------------------------


def test_layer_is_copied_and_keeps_its_weights(digits: tuple[Any, Any]) -> None:
    X, y = digits
    layer = pyconv.Sequential(pyconv.Flatten(), pyconv.Linear(64, 10))
    before = layer.state_dict()
    model = quick(network=layer, learning_rate_init=1e-12).fit(X, y)
    for key, array in layer.state_dict().items():
        assert_same_bits(array, before[key])
        np.testing.assert_allclose(model.network_.state_dict()[key], array, atol=1e-8)
    assert model.network_ is not layer


def test_network_may_be_a_function(digits: tuple[Any, Any]) -> None:
    def network(shape: tuple[int, ...], outputs: int, rng: np.random.Generator) -> pyconv.Layer:
        assert shape == (1, 8, 8)
        assert outputs == 10
        dense = pyconv.Linear(36 * 4, outputs, rng=rng)
        return pyconv.Sequential(
            pyconv.Conv2d(1, 4, 3, rng=rng), pyconv.BatchNorm2d(4), pyconv.Flatten(), dense
        )

    first, second = (quick(network=network).fit(*digits) for _ in range(2))
    assert_same_weights(first, second)
    assert first.predict_proba(digits[0]).dtype == np.float32


# Going on ----------------------------------------------------------------------------------------


def test_partial_fit_is_fit_epoch_by_epoch(digits: tuple[Any, Any]) -> None:
    X, y = digits
    whole = quick(max_iter=3).fit(X, y)
    parts = quick()
    for _ in range(3):
        parts.partial_fit(X, y, classes=range(10))
    assert_same_weights(whole, parts)
    assert whole.loss_curve_ == parts.loss_curve_
    assert parts.n_iter_ == 3


def test_pickled_estimator_goes_on_to_the_same_bits(digits: tuple[Any, Any]) -> None:
    X, y = digits
    model = quick().partial_fit(X, y, range(10))
    model.predict(X)  # which fills caches
    again = pickle.loads(pickle.dumps(model))
    assert_same_bits(again.predict_proba(X), model.predict_proba(X))
    assert_same_weights(again.partial_fit(X, y), model.partial_fit(X, y))


def test_warm_start_goes_on_and_a_cold_one_does_not(digits: tuple[Any, Any]) -> None:
    model = quick(warm_start=True).fit(*digits)
    first = model.loss_curve_.copy()
    model.fit(*digits)
    assert len(model.loss_curve_) == 6
    assert model.loss_curve_[3] < first[2]
    assert clone(model).fit(*digits).loss_curve_ == first


def test_early_stopping_ends_with_the_best_weights(digits: tuple[Any, Any]) -> None:
    X, y = digits
    states: list[Any] = []
    model = quick(
        early_stopping=True, max_iter=40, n_iter_no_change=2, learning_rate_init=0.05,
        callbacks=[lambda self: states.append(self.network_.state_dict())],
    ).fit(X, y)  # fmt: skip
    assert model.n_iter_ == len(states) == len(model.validation_scores_) < 40
    best = states[int(np.argmax(model.validation_scores_))]
    for key, array in model.network_.state_dict().items():
        assert_same_bits(array, best[key])


def test_callback_ends_fit(digits: tuple[Any, Any]) -> None:
    model = quick(max_iter=50, callbacks=[lambda self: self.n_iter_ == 4]).fit(*digits)
    assert model.n_iter_ == 4


def test_fit_ends_when_the_loss_does_not_fall(digits: tuple[Any, Any]) -> None:
    model = quick(tol=1e9, n_iter_no_change=5, max_iter=50).fit(*digits)
    assert model.n_iter_ == 7  # the first, and six without an improvement


# In company --------------------------------------------------------------------------------------


def test_estimator_is_searched_in_a_pipeline(digits: tuple[Any, Any]) -> None:
    X, y = digits
    pipeline = make_pipeline(MinMaxScaler(), quick())
    grid = {"convnetclassifier__channels": [(2,), (8,)], "convnetclassifier__solver": ["adam"]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(X, y)
    assert search.best_params_["convnetclassifier__channels"] == (8,)
    assert search.score(X, y) > 0.5
    assert len(cross_val_score(pipeline, X, y, cv=2)) == 2


SEARCH = """
    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.model_selection import GridSearchCV
    import pyconv
    from pyconv.backends.sklearn import ConvNetClassifier

    def threads(model, X, y):
        return pyconv.get_num_threads()

    X, y = load_digits(return_X_y=True)
    model = ConvNetClassifier(image_shape=(8, 8), channels=(2,), max_iter=2, tol=9, random_state=0)
    scoring = {"accuracy": "accuracy", "threads": threads}
    search = GridSearchCV(
        model, {"alpha": [0.0, 1.0]}, cv=2, scoring=scoring, refit="accuracy", n_jobs=N_JOBS,
        error_score="raise",
    )
    """


def test_parallel_search_gives_the_same_and_shares_the_processors() -> None:
    script = """
    import joblib, warnings
    warnings.simplefilter("ignore")
    with joblib.parallel_config("loky", n_jobs=2):
        search.fit(X[:200], y[:200])
    threads = search.cv_results_["mean_test_threads"]
    assert (threads == max(joblib.cpu_count() // 2, 1)).all(), threads
    scores = search.cv_results_["mean_test_accuracy"]
    assert (search.set_params(n_jobs=1).fit(X[:200], y[:200]).cv_results_["mean_test_accuracy"]
            == scores).all()
    """
    run_python(SEARCH.replace("N_JOBS", "None") + script)


def test_search_runs_on_a_dask_cluster() -> None:
    pytest.importorskip("distributed", reason="Dask's scheduler, distributed, is not installed")
    script = """
    import joblib, warnings
    warnings.simplefilter("ignore")
    from distributed import Client, LocalCluster
    if __name__ == "__main__":
        with (
            LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster),
            joblib.parallel_config("dask"),
        ):
            search.fit(X[:200], y[:200])
        assert (search.cv_results_["mean_test_threads"] == 1).all()
        scores = search.cv_results_["mean_test_accuracy"]
        assert (search.fit(X[:200], y[:200]).cv_results_["mean_test_accuracy"] == scores).all()
    """
    run_python(SEARCH.replace("N_JOBS", "None") + script)


def test_threadpoolctl_limits_the_threads_of_a_fit() -> None:
    script = """
    import threadpoolctl, pyconv
    import pyconv.backends.sklearn
    pyconv.set_num_threads(3)
    with threadpoolctl.threadpool_limits(1):
        assert pyconv.get_num_threads() == 1
    assert pyconv.get_num_threads() == 3
    """
    run_python(script)


# Errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "lbfgs"}, "solver is not valid, got 'lbfgs'; expected 'adam' or 'sgd'"),
        ({"alpha": -1}, "alpha is not valid, got -1; expected a number, at least 0"),
        ({"batch_size": 0}, "batch_size is not valid, got 0; expected 'auto' or at least 1"),
        ({"max_iter": True}, "max_iter is not valid, got True; expected an integer, at least 1"),
        ({"image_shape": (8,)}, "image_shape is not valid, got (8,); expected (H, W), (C, H, W)"),
        ({"network": 3}, "network is not valid, got 3; expected a Layer, a function"),
        ({"callbacks": print}, "callbacks is not valid, got <built-in function print>; expected"),
        ({"class_weight": {11: 2.0}}, "class_weight is not valid, got {11: 2.0}; expected a dict"),
        ({"image_shape": (8, 9)}, "image_shape does not fit X, got (8, 9); expected 64 values"),
        ({"early_stopping": True, "validation_fraction": 1}, "validation_fraction is not valid"),
        (
            {"network": pyconv.Sequential(pyconv.Flatten(), pyconv.Linear(64, 3)), "batch_size": 5},
            "network returns the wrong shape, got (5, 3); expected (5, 10)",
        ),
    ],
)
def test_bad_parameter_is_named(
    options: dict[str, Any], message: str, digits: tuple[Any, Any]
) -> None:
    with pytest.raises(ValueError, match=re.escape(f"ConvNetClassifier: {message}")):
        quick(**options).fit(*digits)


def test_other_data_than_before_is_refused(digits: tuple[Any, Any]) -> None:
    X, y = digits
    model = quick().fit(X, y)
    with pytest.raises(ValueError, match=re.escape("not made of the same images as in fit")):
        model.predict(np.zeros((2, 4, 4, 4)))
    with pytest.raises(ValueError, match="classes is missing in the first call"):
        quick().partial_fit(X, y)
    with pytest.raises(ValueError, match="class_weight needs all samples"):
        quick(class_weight="balanced").partial_fit(X, y, range(10))
    with pytest.raises(ValueError, match="y has unknown classes"):
        model.partial_fit(X, y + 5)
    with pytest.raises(ValueError, match="early_stopping is set"):
        quick(early_stopping=True).partial_fit(X, y, range(10))
    with pytest.raises(ValueError, match="sample_weight is negative or zero everywhere"):
        quick().fit(X, y, -np.ones(len(y)))
    with pytest.raises(FloatingPointError, match="the loss became"), np.errstate(all="ignore"):
        quick(solver="sgd", learning_rate_init=1e30, max_iter=20).fit(X, y)
