# SPDX-License-Identifier: BSD-3-Clause
"""A small residual network for Fashion-MNIST, trained in a few minutes on two cores.

    python examples/fashion_mnist.py --data-dir /usr/share/datasets/fashion-mnist --out runs/fashion

The folder holds the four IDX files, gzipped or not (Debian's package ``dataset-fashion-mnist`` has
them). Ctrl-C stops the training; the same command with ``--resume`` goes on and ends with the same
bits. It needs ``pip install 'pyconv-nn[train]'``. Twelve epochs, seed 0, gave 93.51 % of the test images (93.65 % of
the validation images); the first epoch of a run took 35 seconds on two cores that did little else.

Six 3x3 convolutions, four of them in two residual blocks, follow a pooled stem: 0.26 million
weights. What makes such a network good in few epochs: images moved and mirrored at random, a
one-cycle learning rate, targets smoothed, and an average over the weights of the last hundreds of
steps.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyconv import data, io
from pyconv.layers import (
    BatchNorm2d,
    Conv2d,
    Flatten,
    Layer,
    Linear,
    MaxPool2d,
    ReLU,
    Residual,
    Sequential,
)
from pyconv.losses import CrossEntropyLoss
from pyconv.optim import SGD, OneCycleSchedule
from pyconv.training import TrainingInterrupted, evaluate, fit

BATCH_SIZE = 128
PEAK_LR = 0.1


def conv(C: int, OC: int, rng: np.random.Generator) -> list[Layer]:
    """Return a 3x3 convolution that keeps the size, batch norm and ReLU."""
    return [
        Conv2d(C, OC, 3, padding=1, bias=False, rng=rng),
        BatchNorm2d(OC),
        ReLU(),
    ]


def network(width: int, rng: np.random.Generator) -> Sequential:
    """Return the network for images (N, 1, 28, 28) of ten classes."""
    return Sequential(
        *conv(1, width, rng),
        MaxPool2d(2),  # 14 x 14
        *conv(width, 2 * width, rng),
        Residual(Sequential(*conv(2 * width, 2 * width, rng), *conv(2 * width, 2 * width, rng))),
        MaxPool2d(2),  # 7 x 7
        *conv(2 * width, 4 * width, rng),
        Residual(Sequential(*conv(4 * width, 4 * width, rng), *conv(4 * width, 4 * width, rng))),
        MaxPool2d(7),
        Flatten(),
        Linear(4 * width, 10, rng=rng),
    )


def augment(images: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Move each image by up to two pixels and mirror half of them."""
    return data.random_flip(data.random_shift(images, 2, rng=rng), rng=rng)


def main() -> int:
    """Train, test once, and save the model."""
    parser = argparse.ArgumentParser(description="Train a small residual network.")
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of the IDX files")
    parser.add_argument("--out", type=Path, required=True, help="folder for model and checkpoint")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--width", type=int, default=24, help="channels of the first convolution")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    rng = np.random.default_rng(arguments.seed)
    train, test = data.load_fashion_mnist(arguments.data_dir)
    # A few images to watch the training by. The test images are looked at once, at the end.
    train, validation = data.split(train, 1 / 30, rng=rng)
    model = network(arguments.width, rng)
    loss = CrossEntropyLoss(label_smoothing=0.1)
    steps = arguments.epochs * math.ceil(len(train) / BATCH_SIZE)
    try:
        history = fit(
            model,
            loss,
            SGD(model.parameters(), PEAK_LR, 0.9, nesterov=True, weight_decay=5e-4),
            train,
            epochs=arguments.epochs,
            batch_size=BATCH_SIZE,
            rng=rng,
            validation_data=validation,
            augment=augment,
            schedule=OneCycleSchedule(PEAK_LR, steps, pct_start=0.25, div_factor=10),
            ema_decay=0.995,
            checkpoint=arguments.out / "checkpoint.safetensors",
            resume=arguments.resume,
            run={"seed": str(arguments.seed), "width": str(arguments.width)},
        )
    except TrainingInterrupted as interrupted:
        print(f"\n{len(interrupted.history.epochs)} epochs are kept; go on with --resume")
        return 130
    _, accuracy = evaluate(model, loss, test)
    io.save_model(model, arguments.out / "model.safetensors")
    print(f"test accuracy {accuracy:.4f} after {history.seconds:.0f} s of training")
    return 0


if __name__ == "__main__":
    sys.exit(main())
