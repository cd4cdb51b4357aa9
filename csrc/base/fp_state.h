// SPDX-License-Identifier: BSD-3-Clause
// The floating-point control state (rounding, flush-to-zero) of the calling thread.
//
// Worker threads take over the caller's, or a result would depend on which thread computed it.
#pragma once

#include <cstdint>

namespace pyconv {

#if defined(__x86_64__)
// Without the sticky exception flags (bits 0-5), which are results and not settings.
inline uint64_t fp_state() { return __builtin_ia32_stmxcsr() & ~0x3fu; }
inline void set_fp_state(uint64_t state) { __builtin_ia32_ldmxcsr(static_cast<unsigned>(state)); }
#elif defined(__aarch64__)
inline uint64_t fp_state() {
    uint64_t state;
    __asm__ volatile("mrs %0, fpcr" : "=r"(state));
    return state;
}
inline void set_fp_state(uint64_t state) { __asm__ volatile("msr fpcr, %0" : : "r"(state)); }
#else
inline uint64_t fp_state() { return 0; }
inline void set_fp_state(uint64_t) {}
#endif

}  // namespace pyconv
