# SPDX-License-Identifier: BSD-3-Clause
"""Optimizers, learning-rate schedules, and what is done to gradients before a step."""

from pyconv.optim.clipping import clip_grad_norm, clip_grad_value
from pyconv.optim.optimizers import SGD, Adam, AdamW, Optimizer, RMSprop
from pyconv.optim.schedules import (
    CosineSchedule,
    ExponentialSchedule,
    MultiStepSchedule,
    OneCycleSchedule,
    PlateauSchedule,
    Schedule,
    StepSchedule,
)

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "CosineSchedule",
    "ExponentialSchedule",
    "MultiStepSchedule",
    "OneCycleSchedule",
    "Optimizer",
    "PlateauSchedule",
    "RMSprop",
    "Schedule",
    "StepSchedule",
    "clip_grad_norm",
    "clip_grad_value",
]
