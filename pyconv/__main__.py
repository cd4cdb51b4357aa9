# SPDX-License-Identifier: BSD-3-Clause
"""``python -m pyconv`` is the command ``pyconv``."""

import sys

from pyconv.cli import main

sys.exit(main())
