# SPDX-License-Identifier: BSD-3-Clause
"""The options that the commands share: which cases, and how pyconv is to run them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from bench.selection import BATCHES, cases
from bench.workloads import OPS, Case


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what `chosen_cases` reads, the thread counts and the algorithm."""
    parser.add_argument("--op", choices=OPS, action="append", help="may be repeated; default all")
    parser.add_argument(
        "--workloads",
        choices=("core", "networks", "products", "grouped", "all"),
        default="core",
        help="core: a few of each kind (default); networks: every convolution of ResNet-50, VGG-16, "
        "GoogLeNet, LeNet-5 and a CIFAR net; products: small, skinny, large and odd; "
        "grouped: convolutions in groups, depthwise too; all: the four",
    )
    parser.add_argument(
        "--smoke",
        dest="workloads",
        action="store_const",
        const="smoke",
        help="tiny workloads, seconds in all",
    )
    parser.add_argument(
        "--batch",
        type=positive_integers,
        metavar="N[,N]",
        help=f"images at a time in the networks ({','.join(map(str, BATCHES))})",
    )
    parser.add_argument("--filter", default="", metavar="TEXT", help="part of a name or shape")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--threads", type=positive_integers, default=[1], metavar="N[,N]")
    parser.add_argument("--algorithm", default="auto", help="of pyconv's convolutions")


def chosen_cases(parser: argparse.ArgumentParser, options: argparse.Namespace) -> list[Case]:
    """Every case that the options ask for, op by op; none at all is a usage error."""
    if options.batch is not None and options.workloads not in ("networks", "all"):
        parser.error("--batch is about the networks: add --workloads networks")
    chosen = [
        case
        for op in dict.fromkeys(options.op or OPS)
        for case in cases(
            op, options.workloads, batches=options.batch or BATCHES, dtype=options.dtype
        )
        if options.filter in case.label
    ]
    if not chosen:
        parser.error("no workload of these ops has this --filter in its name or shape")
    return chosen


def positive_integers(text: str) -> list[int]:
    """Read ``1,2``; each number counts once."""
    parts: Sequence[str] = text.split(",")
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"got {text!r}; expected positive integers, as in 1,2")
    return list(dict.fromkeys(int(part) for part in parts))
