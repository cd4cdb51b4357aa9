// SPDX-License-Identifier: BSD-3-Clause
#include "base/cpu_count.h"

#if defined(__linux__)
#include <sched.h>
#endif
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "base/parallel.h"

namespace pyconv {
namespace {

int affinity_count() {
#if defined(__linux__)
    // A fixed cpu_set_t holds 1024 processors; the call fails on a machine with more.
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? static_cast<int>(online) : 1;
}

// ceil(quota / period), or 0 for "no limit".
int quota_count(double quota, double period) {
    if (!(quota > 0 && period > 0)) return 0;
    const double cpus = quota / period;
    const int whole = cpus < 1e6 ? static_cast<int>(cpus) : 1000000;
    return whole + (cpus > whole ? 1 : 0);
}

int cgroup_count() {
    double quota = 0, period = 0;
    // v2: "max 100000" or "150000 100000".
    if (std::ifstream file("/sys/fs/cgroup/cpu.max"); file >> quota >> period)
        return quota_count(quota, period);
    std::ifstream quota_file("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
    std::ifstream period_file("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
    if (quota_file >> quota && period_file >> period) return quota_count(quota, period);
    return 0;
}

// The first number in the variable ("4", "4,2"), or 0 when it holds none in 1 .. 1024.
int environment_count(const char* name) {
    const char* text = std::getenv(name);
    if (text == nullptr) return 0;
    const long value = std::strtol(text, nullptr, 10);
    return value >= 1 && value <= 1024 ? static_cast<int>(value) : 0;
}

}  // namespace

int usable_cpus() {
    const int affinity = affinity_count();
    const int quota = cgroup_count();
    const int cpus = quota > 0 && quota < affinity ? quota : affinity;
    return cpus > 0 ? cpus : 1;
}

int default_num_threads() {
    for (const char* name : {"PYCONV_NUM_THREADS", "OMP_NUM_THREADS"})
        if (const int count = environment_count(name)) return count;
    return usable_cpus();
}

}  // namespace pyconv
