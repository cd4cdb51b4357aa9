// SPDX-License-Identifier: BSD-3-Clause
// How many processors this process may use.
#pragma once

namespace pyconv {

// The smaller of the affinity mask and the cgroup's CPU quota (v1 or v2, rounded up); at least 1.
int usable_cpus();

}  // namespace pyconv
