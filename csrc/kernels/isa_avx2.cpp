// SPDX-License-Identifier: BSD-3-Clause
// AVX2 + FMA: 12 accumulators of 16 registers.
#define PYCONV_ISA avx2
#define PYCONV_VECTOR_BYTES 32
#define PYCONV_MR 6
#define PYCONV_NV 2
#define PYCONV_KC 384
#include "kernels/instantiate-inl.h"
