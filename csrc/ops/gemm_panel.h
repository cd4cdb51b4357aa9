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

// Calls body(tile, i, mr) for tiles of rows i .. i + mr: whole ones, and what is left. A few rows alone would
// wait for their own sums, so that the last whole tile shares with them, where rows can be cut anywhere.
template <typename Body>
inline __attribute__((always_inline)) void for_each_tile(index_t rows, index_t MR, bool anywhere,
                                                         Body&& body) {
    constexpr index_t kFew = 4;
    index_t mr = 0;
    for (index_t i = 0, tile = 0; i < rows; i += mr, ++tile) {
        const index_t left = rows - i;
        const bool shares = anywhere && left > MR && left < MR + kFew;
        mr = shares ? (left + 1) / 2 : std::min(left, MR);
        body(tile, i, mr);
    }
}

// Columns first .. first + count of a panel go to c, c + c_step, ... in row 0 of C.
template <typename T>
struct ColumnRun {
    index_t first, count;
    T* c;
    index_t c_step;
    const T* residual = nullptr;  // laid out as C
};

// The panel of B after the one that is being multiplied, as it lies in memory: each tile of rows fetches a
// part of it, for there is not bandwidth enough to read it all in the time of the tile that packs it.
template <typename T>
class NextPanel {
  public:
    NextPanel(const T* b, index_t b_step, index_t steps, index_t width)
        : b_(b), step_(b_step), steps_(steps), lines_(width / kLine) {}

    // Tiles that it takes: one fetches a line of half of the rows.
    index_t tiles() const { return 2 * lines_; }
    // What the tile at hand fetches; the first, before any advance(), nothing yet.
    const Fetch* fetch() const { return &fetch_; }
    void advance() {
        const index_t tile = tile_++, line = tile / 2;
        if (line < lines_) {
            fetch_ = {b_ + (line + 1) * kLine - 1 + tile % 2 * (steps_ / 2) * step_,
                      step_ * index_t{sizeof(T)}};
        } else {
            fetch_ = {b_, 0};
        }
    }

  private:
    static constexpr index_t kLine = 64 / index_t{sizeof(T)};
    const T* b_;
    index_t step_, steps_, lines_, tile_ = 0;
    Fetch fetch_{b_, 0};
};

// The epilogue of the rows from i on. It is made value by value: copied whole, what a caller has just written
// would be read in larger pieces than those it was written in, and so wait for all stores before it.
template <typename T>
Epilogue<T> epilogue_from(const Epilogue<T>& e, const T* residual, index_t i, index_t ldc) {
    return {.alpha = e.alpha,
            .accumulate = e.accumulate,
            .row_bias = e.row_bias != nullptr ? e.row_bias + i : nullptr,
            .col_bias = e.col_bias,
            .residual = residual != nullptr ? residual + i * ldc : nullptr,
            .activation = e.activation};
}

// C[0 .. mc, columns of the panel] = epilogue(A * B), for mc rows of A (packed, or as they lie:
// a_panel is the step between blocks of MR rows), ldc apart in C. Columns that lie side by side in
// C are written by the micro-kernel itself.
template <typename T>
void multiply_panel(const Kernels<T>& kernel, index_t mc, const KLoop& k, const T* a_block,
                    index_t a_panel, const T* b, std::span<const ColumnRun<T>> runs, index_t ldc,
                    const Epilogue<T>& epilogue, NextPanel<T>* next = nullptr) {
    const index_t MR = kernel.MR, NR = kernel.NR;
    const bool adjacent = runs.size() == 1 && runs[0].c_step == 1;
    const index_t columns = runs.back().first + runs.back().count;
    KLoop loop = k;
    const auto multiply = [&](index_t mr, const T* a, T* c, index_t c_row, const Epilogue<T>& e) {
        if (mr == MR && columns == NR) {
            kernel.gemm(loop, a, b, c, c_row, e);
        } else {
            kernel.gemm_edge(mr, columns, loop, a, b, c, c_row, e);
        }
    };
    for_each_tile(mc, MR, !k.a_padded, [&](index_t tile, index_t i, index_t mr) {
        const T* a = k.a_padded ? a_block + tile * a_panel : a_block + i * k.a_step;
        if (next != nullptr) next->advance();
        if (i > 0 && loop.far == Far::B) loop.far = Far::None;
        if (adjacent) {
            // The next tile is below, or at the top of the next panel.
            loop.next_c = i + mr < mc ? mr * ldc : NR - i * ldc;
            return multiply(mr, a, runs[0].c + i * ldc, ldc,
                            epilogue_from(epilogue, runs[0].residual, i, ldc));
        }
        alignas(64) T values[kMaxTile];
        multiply(mr, a, values, NR, {});
        for (const ColumnRun<T>& run : runs) {
            Epilogue<T> e = epilogue_from(epilogue, run.residual, i, ldc);
            if (e.col_bias != nullptr) e.col_bias += run.first;
            kernel.merge_tile(mr, run.count, values + run.first, NR, run.c + i * ldc, ldc,
                              run.c_step, e);
        }
    });
}

// multiply_panel for a panel of B that is not packed yet, of rows that lie b_step apart: `packed` takes it,
// NR values a step. The first tile of rows packs what it multiplies with.
template <typename T>
void pack_and_multiply_panel(const Kernels<T>& kernel, index_t mc, const KLoop& k, const T* a_block,
                             index_t a_panel, const T* b, index_t b_step, T* packed,
                             std::span<const ColumnRun<T>> runs, index_t ldc,
                             const Epilogue<T>& epilogue, bool has_next) {
    const index_t MR = kernel.MR, NR = kernel.NR;
    const ColumnRun<T>& run = runs.front();
    if (runs.size() > 1 || run.c_step != 1 || run.count < NR || mc < MR) {
        kernel.pack_b(k.steps, runs.back().first + runs.back().count, b, b_step, 1, 0, packed);
        return multiply_panel(kernel, mc, k, a_block, a_panel, packed, runs, ldc, epilogue);
    }
    NextPanel<T> next(b + NR, b_step, k.steps, NR);
    const bool fetches = has_next && kernel.fetches_ahead && mc >= next.tiles() * MR;
    KLoop unpacked = k;
    unpacked.b_k = b_step;
    if (fetches) unpacked.fetch = next.fetch();
    unpacked.next_c = mc > MR ? MR * ldc : NR;
    next.advance();
    kernel.gemm_packing(unpacked, a_block, b, packed, run.c, ldc,
                        epilogue_from(epilogue, run.residual, 0, ldc));

    if (mc == MR) return;
    KLoop loop = k;
    if (fetches) loop.fetch = next.fetch();
    ColumnRun<T> rest = run;
    rest.c += MR * ldc;
    if (rest.residual != nullptr) rest.residual += MR * ldc;
    multiply_panel<T>(kernel, mc - MR, loop, a_block + (k.a_padded ? a_panel : MR * k.a_step),
                      a_panel, packed, {&rest, 1}, ldc,
                      epilogue_from<T>(epilogue, nullptr, MR, ldc), &next);
}

// The k-loop over a packed panel of A and one of B.
template <typename T>
KLoop packed_loop(const Kernels<T>& kernel, index_t kc) {
    return {.steps = kc, .a_k = kernel.MR, .b_k = kernel.NR, .b_padded = true, .a_padded = true};
}

// What `multiply_adds` take on one core at a usual speed, for parallel_for.
inline double arithmetic_nanoseconds(double multiply_adds) { return multiply_adds / 30; }

}  // namespace pyconv
