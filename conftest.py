# SPDX-License-Identifier: BSD-3-Clause
"""Tests and benchmarks run against the installed package, not against this folder.

``python -m pytest`` puts the current folder first on the path, where ``pyconv/`` has no compiled
extension beside it. PYTHONSAFEPATH does the same for the processes that tests start.
"""

import os
import sys
from pathlib import Path

_HERE = Path(__file__).parent.resolve()
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != _HERE]
os.environ["PYTHONSAFEPATH"] = "1"
