# SPDX-License-Identifier: BSD-3-Clause
"""Scripts run in a fresh Python process, with a time limit that turns a hang into a failure."""

import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Mapping

SETTINGS = ("PYCONV_ISA", "PYCONV_NUM_THREADS", "OMP_NUM_THREADS")


def run_python(
    script: str, environment: Mapping[str, str] | None = None, *, timeout: float = 120
) -> str:
    """Run a script and return what it printed; fail unless it ends well and in time.

    Variables that steer pyconv are those of `environment` only. NumPy's BLAS is kept from starting
    threads of its own.
    """
    inherited = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**inherited, "OPENBLAS_NUM_THREADS": "1", **(environment or {})},
        cwd=tempfile.gettempdir(),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert result.returncode == 0, f"exit status {result.returncode}\n{result.stderr}"
    return result.stdout.strip()
