// SPDX-License-Identifier: BSD-3-Clause
// parallel_for: the one way in which pyconv uses more than one thread.
//
// A small pool of our own. OpenMP's would hang after fork(), blind the thread sanitizer and collide
// with the copies that other packages bring. What it promises:
//   - no thread is started before the first call that has work for it;
//   - the caller takes part; idle workers spin for ~30 us, then sleep;
//   - an exception in any task reaches the caller, once the other threads have stopped;
//   - a call from inside a task, or while another thread is using the pool, runs inline;
//   - a forked child starts afresh, and fork() never waits for a running kernel;
//   - workers take over the caller's floating-point control state.
// Results must not depend on the number of threads: tasks are cut by shape, and write apart.
#pragma once

#include <type_traits>

#include "base/types.h"

namespace pyconv {

// The number of threads that a call from this thread may use.
int num_threads();
// For the whole process. Throws std::invalid_argument unless 1 <= count <= 1024.
void set_num_threads(index_t count);
// For calls from this thread only, over the process-wide number; 0 takes the override away.
// Returns the previous override.
int set_thread_num_threads(index_t count);

// What the machine allows: PYCONV_NUM_THREADS, else OMP_NUM_THREADS, else the smaller of the
// affinity mask and the cgroup's CPU quota.
int default_num_threads();

// Called in the thread that called parallel_for, between tasks, at most every 50 ms; may throw to
// stop the work. The bindings use it to see Ctrl-C.
void set_interrupt_check(void (*check)());

namespace detail {
using TaskFunction = void (*)(void* context, index_t task);
void run_tasks(index_t tasks, double nanoseconds, TaskFunction function, void* context);
}  // namespace detail

// Calls body(task) once for each task in [0, tasks). `nanoseconds` estimates the whole work on one
// core: below ~50 us waking another core costs more than it gives, and the calls are made in turn.
template <typename Body>
void parallel_for(index_t tasks, double nanoseconds, Body&& body) {
    detail::run_tasks(
        tasks, nanoseconds,
        [](void* context, index_t task) {
            (*static_cast<std::remove_reference_t<Body>*>(context))(task);
        },
        const_cast<void*>(static_cast<const void*>(&body)));
}

}  // namespace pyconv
