// SPDX-License-Identifier: BSD-3-Clause
// Instruction sets: which ones this build has, which ones this machine runs, which one is in use.
#pragma once

#include <string>
#include <vector>

#include "base/types.h"

namespace pyconv {

enum class Isa {
    Generic,   // the compiler's baseline: SSE2 on x86-64
    Avx2Wide,  // the Avx512 templates, 512 bits wide, lowered to AVX2 + FMA. For tests only: an
               // AVX-512 machine is rare, and so the templates run on one that is not
    Avx2,      // AVX2 + FMA, 256 bits
    Avx512,    // AVX-512 F, 512 bits
    Neon,      // AArch64 Advanced SIMD, 128 bits
};

const char* isa_name(Isa isa);

// Compiled into this build and supported by both the processor and the operating system; the fastest
// one last.
const std::vector<Isa>& available_isas();

// The one whose kernels run: the best available, or the one that PYCONV_ISA or set_isa() chose.
// Throws std::invalid_argument when PYCONV_ISA names none of the available ones.
Isa current_isa();
void set_isa(const std::string& name);

}  // namespace pyconv
