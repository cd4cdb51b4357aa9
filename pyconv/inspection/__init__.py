# SPDX-License-Identifier: BSD-3-Clause
"""Looking at what was learned, and at why something is not: scores, checks, sizes and pictures."""

from pyconv.inspection.gradients import gradient_errors
from pyconv.inspection.pictures import draw_confusion_matrix, draw_learning_curve
from pyconv.inspection.scores import class_scores, confusion_matrix

__all__ = [
    "class_scores",
    "confusion_matrix",
    "draw_confusion_matrix",
    "draw_learning_curve",
    "gradient_errors",
]
