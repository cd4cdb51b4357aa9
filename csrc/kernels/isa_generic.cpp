// SPDX-License-Identifier: BSD-3-Clause
// The compiler's baseline; on x86-64 SSE2: 12 accumulators of 16 registers. No fused multiply-add.
#define PYCONV_ISA generic
#define PYCONV_FEW_FORMS
#define PYCONV_VECTOR_BYTES 16
#define PYCONV_MR 6
#define PYCONV_NV 2
#define PYCONV_KC 256
#include "kernels/instantiate-inl.h"
