# SPDX-License-Identifier: BSD-3-Clause
"""Random changes to a batch of images (N, C, H, W) of uint8, float32 or float64.

Each image gets a change of its own, drawn from an explicit Generator. All functions return a new
array of the same dtype and never write to their input. uint8 images are computed with in float32,
then rounded and clipped to 0 to 255, once; floating ones may have any range, so nothing is clipped.
"""

from pyconv.data.augmentation.affine import random_affine, random_rotation
from pyconv.data.augmentation.composition import Augmentation, Mix, compose
from pyconv.data.augmentation.mixing import mixup
from pyconv.data.augmentation.placement import random_crop, random_flip, random_shift
from pyconv.data.augmentation.values import color_jitter, cutout

__all__ = [
    "Augmentation",
    "Mix",
    "color_jitter",
    "compose",
    "cutout",
    "mixup",
    "random_affine",
    "random_crop",
    "random_flip",
    "random_rotation",
    "random_shift",
]
