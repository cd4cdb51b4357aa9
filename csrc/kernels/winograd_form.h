// SPDX-License-Identifier: BSD-3-Clause
// What the forms of Winograd's convolution have in common: along either axis a tile of `size` pixels becomes v points,
// the weight u points, and each product of a point of both is added to one of m points, of which `tile` outputs come.
#pragma once

#include "base/types.h"
#include "kernels/table.h"

namespace pyconv::winograd {

// Of one axis: M[m] += V[v] * U[u].
struct Product {
    index_t v, u, m;
};

struct Form {
    WinogradForm name;
    index_t taps;
    index_t tile;        // outputs
    index_t size, step;  // source pixels of a tile, and from one tile to the next
    index_t v, u, m;     // points of an axis
    // Channels that are summed in registers: partial sums keep the error of long ones small.
    index_t sum;
    index_t products;  // of an axis
    Product product[6];

    constexpr index_t v_points() const { return v * v; }
    constexpr index_t u_points() const { return u * u; }
    constexpr index_t m_points() const { return m * m; }
    constexpr index_t weights() const { return taps * taps; }  // of a filter and channel
};

consteval Form stride1_form(WinogradForm name, index_t tile, index_t taps) {
    const index_t n = tile + taps - 1;
    Form form{.name = name,
              .taps = taps,
              .tile = tile,
              .size = n,
              .step = tile,
              .v = n,
              .u = n,
              .m = n,
              .sum = 64,
              .products = n,
              .product = {}};
    for (index_t i = 0; i < n; ++i) form.product[i] = {i, i, i};
    return form;
}

inline constexpr Form kTile2Taps3 = stride1_form(WinogradForm::Tile2Taps3, 2, 3);
inline constexpr Form kTile4Taps3 = stride1_form(WinogradForm::Tile4Taps3, 4, 3);
inline constexpr Form kTile2Taps5 = stride1_form(WinogradForm::Tile2Taps5, 2, 5);
inline constexpr Form kStride2 = {
    .name = WinogradForm::Stride2,
    .taps = 3,
    .tile = 2,
    .size = 5,
    .step = 4,
    .v = 5,
    .u = 4,
    .m = 3,
    .sum = 128,
    .products = 5,
    .product = {{0, 0, 0}, {3, 3, 0}, {1, 1, 1}, {2, 2, 2}, {4, 3, 2}}};
inline constexpr Form kStride2Gradient = {
    .name = WinogradForm::Stride2Gradient,
    .taps = 3,
    .tile = 4,
    .size = 3,
    .step = 2,
    .v = 4,
    .u = 4,
    .m = 5,
    .sum = 128,
    .products = 5,
    .product = {{0, 0, 0}, {1, 1, 1}, {2, 2, 2}, {1, 3, 3}, {3, 3, 4}}};

}  // namespace pyconv::winograd
