// SPDX-License-Identifier: BSD-3-Clause
// Threads, instruction sets, memory and build facts; and the plain C symbols that threadpoolctl
// looks for in a loaded library.
#include <algorithm>
#include <chrono>

#include "base/buffer.h"
#include "base/isa.h"
#include "base/parallel.h"
#include "bindings/module.h"
#include "kernels/registry.h"

#define PYCONV_EXPORT extern "C" __attribute__((visibility("default")))

PYCONV_EXPORT int pyconv_get_num_threads() { return pyconv::num_threads(); }
PYCONV_EXPORT void pyconv_set_num_threads(int count) {
    if (count >= 1 && count <= 1024) pyconv::set_num_threads(count);
}
PYCONV_EXPORT const char* pyconv_version() { return PYCONV_VERSION; }

namespace pyconv::bindings {
namespace {

std::vector<std::string> isa_names(const std::vector<Isa>& isas) {
    std::vector<std::string> names;
    for (const Isa isa : isas) names.emplace_back(isa_name(isa));
    return names;
}

py::dict build_info() {
    py::dict info;
    info["version"] = PYCONV_VERSION;
    info["compiler"] = PYCONV_COMPILER;
    info["flags"] = PYCONV_FLAGS;
    info["isas_compiled"] = py::str(PYCONV_ISAS).attr("split")();
    info["isas_available"] = isa_names(available_isas());
    info["isa"] = isa_name(current_isa());
#ifdef NDEBUG
    info["assertions"] = false;
#else
    info["assertions"] = true;
#endif
    return info;
}

py::list kernel_table() {
    py::list rows;
    for (const KernelRow& row : kernel_rows()) {
        py::dict entry;
        entry["name"] = row.name;
        entry["op"] = row.op;
        entry["dtype"] = row.dtype;
        entry["isa"] = row.isa;
        entry["MR"] = row.MR;
        entry["NR"] = row.NR;
        entry["MC"] = row.MC;
        entry["KC"] = row.KC;
        entry["NC"] = row.NC;
        rows.append(entry);
    }
    return rows;
}

py::dict memory() {
    const MemoryInfo info = memory_info();
    py::dict result;
    result["live"] = info.live;
    result["retained"] = info.retained;
    result["peak"] = info.peak;
    return result;
}

// GFLOP/s of the fma_peak kernel on `threads` threads, the best of several runs in `seconds`.
template <typename T>
double fma_peak(int threads, double seconds) {
    using Clock = std::chrono::steady_clock;
    const auto elapsed = [](Clock::time_point since) {
        return std::chrono::duration<double>(Clock::now() - since).count();
    };
    constexpr index_t kSteps = 2000000;
    const Kernels<T>& kernel = pyconv::kernels<T>();
    std::vector<double> operations(static_cast<size_t>(threads));
    double best = 0;
    const auto begin = Clock::now();
    do {
        const auto start = Clock::now();
        parallel_for(threads, 1e9, [&](index_t task) {
            alignas(64) T sink[kMaxTile];
            operations[static_cast<size_t>(task)] = kernel.fma_peak(kSteps, sink);
        });
        const double time = elapsed(start);
        double sum = 0;
        for (const double count : operations) sum += count;
        best = std::max(best, sum / time / 1e9);
    } while (elapsed(begin) < seconds);
    return best;
}

double measure_fma_peak(int threads, bool float64, double seconds) {
    const WithoutGil nogil;
    const int previous = set_thread_num_threads(threads);
    const double peak =
        float64 ? fma_peak<double>(threads, seconds) : fma_peak<float>(threads, seconds);
    set_thread_num_threads(previous);
    return peak;
}

}  // namespace

void def_runtime(py::module_& m) {
    set_interrupt_check(check_signals);
    current_isa();  // a wrong PYCONV_ISA is an error at import, not in the middle of the work
    m.attr("__version__") = PYCONV_VERSION;
    m.def("get_num_threads", num_threads);
    m.def("set_num_threads", set_num_threads);
    m.def("set_thread_num_threads", set_thread_num_threads);
    m.def("default_num_threads", default_num_threads);
    m.def("get_isa", [] { return isa_name(current_isa()); });
    m.def("set_isa", set_isa);
    m.def("available_isas", [] { return isa_names(available_isas()); });
    m.def("release_memory", release_memory);
    m.def("memory_info", memory);
    m.def("build_info", build_info);
    m.def("kernels", kernel_table);
    m.def("measure_fma_peak", measure_fma_peak);
}

}  // namespace pyconv::bindings
