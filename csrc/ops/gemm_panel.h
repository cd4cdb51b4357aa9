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
    const T* residual = nullptr;  // laid out as C
};

// C[0 .. mc, columns of the panel] = epilogue(A * B), for mc rows of A (packed, or as they lie:
// a_panel is the step between blocks of MR rows), ldc apart in C. Columns that lie side by side in
// C are written by the micro-kernel itself.
template <typename T>
void multiply_panel(const Kernels<T>& kernel, index_t mc, const KLoop& k, const T* a_block,
                    index_t a_panel, const T* b, std::span<const ColumnRun<T>> runs, index_t ldc,
                    const Epilogue<T>& epilogue) {
    const index_t MR = kernel.MR, NR = kernel.NR;
    const bool adjacent = runs.size() == 1 && runs[0].c_step == 1;
    // Rows that are not packed can be cut anywhere: into tiles of nearly equal height, since one of a
    // few rows alone would wait for its own sums.
    const index_t tiles = ceil_div(mc, MR);
    Epilogue<T> e = epilogue;
    for (index_t tile_row = 0; tile_row < tiles; ++tile_row) {
        const index_t i = k.a_padded ? tile_row * MR : mc * tile_row / tiles;
        const index_t end = k.a_padded ? std::min(i + MR, mc) : mc * (tile_row + 1) / tiles;
        const index_t mr = end - i;
        const T* a = k.a_padded ? a_block + tile_row * a_panel : a_block + i * k.a_step;
        if (epilogue.row_bias != nullptr) e.row_bias = epilogue.row_bias + i;
        if (adjacent) {
            T* c = runs[0].c + i * ldc;
            if (runs[0].residual != nullptr) e.residual = runs[0].residual + i * ldc;
            if (mr == MR && runs[0].count == NR) {
                kernel.gemm(k, a, b, c, ldc, e);
            } else {
                kernel.gemm_edge(mr, runs[0].count, k, a, b, c, ldc, e);
            }
            continue;
        }
        alignas(64) T tile[kMaxTile];
        kernel.gemm_edge(mr, runs.back().first + runs.back().count, k, a, b, tile, NR, {});
        for (const ColumnRun<T>& run : runs) {
            Epilogue<T> part = e;
            if (part.col_bias != nullptr) part.col_bias += run.first;
            if (run.residual != nullptr) part.residual = run.residual + i * ldc;
            kernel.merge_tile(mr, run.count, tile + run.first, NR, run.c + i * ldc, ldc, run.c_step,
                              part);
        }
    }
}

// multiply_panel for a panel of B that is not packed yet, of rows that lie b_step apart: `packed` takes it,
// NR values a step. The first tile of rows packs what it multiplies with.
template <typename T>
void pack_and_multiply_panel(const Kernels<T>& kernel, index_t mc, const KLoop& k, const T* a_block,
                             index_t a_panel, const T* b, index_t b_step, T* packed,
                             std::span<const ColumnRun<T>> runs, index_t ldc,
                             const Epilogue<T>& epilogue) {
    const index_t MR = kernel.MR, NR = kernel.NR;
    const ColumnRun<T>& run = runs.front();
    if (runs.size() > 1 || run.c_step != 1 || run.count < NR || mc < MR) {
        kernel.pack_b(k.steps, runs.back().first + runs.back().count, b, b_step, 1, 0, packed);
        return multiply_panel(kernel, mc, k, a_block, a_panel, packed, runs, ldc, epilogue);
    }
    KLoop unpacked = k;
    unpacked.b_k = b_step;
    Epilogue<T> e = epilogue;
    e.residual = run.residual;
    kernel.gemm_packing(unpacked, a_block, b, packed, run.c, ldc, e);

    if (mc == MR) return;
    ColumnRun<T> rest = run;
    rest.c += MR * ldc;
    if (rest.residual != nullptr) rest.residual += MR * ldc;
    e = epilogue;
    if (e.row_bias != nullptr) e.row_bias += MR;
    multiply_panel<T>(kernel, mc - MR, k, a_block + (k.a_padded ? a_panel : MR * k.a_step), a_panel,
                      packed, {&rest, 1}, ldc, e);
}

// The k-loop over a packed panel of A and one of B.
template <typename T>
KLoop packed_loop(const Kernels<T>& kernel, index_t kc) {
    return {.steps = kc, .a_k = kernel.MR, .b_k = kernel.NR, .b_padded = true, .a_padded = true};
}

// What `multiply_adds` take on one core at a usual speed, for parallel_for.
inline double arithmetic_nanoseconds(double multiply_adds) { return multiply_adds / 30; }

}  // namespace pyconv
