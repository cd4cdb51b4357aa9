// SPDX-License-Identifier: BSD-3-Clause
// The input gradient for few channels (a first layer: 1 or 3), where tiles of M = C rows would stand
// nearly empty. Here the rows are the weights of a filter, R = C * KH * KW of them:
//
//   products[r, p] = sum over oc of weight[oc, r] * grad_output[oc, p]
//
// full tiles, NR pixels of one output row at a time, each of which is then added to the places of the
// input that r reads from: col2im, a tile at a time and in L1. To make these additions plain vectors,
// the sums of a band of input rows are kept with margins, and their columns sorted by w % stride:
//
//   sums[c][row][phase][column]     rows   reach above and below the band
//                                   column ow + kw * dilation / stride: neighbours for neighbours
#include <algorithm>
#include <vector>

#include "base/buffer.h"
#include "base/parallel.h"
#include "ops/conv_implicit_gemm.h"
#include "ops/gemm_panel.h"

namespace pyconv::implicit_gemm {
namespace {

// Input rows of a task: many against the few that overlapping windows make two tasks compute.
constexpr index_t kBandExtents = 8;
constexpr index_t kMaxRows = 512;  // of products: a tile of them is 32 KiB of float32

template <typename T>
class Scatter {
  public:
    Scatter(const ConvShape& shape, const T* grad_output, const T* weight, const T* bias,
            Activation activation, T* grad_input)
        : s(shape),
          C(s.C / s.G),
          OC(s.OC / s.G),
          R(C * s.KH * s.KW),
          reach_h((s.KH - 1) * s.dilation_h),
          width(std::max(s.OW + (s.KW - 1) * s.dilation_w / s.stride_w,
                         (s.W - 1 + s.pad_left) / s.stride_w) +
                1 + kernel.NR),
          grad_output_(grad_output),
          weight_(weight),
          bias_(bias),
          activation_(activation),
          grad_input_(grad_input) {}

    void run() const {
        const index_t band =
            even_block(s.H, std::max(kBandExtents * (reach_h + 1), index_t{32}), 1);
        const index_t bands = ceil_div(s.H, band);
        const std::vector<index_t> offset = row_offsets(band);
        parallel_for(s.N * s.G * bands, arithmetic_nanoseconds(s.multiply_adds()),
                     [&](index_t task) {
                         const index_t h = task % bands * band, n = task / bands / s.G,
                                       group = task / bands % s.G;
                         run_band(n, group, h, std::min(band, s.H - h), band, offset);
                     });
    }

  private:
    index_t sums_rows(index_t band) const { return band + 2 * reach_h; }
    index_t row_step() const { return s.stride_w * width; }

    // Where the products of row r go, for the first pixel of a row whose windows begin at row 0.
    std::vector<index_t> row_offsets(index_t band) const {
        std::vector<index_t> offset;
        for (index_t c = 0; c < C; ++c)
            for (index_t kh = 0; kh < s.KH; ++kh)
                for (index_t kw = 0; kw < s.KW; ++kw) {
                    const index_t w = kw * s.dilation_w;
                    offset.push_back((c * sums_rows(band) + kh * s.dilation_h) * row_step() +
                                     w % s.stride_w * width + w / s.stride_w);
                }
        return offset;
    }

    // Input rows h .. h + rows of one image and group.
    void run_band(index_t n, index_t group, index_t h, index_t rows, index_t band,
                  const std::vector<index_t>& offset) const {
        const index_t NR = kernel.NR, plane = s.OH * s.OW, panels = ceil_div(s.OW, NR);
        const AlignedBuffer<T> sums(C * sums_rows(band) * row_step());
        const AlignedBuffer<T> b(panels * NR * OC), products(R * NR);
        std::fill_n(sums.data(), sums.size(), T(0));
        const T* images = grad_output_ + (n * s.OC + group * OC) * plane;
        // The weight as it lies, rows side by side.
        const T* a = weight_ + group * OC * R;
        const KLoop k{.steps = OC, .a_k = R, .a_step = 1, .b_k = NR, .b_padded = true};
        // The output rows whose windows touch the band.
        const index_t first = std::max<index_t>(0, ceil_div(h + s.pad_top - reach_h, s.stride_h));
        const index_t last = std::min(s.OH - 1, (h + rows - 1 + s.pad_top) / s.stride_h);
        for (index_t oh = first; oh <= last; ++oh) {
            kernel.pack_b(OC, s.OW, images + oh * s.OW, plane, 1, NR * OC, b.data());
            T* to = sums.data() + (oh * s.stride_h - s.pad_top - h + reach_h) * row_step();
            for (index_t p = 0; p < panels; ++p) {
                // Columns beyond the row are products with packed zeros.
                const ColumnRun<T> run{.first = 0, .count = NR, .c = products.data(), .c_step = 1};
                multiply_panel<T>(kernel, R, k, a, 0, b.data() + p * NR * OC, {&run, 1}, NR, {});
                kernel.scatter_add(R, products.data(), offset.data(), to + p * NR);
            }
        }
        write(n, group, h, rows, band, sums.data());
    }

    void write(index_t n, index_t group, index_t h, index_t rows, index_t band,
               const T* sums) const {
        const AlignedBuffer<T> line(s.stride_w * width);
        for (index_t c = 0; c < C; ++c) {
            const index_t channel = group * C + c;
            const Epilogue<T> e{.row_bias = bias_ != nullptr ? bias_ + channel : nullptr,
                                .activation = activation_};
            for (index_t i = 0; i < rows; ++i) {
                const T* from = sums + (c * sums_rows(band) + reach_h + i) * row_step();
                if (s.stride_w > 1) {
                    kernel.interleave(1, width, s.stride_w, from, 0, width, line.data(), 0);
                    from = line.data();
                }
                T* to = grad_input_ + ((n * s.C + channel) * s.H + h + i) * s.W;
                kernel.merge_tile(1, s.W, from + s.pad_left, 0, to, 0, 1, e);
            }
        }
    }

    const ConvShape& s;
    const Kernels<T>& kernel = kernels<T>();
    const index_t C, OC, R, reach_h, width;
    const T *grad_output_, *weight_, *bias_;
    Activation activation_;
    T* grad_input_;
};

}  // namespace

template <typename T>
bool prefers_scatter(const ConvShape& s) {
    const index_t C = s.C / s.G, OC = s.OC / s.G, taps = s.KH * s.KW;
    // A tile of C rows has MR - C empty ones; adding the products costs as much as 4 channels.
    return C < kernels<T>().MR && OC >= 8 && OC <= kernels<T>().KC && taps >= 4 &&
           C * taps <= kMaxRows && s.D * s.KD * s.OD == 1 && s.N * s.OH * s.OW > 0 && s.W > 0;
}

template <typename T>
void scatter(const ConvShape& s, const T* grad_output, const T* weight, const T* bias,
             Activation activation, T* grad_input) {
    Scatter<T>(s, grad_output, weight, bias, activation, grad_input).run();
}

template bool prefers_scatter<float>(const ConvShape&);
template bool prefers_scatter<double>(const ConvShape&);
template void scatter(const ConvShape&, const float*, const float*, const float*, Activation,
                      float*);
template void scatter(const ConvShape&, const double*, const double*, const double*, Activation,
                      double*);

}  // namespace pyconv::implicit_gemm
