// SPDX-License-Identifier: BSD-3-Clause
// One packed panel of B times a block of packed A: the innermost loop of gemm and of convolution.
#pragma once

#include <algorithm>
#include <span>

#include "base/checked.h"
#include "kernels/registry.h"

namespace pyconv {

// Cuts `size` into equal blocks of at most `limit` (rounded up to `multiple`): 600 by 256 gives 200
// three times, where 256 + 256 + 88 would leave a short one that runs at half the speed.
inline index_t even_block(index_t size, index_t limit, index_t multiple) {
    return std::max(
        multiple, round_up(ceil_div(size, std::max<index_t>(1, ceil_div(size, limit))), multiple));
}

// Columns first .. first + count of a panel go to c, c + c_step, ... in row 0 of C.
template <typename T>
struct ColumnRun {
    index_t first, count;
    T* c;
    index_t c_step;
};

// C[0 .. mc, columns of the panel] = epilogue(A * B), for mc rows of packed A (kc steps), ldc
// apart in C. A tile that lies whole and contiguous in C is written by the micro-kernel itself.
template <typename T>
void multiply_panel(const Kernels<T>& kernel, index_t mc, index_t kc, const T* a_panels,
                    const T* b_panel, std::span<const ColumnRun<T>> runs, index_t ldc,
                    const Epilogue<T>& epilogue) {
    const index_t MR = kernel.MR, NR = kernel.NR;
    const KLoop k{.blocks = 1,
                  .rows = 1,
                  .cols = kc,
                  .a_block = 0,
                  .a_row = 0,
                  .a_col = MR,
                  .b_block = 0,
                  .b_row = 0,
                  .b_col = NR};
    const bool whole = runs.size() == 1 && runs[0].count == NR && runs[0].c_step == 1;
    for (index_t i = 0; i < mc; i += MR, a_panels += MR * kc) {
        const index_t mr = std::min(MR, mc - i);
        Epilogue<T> e = epilogue;
        if (e.row_bias != nullptr) e.row_bias += i;
        if (whole && mr == MR) {
            kernel.gemm(k, a_panels, b_panel, runs[0].c + i * ldc, ldc, e);
            continue;
        }
        alignas(64) T tile[kMaxTile];
        kernel.gemm(k, a_panels, b_panel, tile, NR, {});
        for (const ColumnRun<T>& run : runs) {
            Epilogue<T> part = e;
            if (part.col_bias != nullptr) part.col_bias += run.first;
            kernel.merge_tile(mr, run.count, tile + run.first, run.c + i * ldc, ldc, run.c_step,
                              part);
        }
    }
}

// What `multiply_adds` take on one core at a usual speed, for parallel_for.
inline double arithmetic_nanoseconds(double multiply_adds) { return multiply_adds / 30; }

}  // namespace pyconv
