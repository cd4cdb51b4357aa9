# SPDX-License-Identifier: BSD-3-Clause
"""Looking at what was learned, and at why something is not: scores, checks, sizes and pictures."""

from pyconv.inspection.conversion import conv_to_linear, linear_to_conv
from pyconv.inspection.demonstration import draw_convolution, draw_im2col
from pyconv.inspection.diagnosis import Diagnosis, diagnose
from pyconv.inspection.features import draw_activations, draw_filters, draw_saliency, saliency
from pyconv.inspection.gradients import GradientCheck, check_gradients
from pyconv.inspection.kernels import KERNELS, apply_kernel, draw_kernels
from pyconv.inspection.pictures import draw_confusion_matrix, draw_learning_curve
from pyconv.inspection.scores import class_scores, confusion_matrix
from pyconv.inspection.sizes import (
    ConvolutionCost,
    convolution_cost,
    output_size,
    receptive_field,
)

__all__ = [
    "KERNELS",
    "ConvolutionCost",
    "Diagnosis",
    "GradientCheck",
    "apply_kernel",
    "check_gradients",
    "class_scores",
    "confusion_matrix",
    "conv_to_linear",
    "convolution_cost",
    "diagnose",
    "draw_activations",
    "draw_confusion_matrix",
    "draw_convolution",
    "draw_filters",
    "draw_im2col",
    "draw_kernels",
    "draw_learning_curve",
    "draw_saliency",
    "linear_to_conv",
    "output_size",
    "receptive_field",
    "saliency",
]
