# SPDX-License-Identifier: BSD-3-Clause
"""The deep-learning workflow from end to end; `pyconv.cli` is its face.

`train_job` is the short form: it trains a network that is known to do. `run_workflow` takes
eight steps from data of its own kind to a tested network, and reports on each:

1. the problem, and a sheet about the data          (problem.py)
2. the measure of success, chosen before training   (measures.py)
3. the evaluation protocol; the test set put aside  (protocol.py)
4. preprocessing, learned from the training part    (preparation.py)
5. baselines: a constant answer and a linear model  (baselines.py)
6. a network that overfits                          (networks.py)
7. regularised and tuned by a random search
8. trained on everything but the test set, and tested once
"""

from pyconv.workflow.classifier import MODEL_FILE, Classifier, load_classifier, save_classifier
from pyconv.workflow.errors import UsageError, usage_errors
from pyconv.workflow.jobs import JOBS, Job, report_table, train_job
from pyconv.workflow.problem import KINDS, Data
from pyconv.workflow.protocol import PROTOCOLS
from pyconv.workflow.report import summary
from pyconv.workflow.run import WorkflowInterrupted, run_workflow
from pyconv.workflow.sources import SOURCES
from pyconv.workflow.state import Options

__all__ = [
    "JOBS",
    "KINDS",
    "MODEL_FILE",
    "PROTOCOLS",
    "SOURCES",
    "Classifier",
    "Data",
    "Job",
    "Options",
    "UsageError",
    "WorkflowInterrupted",
    "load_classifier",
    "report_table",
    "run_workflow",
    "save_classifier",
    "summary",
    "train_job",
    "usage_errors",
]
