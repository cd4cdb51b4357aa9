# SPDX-License-Identifier: BSD-3-Clause
"""pyconv inside other frameworks, one module a host. Nothing here is imported by `import pyconv`."""
