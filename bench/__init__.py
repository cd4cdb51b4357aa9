# SPDX-License-Identifier: BSD-3-Clause
"""Benchmarks of pyconv; run from a checkout, never part of the wheel.

::

    python -m pytest bench --benchmark-only   # times pyconv alone, with pytest-benchmark
    python -m bench.peers                     # times pyconv beside every installed peer
    python -m bench.memory                    # measures the scratch memory of pyconv's calls

`workloads` says what is computed, `selection` and `networks` on which shapes, `options` which of
them a command runs, `subjects` who computes it, `verify` whether the answer is right, `timing` how
long it took and `machine` on what. `results` sums up beside the targets, `report` prints and saves,
`plot` draws.
"""

import sys
from pathlib import Path

# Benchmarks run against the installed package: ``python -m`` puts the checkout first on the path,
# where pyconv/ has no compiled extension beside it.
_CHECKOUT = Path(__file__).resolve().parent.parent
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != _CHECKOUT]
