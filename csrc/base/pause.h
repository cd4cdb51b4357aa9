// SPDX-License-Identifier: BSD-3-Clause
#pragma once

namespace pyconv {

// Tells the processor that this thread waits in a loop.
inline void pause_cpu() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

}  // namespace pyconv
