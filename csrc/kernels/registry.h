// SPDX-License-Identifier: BSD-3-Clause
// The tables of all instruction sets, and what is in them.
#pragma once

#include <string>
#include <vector>

#include "base/isa.h"
#include "kernels/table.h"

namespace pyconv {

// The kernels for `isa`, which must be one of available_isas().
template <typename T>
const Kernels<T>& kernels(Isa isa);

// The kernels in use. An op fetches them once and keeps to them: the ISA may change between calls.
template <typename T>
const Kernels<T>& kernels() {
    return kernels<T>(current_isa());
}

struct KernelRow {
    std::string name;  // gemm_f32_6x16_avx2, relu_f64_avx2
    std::string op, dtype, isa;
    index_t MR, NR, MC, KC, NC;  // 0 for all but gemm
};

// One row per kernel, element type and available ISA.
std::vector<KernelRow> kernel_rows();

}  // namespace pyconv
