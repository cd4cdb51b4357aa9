# SPDX-License-Identifier: BSD-3-Clause
"""pyconv inside other frameworks, one module for each; ``import pyconv`` imports none of them."""
