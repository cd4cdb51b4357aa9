// SPDX-License-Identifier: BSD-3-Clause
// AArch64 Advanced SIMD: 16 accumulators of 32 registers; with 24, GCC keeps them in memory.
#define PYCONV_ISA neon
#define PYCONV_VECTOR_BYTES 16
#define PYCONV_MR 8
#define PYCONV_NV 2
#define PYCONV_KC 256
#include "kernels/instantiate-inl.h"
