// SPDX-License-Identifier: BSD-3-Clause
#include "base/parallel.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <new>
#include <thread>

#include "base/cpu_count.h"
#include "base/error.h"
#include "base/fork.h"
#include "base/fp_state.h"
#include "base/pause.h"
#include "base/placement.h"

namespace pyconv {
namespace {

using Clock = std::chrono::steady_clock;

constexpr index_t kMaxThreads = 1024;
// Work that is not worth waking a worker for, and not even worth sharing with one that is awake.
constexpr double kWakeNanoseconds = 50e3;
constexpr double kShareNanoseconds = 20e3;
// How long a worker stays awake: the next part of an op, or of a network, soon follows.
constexpr auto kSpinTime = std::chrono::microseconds(100);
constexpr auto kYieldTime = std::chrono::milliseconds(2);
constexpr auto kInterruptPeriod = std::chrono::milliseconds(50);
// musl gives threads 128 KiB by default; kernels keep at most a few KiB on the stack.
constexpr size_t kStackBytes = size_t{1} << 20;

std::atomic<void (*)()> interrupt_check{nullptr};

// True while this thread runs a task, so that a nested call runs inline.
thread_local bool inside_task = false;
thread_local int thread_override = 0;

struct Job {
    // A run of tasks, taken one by one.
    struct alignas(64) Share {
        std::atomic<index_t> next{0};
        index_t end = 0;
    };
    static constexpr int kMaxShares = 16;

    Share shares[kMaxShares];
    int share_count = 1;
    detail::TaskFunction function = nullptr;
    void* context = nullptr;
    uint64_t fp_state = 0;
    int max_workers = 0;
    std::atomic<bool> stop{false};
    std::mutex error_mutex;
    std::exception_ptr error;

    void set_tasks(index_t tasks, int threads) {
        share_count = std::min(threads, kMaxShares);
        for (int i = 0; i < share_count; ++i) {
            shares[i].next.store(tasks * i / share_count, std::memory_order_relaxed);
            shares[i].end = tasks * (i + 1) / share_count;
        }
    }

    // Each thread begins with a share of its own: what it reads is then mostly what it has itself written in the
    // layer before, and in its cache. Then it helps the others: cores are shared, and a slow one takes fewer.
    template <typename AfterTask>
    void work(int thread, AfterTask&& after_task) noexcept {
        inside_task = true;
        try {
            for (int i = 0; i < share_count; ++i) {
                Share& share = shares[(thread + i) % share_count];
                while (!stop.load(std::memory_order_relaxed)) {
                    const index_t task = share.next.fetch_add(1, std::memory_order_relaxed);
                    if (task >= share.end) break;
                    function(context, task);
                    after_task();
                }
            }
        } catch (...) {
            stop.store(true, std::memory_order_relaxed);
            const std::lock_guard lock(error_mutex);
            if (!error) error = std::current_exception();
        }
        inside_task = false;
    }
};

// Lets the interrupt check run now and then. Used by the calling thread only. The time of the next
// check outlives the call: an op may be thousands of parallel_for that take a millisecond each.
class InterruptPoll {
  public:
    void operator()() {
        if (check_ == nullptr) return;
        const auto now = Clock::now();
        if (now < next_) return;
        next_ = now + kInterruptPeriod;
        check_();
    }

  private:
    static thread_local Clock::time_point next_;
    void (*check_)() = interrupt_check.load(std::memory_order_relaxed);
};
thread_local Clock::time_point InterruptPoll::next_{};

// The workers and the one job they may have. Made at the first call that needs it, never destroyed:
// the threads live as long as the process, and a forked child abandons the parent's.
class Pool {
  public:
    // Whether the first `wanted` workers are waiting for work, awake. They may fall asleep at any time.
    bool is_awake(int wanted) const {
        if (worker_count_.load(std::memory_order_relaxed) < wanted) return false;
        for (int i = 0; i < wanted; ++i)
            if (places_[i].sleeps_on.load(std::memory_order_relaxed) >= 0) return false;
        return true;
    }

    // False, with nothing done, when another thread is using the pool.
    bool try_run(Job& job) {
        if (busy_.test_and_set(std::memory_order_acquire)) return false;
        start_workers(job.max_workers);
        job_ = &job;
        const int workers = worker_count_.load(std::memory_order_relaxed);
        active_.store(workers, std::memory_order_relaxed);
        {
            // Under the mutex, so that a worker about to sleep can not miss the new epoch.
            const std::lock_guard lock(mutex_);
            epoch_.fetch_add(1, std::memory_order_release);
        }
        wake(job.max_workers);
        job.work(0, InterruptPoll());
        wait_for_workers();
        busy_.clear(std::memory_order_release);
        return true;
    }

  private:
    // Wakes the sleeping workers, one that went to sleep on this very processor on another.
    void wake(int wanted) {
        const int cpu = current_cpu();
        const int count = std::min(wanted, worker_count_.load(std::memory_order_relaxed));
        for (int i = 0; cpu >= 0 && i < count; ++i) {
            if (places_[i].sleeps_on.load(std::memory_order_relaxed) != cpu) continue;
            const ExcludeCpu exclude(places_[i].thread.load(std::memory_order_relaxed), cpu);
            wake_.notify_all();
            return;
        }
        wake_.notify_all();
    }

    // Each worker passes through every epoch, so the job may go once all have. Their last tasks are short:
    // whoever sleeps here is woken on the processor of the worker that was last, and is in its way.
    void wait_for_workers() {
        const auto done = [&] { return active_.load(std::memory_order_acquire) == 0; };
        for (int spins = 0; spins < 1000; ++spins) {
            if (done()) return;
            pause_cpu();
        }
        for (const auto end = Clock::now() + kYieldTime; Clock::now() < end;) {
            if (done()) return;
            std::this_thread::yield();
        }
        std::unique_lock lock(mutex_);
        done_.wait(lock, done);
    }

    // Starts what is missing; fewer threads than asked for are no error.
    void start_workers(int wanted) {
        for (int count = worker_count_.load(std::memory_order_relaxed); count < wanted; ++count) {
            pthread_attr_t attributes;
            pthread_attr_init(&attributes);
            pthread_attr_setstacksize(&attributes, kStackBytes);
            pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
            auto* start =
                new (std::nothrow) Start{this, count, epoch_.load(std::memory_order_relaxed)};
            pthread_t thread;
            const bool started =
                start != nullptr && pthread_create(&thread, &attributes, run_worker, start) == 0;
            pthread_attr_destroy(&attributes);
            if (!started) {
                delete start;
                break;
            }
            worker_count_.store(count + 1, std::memory_order_relaxed);
        }
    }

    struct Start {
        Pool* pool;
        int index;
        uint64_t epoch;  // the last one before this worker began
    };

    static void* run_worker(void* argument) {
        const Start start = *static_cast<Start*>(argument);
        delete static_cast<Start*>(argument);
        start.pool->worker_loop(start.index, start.epoch);
        return nullptr;
    }

    void worker_loop(int index, uint64_t seen) {
        places_[index].thread.store(current_thread(), std::memory_order_relaxed);
        while (true) {
            wait_for_epoch(index, seen);
            ++seen;
            Job& job = *job_;
            if (index < job.max_workers) {
                set_fp_state(job.fp_state);
                job.work(index + 1, [] {});
            }
            if (active_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
                const std::lock_guard lock(mutex_);
                done_.notify_one();
            }
        }
    }

    void wait_for_epoch(int index, uint64_t seen) {
        const auto end = Clock::now() + kSpinTime;
        do {
            for (int i = 0; i < 16; ++i) {
                if (epoch_.load(std::memory_order_acquire) != seen) return;
                pause_cpu();
            }
        } while (Clock::now() < end);
        std::unique_lock lock(mutex_);
        places_[index].sleeps_on.store(std::max(current_cpu(), 0), std::memory_order_relaxed);
        wake_.wait(lock, [&] { return epoch_.load(std::memory_order_acquire) != seen; });
        places_[index].sleeps_on.store(-1, std::memory_order_relaxed);
    }

    // Where a worker sleeps: a processor (0 if that is not known), or -1 while it is awake.
    struct Place {
        std::atomic<int> thread{0}, sleeps_on{-1};
    };

    std::atomic_flag busy_;
    std::atomic<uint64_t> epoch_{0};
    std::atomic<int> active_{0};        // workers that have not yet finished the current epoch
    std::atomic<int> worker_count_{0};  // written by the thread that holds busy_
    Place places_[kMaxThreads];
    Job* job_ = nullptr;
    std::mutex mutex_;
    std::condition_variable wake_, done_;
};

std::atomic<Pool*> current_pool{nullptr};

// In a forked child the threads are gone: it leaves the old pool as it is and begins anew.
[[maybe_unused]] const bool child_call_registered = [] {
    call_in_forked_child([] {
        current_pool.store(nullptr, std::memory_order_release);
        inside_task = false;
    });
    return true;
}();

Pool& pool() {
    Pool* existing = current_pool.load(std::memory_order_acquire);
    if (existing != nullptr) return *existing;
    auto* made = new Pool;
    if (current_pool.compare_exchange_strong(existing, made)) return *made;
    delete made;  // another thread was faster; no worker of `made` has been started
    return *existing;
}

std::atomic<int>& process_num_threads() {
    static std::atomic<int> count = default_num_threads();
    return count;
}

int checked_count(const char* function, index_t count, index_t least) {
    check(count >= least && count <= kMaxThreads, function, ": n is out of range, got ", count,
          "; expected ", least, " to ", kMaxThreads);
    return static_cast<int>(count);
}

}  // namespace

int num_threads() {
    return thread_override != 0 ? thread_override
                                : process_num_threads().load(std::memory_order_relaxed);
}

void set_num_threads(index_t count) {
    process_num_threads().store(checked_count("set_num_threads", count, 1),
                                std::memory_order_relaxed);
}

int set_thread_num_threads(index_t count) {
    const int previous = thread_override;
    thread_override = checked_count("num_threads", count, 0);
    return previous;
}

void set_interrupt_check(void (*check)()) { interrupt_check.store(check); }

namespace detail {

void run_tasks(index_t tasks, double nanoseconds, TaskFunction function, void* context) {
    if (tasks <= 0) return;
    const int threads = num_threads();
    const int workers = static_cast<int>(tasks < threads ? tasks : threads) - 1;
    if (workers > 0 && nanoseconds > kShareNanoseconds && !inside_task &&
        (nanoseconds > kWakeNanoseconds || pool().is_awake(workers))) {
        Job job;
        job.set_tasks(tasks, workers + 1);
        job.function = function;
        job.context = context;
        job.fp_state = fp_state();
        job.max_workers = workers;
        if (pool().try_run(job)) {
            if (job.error) std::rethrow_exception(job.error);
            return;
        }
    }
    InterruptPoll poll;
    for (index_t task = 0; task < tasks; ++task) {
        function(context, task);
        if (!inside_task) poll();
    }
}

}  // namespace detail
}  // namespace pyconv
