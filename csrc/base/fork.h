// SPDX-License-Identifier: BSD-3-Clause
// Mutexes that survive fork().
//
// fork() copies a mutex in whatever state another thread left it; a child that then locks it hangs
// for ever. A mutex given to hold_across_fork() is locked by fork() itself while the copy is made,
// so both sides get it free. Only mutexes that are held for a few instructions may be given, and
// never one that is held while a kernel runs or while the GIL is wanted: fork() waits for it.
#pragma once

#include <mutex>

namespace pyconv {

// `mutex` must live for ever. Locked in order of registration.
void hold_across_fork(std::mutex& mutex);

// Calls `function` in the child, with all the held mutexes still locked: it must not lock them.
void call_in_forked_child(void (*function)());

}  // namespace pyconv
