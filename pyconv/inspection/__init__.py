# SPDX-License-Identifier: BSD-3-Clause
"""Looking at what was learned, and at why something is not: scores, checks, sizes and pictures."""

from pyconv.inspection.conversion import conv_to_linear, linear_to_conv
from pyconv.inspection.diagnosis import Diagnosis, diagnose
from pyconv.inspection.gradients import GradientCheck, check_gradients, gradient_errors
from pyconv.inspection.pictures import draw_confusion_matrix, draw_learning_curve
from pyconv.inspection.scores import class_scores, confusion_matrix
from pyconv.inspection.sizes import (
    ConvolutionCost,
    convolution_cost,
    output_size,
    receptive_field,
)

__all__ = [
    "ConvolutionCost",
    "Diagnosis",
    "GradientCheck",
    "check_gradients",
    "class_scores",
    "confusion_matrix",
    "conv_to_linear",
    "convolution_cost",
    "diagnose",
    "draw_confusion_matrix",
    "draw_learning_curve",
    "gradient_errors",
    "linear_to_conv",
    "output_size",
    "receptive_field",
]
