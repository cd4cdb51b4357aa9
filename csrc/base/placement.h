// SPDX-License-Identifier: BSD-3-Clause
// Which processor a thread wakes up on.
#pragma once

namespace pyconv {

// The processor that the calling thread runs on, or -1.
int current_cpu();
// The calling thread, as ExcludeCpu takes it.
int current_thread();

// Keeps `thread` off processor `cpu` until the end of the scope, in which it is woken.
//
// The scheduler likes to wake a thread where it slept. If that is where its waker runs, the two share
// one processor while another idles, until the load is next balanced, several milliseconds later:
// longer than most kernels take.
class ExcludeCpu {
  public:
    ExcludeCpu(int thread, int cpu);
    ~ExcludeCpu();
    ExcludeCpu(const ExcludeCpu&) = delete;
    ExcludeCpu& operator=(const ExcludeCpu&) = delete;

  private:
    int thread_, cpu_;
    bool excluded_ = false;
};

}  // namespace pyconv
