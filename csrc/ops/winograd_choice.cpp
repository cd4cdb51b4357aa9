// SPDX-License-Identifier: BSD-3-Clause
// A cost model for Winograd's algorithm, in units of one multiply-add of a vector. It looks at the shape
// alone, so that the choice is the same for any number of threads.
#include <algorithm>

#include "base/checked.h"
#include "ops/conv_winograd.h"

namespace pyconv::winograd {
namespace {

// One multiply-add, packing of the image included; the GEMMs of Winograd's algorithm are short, and take
// about as much. Direct summation fills up its last panel of columns.
constexpr double kProduct = 1.15;
constexpr index_t kColumns = 16;
// A value of the weight, packed for direct summation.
constexpr double kPack = 10;
// A value of a transformed tile: loads, additions, the store, and its share of the transposition; less in the
// weight gradient, which transforms nothing back.
constexpr double kTransform = 10, kTransformGradient = 6;
// Channels fill vectors, and the filters panels.
constexpr index_t kVector = 8, kPanel = 16;
// A value of the transformed weight, or of its gradient. The input gradient reads the weight across: that is
// dear once it comes from beyond L2. A cached one is only read, but from memory, for those of a network do not stay
// in cache. It comes while its products with the tiles before it are summed, so that few tiles wait for it.
constexpr double kWeight = 8, kWeightAcross = 17, kCachedWeight = 14;
constexpr double kLargeWeight = 1e6;  // values
// In the weight gradient channels are rows of tiles, which fewer leave empty: with 3 and 4 of them 44 to 73 GFLOP/s,
// direct summation 57 to 107.
constexpr index_t kLeastRows = 8;

double weight_cost(const ConvShape& s, Direction direction, bool cached, double tiles) {
    if (cached) return std::max(0.0, kCachedWeight - tiles * kProduct);
    const double values = static_cast<double>(s.C / s.G * s.OC * 9);
    return direction == Direction::BackwardInput && values > kLargeWeight ? kWeightAcross : kWeight;
}

double padded(index_t size, index_t multiple) {
    return static_cast<double>(round_up(size, multiple));
}

double cost(const ConvShape& s, index_t m, Direction direction, bool cached) {
    const double C = static_cast<double>(s.C / s.G), OC = static_cast<double>(s.OC / s.G);
    // Of the GEMMs, the rows of M: filters, or for the input gradient channels.
    const bool across = direction == Direction::BackwardInput;
    const double products =
        across ? OC * padded(s.C / s.G, kPanel) : C * padded(s.OC / s.G, kPanel);
    const double vectors = padded(s.C / s.G, kVector) + padded(s.OC / s.G, kVector);
    const double transform =
        direction == Direction::BackwardWeight ? kTransformGradient : kTransform;
    const double points = static_cast<double>((m + 2) * (m + 2));
    const index_t rows = ceil_div(across ? s.H : s.OH, m), cols = ceil_div(across ? s.W : s.OW, m);
    const double tiles = static_cast<double>(s.N * rows * cols);
    return static_cast<double>(s.G) * points *
           (tiles * (products * kProduct + vectors * transform) +
            C * OC * weight_cost(s, direction, cached, tiles));
}

double direct_cost(const ConvShape& s, Direction direction, bool cached) {
    const double values = static_cast<double>(s.C / s.G * s.OC * 9);
    const bool packs = direction != Direction::BackwardWeight && !cached;
    return values * (static_cast<double>(round_up(s.N * s.OH * s.OW, kColumns)) * kProduct +
                     (packs ? kPack : 0));
}

}  // namespace

bool applies(const ConvShape& s) {
    return s.D * s.KD == 1 && s.OD == 1 && s.pad_front == 0 && s.KH == 3 && s.KW == 3 &&
           s.stride_h == 1 && s.stride_w == 1 && s.dilation_h == 1 && s.dilation_w == 1;
}

index_t choose_tile(const ConvShape& s, Direction direction, bool cached) {
    return cost(s, 2, direction, cached) < cost(s, 4, direction, cached) ? 2 : 4;
}

bool is_faster(const ConvShape& s, Direction direction, bool cached) {
    if (!applies(s)) return false;
    if (direction == Direction::BackwardWeight && s.C / s.G < kLeastRows) return false;
    const index_t m = choose_tile(s, direction, cached);
    return cost(s, m, direction, cached) < direct_cost(s, direction, cached);
}

}  // namespace pyconv::winograd
