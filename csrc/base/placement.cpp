// SPDX-License-Identifier: BSD-3-Clause
#include "base/placement.h"

#if defined(__linux__)
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace pyconv {

#if defined(__linux__)

int current_cpu() { return sched_getcpu(); }
int current_thread() { return static_cast<int>(syscall(SYS_gettid)); }

// Where a mask is longer than cpu_set_t, or has no other processor, nothing is changed.
ExcludeCpu::ExcludeCpu(int thread, int cpu) : thread_(thread), cpu_(cpu) {
    cpu_set_t mask;
    if (cpu < 0 || cpu >= CPU_SETSIZE || sched_getaffinity(thread, sizeof mask, &mask) != 0) return;
    if (!CPU_ISSET(cpu, &mask) || CPU_COUNT(&mask) < 2) return;
    CPU_CLR(cpu, &mask);
    excluded_ = sched_setaffinity(thread, sizeof mask, &mask) == 0;
}

ExcludeCpu::~ExcludeCpu() {
    cpu_set_t mask;
    if (!excluded_ || sched_getaffinity(thread_, sizeof mask, &mask) != 0) return;
    CPU_SET(cpu_, &mask);
    sched_setaffinity(thread_, sizeof mask, &mask);
}

#else

int current_cpu() { return -1; }
int current_thread() { return 0; }

ExcludeCpu::ExcludeCpu(int thread, int cpu) : thread_(thread), cpu_(cpu) {}
ExcludeCpu::~ExcludeCpu() = default;
#endif

}  // namespace pyconv
