# SPDX-License-Identifier: BSD-3-Clause
"""The training loop: `fit`, and what goes with it, `evaluate` and `predict`.

Everything random comes from explicit Generators, and a checkpoint holds all that the next epoch
depends on; so a run that was interrupted and resumed ends with the same bits as one that was not.
"""

from pyconv.training.callbacks import Callback, Context
from pyconv.training.evaluation import Metric, evaluate, predict
from pyconv.training.history import Epoch, History
from pyconv.training.loop import TrainingInterrupted, fit

__all__ = [
    "Callback",
    "Context",
    "Epoch",
    "History",
    "Metric",
    "TrainingInterrupted",
    "evaluate",
    "fit",
    "predict",
]
