// SPDX-License-Identifier: BSD-3-Clause
// The weight gradient of a convolution:
//
//   grad_weight[oc, r] = sum over pixels p of grad_output[oc, p] * input[offset(r) + offset(p)]
//
// with r = (c, kd, kh, kw) and p = (n, od, oh, ow): where a weight reads is a sum of one offset of its own
// and one of the pixel. Transposed, it is a GEMM of R = C * KD * KH * KW rows, OC columns and as many
// steps as there are pixels:
//
//   A  the image as it lies (a copy with its zeros around it, where there is padding): the micro-kernel
//      broadcasts single values, so that neither stride, dilation nor the number of channels asks
//      for another layout
//   B  grad_output with its channels innermost, [oc / NR][pixel][NR]: copied once, used R times
//
// Pixels come in chunks, of which A and B stay in cache while all rows pass over them, and a chunk in
// segments of at most kSegmentPixels: a tile sums a segment in registers and then adds it to its
// block of the result, so that the rounding error grows with the number of segments, not of pixels
// (fixed-chunk summation). Each block of the result belongs to one task.
#include <algorithm>
#include <utility>
#include <vector>

#include "base/buffer.h"
#include "base/parallel.h"
#include "ops/conv_implicit_gemm.h"
#include "ops/gemm_panel.h"

namespace pyconv::implicit_gemm {
namespace {

// 256 pixels x 16 columns of B take half of L1.
constexpr index_t kSegmentPixels = 256;
// What the threads read of a chunk together: the copies, and the image where it is used as it lies.
// Half of L2, or for a large result as much as it has, since each chunk reads and writes all of it.
constexpr index_t kChunkBytes = index_t{1} << 20, kMaxChunkBytes = index_t{4} << 20;
constexpr index_t kChunkPixels = 16 * kSegmentPixels;
// About so many rows has a block of the result: as wide as a panel of B, 3 KiB of float32. A segment of B is used for
// all of them before the next is fetched.
constexpr index_t kBlockRows = 48;
// Panels of B that a task takes together: a segment of A is used for all of them before the next is fetched.
constexpr index_t kPanels = 4;
// The result is cut into at least this many tasks, where it can be. Of fewer than these, threads get unequal shares:
// the chunks are then shared out instead, in some parts.
constexpr index_t kTasks = 16, kEnoughTasks = 8, kParts = 4;
// Where rows are left out the hardware does not see what is wanted next, and so many rows ahead are fetched.
constexpr index_t kRowsAhead = 28;

// Some whole images of the batch, or some rows of one plane of output.
struct Chunk {
    index_t n, images, od, planes, oh, rows;
};

// An image, or a copy of a part of it, as A: steps between images, channels, planes and rows.
template <typename T>
struct View {
    const T* data;
    index_t image, channel, plane, row;
};

// One group of the convolution. `exchanged` says that the two tensors have changed places, and so
// that the result is to be written as it is summed, row by row.
template <typename T>
class WeightGradient {
  public:
    WeightGradient(const ConvShape& shape, bool exchanged, index_t group, const T* grad_output,
                   const T* input, T* grad_weight)
        : s(shape),
          exchanged_(exchanged),
          OC(s.OC / s.G),
          C(s.C / s.G),
          R(C * s.taps()),
          grad_output_(grad_output + group * OC * s.output_plane()),
          input_(input + group * C * s.input_plane()),
          grad_weight_(grad_weight + group * OC * R),
          panels_(ceil_div(OC, kernel.NR)),
          block_rows_(rows_of_block(R, kernel.MR)),
          row_blocks_(ceil_div(R, block_rows_)) {
        const index_t reach_h = s.pad_top + s.H, reach_w = s.pad_left + s.W;
        compact_h_ = s.KH == 1 && s.stride_h > 1 ? s.stride_h : 1;
        compact_w_ = s.KW == 1 && s.stride_w > 1 ? s.stride_w : 1;
        padded_ = compact_h_ * compact_w_ > 1 || s.pad_front != 0 || s.pad_top != 0 ||
                  s.pad_left != 0 || extent(s.OD, s.stride_d, s.KD, s.dilation_d) > s.D ||
                  extent(s.OH, s.stride_h, s.KH, s.dilation_h) > reach_h ||
                  extent(s.OW, s.stride_w, s.KW, s.dilation_w) > reach_w;
        cut_into_chunks();
    }

    void run() {
        const auto chunks = static_cast<index_t>(chunks_.size());
        const index_t size = panels_ * row_blocks_ * block_rows_ * kernel.NR;
        // A small result is not shared out but summed in parts, each from chunks of its own.
        const bool small = panel_groups() * row_blocks_ < kEnoughTasks;
        const index_t parts = small ? std::min(chunks, kParts) : 1;
        const AlignedBuffer<T> sums(chunks > 1 ? parts * size : 0);
        if (parts == 1) return add_chunks(0, chunks, sums.data(), true);
        parallel_for(parts, arithmetic_nanoseconds(s.multiply_adds()), [&](index_t part) {
            add_chunks(chunks * part / parts, chunks * (part + 1) / parts,
                       sums.data() + part * size, false);
        });
        for (index_t part = 1; part < parts; ++part)
            kernel.add_to(size, sums.data() + part * size, sums.data());
        for (index_t block = 0; block < panels_ * row_blocks_; ++block) {
            const index_t r = block % row_blocks_ * block_rows_;
            write(r, std::min(block_rows_, R - r), block / row_blocks_,
                  sums.data() + block * block_rows_ * kernel.NR);
        }
    }

  private:
    // Of a few blocks, none is left with a few rows.
    static index_t rows_of_block(index_t R, index_t MR) {
        constexpr index_t kFewBlocks = 4;
        const index_t blocks = ceil_div(R, kBlockRows);
        const bool joins = blocks > 1 && blocks <= kFewBlocks && R % kBlockRows <= MR / 2;
        return round_up(ceil_div(R, joins ? blocks - 1 : blocks), MR);
    }
    index_t panel_groups() const { return ceil_div(panels_, kPanels); }

    // Chunks first .. end, which `sums` takes; without, or if `writes`, they go to the result.
    void add_chunks(index_t first, index_t end, T* sums, bool writes) const {
        const AlignedBuffer<T> a(padded_ ? staged_size(chunks_.front()) : 0);
        const AlignedBuffer<T> b(panels_ * pixels(chunks_.front()) * kernel.NR);
        std::vector<index_t> row_offset(static_cast<size_t>(R));
        std::vector<index_t> pixel_offset(static_cast<size_t>(pixels(chunks_.front())));
        for (index_t i = first; i < end; ++i) {
            const Chunk& chunk = chunks_[static_cast<size_t>(i)];
            copy(chunk, a.data(), b.data());
            const View<T> view = view_of(chunk, a.data());
            find_offsets(chunk, view, row_offset.data(), pixel_offset.data());
            multiply(chunk, i > first, writes && i + 1 == end, view.data, b.data(),
                     row_offset.data(), pixel_offset.data(), sums);
        }
    }

    // How far the windows of `count` outputs reach.
    static index_t extent(index_t count, index_t stride, index_t kernel_size, index_t dilation) {
        return (count - 1) * stride + (kernel_size - 1) * dilation + 1;
    }
    index_t staged_planes(const Chunk& k) const {
        return extent(k.planes, s.stride_d, s.KD, s.dilation_d);
    }
    index_t staged_rows(const Chunk& k) const {
        return extent(k.rows, s.stride_h / compact_h_, s.KH, s.dilation_h);
    }
    index_t staged_width() const {
        return extent(s.OW, s.stride_w / compact_w_, s.KW, s.dilation_w);
    }
    index_t staged_size(const Chunk& k) const {
        return k.images * C * staged_planes(k) * staged_rows(k) * staged_width();
    }
    index_t pixels(const Chunk& k) const { return k.images * k.planes * k.rows * s.OW; }

    // The first chunk is the largest.
    void cut_into_chunks() {
        const index_t bytes = std::clamp(R * OC * index_t{sizeof(T)}, kChunkBytes, kMaxChunkBytes);
        const auto fits = [&](const Chunk& k) {
            const index_t values = panels_ * kernel.NR * pixels(k) + staged_size(k);
            return pixels(k) <= kChunkPixels && values * index_t{sizeof(T)} <= bytes;
        };
        Chunk k{0, 1, 0, s.OD, 0, s.OH};
        if (fits(k)) {
            while (k.images < s.N && fits({0, k.images + 1, 0, s.OD, 0, s.OH})) ++k.images;
            k.images = even_block(s.N, k.images, 1);
            for (; k.n < s.N; k.n += k.images)
                chunks_.push_back({k.n, std::min(k.images, s.N - k.n), 0, s.OD, 0, s.OH});
            return;
        }
        index_t rows = 1;
        while (rows < s.OH && fits({0, 1, 0, 1, 0, rows + 1})) ++rows;
        rows = even_block(s.OH, rows, 1);
        for (index_t n = 0; n < s.N; ++n)
            for (index_t od = 0; od < s.OD; ++od)
                for (index_t oh = 0; oh < s.OH; oh += rows)
                    chunks_.push_back({n, 1, od, 1, oh, std::min(rows, s.OH - oh)});
    }

    View<T> view_of(const Chunk& k, const T* staged) const {
        if (!padded_) {
            const T* first = input_ + k.n * s.C * s.input_plane() +
                             (k.od * s.stride_d * s.H + k.oh * s.stride_h) * s.W;
            return {first, s.C * s.input_plane(), s.input_plane(), s.H * s.W, s.W};
        }
        const index_t row = staged_width(), plane = staged_rows(k) * row;
        const index_t channel = staged_planes(k) * plane;
        return {staged, C * channel, channel, plane, row};
    }

    void find_offsets(const Chunk& k, const View<T>& view, index_t* rows,
                      index_t* of_pixels) const {
        for (index_t c = 0; c < C; ++c)
            for (index_t kd = 0; kd < s.KD; ++kd)
                for (index_t kh = 0; kh < s.KH; ++kh)
                    for (index_t kw = 0; kw < s.KW; ++kw)
                        *rows++ = c * view.channel + kd * s.dilation_d * view.plane +
                                  kh * s.dilation_h * view.row + kw * s.dilation_w;
        const index_t row_step = s.stride_h / compact_h_ * view.row;
        const index_t step = s.stride_w / compact_w_, OW = s.OW;
        for (index_t n = 0; n < k.images; ++n)
            for (index_t od = 0; od < k.planes; ++od)
                for (index_t oh = 0; oh < k.rows; ++oh, of_pixels += OW) {
                    const index_t row =
                        n * view.image + od * s.stride_d * view.plane + oh * row_step;
                    for (index_t ow = 0; ow < OW; ++ow) of_pixels[ow] = row + ow * step;
                }
    }

    // Makes B of a chunk and, where there is padding, A.
    void copy(const Chunk& k, T* a, T* b) const {
        const index_t images = padded_ ? k.images * C : 0;
        const auto values = pixels(k) * panels_ * kernel.NR + (padded_ ? staged_size(k) : 0);
        parallel_for(panels_ + images, static_cast<double>(values) * 0.5, [&](index_t task) {
            if (task < panels_) {
                copy_grad_output(k, task, b + task * pixels(k) * kernel.NR);
            } else {
                const index_t image = task - panels_;
                stage(k, k.n + image / C, image % C, a + image * (staged_size(k) / images));
            }
        });
    }

    void copy_grad_output(const Chunk& k, index_t panel, T* b) const {
        const index_t NR = kernel.NR, plane = s.output_plane();
        const index_t run = pixels(k) / k.images;  // neighbours in grad_output
        for (index_t i = 0; i < k.images; ++i, b += run * NR)
            kernel.pack_b(run, std::min(NR, OC - panel * NR),
                          grad_output_ + ((k.n + i) * s.OC + panel * NR) * plane +
                              (k.od * s.OH + k.oh) * s.OW,
                          1, plane, run * NR, b);
    }

    // What the chunk needs of one channel of image n, zeros around it included.
    void stage(const Chunk& k, index_t n, index_t c, T* to) const {
        const T* volume = input_ + (n * s.C + c) * s.input_plane();
        const index_t width = staged_width();
        const Range in = taps_inside(width, compact_w_, -s.pad_left, s.W);
        for (index_t i = 0; i < staged_planes(k); ++i) {
            const index_t d = k.od * s.stride_d - s.pad_front + i;
            for (index_t j = 0; j < staged_rows(k); ++j, to += width) {
                const index_t h = k.oh * s.stride_h - s.pad_top + j * compact_h_;
                if (d < 0 || d >= s.D || h < 0 || h >= s.H) {
                    std::fill_n(to, width, T(0));
                    continue;
                }
                const T* from = volume + (d * s.H + h) * s.W - s.pad_left;
                std::fill_n(to, in.begin, T(0));
                if (compact_w_ == 1) {
                    std::copy_n(from + in.begin, in.end - in.begin, to + in.begin);
                } else {
                    const T* ahead = from + kRowsAhead * compact_h_ * s.W;
                    for (index_t w = 0; w < s.W; w += 64 / index_t{sizeof(T)})
                        __builtin_prefetch(ahead + w);
                    for (index_t w = in.begin; w < in.end; ++w) to[w] = from[w * compact_w_];
                }
                std::fill_n(to + in.end, width - in.end, T(0));
            }
        }
    }

    // Puts a chunk's part into every block of the result, or adds it; the last one is written out.
    void multiply(const Chunk& k, bool adds, bool writes, const T* a, const T* b,
                  const index_t* row_offset, const index_t* pixel_offset, T* sums) const {
        const index_t steps = pixels(k), block_size = block_rows_ * kernel.NR;
        const index_t groups = panel_groups();
        const index_t slabs = std::min(row_blocks_, ceil_div(kTasks, groups));
        const index_t slab_blocks = ceil_div(row_blocks_, slabs);
        const double multiply_adds = static_cast<double>(steps) * static_cast<double>(OC * R);
        parallel_for(groups * slabs, arithmetic_nanoseconds(multiply_adds), [&](index_t task) {
            const index_t panel = task / slabs * kPanels, begin = task % slabs * slab_blocks;
            const index_t panels = std::min(kPanels, panels_ - panel);
            const AlignedBuffer<T> scratch(sums == nullptr ? panels * block_size : 0);
            for (index_t i = begin; i < std::min(begin + slab_blocks, row_blocks_); ++i) {
                // The blocks of neighbouring panels lie `step` apart.
                T* block = sums == nullptr ? scratch.data()
                                           : sums + (panel * row_blocks_ + i) * block_size;
                const index_t step = sums == nullptr ? block_size : row_blocks_ * block_size;
                const index_t r = i * block_rows_, rows = std::min(block_rows_, R - r);
                add_chunk(steps, a, b, row_offset + r, pixel_offset, rows, panel, panels, adds,
                          block, step);
                for (index_t j = 0; writes && j < panels; ++j)
                    write(r, rows, panel + j, block + j * step);
            }
        });
    }

    void write(index_t r, index_t rows, index_t panel, const T* block) const {
        const index_t NR = kernel.NR, oc = panel * NR, columns = std::min(NR, OC - oc);
        if (exchanged_) {
            kernel.merge_tile(rows, columns, block, NR, grad_weight_ + r * OC + oc, OC, 1, {});
        } else {
            kernel.transpose(rows, columns, block, NR, grad_weight_ + oc * R + r, R);
        }
    }

    // A block of the result for each of some panels: all segments of a chunk.
    void add_chunk(index_t steps, const T* a, const T* b, const index_t* row_offset,
                   const index_t* pixel_offset, index_t rows, index_t panel, index_t panels,
                   bool accumulate, T* blocks, index_t block_step) const {
        const index_t NR = kernel.NR;
        const index_t segment = even_block(steps, kSegmentPixels, 1);
        for (index_t p = 0; p < steps; p += segment) {
            KLoop k{.steps = std::min(segment, steps - p), .b_k = NR, .b_padded = true};
            k.a_offset = pixel_offset + p;
            const Epilogue<T> e{.accumulate = accumulate || p > 0};
            for (index_t j = 0; j < panels; ++j) {
                const T* from = b + ((panel + j) * steps + p) * NR;
                T* block = blocks + j * block_step;
                const index_t columns = std::min(NR, OC - (panel + j) * NR);
                for_each_tile(rows, kernel.MR, true, [&](index_t, index_t r, index_t mr) {
                    k.a_row = row_offset + r;
                    if (mr == kernel.MR && columns == NR) {
                        kernel.gemm(k, a, from, block + r * NR, NR, e);
                    } else {
                        kernel.gemm_edge(mr, columns, k, a, from, block + r * NR, NR, e);
                    }
                });
            }
        }
    }

    const ConvShape& s;
    const bool exchanged_;
    const Kernels<T>& kernel = kernels<T>();
    const index_t OC, C, R;
    const T *grad_output_, *input_;
    T* grad_weight_;
    const index_t panels_;                   // of B
    const index_t block_rows_, row_blocks_;  // of the result
    // A window one pixel high or wide skips the rows or columns between: so does the copy.
    index_t compact_h_, compact_w_;
    bool padded_;  // A is a copy
    std::vector<Chunk> chunks_;
};

// A 1 x 1 window at stride 1 without padding reads the pixel that it writes, and its two tensors are
// alike: the one with fewer channels is then the one to copy.
bool may_exchange(const ConvShape& s) {
    return s.taps() == 1 && s.input_plane() == s.output_plane() && s.pad_front == 0 &&
           s.pad_top == 0 && s.pad_left == 0 && s.stride_d * s.stride_h * s.stride_w == 1;
}

}  // namespace

template <typename T>
void conv_backward_weight(const ConvShape& s, const T* grad_output, const T* input,
                          T* grad_weight) {
    const index_t weights = s.OC * (s.C / s.G) * s.taps();
    if (weights == 0) return;
    if (s.N * s.output_plane() == 0) {
        std::fill_n(grad_weight, weights, T(0));
        return;
    }
    // Groups are independent; with one group this is a plain call, and the loops within run in
    // parallel.
    const bool exchange = may_exchange(s) && s.C < s.OC;
    ConvShape shape = s;
    if (exchange) {
        std::swap(shape.C, shape.OC);
        std::swap(grad_output, input);
    }
    parallel_for(s.G, arithmetic_nanoseconds(s.multiply_adds()), [&](index_t group) {
        WeightGradient<T>(shape, exchange, group, grad_output, input, grad_weight).run();
    });
}

template void conv_backward_weight(const ConvShape&, const float*, const float*, float*);
template void conv_backward_weight(const ConvShape&, const double*, const double*, double*);

}  // namespace pyconv::implicit_gemm
