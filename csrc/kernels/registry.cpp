// SPDX-License-Identifier: BSD-3-Clause
#include "kernels/registry.h"

#include "base/error.h"

namespace pyconv {

#define PYCONV_DECLARE_TABLES(isa)               \
    namespace isa {                              \
    extern const Kernels<float> float_kernels;   \
    extern const Kernels<double> double_kernels; \
    }
PYCONV_DECLARE_TABLES(generic)
#if defined(__x86_64__)
PYCONV_DECLARE_TABLES(avx2)
PYCONV_DECLARE_TABLES(avx512)
#elif defined(__aarch64__)
PYCONV_DECLARE_TABLES(neon)
#endif
#if defined(PYCONV_TEST_ISA) && defined(__x86_64__)
PYCONV_DECLARE_TABLES(avx2_512)
#endif

namespace {

struct Tables {
    const Kernels<float>* f32;
    const Kernels<double>* f64;
};

Tables tables(Isa isa) {
    switch (isa) {
#if defined(__x86_64__)
        case Isa::Avx2:
            return {&avx2::float_kernels, &avx2::double_kernels};
        case Isa::Avx512:
            return {&avx512::float_kernels, &avx512::double_kernels};
#elif defined(__aarch64__)
        case Isa::Neon:
            return {&neon::float_kernels, &neon::double_kernels};
#endif
#if defined(PYCONV_TEST_ISA) && defined(__x86_64__)
        case Isa::Avx2Wide:
            return {&avx2_512::float_kernels, &avx2_512::double_kernels};
#endif
        default:
            return {&generic::float_kernels, &generic::double_kernels};
    }
}

template <typename T>
void add_rows_of(const Kernels<T>& table, Isa isa, std::vector<KernelRow>& rows) {
    const std::string dtype = sizeof(T) == 4 ? "float32" : "float64";
    const std::string suffix = sizeof(T) == 4 ? "_f32" : "_f64";
    const auto add = [&](const std::string& op) {
        rows.push_back(
            op == "gemm"
                ? KernelRow{join(op, suffix, '_', table.MR, 'x', table.NR, '_', isa_name(isa)), op,
                            dtype, isa_name(isa), table.MR, table.NR, table.MC, table.KC, table.NC}
                : KernelRow{op + suffix + "_" + isa_name(isa), op, dtype, isa_name(isa), 0, 0, 0, 0,
                            0});
    };
#define PYCONV_ADD(name, ...) add(#name);
    PYCONV_KERNELS(PYCONV_ADD)
#undef PYCONV_ADD
}

}  // namespace

template <>
const Kernels<float>& kernels<float>(Isa isa) {
    return *tables(isa).f32;
}
template <>
const Kernels<double>& kernels<double>(Isa isa) {
    return *tables(isa).f64;
}

std::vector<KernelRow> kernel_rows() {
    std::vector<KernelRow> rows;
    for (const Isa isa : available_isas()) {
        add_rows_of(kernels<float>(isa), isa, rows);
        add_rows_of(kernels<double>(isa), isa, rows);
    }
    return rows;
}

}  // namespace pyconv
