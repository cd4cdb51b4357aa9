// SPDX-License-Identifier: BSD-3-Clause
// Strips of pixels, a vector wide, of planes that are read as they lie, and what the columns of taps read for them.
// Included once per ISA.
#pragma once

#include "kernels/shuffle-inl.h"
#include "kernels/table.h"

namespace pyconv::PYCONV_ISA {

// Vectors as long as a cache line, of which all but aligned ones lie in two. Three of them a row, each a pixel beyond
// the one before, took ten cycles for the nine products of 3 x 3 taps, and two of them five, the third put together of
// these (Zen 5; vectors of 32 bytes take five with three loads).
#if defined(__AVX512F__) && PYCONV_VECTOR_BYTES == 64
inline constexpr bool kVectorIsLine = true;
#else
inline constexpr bool kVectorIsLine = false;
#endif

// What the taps of a strip read: pixels of the plane only, or, of three columns of taps with stride 1, the one in the
// middle does, or what lies beyond counts as 0.
enum class Reach { Inside, MiddleInside, Beyond };

// What a strip of tiles shares: its place, and the lanes that each column of taps reads, of two vectors if every
// second pixel counts.
template <typename T, int K, int S>
struct Strip {
    using Lanes = typename Vec<T>::Lanes;
    index_t left;   // column that the first tap of the first pixel reads
    index_t step;   // from one column of taps to the next
    index_t count;  // pixels
    Lanes lanes[K][S];
    // Of three columns of taps, lanes of two vectors that make the third. With stride 1 it is the middle one, between
    // the others. With stride 2 it is the last one, the first moved by a pixel, and the end of what it reads itself.
    typename Vec<T>::Mask third;

    Strip(const DepthwiseWalk& w, index_t pixel) : left(w.left + pixel * S), step(w.dilation) {
        constexpr index_t L = Vec<T>::lanes;
        count = w.OW - pixel < L ? w.OW - pixel : L;
        for (int c = 0; c < K; ++c)
            for (int s = 0; s < S; ++s)
                lanes[c][s] = Vec<T>::lanes_from(-left - c * step - s * L) &
                              Vec<T>::lanes_before(w.W - left - c * step - s * L);
        for (index_t l = 0; l < L; ++l)
            third[l] = static_cast<typename LaneInt<T>::type>(l + step < L ? l + step
                                                              : S == 1     ? L + l - step
                                                                           : 2 * l);
    }
    bool is_inside(index_t W) const { return are_inside(0, K - 1, W); }
    bool middle_is_inside(index_t W) const { return are_inside(1, 1, W); }

  private:
    bool are_inside(index_t first, index_t last, index_t W) const {
        return left + first * step >= 0 && left + last * step + S * Vec<T>::lanes <= W;
    }
};

// pixels[c] = what column first + c of the taps reads of a row of the image, of which column `first` reads from x on.
// With stride 2 neighbouring columns are the even and the odd of the same values, and the lanes come by_halves().
template <typename T, int K, int S, int kColumns, Reach kReach>
inline __attribute__((always_inline)) void load_columns(const Strip<T, K, S>& strip, int first,
                                                        const T* x, Vec<T> (&pixels)[kColumns]) {
    using V = Vec<T>;
    constexpr int L = static_cast<int>(V::lanes), kLast = kColumns - 1;
    const auto load = [&](int c, int s) {
        const T* const from = x + (S == 1 ? c * strip.step : c) + s * L;
        const bool whole = kReach == Reach::Inside || (kReach == Reach::MiddleInside && c == 1);
        return whole ? V::load(from) : V::load_lanes(from, strip.lanes[first + c][s]);
    };
    if constexpr (kVectorIsLine && S == 1 && (kColumns == 3 || kColumns == 2)) {
        pixels[0] = load(0, 0);
        pixels[kLast] = load(kLast, 0);
        if constexpr (kColumns == 3) pixels[1] = picked(pixels[0], pixels[2], strip.third);
    } else if constexpr (kVectorIsLine && S == 2 && kColumns == 3) {
        const V low = load(0, 0), high = load(0, 1);
        pixels[0] = alternate_lanes_by_halves<T, 0>(low, high);
        pixels[1] = alternate_lanes_by_halves<T, 1>(low, high);
        pixels[2] = picked(pixels[0], load(kLast, 1), strip.third);
    } else {
        PYCONV_UNROLL(4)
        for (int c = 0; c < kColumns; c += S) {
            const V low = load(c, 0);
            if constexpr (S == 1) {
                pixels[c] = low;
            } else {
                const V high = load(c, 1);
                pixels[c] = alternate_lanes_by_halves<T, 0>(low, high);
                if (c < kLast) pixels[c + 1] = alternate_lanes_by_halves<T, 1>(low, high);
            }
        }
    }
}

}  // namespace pyconv::PYCONV_ISA
