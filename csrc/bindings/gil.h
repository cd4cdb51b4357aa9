// SPDX-License-Identifier: BSD-3-Clause
// The GIL, given away while numbers are computed.
//
// A daemon thread that asks for the GIL while the interpreter is shutting down never gets it:
// CPython (before 3.14) ends such a thread with pthread_exit, which unwinds its stack like an
// exception that must not be caught, runs destructors that need the GIL, and aborts the process at
// the first noexcept function. These two wait for the end of the process instead.
#pragma once

#include <pybind11/pybind11.h>
#include <unistd.h>
#if defined(__GLIBCXX__)
#include <cxxabi.h>
#endif

namespace pyconv::bindings {

[[noreturn]] inline void wait_for_exit() {
    while (true) pause();
}

// Releases the GIL for the rest of the scope. No Python object may be touched meanwhile.
class WithoutGil {
  public:
    WithoutGil() : state_(PyEval_SaveThread()) {}
    WithoutGil(const WithoutGil&) = delete;
    WithoutGil& operator=(const WithoutGil&) = delete;
    ~WithoutGil() {
        try {
            PyEval_RestoreThread(state_);
        } catch (...) {
            wait_for_exit();
        }
    }

  private:
    PyThreadState* state_;
};

// Runs pending signal handlers (Ctrl-C) from a thread without the GIL; what they raise is thrown. A thread that
// Python does not know, which the C API may be called from, has no handlers to run, and may be waited for by the
// thread that has the GIL.
inline void check_signals() {
    if (PyGILState_GetThisThreadState() == nullptr) return;
    try {
        const pybind11::gil_scoped_acquire gil;
        if (PyErr_CheckSignals() != 0) throw pybind11::error_already_set();
#if defined(__GLIBCXX__)
    } catch (abi::__forced_unwind&) {
        wait_for_exit();
#else
    } catch (...) {
        throw;
#endif
    }
}

}  // namespace pyconv::bindings
