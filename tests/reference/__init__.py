# SPDX-License-Identifier: BSD-3-Clause
"""What every function of ``pyconv.functional`` computes: float64, naive, no library code.

Each function carries the name and the arguments of the one it defines (``out`` and ``algorithm``
apart, which must not change the result) and is written to be compared by eye with its docstring.
"""

from reference.activation import *
from reference.convolution import *
from reference.convolution_nd import *
from reference.loss import *
from reference.normalization import *
from reference.pointwise import *
from reference.pooling import *
from reference.window import *
