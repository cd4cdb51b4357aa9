// SPDX-License-Identifier: BSD-3-Clause
// The five loops of Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication"
// (2008), in the notation of BLIS:
//
//   jc: NC columns of C and B          pc: KC of the sum; B[pc, jc] packed, shared by all threads
//   ib: MB rows of C and A; A[ib, pc] packed, shared       ic, jr: MC x (a few NR) blocks: the
//   tasks ir: MR x NR tiles, in multiply_panel
//
// Which blocks there are depends on the shape alone, and each element of C is summed in the same
// order whatever block it is in: the result is the same for any number of threads.
#include "ops/gemm.h"

#include <algorithm>

#include "base/buffer.h"
#include "base/parallel.h"
#include "ops/gemm_panel.h"

namespace pyconv {
namespace {

// Panels that one packing task, and one multiplication task, take.
constexpr index_t kPackPanels = 8;
constexpr index_t kTaskPanels = 8;
// Blocks of MC rows of A that are packed at a time: bounds the scratch memory.
constexpr index_t kMaxRowBlocks = 16;

// What packing `values` takes on one core: reading and writing them at ~10 GB/s.
double packing_nanoseconds(index_t values) { return static_cast<double>(values) * 0.5; }

}  // namespace

template <typename T>
void gemm(const Gemm<T>& g) {
    if (g.M == 0 || g.N == 0) return;
    const Kernels<T>& kernel = kernels<T>();
    const index_t MR = kernel.MR, NR = kernel.NR;

    if (g.beta != 0 && g.beta != 1) {
        parallel_for(g.M, packing_nanoseconds(g.M * g.N),
                     [&](index_t i) { kernel.scale(g.N, g.beta, g.c + i * g.ldc); });
    }

    const index_t KC = even_block(g.K, kernel.KC, 1);
    const index_t NC = std::min(round_up(g.N, NR), kernel.NC);
    const index_t MC = even_block(g.M, kernel.MC, MR);
    const index_t MB = std::min(round_up(g.M, MC), kMaxRowBlocks * MC);
    const AlignedBuffer<T> a_packed(MB * KC), b_packed(NC * KC);

    for (index_t jc = 0; jc < g.N; jc += NC) {
        const index_t nc = std::min(NC, g.N - jc);
        const index_t b_panels = ceil_div(nc, NR);
        // Runs once when K = 0, to write beta * C + bias.
        for (index_t pc = 0; pc < std::max<index_t>(g.K, 1); pc += KC) {
            const index_t kc = std::min(KC, g.K - pc);
            parallel_for(ceil_div(b_panels, kPackPanels), packing_nanoseconds(nc * kc),
                         [&](index_t task) {
                             const index_t first = task * kPackPanels * NR;
                             const index_t cols = std::min(kPackPanels * NR, nc - first);
                             kernel.pack_b(kc, cols, g.b + pc * g.b_row + (jc + first) * g.b_col,
                                           g.b_row, g.b_col, b_packed.data() + first * kc);
                         });

            Epilogue<T> epilogue{.alpha = g.alpha, .accumulate = pc > 0 || g.beta != 0};
            const bool last = pc + KC >= g.K;
            if (last) epilogue.activation = g.activation;

            for (index_t ib = 0; ib < g.M; ib += MB) {
                const index_t mb = std::min(MB, g.M - ib);
                const index_t a_panels = ceil_div(mb, MR);
                parallel_for(ceil_div(a_panels, kPackPanels), packing_nanoseconds(mb * kc),
                             [&](index_t task) {
                                 const index_t first = task * kPackPanels * MR;
                                 const index_t rows = std::min(kPackPanels * MR, mb - first);
                                 kernel.pack_a(rows, kc,
                                               g.a + (ib + first) * g.a_row + pc * g.a_col, g.a_row,
                                               g.a_col, a_packed.data() + first * kc);
                             });

                const index_t column_tasks = ceil_div(b_panels, kTaskPanels);
                const index_t row_tasks = ceil_div(mb, MC);
                const double multiply_adds =
                    static_cast<double>(mb) * static_cast<double>(nc) * static_cast<double>(kc);
                parallel_for(row_tasks * column_tasks, arithmetic_nanoseconds(multiply_adds),
                             [&](index_t task) {
                                 const index_t ic = task / column_tasks * MC;
                                 const index_t mc = std::min(MC, mb - ic);
                                 const index_t first = task % column_tasks * kTaskPanels;
                                 const index_t end = std::min(first + kTaskPanels, b_panels);
                                 for (index_t panel = first; panel < end; ++panel) {
                                     const index_t j = panel * NR;
                                     Epilogue<T> e = epilogue;
                                     if (last && g.row_bias != nullptr)
                                         e.row_bias = g.row_bias + ib + ic;
                                     if (last && g.col_bias != nullptr)
                                         e.col_bias = g.col_bias + jc + j;
                                     const ColumnRun<T> run{
                                         .first = 0,
                                         .count = std::min(NR, nc - j),
                                         .c = g.c + (ib + ic) * g.ldc + jc + j,
                                         .c_step = 1,
                                     };
                                     multiply_panel<T>(kernel, mc, kc, a_packed.data() + ic * kc,
                                                       b_packed.data() + j * kc, {&run, 1}, g.ldc,
                                                       e);
                                 }
                             });
            }
        }
    }
}

template <typename T>
void sum_rows(index_t rows, index_t cols, const T* values, T* sums) {
    // Blocks of rows, then the sum of the blocks: the error does not grow with the batch.
    constexpr index_t kRows = 256;
    const Kernels<T>& kernel = kernels<T>();
    std::fill_n(sums, cols, T(0));
    const AlignedBuffer<T> block(cols);
    for (index_t i = 0; i < rows; i += kRows) {
        kernel.add_rows(std::min(kRows, rows - i), cols, values + i * cols, cols, block.data());
        kernel.add_to(cols, block.data(), sums);
    }
}

template void gemm(const Gemm<float>&);
template void gemm(const Gemm<double>&);
template void sum_rows(index_t, index_t, const float*, float*);
template void sum_rows(index_t, index_t, const double*, double*);

}  // namespace pyconv
