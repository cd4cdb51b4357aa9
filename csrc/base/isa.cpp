// SPDX-License-Identifier: BSD-3-Clause
#include "base/isa.h"

#include <atomic>
#include <cstdlib>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "base/error.h"

namespace pyconv {
namespace {

#if defined(__x86_64__)
// AMD's family 19h (Zen 3 and 4) has no 512-bit multiplier: Zen 4 takes two cycles for a 512-bit
// instruction, so that AVX2 does as much a cycle, and its smaller tile wastes less at the edges.
bool splits_512_bits() {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0) return false;
    const unsigned family = ((eax >> 8) & 0xf) + ((eax >> 20) & 0xff);
    return __builtin_cpu_is("amd") && family == 0x19;
}
#endif

std::vector<Isa> detect() {
    std::vector<Isa> found = {Isa::Generic};
#if defined(__x86_64__)
    // __builtin_cpu_supports() asks cpuid and, for the wide registers, whether the operating
    // system saves them (XGETBV).
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
#if defined(PYCONV_TEST_ISA)
        found.push_back(Isa::Avx2Wide);
#endif
        found.push_back(Isa::Avx2);
    }
    if (__builtin_cpu_supports("avx512f"))
        found.insert(splits_512_bits() ? found.end() - 1 : found.end(), Isa::Avx512);
#elif defined(__aarch64__)
    found.push_back(Isa::Neon);
#endif
    return found;
}

Isa parse(const std::string& source, const std::string& name) {
    std::string names;
    for (const Isa isa : available_isas()) {
        if (name == isa_name(isa)) return isa;
        names += (names.empty() ? "" : ", ") + std::string(isa_name(isa));
    }
    check(false, source, " names no instruction set of this machine, got '", name,
          "'; expected one of ", names);
    return Isa::Generic;
}

std::atomic<Isa>& selected() {
    static std::atomic<Isa> isa = [] {
        const char* wanted = std::getenv("PYCONV_ISA");
        return wanted != nullptr && *wanted != '\0' ? parse("PYCONV_ISA", wanted)
                                                    : available_isas().back();
    }();
    return isa;
}

}  // namespace

const char* isa_name(Isa isa) {
    switch (isa) {
        case Isa::Generic:
            return "generic";
        case Isa::Avx2Wide:
            return "avx2_512";
        case Isa::Avx2:
            return "avx2";
        case Isa::Avx512:
            return "avx512";
        case Isa::Neon:
            return "neon";
    }
    return "unknown";
}

const std::vector<Isa>& available_isas() {
    static const std::vector<Isa> isas = detect();
    return isas;
}

Isa current_isa() { return selected().load(std::memory_order_relaxed); }

void set_isa(const std::string& name) {
    selected().store(parse("use_isa: name", name), std::memory_order_relaxed);
}

}  // namespace pyconv
