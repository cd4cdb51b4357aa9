// SPDX-License-Identifier: BSD-3-Clause
#include "base/fork.h"

#include <pthread.h>

#include <vector>

namespace pyconv {
namespace {

struct Registry {
    std::mutex mutex;  // guards the lists; held across fork as well
    std::vector<std::mutex*> held;
    std::vector<void (*)()> child_calls;
};

Registry& registry();

void before_fork() {
    Registry& r = registry();
    r.mutex.lock();
    for (std::mutex* mutex : r.held) mutex->lock();
}

void unlock_all() {
    Registry& r = registry();
    for (size_t i = r.held.size(); i-- > 0;) r.held[i]->unlock();
    r.mutex.unlock();
}

void in_child() {
    for (void (*call)() : registry().child_calls) call();
    unlock_all();
}

Registry& registry() {
    static Registry* instance = [] {
        auto* made = new Registry;
        pthread_atfork(before_fork, unlock_all, in_child);
        return made;
    }();
    return *instance;
}

}  // namespace

void hold_across_fork(std::mutex& mutex) {
    Registry& r = registry();
    const std::lock_guard lock(r.mutex);
    r.held.push_back(&mutex);
}

void call_in_forked_child(void (*function)()) {
    Registry& r = registry();
    const std::lock_guard lock(r.mutex);
    r.child_calls.push_back(function);
}

}  // namespace pyconv
