// SPDX-License-Identifier: BSD-3-Clause
// Packers: copies into the order in which the GEMM micro-kernel reads. Included once per ISA.
//
// A panel holds R rows (MR of A, NR of B) of kc steps: value (i, k) stands at panel[k * R + i], and
// rows past the last one are 0. Panels begin panel_step >= R * kc apart.
#pragma once

#include "kernels/shuffle-inl.h"
#include "kernels/table.h"

namespace pyconv::PYCONV_ISA {

// One panel from rows whose k values are contiguous: L x L blocks, transposed in registers.
// Returns the number of k steps done; the caller does the rest one value at a time.
template <typename T, int R>
index_t pack_panel_transposed(index_t rows, index_t kc, const T* in, index_t row_step, T* panel) {
    constexpr index_t L = Vec<T>::lanes;
    constexpr index_t kLastGroup = (R - 1) / L * L;
    // More rows than the hardware follows.
    constexpr index_t kAhead = 4 * 64 / index_t{sizeof(T)};
    index_t k = 0;
    // A store of L lanes may hang over into the next step's first values: groups of rows are
    // therefore done last first, and the last step is left to the caller.
    for (; k + L < kc; k += L) {
        const index_t ahead = k + kAhead < kc ? kAhead : 0;
        for (index_t r0 = kLastGroup; r0 >= 0; r0 -= L) {
            Vec<T> block[L];
            PYCONV_UNROLL(16)
            for (index_t i = 0; i < L; ++i) {
                const T* from = in + (r0 + i) * row_step + k;
                __builtin_prefetch(from + ahead);
                block[i] = r0 + i < rows ? Vec<T>::load(from) : Vec<T>::zero();
            }
            transpose<T>(block);
            PYCONV_UNROLL(16)
            for (index_t i = 0; i < L; ++i) block[i].store(panel + (k + i) * R + r0);
        }
    }
    return k;
}

// Panels from rows that lie side by side at each k: k by k over all of them, so that memory is read in
// the order in which it lies.
template <typename T, int R>
void pack_panels_copied(index_t rows, index_t kc, const T* in, index_t k_step, index_t panel_step,
                        T* panels) {
    using V = Vec<T>;
    constexpr index_t L = V::lanes, kWhole = R / L * L;
    for (index_t k = 0; k < kc; ++k, in += k_step) {
        const T* from = in;
        T* to = panels + k * R;
        index_t left = rows;
        for (; left >= R; left -= R, from += R, to += panel_step) {
            for (index_t i = 0; i < kWhole; i += L) V::load(from + i).store(to + i);
            for (index_t i = kWhole; i < R; ++i) to[i] = from[i];
        }
        for (index_t i = 0; left > 0 && i < R; ++i) to[i] = i < left ? from[i] : T(0);
    }
}

template <typename T, int R>
void pack_panels(index_t rows, index_t kc, const T* in, index_t row_step, index_t k_step,
                 index_t panel_step, T* panels) {
    if (row_step == 1) return pack_panels_copied<T, R>(rows, kc, in, k_step, panel_step, panels);
    for (; rows > 0; rows -= R, in += R * row_step, panels += panel_step) {
        const index_t valid = rows < R ? rows : R;
        index_t k = 0;
        if (k_step == 1 && kc > Vec<T>::lanes)
            k = pack_panel_transposed<T, R>(valid, kc, in, row_step, panels);
        for (; k < kc; ++k) {
            for (index_t i = 0; i < valid; ++i) panels[k * R + i] = in[i * row_step + k * k_step];
            for (index_t i = valid; i < R; ++i) panels[k * R + i] = 0;
        }
    }
}

template <typename T, int MR>
void pack_a(index_t rows, index_t kc, const T* a, index_t row_step, index_t k_step,
            index_t panel_step, T* panels) {
    pack_panels<T, MR>(rows, kc, a, row_step, k_step, panel_step, panels);
}

template <typename T, int NR>
void pack_b(index_t kc, index_t cols, const T* b, index_t k_step, index_t col_step,
            index_t panel_step, T* panels) {
    pack_panels<T, NR>(cols, kc, b, col_step, k_step, panel_step, panels);
}

// pack_pixels for pixels `kStep` apart in at most kFewRuns runs. Each vector of the panel is put together
// from the parts of runs within it, in the order in which they lie in the image: kStep registers hold
// every pixel of the stretch, of which the wanted ones are then kept.
inline constexpr index_t kFewRuns = 8;
template <typename T, int NR, int kStep>
void pack_runs(index_t planes, index_t plane_step, const T* image, const PixelRun* runs,
               index_t run_count, index_t panel_step, T* panel) {
    using V = Vec<T>;
    constexpr index_t L = V::lanes, kVectors = NR / L;
    struct Piece {
        index_t start;  // image[start + i] goes to value i of the stretch, for the chosen i
        typename V::Lanes chosen[kStep];
    };
    Piece pieces[kFewRuns + kVectors];  // a run makes one more at each vector border it crosses
    index_t end[kVectors];              // of the pieces of vector v
    index_t count = 0;
    for (index_t v = 0, r = 0; v < kVectors; ++v) {
        for (; r < run_count && runs[r].first < (v + 1) * L; ++r) {
            const index_t first = runs[r].first - v * L, last = first + runs[r].count;
            Piece& piece = pieces[count++];
            piece.start = runs[r].start - first * kStep;
            for (int i = 0; i < kStep; ++i) {
                piece.chosen[i] =
                    V::lanes_from(first * kStep - i * L) & V::lanes_before(last * kStep - i * L);
                if (kStep == 2) piece.chosen[i] = piece.chosen[i] & V::even_lanes();
            }
            if (last > L) break;  // goes on in the next vector
        }
        end[v] = count;
    }
    // The next panel begins where this one ends. A plane away from the one before, no prefetcher expects it.
    constexpr index_t kLine = 64 / index_t{sizeof(T)};
    const index_t next =
        run_count > 0 ? runs[run_count - 1].start + runs[run_count - 1].count * kStep : 0;
    for (index_t p = 0; p < planes; ++p, image += plane_step, panel += panel_step) {
        for (index_t i = 0; i < NR * kStep; i += kLine) __builtin_prefetch(image + next + i, 0, 2);
        index_t i = 0;
        for (index_t v = 0; v < kVectors; ++v) {
            V stretch[kStep];
            for (int k = 0; k < kStep; ++k) stretch[k] = V::zero();
            for (; i < end[v]; ++i)
                for (int k = 0; k < kStep; ++k)
                    stretch[k] = V::load_lanes(image + pieces[i].start + k * L, pieces[i].chosen[k],
                                               stretch[k]);
            if constexpr (kStep == 2) stretch[0] = even_lanes_of(stretch[0], stretch[1]);
            stretch[0].store(panel + v * L);
        }
    }
}

// One kernel tap of an im2col panel, for `planes` channels. The lanes of the runs come from the
// image, `step` apart; the others are padding, 0. For channel p the image is at
// image + p * plane_step and the lanes at panel + p * panel_step. The runs are the same for every
// channel: nearly always one that fills the panel, or a few where it meets the border or the end of
// an image row.
template <typename T, int NR>
void pack_pixels(index_t planes, index_t plane_step, const T* image, index_t step,
                 const PixelRun* runs, index_t run_count, index_t panel_step, T* panel) {
    using V = Vec<T>;
    constexpr index_t L = V::lanes;
    constexpr index_t kVectors = NR / L;

    if (step == 1 && run_count == 1 && runs[0].count == NR) {
        image += runs[0].start;
        for (index_t p = 0; p < planes; ++p, image += plane_step, panel += panel_step)
            for (index_t v = 0; v < kVectors; ++v) V::load(image + v * L).store(panel + v * L);
        return;
    }
    if (step == 1 && run_count <= kFewRuns)
        return pack_runs<T, NR, 1>(planes, plane_step, image, runs, run_count, panel_step, panel);
    if (step == 2 && run_count <= kFewRuns)
        return pack_runs<T, NR, 2>(planes, plane_step, image, runs, run_count, panel_step, panel);

    for (index_t p = 0; p < planes; ++p, image += plane_step, panel += panel_step) {
        for (index_t v = 0; v < kVectors; ++v) V::zero().store(panel + v * L);
        for (index_t r = 0; r < run_count; ++r) {
            const T* from = image + runs[r].start;
            T* to = panel + runs[r].first;
            for (index_t l = 0; l < runs[r].count; ++l) to[l] = from[l * step];
        }
    }
}

// out[j, i] = in[i, j] for i < rows, j < cols.
template <typename T>
void transpose(index_t rows, index_t cols, const T* in, index_t in_step, T* out, index_t out_step) {
    constexpr index_t L = Vec<T>::lanes;
    for (index_t i = 0; i < rows; i += L) {
        const index_t height = rows - i < L ? rows - i : L;
        for (index_t j = 0; j < cols; j += L) {
            const T* from = in + i * in_step + j;
            T* to = out + j * out_step + i;
            const index_t width = cols - j < L ? cols - j : L;
            if (width == 1) {  // the ninth of a filter's nine values
                for (index_t l = 0; l < height; ++l) to[l] = from[l * in_step];
                continue;
            }
            Vec<T> block[L];
            if (height == L && width == L) {
                PYCONV_UNROLL(16)
                for (index_t l = 0; l < L; ++l) block[l] = Vec<T>::load(from + l * in_step);
            } else {
                const auto lanes = Vec<T>::lanes_before(width);
                PYCONV_UNROLL(16)
                for (index_t l = 0; l < L; ++l)
                    block[l] =
                        l < height ? Vec<T>::load_lanes(from + l * in_step, lanes) : Vec<T>::zero();
            }
            transpose<T>(block);
            PYCONV_UNROLL(16)
            for (index_t l = 0; l < L; ++l) {
                if (l >= width) break;
                if (height == L) {
                    block[l].store(to + l * out_step);
                } else {
                    block[l].store_part(to + l * out_step, height);
                }
            }
        }
    }
}

}  // namespace pyconv::PYCONV_ISA
