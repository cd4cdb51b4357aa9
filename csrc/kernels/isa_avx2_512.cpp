// SPDX-License-Identifier: BSD-3-Clause
// The AVX-512 templates, lowered to AVX2: for tests on machines without AVX-512, never for speed.
#define PYCONV_ISA avx2_512
#define PYCONV_COMPACT
#define PYCONV_FEW_FORMS
#define PYCONV_VECTOR_BYTES 64
#define PYCONV_NARROW avx2
#define PYCONV_MR 12
#define PYCONV_NV 2
#define PYCONV_KC 384
#include "kernels/instantiate-inl.h"
