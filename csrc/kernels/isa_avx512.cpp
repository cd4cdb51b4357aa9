// SPDX-License-Identifier: BSD-3-Clause
// AVX-512 F: 24 accumulators of 32 registers.
#define PYCONV_ISA avx512
#define PYCONV_VECTOR_BYTES 64
#define PYCONV_NARROW avx2
#define PYCONV_MR 12
#define PYCONV_NV 2
#define PYCONV_KC 384
#include "kernels/instantiate-inl.h"
