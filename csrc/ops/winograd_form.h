// SPDX-License-Identifier: BSD-3-Clause
// What the forms of Winograd's convolution have in common: along either axis a tile of `size` pixels becomes V points,
// the weight U points, and each product of a point of both is added to a point of M, of which `tile` outputs come.
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
    index_t
        sum;  // channels that are summed in registers: partial sums keep the error of long ones small
    index_t products;  // of an axis
    Product product[6];

    index_t v_points() const { return v * v; }
    index_t u_points() const { return u * u; }
    index_t m_points() const { return m * m; }
    index_t weights() const { return taps * taps; }  // of a filter and channel
};

constexpr Form stride1_form(WinogradForm name, index_t tile, index_t taps) {
    const index_t n = tile + taps - 1;
    Form form{name, taps, tile, n, tile, n, n, n, 64, n, {}};
    for (index_t i = 0; i < n; ++i) form.product[i] = {i, i, i};
    return form;
}

inline constexpr Form kTile2Taps3 = stride1_form(WinogradForm::Tile2Taps3, 2, 3);
inline constexpr Form kTile4Taps3 = stride1_form(WinogradForm::Tile4Taps3, 4, 3);
inline constexpr Form kTile2Taps5 = stride1_form(WinogradForm::Tile2Taps5, 2, 5);
inline constexpr Form kStride2 = {WinogradForm::Stride2,
                                  3,
                                  2,
                                  5,
                                  4,
                                  5,
                                  4,
                                  3,
                                  128,
                                  5,
                                  {{0, 0, 0}, {3, 3, 0}, {1, 1, 1}, {2, 2, 2}, {4, 3, 2}}};
inline constexpr Form kStride2Gradient = {WinogradForm::Stride2Gradient,
                                          3,
                                          4,
                                          3,
                                          2,
                                          4,
                                          4,
                                          5,
                                          128,
                                          5,
                                          {{0, 0, 0}, {1, 1, 1}, {2, 2, 2}, {1, 3, 3}, {3, 3, 4}}};

// Calls body(product) with the two-dimensional products in which a point of one kind takes part: of
// &Product::m, those that are added to point e of M; of &Product::u, those with point e of the weight.
template <typename Body>
void for_each_product(const Form& form, index_t Product::* kind, index_t e, Body&& body) {
    const index_t points = kind == &Product::m ? form.m : form.u;
    for (index_t i = 0; i < form.products; ++i) {
        const Product& h = form.product[i];
        if (h.*kind != e / points) continue;
        for (index_t j = 0; j < form.products; ++j) {
            const Product& w = form.product[j];
            if (w.*kind != e % points) continue;
            body(Product{h.v * form.v + w.v, h.u * form.u + w.u, h.m * form.m + w.m});
        }
    }
}

}  // namespace pyconv::winograd
