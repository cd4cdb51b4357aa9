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
// With stride 2 there are more products than points of the weight or of the sum, each a short GEMM; in weight gradients
// the sums over the tiles are short besides.
constexpr double kProductStrided = 1.3, kProductStridedGradient = 1.45, kProductTaps5Gradient = 1.9;
// Direct summation of an input gradient with stride 2 computes the phases of the pixels apart.
constexpr double kDirectPhases = 1.4;
// A value of the weight, packed for direct summation.
constexpr double kPack = 10;
// A value of a transformed tile: loads, additions, the store, and its share of the transposition, in which tiles for
// 5 x 5 taps overlap most; less in the weight gradient, which transforms nothing back.
constexpr double kTransform = 10, kTransformTaps5 = 15, kTransformGradient = 6;
// Channels fill vectors, and the filters panels.
constexpr index_t kVector = 8, kPanel = 16;
// A value of the transformed weight, or of its gradient. The input gradient reads the weight across: that is
// dear once it comes from beyond L2. A cached one is only read, but from memory, for those of a network do not stay
// in cache. It comes while its products with the tiles before it are summed, so that few tiles wait for it. With stride 2
// a filter has fewer points, among which reading and turning it round are shared.
constexpr double kWeight = 8, kWeightAcross = 17, kCachedWeight = 14, kWeightStrided = 20;
constexpr double kLargeWeight = 1e6;  // values
// In the weight gradient channels are rows of tiles, which fewer leave empty: with 3 and 4 of them 44 to 73 GFLOP/s,
// direct summation 57 to 107.
constexpr index_t kLeastRows = 8;

double weight_cost(const ConvShape& s, Direction direction, bool cached, double tiles) {
    if (cached) return std::max(0.0, kCachedWeight - tiles * kProduct);
    const double values = static_cast<double>(s.C / s.G * s.OC * s.KH * s.KW);
    if (s.stride_h == 2) return kWeightStrided;
    return direction == Direction::BackwardInput && values > kLargeWeight ? kWeightAcross : kWeight;
}

double product_cost(const ConvShape& s, Direction direction) {
    const bool gradient = direction == Direction::BackwardWeight;
    if (s.stride_h == 2) return gradient ? kProductStridedGradient : kProductStrided;
    return gradient && s.KH == 5 ? kProductTaps5Gradient : kProduct;
}

double padded(index_t size, index_t multiple) {
    return static_cast<double>(round_up(size, multiple));
}

double cost(const ConvShape& s, const Form& form, Direction direction, bool cached) {
    const double C = static_cast<double>(s.C / s.G), OC = static_cast<double>(s.OC / s.G);
    // Of the GEMMs, the rows of M: filters, or for the input gradient channels.
    const bool across = direction == Direction::BackwardInput;
    const double products =
        across ? OC * padded(s.C / s.G, kPanel) : C * padded(s.OC / s.G, kPanel);
    const double image = padded(s.C / s.G, kVector), gradient = padded(s.OC / s.G, kVector);
    const auto v_points = static_cast<double>(form.v_points());
    const auto m_points = static_cast<double>(form.m_points());
    const double values =
        across ? v_points * gradient + m_points * image : v_points * image + m_points * gradient;
    const double transform = direction == Direction::BackwardWeight ? kTransformGradient
                             : form.taps == 5                       ? kTransformTaps5
                                                                    : kTransform;
    const index_t rows = ceil_div(across ? s.H : s.OH, form.tile);
    const index_t cols = ceil_div(across ? s.W : s.OW, form.tile);
    const double tiles = static_cast<double>(s.N * rows * cols);
    const auto multiplied = static_cast<double>(form.products * form.products);
    return static_cast<double>(s.G) *
           (tiles * (multiplied * products * product_cost(s, direction) + values * transform) +
            static_cast<double>(form.u_points()) * C * OC *
                weight_cost(s, direction, cached, tiles));
}

double direct_cost(const ConvShape& s, Direction direction, bool cached) {
    const double values = static_cast<double>(s.C / s.G * s.OC * s.KH * s.KW);
    const bool packs = direction != Direction::BackwardWeight && !cached;
    const bool phases = direction == Direction::BackwardInput && s.stride_h == 2;
    const double product = phases ? kProduct * kDirectPhases : kProduct;
    return values * (static_cast<double>(round_up(s.N * s.OH * s.OW, kColumns)) * product +
                     (packs ? kPack : 0));
}

}  // namespace

bool applies(const ConvShape& s) {
    const bool plane = s.D * s.KD == 1 && s.OD == 1 && s.pad_front == 0 && s.dilation_h == 1 &&
                       s.dilation_w == 1 && s.KH == s.KW && s.stride_h == s.stride_w;
    return plane &&
           ((s.stride_h == 1 && (s.KH == 3 || s.KH == 5)) || (s.stride_h == 2 && s.KH == 3));
}

const Form& choose_form(const ConvShape& s, Direction direction, bool cached) {
    if (s.stride_h == 2) return direction == Direction::BackwardInput ? kStride2Gradient : kStride2;
    if (s.KH == 5) return kTile2Taps5;
    const bool small =
        cost(s, kTile2Taps3, direction, cached) < cost(s, kTile4Taps3, direction, cached);
    return small ? kTile2Taps3 : kTile4Taps3;
}

bool is_faster(const ConvShape& s, Direction direction, bool cached) {
    if (!applies(s)) return false;
    if (direction == Direction::BackwardWeight && s.C / s.G < kLeastRows) return false;
    return cost(s, choose_form(s, direction, cached), direction, cached) <
           direct_cost(s, direction, cached);
}

}  // namespace pyconv::winograd
