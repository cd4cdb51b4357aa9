# SPDX-License-Identifier: BSD-3-Clause
"""Benchmarks of pyconv; run from a checkout, never part of the wheel.

::

    python -m pytest bench --benchmark-only   # times pyconv alone, with pytest-benchmark
    python -m bench.peers                     # times pyconv beside every installed peer

`workloads` says what is computed, `subjects` who computes it, `verify` whether the answer is right,
`timing` how long it took, `machine` on what, and `report` prints, saves and plots the result.
"""
