// SPDX-License-Identifier: BSD-3-Clause
// The GEMM micro-kernel, where all the arithmetic of gemm and of convolution is. Included once per
// ISA.
//
//            NR                 kc                    NR
//        +--------+         +--------+            +--------+
//    MR  |  tile  |  =  MR  | 0 6 .. |   x    kc  | 0 1 .. |     A packed by columns of MR,
//        +--------+         | 1 7 .. |            | NR ... |     B packed by rows of NR
//                           +--------+            +--------+
//
// 6 x 16 floats on AVX2: 12 accumulators + 2 of B + 1 of A = 15 of 16 registers. Fewer accumulators
// can not hide the latency of the multiply-add (4 cycles, 2 a cycle), more would spill.
#pragma once

#include "kernels/elementwise-inl.h"
#include "kernels/shuffle-inl.h"
#include "kernels/table.h"

namespace pyconv::PYCONV_ISA {

// A tile of more rows than this is cut in two at an edge of C: six rows of two vectors already hide the
// latency of the multiply-add, and each height needs code of its own.
#if defined(PYCONV_FEW_FORMS)
constexpr int kMaxEdgeRows = (PYCONV_MR + 1) / 2;
#else
constexpr int kMaxEdgeRows = 6;
#endif

// How a tile finds its operands; see KLoop. Packed: columns of A and rows of B, one after the other.
enum class Walk { Packed, Columns, Rows, OffsetsA, OffsetsB };

// How far ahead a packed operand is fetched that comes from beyond L2; see Far.
constexpr index_t kFarSteps = 64;
// A whole tile that is not large takes four steps of the k-loop at a time, and one of packed panels finds them at
// constant places: a fifth of the instructions is left out. On a processor of its own that gains nothing, and beside another thread on the same core,
// as on a virtual machine, 7 % (Zen 3; the loop by itself up to 20 %). As a pragma: steps written out one after the
// other would mix, and spill.
#if defined(PYCONV_FEW_FORMS)
constexpr bool kFetchesFar = false, kFourSteps = false;
#else
constexpr bool kFetchesFar = true, kFourSteps = true;
#endif
template <Far kValue>
struct FarConstant {
    static constexpr Far value = kValue;
};

// A tile of more cache lines than can be on their way at once. The k-loop then takes two steps at a time, as
// counting takes issue slots that multiply-adds could have, and fetches lines on the side, which in a small tile costs
// more than it saves.
template <typename T, int MR, int NV>
constexpr bool is_large_tile() {
    return MR * NV * Vec<T>::lanes * index_t{sizeof(T)} > 8 * 64;
}

// The epilogue for mr x nr values of a tile that gemm left in scratch, tile_row values a row; c_step is
// the step between columns of C.
template <typename T>
void merge_tile(index_t mr, index_t nr, const T* tile, index_t tile_row, T* c, index_t ldc,
                index_t c_step, const Epilogue<T>& e) {
    using V = Vec<T>;
    constexpr index_t L = V::lanes;
    for (index_t i = 0; i < mr; ++i, tile += tile_row, c += ldc) {
        const T row_bias = e.row_bias != nullptr ? e.row_bias[i] : T(0);
        const T* residual = e.residual != nullptr ? e.residual + i * ldc : nullptr;
        index_t j = 0;
        for (; c_step == 1 && j + L <= nr; j += L) {
            V x = V::load(tile + j);
            if (e.alpha != 1) x = x * V::broadcast(e.alpha);
            if (e.accumulate) x = x + V::load(c + j);
            if (e.row_bias != nullptr) x = x + V::broadcast(row_bias);
            if (e.col_bias != nullptr) x = x + V::load(e.col_bias + j);
            if (residual != nullptr) x = x + V::load(residual + j);
            x = activated(e.activation, x);
            x.store(c + j);
        }
        for (; c_step == 1 && j < nr; j += L) {
            const index_t count = nr - j;
            const auto lanes = V::lanes_before(count);
            V x = V::load_lanes(tile + j, lanes);
            if (e.alpha != 1) x = x * V::broadcast(e.alpha);
            if (e.accumulate) x = x + V::load_lanes(c + j, lanes);
            if (e.row_bias != nullptr) x = x + V::broadcast(row_bias);
            if (e.col_bias != nullptr) x = x + V::load_lanes(e.col_bias + j, lanes);
            if (residual != nullptr) x = x + V::load_lanes(residual + j, lanes);
            x = activated(e.activation, x);
            x.store_part(c + j, count < L ? count : L);
        }
        for (; j < nr; ++j) {
            T x = e.alpha == 1 ? tile[j] : e.alpha * tile[j];
            if (e.accumulate) x += c[j * c_step];
            if (e.row_bias != nullptr) x += row_bias;
            if (e.col_bias != nullptr) x += e.col_bias[j];
            if (residual != nullptr) x += residual[j * c_step];
            if (e.activation != Activation::None && x <= 0) x = 0;
            if (e.activation == Activation::Relu6 && x > 6) x = 6;
            c[j * c_step] = x;
        }
    }
}

// C[i, j] = epilogue(sum over k of a[k][i] * b[k][j]) for MR rows and NV vectors of columns; ldc is the
// step between rows of C. Unless it is kWhole, the last vector of C has only `last` values: nothing else of
// C is touched, nor of B where it is strided; packed panels are padded.
//
// Where A lies by rows, one pointer serves three of them (x86 adds a register once or twice to an address):
// a pointer a row would not fit into the registers.
//
// With kPackB, the values of B go to `packed` on their way.
template <typename T, int MR, int NV, Walk kWalk, bool kWhole, bool kMaskB = false,
          bool kPackB = false>
inline __attribute__((always_inline)) void gemm_tile(const KLoop& k, const T* a, const T* b, T* c,
                                                     index_t ldc, const Epilogue<T>& e,
                                                     index_t last, T* packed = nullptr) {
    using V = Vec<T>;
    constexpr index_t L = V::lanes, kLine = 64 / index_t{sizeof(T)};
    constexpr int kThrees = (MR + 2) / 3;
    const T* threes[kThrees];
    if constexpr (kWalk == Walk::Rows)
        for (int i = 0; i < kThrees; ++i) threes[i] = a + 3 * i * k.a_step;
    const T* rows[MR];
    if constexpr (kWalk == Walk::OffsetsA)
        for (int i = 0; i < MR; ++i) rows[i] = a + k.a_row[i];
    typename V::Lanes last_lanes;
    if constexpr (!kWhole) last_lanes = V::lanes_before(last);
    const auto load = [&](const T* p, int j, bool whole) {
        if constexpr (!kWhole)
            if (!whole && j == NV - 1) return V::load_lanes(p + j * L, last_lanes);
        return V::load(p + j * L);
    };

    // C is the one operand that no packing has touched: it is fetched while the k-loop runs, but of a large tile
    // row by row, since all at once would hold up the loads of A and B. Where a row begins within a line, that line
    // came with the tile on the left; the one in which the row ends did not.
    // (always_inline: GCC takes a function that only fetches for one without effect, and drops the call.)
    const index_t to_residual = e.residual != nullptr ? e.residual - c : 0;
    const auto fetch = [&](const T* c_row) __attribute__((always_inline)) {
        for (index_t j = kLine - 1; j < NV * L; j += kLine) {
            __builtin_prefetch(c_row + j, 1);
            __builtin_prefetch(c_row + to_residual + j);
        }
    };
    constexpr bool kLarge = kWhole && is_large_tile<T, MR, NV>();
    for (int i = 0; kWhole && !kLarge && i < MR; ++i) fetch(c + k.next_c + i * ldc);

    V acc[MR][NV];
    for (int i = 0; i < MR; ++i)
        for (int j = 0; j < NV; ++j) acc[i][j] = V::zero();
    [[maybe_unused]] const index_t ahead = kLarge && k.fetch != nullptr ? 0 : NV * L;
    const auto add_step = [&](index_t step, auto far) __attribute__((always_inline)) {
        constexpr Far kFar = decltype(far)::value;
        const T* bk = kWalk == Walk::OffsetsB ? b + k.b_offset[step] : b;
        const index_t offset = kWalk == Walk::OffsetsA ? k.a_offset[step] : 0;
        V bv[NV];
        for (int j = 0; j < NV; ++j) bv[j] = load(bk, j, !kMaskB);
        if constexpr (kPackB) {
            for (int j = 0; j < NV; ++j) bv[j].store(packed + j * L);
            packed += NV * L;
            for (index_t j = kLine; j <= NV * L; j += kLine) __builtin_prefetch(bk + ahead + j - 1);
        }
        if constexpr (kFar == Far::A) __builtin_prefetch(a + kFarSteps * MR);
        if constexpr (kFar == Far::B)
            for (index_t j = 0; j < NV * L; j += kLine)
                __builtin_prefetch(b + kFarSteps * NV * L + j);
        for (int i = 0; i < MR; ++i) {
            const T* ai = kWalk == Walk::OffsetsA ? rows[i] + offset
                          : kWalk == Walk::Rows   ? threes[i / 3] + i % 3 * k.a_step
                                                  : a + i;
            const V factor = V::broadcast(*ai);
            for (int j = 0; j < NV; ++j) acc[i][j] = fma(factor, bv[j], acc[i][j]);
        }
        if constexpr (kWalk == Walk::Rows)
            for (int i = 0; i < kThrees; ++i) ++threes[i];
        if constexpr (kWalk == Walk::Packed) {
            a += MR;
            b += NV * L;
            return;
        }
        if (kWalk != Walk::Rows) a += k.a_k;
        if (kWalk != Walk::OffsetsB) b += kFar == Far::B ? NV * L : k.b_k;
    };
    index_t step = 0;
    const auto add_steps = [&](auto far) __attribute__((always_inline)) {
        constexpr Far kFar = decltype(far)::value;
        // Where B is far, C is scratch and in cache.
        const T* c_row = c + k.next_c;
        if constexpr (kLarge && kFar == Far::None) {
            const index_t end = k.steps < 2 * MR ? k.steps : 2 * MR;
            for (; step + 2 <= end; step += 2, c_row += ldc) {
                add_step(step, far);
                add_step(step + 1, far);
                fetch(c_row);
            }
        }
        if constexpr (kLarge && kFar != Far::B)
            for (const T* c_end = c + k.next_c + MR * ldc; c_row != c_end; c_row += ldc)
                fetch(c_row);
        const char* next = reinterpret_cast<const char*>(c);
        index_t next_step = 0;
        if (kFar == Far::None && k.fetch != nullptr) {
            next = static_cast<const char*>(k.fetch->line);
            next_step = k.fetch->step;
        }
        for (; kLarge && kFar == Far::None && step + 2 <= k.steps; step += 2, next += next_step) {
            add_step(step, far);
            add_step(step + 1, far);
            __builtin_prefetch(next);
        }
        if constexpr (kFourSteps && kWhole && !kLarge) {
            const index_t end = k.steps;
            PYCONV_UNROLL(4)
            for (; step < end; ++step) add_step(step, far);
        }
        for (; step < k.steps; ++step) add_step(step, far);
    };
    constexpr bool kMayFetch = kFetchesFar && kWhole && !kPackB;
    constexpr bool kMayFetchB = kMayFetch && (kWalk == Walk::Columns || kWalk == Walk::Rows);
    if (kMayFetch && kWalk == Walk::Packed && k.far == Far::A) {
        add_steps(FarConstant<Far::A>());
    } else if (kMayFetchB && k.far == Far::B) {
        add_steps(FarConstant<Far::B>());
    } else {
        add_steps(FarConstant<Far::None>());
    }

    // One step at a time over all accumulators, each loop unrolled: they never leave the registers.
    const auto each = [&](auto&& change) {
        PYCONV_UNROLL(16)
        for (int i = 0; i < MR; ++i) {
            PYCONV_UNROLL(4)
            for (int j = 0; j < NV; ++j) change(acc[i][j], i, j);
        }
    };
    if (e.alpha != 1) {
        const V alpha = V::broadcast(e.alpha);
        each([&](V& x, int, int) { x = x * alpha; });
    }
    if (e.accumulate) each([&](V& x, int i, int j) { x = x + load(c + i * ldc, j, false); });
    if (e.row_bias != nullptr) each([&](V& x, int i, int) { x = x + V::broadcast(e.row_bias[i]); });
    if (e.col_bias != nullptr) each([&](V& x, int, int j) { x = x + load(e.col_bias, j, false); });
    if (e.residual != nullptr)
        each([&](V& x, int i, int j) { x = x + load(e.residual + i * ldc, j, false); });
    if (e.activation == Activation::Relu) each([](V& x, int, int) { x = relu_of(x); });
    if (e.activation == Activation::Relu6) each([](V& x, int, int) { x = relu6_of(x); });
    each([&](V& x, int i, int j) {
        T* p = c + i * ldc + j * L;
        if (kWhole || j < NV - 1) {
            x.store(p);
        } else {
            x.store_part(p, last);
        }
    });
}

// One whole MR x NR tile.
template <typename T, int MR, int NV>
void gemm(const KLoop& k, const T* a, const T* b, T* c, index_t ldc, const Epilogue<T>& e) {
    if (k.b_offset != nullptr) {
        gemm_tile<T, MR, NV, Walk::OffsetsB, true>(k, a, b, c, ldc, e, 0);
    } else if (k.a_offset != nullptr) {
        gemm_tile<T, MR, NV, Walk::OffsetsA, true>(k, a, b, c, ldc, e, 0);
    } else if (k.a_step == 1 && k.a_k == MR && k.b_k == NV * Vec<T>::lanes && k.far != Far::B) {
        gemm_tile<T, MR, NV, Walk::Packed, true>(k, a, b, c, ldc, e, 0);
    } else if (k.a_step == 1) {
        gemm_tile<T, MR, NV, Walk::Columns, true>(k, a, b, c, ldc, e, 0);
    } else {
        gemm_tile<T, MR, NV, Walk::Rows, true>(k, a, b, c, ldc, e, 0);
    }
}

// One whole tile of a B whose rows are k.b_k apart, which leaves B packed for the tiles below. Packing hides
// behind the multiply-adds.
template <typename T, int MR, int NV>
void gemm_packing(const KLoop& k, const T* a, const T* b, T* packed, T* c, index_t ldc,
                  const Epilogue<T>& e) {
    if (k.a_step == 1) {
        gemm_tile<T, MR, NV, Walk::Columns, true, false, true>(k, a, b, c, ldc, e, 0, packed);
    } else {
        gemm_tile<T, MR, NV, Walk::Rows, true, false, true>(k, a, b, c, ldc, e, 0, packed);
    }
}

// The mr x nr corner of a tile, at the edge of C: nothing beyond is read or written, and most of what
// is not there costs nothing.
template <typename T, int MR, int NV>
void gemm_edge(index_t mr, index_t nr, const KLoop& k, const T* a, const T* b, T* c, index_t ldc,
               const Epilogue<T>& e) {
    if constexpr (MR > kMaxEdgeRows) {
        static_assert(MR <= 2 * kMaxEdgeRows);
        if (mr <= kMaxEdgeRows) return gemm_edge<T, kMaxEdgeRows, NV>(mr, nr, k, a, b, c, ldc, e);
        const index_t upper = (mr + 1) / 2;
        gemm_edge<T, kMaxEdgeRows, NV>(upper, nr, k, a, b, c, ldc, e);
        KLoop lower = k;
        Epilogue<T> rest = e;
        if (k.a_offset != nullptr) {
            lower.a_row += upper;
        } else {
            a += upper * k.a_step;
        }
        if (e.row_bias != nullptr) rest.row_bias += upper;
        if (e.residual != nullptr) rest.residual += upper * ldc;
        return gemm_edge<T, kMaxEdgeRows, NV>(mr - upper, nr, lower, a, b, c + upper * ldc, ldc,
                                              rest);
    } else if constexpr (MR > 1) {
        if (mr < MR) return gemm_edge<T, MR - 1, NV>(mr, nr, k, a, b, c, ldc, e);
    }
    constexpr index_t L = Vec<T>::lanes;
    static_assert(NV == 2);
    const auto tile = [&](auto vectors, index_t last) {
        constexpr int kVectors = decltype(vectors)::value;
        if (k.b_offset != nullptr) {
            gemm_tile<T, MR, kVectors, Walk::OffsetsB, false>(k, a, b, c, ldc, e, last);
        } else if (k.a_offset != nullptr) {
            gemm_tile<T, MR, kVectors, Walk::OffsetsA, false>(k, a, b, c, ldc, e, last);
        } else if (k.b_padded && k.a_step == 1) {
            gemm_tile<T, MR, kVectors, Walk::Columns, false>(k, a, b, c, ldc, e, last);
        } else if (k.b_padded) {
            gemm_tile<T, MR, kVectors, Walk::Rows, false>(k, a, b, c, ldc, e, last);
        } else if (k.a_step == 1) {
            gemm_tile<T, MR, kVectors, Walk::Columns, false, true>(k, a, b, c, ldc, e, last);
        } else {
            gemm_tile<T, MR, kVectors, Walk::Rows, false, true>(k, a, b, c, ldc, e, last);
        }
    };
    if (nr > L) {
        tile(Constant<2>(), nr - L);
    } else {
        tile(Constant<1>(), nr);
    }
}

// sums[offset[i] + j] += tile[i, j] for i < rows, j < NR.
template <typename T, int NR>
void scatter_add(index_t rows, const T* tile, const index_t* offset, T* sums) {
    using V = Vec<T>;
    for (index_t i = 0; i < rows; ++i, tile += NR) {
        T* to = sums + offset[i];
        for (index_t j = 0; j < NR; j += V::lanes)
            (V::load(to + j) + V::load(tile + j)).store(to + j);
    }
}

// out[r * out_row + i * ways + q] = in[r * in_row + q * in_step + i] for r < rows, i < count, q < ways.
template <typename T>
void interleave(index_t rows, index_t count, index_t ways, const T* in, index_t in_row,
                index_t in_step, T* out, index_t out_row) {
    using V = Vec<T>;
    constexpr index_t L = V::lanes;
    const auto last = V::lanes_before(count % L);
    for (index_t r = 0; r < rows; ++r, in += in_row, out += out_row) {
        index_t i = 0;
        for (; ways == 2 && i + L <= count; i += L) {
            const V a = V::load(in + i), b = V::load(in + in_step + i);
            interleaved_low(a, b).store(out + 2 * i);
            interleaved_high(a, b).store(out + 2 * i + L);
        }
        const index_t rest = 2 * (count - i);
        if (ways == 2 && rest > 0) {
            const V a = V::load_lanes(in + i, last), b = V::load_lanes(in + in_step + i, last);
            interleaved_low(a, b).store_part(out + 2 * i, rest < L ? rest : L);
            if (rest > L) interleaved_high(a, b).store_part(out + 2 * i + L, rest - L);
            i = count;
        }
        for (; i < count; ++i)
            for (index_t q = 0; q < ways; ++q) out[i * ways + q] = in[q * in_step + i];
    }
}

// The ceiling of the loop above: its multiply-adds without its loads, in as many accumulators.
// Returns the number of operations (two a multiply-add); `result` takes what was computed, NR
// values, so that the compiler can not leave it out.
template <typename T, int kAccumulators>
double fma_peak(index_t steps, T* result) {
    using V = Vec<T>;
    V acc[kAccumulators];
    PYCONV_UNROLL(32)
    for (int i = 0; i < kAccumulators; ++i) acc[i] = V::broadcast(static_cast<T>(i));
    const V factor = V::broadcast(T(0.5)), summand = V::broadcast(T(1));
    for (index_t step = 0; step < steps; ++step) {
        PYCONV_UNROLL(32)
        for (int i = 0; i < kAccumulators; ++i) acc[i] = fma(acc[i], factor, summand);
    }
    V sum = V::zero();
    PYCONV_UNROLL(32)
    for (int i = 0; i < kAccumulators; ++i) sum = sum + acc[i];
    sum.store(result);
    return 2.0 * kAccumulators * static_cast<double>(V::lanes) * static_cast<double>(steps);
}

}  // namespace pyconv::PYCONV_ISA
