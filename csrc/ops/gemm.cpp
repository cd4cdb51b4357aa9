// SPDX-License-Identifier: BSD-3-Clause
// The five loops of Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication"
// (2008), in the notation of BLIS:
//
//   jc      NC columns of C and B
//   pc      KC of the sum; B[pc, jc] is packed, and shared by all threads (with a single ic block,
//           each panel has one user, which packs it itself just before)
//   ib      MB rows of C and A; A[ib, pc] is packed, and shared
//   ic, jr  MC rows x a few panels of columns: the tasks
//   ir      MR x NR tiles, in multiply_panel
//
// An operand that too little work would pass over is read where it lies instead of being packed. A
// matrix times a few vectors does not go this way at all, but through the dot kernel.
//
// Which blocks there are depends on the shape alone, and each element of C is summed in the same
// order whatever block it is in: the result is the same for any number of threads. How it is summed
// depends on N and K only: a row of A gives the same bits whatever other rows there are.
#include "ops/gemm.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/buffer.h"
#include "base/parallel.h"
#include "ops/gemm_panel.h"

namespace pyconv {
namespace {

// Panels that one packing task, and one multiplication task, take. Where rows are not shared out there are at least
// so many of the latter.
constexpr index_t kPackPanels = 8;
constexpr index_t kTaskPanels = 8;
constexpr index_t kTasks = 8;
// Blocks of MC rows of A that are packed at a time: bounds the scratch memory.
constexpr index_t kMaxRowBlocks = 16;
// Rows that lie one after another are packed if more panels of columns than these pass over them.
constexpr index_t kPackPasses = 5;
// The dot kernel: columns of B that it is worth for, steps that pay for adding up the lanes of its sums,
// and the rows of one task, which several passes find in L2: whole blocks of those that the kernel reads at once.
constexpr index_t kMaxDotColumns = 16;
constexpr index_t kMinDotSteps = 128;
constexpr index_t kDotBlock = 8, kDotRows = 64;
constexpr index_t kDotBytes = index_t{128} << 10;
// A few rows times a matrix: at most so many (512-bit registers hold the factors of four at a time), and the sums of
// one task.
constexpr index_t kMaxScaledRows = 5, kMaxScaledRows512 = 8;
constexpr index_t kRowSums = 4096;

// What packing `values` takes on one core: reading and writing them at ~10 GB/s.
double packing_nanoseconds(index_t values) { return static_cast<double>(values) * 0.5; }

// Whether a matrix can be used over and over where it lies: it fits into the first two levels of cache, and
// the `rows` pieces of a cache line that a tile reads, `step` apart, do not crowd into a few sets of L1
// (64 of 8 lines) as they do when the step is a power of two.
template <typename T>
bool stays_in_cache(index_t rows, index_t length, index_t step) {
    constexpr index_t kBytes = index_t{64} << 10, kLine = 64, kSets = 64, kWays = 4;
    const index_t bytes = index_t{sizeof(T)};
    const index_t stride = step * bytes % kLine == 0 ? std::gcd(step * bytes / kLine, kSets) : 1;
    return rows * length * bytes <= kBytes && rows * stride <= kSets * kWays;
}

// B is read where it lies if a single tile of rows passes over it, or if it stays in cache.
template <typename T>
bool packs_b(const Gemm<T>& g, const Kernels<T>& kernel) {
    if (g.b_col != 1) return true;
    return g.M > kernel.MR && (g.N < kernel.NR || !stays_in_cache<T>(g.K, g.N, g.b_row));
}

// A likewise, if its rows or its columns are contiguous; rows that are k-contiguous are read as streams, which a few
// passes may do again.
template <typename T>
bool packs_a(const Gemm<T>& g, const Kernels<T>& kernel) {
    const index_t passes = ceil_div(g.N, kernel.NR);
    if (g.a_col != 1 && g.a_row != 1) return true;
    if (g.a_col == 1) return passes > kPackPasses && !stays_in_cache<T>(1, g.M * g.K, 1);
    return passes > 1 && !stays_in_cache<T>(g.K, g.M, g.a_col);
}

// C^T = B^T A^T
template <typename T>
Gemm<T> transposed(const Gemm<T>& g) {
    Gemm<T> t = g;
    std::swap(t.M, t.N);
    std::swap(t.a, t.b);
    t.a_row = g.b_col;
    t.a_col = g.b_row;
    t.b_row = g.a_col;
    t.b_col = g.a_row;
    std::swap(t.c_row, t.c_col);
    std::swap(t.row_bias, t.col_bias);
    return t;
}

// One call that goes through the five loops.
template <typename T>
class BlockedGemm {
  public:
    explicit BlockedGemm(const Gemm<T>& problem)
        : g(problem),
          MC(even_block(g.M, kernel.MC, MR)),
          pack_b(packs_b(g, kernel)),
          pack_a(packs_a(g, kernel)),
          share_b(pack_b && g.M > MC),
          NC(share_b ? std::min(round_up(g.N, NR), kernel.NC) : round_up(g.N, NR)),
          KC(even_block(g.K, kernel.KC, 1)),
          MB(pack_a ? std::min(round_up(g.M, MC), kMaxRowBlocks * MC) : round_up(g.M, MC)) {}

    void run() {
        const AlignedBuffer<T> a_block(pack_a ? MB * KC : 0),
            b_block(share_b ? NC / NR * panel_step(KC) : 0);
        for (index_t jc = 0; jc < g.N; jc += NC) {
            const index_t nc = std::min(NC, g.N - jc);
            // Runs once when K = 0, to write beta * C + bias.
            for (index_t pc = 0; pc < std::max<index_t>(g.K, 1); pc += KC) {
                const index_t kc = std::min(KC, g.K - pc);
                const Operand b = read_b(pc, kc, jc, nc, b_block.data());
                for (index_t ib = 0; ib < g.M; ib += MB) {
                    const index_t mb = std::min(MB, g.M - ib);
                    const Operand a = read_a(pc, kc, ib, mb, a_block.data());
                    multiply(pc, kc, ib, mb, jc, nc, a, b);
                }
            }
        }
    }

  private:
    // A block of A or B: where it begins, and the steps to the next panel, to the next row (of A) or
    // column (of B) within a panel, and to the next k.
    struct Operand {
        const T* data;
        index_t panel, step, k;
    };

    // Panels of B are written side by side, k by k; the odd line keeps them in different cache sets.
    index_t panel_step(index_t kc) const { return NR * kc + NR; }

    Operand read_b(index_t pc, index_t kc, index_t jc, index_t nc, T* packed) const {
        const T* block = g.b + pc * g.b_row + jc * g.b_col;
        if (!share_b) return {block, NR * g.b_col, 1, g.b_row};
        const index_t columns = kPackPanels * NR;
        parallel_for(ceil_div(nc, columns), packing_nanoseconds(nc * kc), [&](index_t task) {
            const index_t j = task * columns;
            kernel.pack_b(kc, std::min(columns, nc - j), block + j * g.b_col, g.b_row, g.b_col,
                          panel_step(kc), packed + j / NR * panel_step(kc));
        });
        return {packed, panel_step(kc), 1, NR};
    }

    Operand read_a(index_t pc, index_t kc, index_t ib, index_t mb, T* packed) const {
        const T* block = g.a + ib * g.a_row + pc * g.a_col;
        if (!pack_a) return {block, MR * g.a_row, g.a_row, g.a_col};
        const index_t rows = kPackPanels * MR;
        parallel_for(ceil_div(mb, rows), packing_nanoseconds(mb * kc), [&](index_t task) {
            const index_t i = task * rows;
            kernel.pack_a(std::min(rows, mb - i), kc, block + i * g.a_row, g.a_row, g.a_col,
                          MR * kc, packed + i * kc);
        });
        return {packed, MR * kc, 1, MR};
    }

    void multiply(index_t pc, index_t kc, index_t ib, index_t mb, index_t jc, index_t nc,
                  const Operand& a, const Operand& b) const {
        const bool pack_here = pack_b && !share_b;
        const bool b_packed = pack_here || share_b;
        const KLoop k{.steps = kc,
                      .a_k = a.k,
                      .a_step = a.step,
                      .b_k = pack_here ? NR : b.k,
                      .b_padded = b_packed,
                      .a_padded = pack_a};
        const bool last = pc + kc >= g.K;
        Epilogue<T> epilogue{.alpha = g.alpha, .accumulate = pc > 0 || g.beta != 0};
        if (last) epilogue.activation = g.activation;

        const index_t b_panels = ceil_div(nc, NR);
        const index_t row_tasks = ceil_div(mb, MC);
        const index_t panels =
            row_tasks > 1 ? kTaskPanels : std::clamp<index_t>(b_panels / kTasks, 1, kTaskPanels);
        const index_t column_tasks = ceil_div(b_panels, panels);
        const double multiply_adds =
            static_cast<double>(mb) * static_cast<double>(nc) * static_cast<double>(kc);
        parallel_for(
            row_tasks * column_tasks, arithmetic_nanoseconds(multiply_adds), [&](index_t task) {
                const index_t ic = task / column_tasks * MC;
                const index_t first = task % column_tasks * panels;
                const index_t end = std::min(first + panels, b_panels);
                const AlignedBuffer<T> packed(pack_here ? NR * kc : 0);
                for (index_t p = first; p < end; ++p) {
                    const index_t i = ib + ic, j = jc + p * NR;
                    Epilogue<T> e = epilogue;
                    if (last && g.row_bias != nullptr) e.row_bias = g.row_bias + i;
                    if (last && g.col_bias != nullptr) e.col_bias = g.col_bias + j;
                    const ColumnRun<T> run{.first = 0,
                                           .count = std::min(NR, jc + nc - j),
                                           .c = g.c + i * g.c_row + j * g.c_col,
                                           .c_step = g.c_col};
                    const index_t mc = std::min(MC, mb - ic);
                    const T* a_panels = a.data + ic / MR * a.panel;
                    const T* b_panel = b.data + p * b.panel;
                    if (pack_here && g.b_col == 1) {
                        pack_and_multiply_panel<T>(kernel, mc, k, a_panels, a.panel, b_panel,
                                                   g.b_row, packed.data(), {&run, 1}, g.c_row, e,
                                                   p + 1 < b_panels);
                        continue;
                    }
                    if (pack_here) {
                        kernel.pack_b(kc, run.count, b_panel, g.b_row, g.b_col, 0, packed.data());
                        b_panel = packed.data();
                    }
                    multiply_panel<T>(kernel, mc, k, a_panels, a.panel, b_panel, {&run, 1}, g.c_row,
                                      e);
                }
            });
    }

    const Gemm<T>& g;
    const Kernels<T>& kernel = kernels<T>();
    const index_t MR = kernel.MR, NR = kernel.NR;
    const index_t MC;
    const bool pack_b, pack_a;
    const bool share_b;  // else each task packs its panels itself, just before it uses them
    const index_t NC, KC, MB;
};

// A few columns of B against the rows of A, all of them k-contiguous: kMaxDotVectors columns at a time,
// while the rows of a task are in cache.
template <typename T>
void gemm_by_dot(const Gemm<T>& g) {
    const Kernels<T>& kernel = kernels<T>();
    const double multiply_adds = static_cast<double>(g.M * g.N) * static_cast<double>(g.K);
    const index_t rows = std::clamp(kDotBytes / (g.K * index_t{sizeof(T)}) / kDotBlock * kDotBlock,
                                    kDotBlock, kDotRows);
    parallel_for(ceil_div(g.M, rows), multiply_adds / 5, [&](index_t task) {
        const index_t i = task * rows, count = std::min(rows, g.M - i);
        T sums[kMaxDotVectors * kDotRows];
        for (index_t j = 0; j < g.N; j += kMaxDotVectors) {
            const index_t vectors = std::min(kMaxDotVectors, g.N - j);
            kernel.dot(vectors, count, g.K, g.b + j * g.b_col, g.b_col, g.a + i * g.a_row, g.a_row,
                       sums);
            // The rows of these sums are columns of C.
            const Epilogue<T> e{.alpha = g.alpha,
                                .accumulate = g.beta != 0,
                                .row_bias = g.col_bias != nullptr ? g.col_bias + j : nullptr,
                                .col_bias = g.row_bias != nullptr ? g.row_bias + i : nullptr,
                                .activation = g.activation};
            kernel.merge_tile(vectors, count, sums, count, g.c + i * g.c_row + j * g.c_col, g.c_col,
                              g.c_row, e);
        }
    });
}

// A few rows of A against a B that lies by rows: nothing to gain from packing what is used so little.
template <typename T>
void gemm_by_rows(const Gemm<T>& g) {
    const Kernels<T>& kernel = kernels<T>();
    const index_t KC = even_block(g.K, kernel.KC, 1);
    const double multiply_adds = static_cast<double>(g.M * g.N) * static_cast<double>(g.K);
    // The sums stay in L1; there is something for each thread, but one thread reads whole rows. (The cut is of
    // no consequence for the sums.)
    const index_t share = num_threads() > 1 ? g.N / 2 : g.N;
    const index_t columns =
        even_block(g.N, std::clamp(share, kernel.NR, kRowSums / g.M), kernel.NR);
    parallel_for(ceil_div(g.N, columns), multiply_adds / 5, [&](index_t task) {
        const index_t j = task * columns, cols = std::min(columns, g.N - j);
        const AlignedBuffer<T> sums(g.M * cols);
        // Blocks of k as in BlockedGemm: the same sums in the same order, and the same bits.
        for (index_t k = 0; k < g.K; k += KC) {
            const bool last = k + KC >= g.K;
            kernel.add_scaled_rows(g.M, std::min(KC, g.K - k), cols, g.a + k * g.a_col, g.a_row,
                                   g.a_col, g.b + k * g.b_row + j, g.b_row, sums.data(), cols);
            for (index_t m = 0; m < g.M; ++m) {
                Epilogue<T> e{.alpha = g.alpha, .accumulate = k > 0 || g.beta != 0};
                if (last) {
                    e.row_bias = g.row_bias != nullptr ? g.row_bias + m : nullptr;
                    e.col_bias = g.col_bias != nullptr ? g.col_bias + j : nullptr;
                    e.activation = g.activation;
                }
                kernel.merge_tile(1, cols, sums.data() + m * cols, cols,
                                  g.c + m * g.c_row + j * g.c_col, 0, g.c_col, e);
            }
        }
    });
}

// Chooses the loops, after `beta`. A matrix that only a few rows or columns are multiplied with is read
// once, the way it lies; otherwise the longer side of C goes along the vectors.
template <typename T>
void run(const Gemm<T>& g) {
    const Kernels<T>& kernel = kernels<T>();
    const Gemm<T> t = transposed(g);
    const auto by_dot = [](const Gemm<T>& p) {
        return p.a_col == 1 && p.b_row == 1 && p.N <= kMaxDotColumns && p.N < p.M &&
               p.K >= kMinDotSteps;
    };
    const auto by_rows = [&](const Gemm<T>& p) {
        const index_t most = kernel.lanes < 16 ? kMaxScaledRows : kMaxScaledRows512;
        return p.b_col == 1 && p.M <= most && p.N >= kernel.NR && p.N > p.M && p.K > 0;
    };
    const auto turned_round = [&](const Gemm<T>& p) {
        return p.N < kernel.NR && p.N < p.M && p.a_row == 1 && p.c_col == 1;
    };
    if (by_dot(g)) return gemm_by_dot(g);
    if (by_dot(t)) return gemm_by_dot(t);
    if (by_rows(g)) return gemm_by_rows(g);
    if (by_rows(t)) return gemm_by_rows(t);
    if (turned_round(g) || (g.M <= kernel.NR && g.M < g.N && g.b_row == 1 && g.b_col != 1))
        return BlockedGemm<T>(t).run();
    BlockedGemm<T>(g).run();
}

}  // namespace

template <typename T>
void gemm(const Gemm<T>& g) {
    if (g.M == 0 || g.N == 0) return;
    const Kernels<T>& kernel = kernels<T>();
    if (g.beta != 0 && g.beta != 1) {
        // By rows of C, or by columns where those are contiguous.
        const bool rows = g.c_col == 1;
        const index_t lines = rows ? g.M : g.N, length = rows ? g.N : g.M;
        parallel_for(lines, packing_nanoseconds(g.M * g.N), [&](index_t i) {
            kernel.scale(length, g.beta, g.c + i * (rows ? g.c_row : g.c_col));
        });
    }

    run(g);
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
