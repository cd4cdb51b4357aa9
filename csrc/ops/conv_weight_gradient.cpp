// SPDX-License-Identifier: BSD-3-Clause
// The weight gradient of conv2d, algorithm "implicit_gemm":
//
//   grad_weight[oc, (c, kh, kw)] = sum over n, oh, ow of
//       grad_output[n, oc, oh, ow] * input[n, c, oh*stride_h - pad_top + kh*dilation_h, ...]
//
// a GEMM whose sum runs over pixels. Both operands are copied with their channels innermost, once:
//
//   A  grad_output as panels of MR channels  [oc / MR][pixel][MR]
//   B  input, padded, as panels of channels  [c / NR][row][column][NR]      (wide layout)
//      or all channels of a pixel together            [row][column][C]      (narrow layout)
//
// and then the NR columns of a tile, for any (kh, kw), lie side by side at each pixel of B: the
// kernel walks the pixels in place, `stride` apart, and nothing is packed per tap. In the narrow
// layout the columns are (kw, c), which neighbour each other in memory; it fills the tile when
// there are few channels (the first layer: 3).
//
// The pixels are cut into segments of about kSegmentPixels: rows of an image, or whole small
// images. A tile sums a segment in registers and then adds it to its block of the result: the
// rounding error grows with the number of segments, not of pixels (fixed-chunk summation).
#include <algorithm>
#include <vector>

#include "base/buffer.h"
#include "base/parallel.h"
#include "ops/conv_implicit_gemm.h"
#include "ops/gemm_panel.h"

namespace pyconv::implicit_gemm {
namespace {

// 256 pixels x 16 columns of B take half of L1.
constexpr index_t kSegmentPixels = 256;
// Copies of all segments of a chunk, which the threads make and then use together.
constexpr index_t kChunkBytes = index_t{2} << 20;
// The result is cut into about this many blocks, each of which belongs to one task.
constexpr index_t kTasks = 16;

// Some images of the batch, or some output rows of one image.
struct Segment {
    index_t n, images, oh, rows;
};

// NR columns of the GEMM: where they begin in B, and which weights they are.
struct ColumnPanel {
    index_t offset;
    index_t count;
    index_t c, kh, kw;  // of the first column
};

// One group of the convolution: its sizes, layouts and blocks.
template <typename T>
struct Group {
    const Kernels<T>& kernel;
    const ConvShape& s;
    index_t OC, C;         // of this group
    const T* grad_output;  // of this group, image 0
    const T* input;
    T* grad_weight;

    bool narrow;             // B's layout
    index_t pitch;           // values a pixel of B: C or NR
    index_t channel_panels;  // of B: 1 or C / NR
    index_t oc_panels;
    index_t segment_images, segment_rows;  // of a full segment
    index_t band_h, band_w;                // padded input that a segment needs, per image
    std::vector<ColumnPanel> column_panels;

    index_t a_image() const { return segment_rows * s.OW * kernel.MR; }
    index_t a_panel() const { return segment_images * a_image(); }
    index_t a_size() const { return oc_panels * a_panel(); }
    index_t b_image() const { return band_h * band_w * pitch; }
    // NR more: the last columns of a narrow panel hang over the last pixel.
    index_t b_panel() const { return segment_images * b_image() + kernel.NR; }
    index_t b_size() const { return channel_panels * b_panel(); }
};

template <typename T>
Group<T> make_group(const Kernels<T>& kernel, const ConvShape& s, index_t index,
                    const T* grad_output, const T* input, T* grad_weight) {
    const index_t OC = s.OC / s.G, C = s.C / s.G, NR = kernel.NR;
    const bool adjacent = s.dilation_w == 1 || s.KW == 1;
    const index_t narrow_panels = s.KH * ceil_div(s.KW * C, NR);
    const index_t wide_panels = s.KH * s.KW * ceil_div(C, NR);
    const bool narrow = adjacent && narrow_panels < wide_panels;
    const index_t image_pixels = s.OH * s.OW;
    const index_t images =
        std::min(s.N, std::max<index_t>(1, kSegmentPixels / std::max<index_t>(1, image_pixels)));
    const index_t rows = std::min(s.OH, std::max<index_t>(1, kSegmentPixels / s.OW));

    Group<T> group{
        .kernel = kernel,
        .s = s,
        .OC = OC,
        .C = C,
        .grad_output = grad_output + index * OC * image_pixels,
        .input = input + index * C * s.H * s.W,
        .grad_weight = grad_weight + index * OC * C * s.KH * s.KW,
        .narrow = narrow,
        .pitch = narrow ? C : NR,
        .channel_panels = narrow ? 1 : ceil_div(C, NR),
        .oc_panels = ceil_div(OC, kernel.MR),
        .segment_images = images,
        .segment_rows = rows,
        .band_h = (rows - 1) * s.stride_h + (s.KH - 1) * s.dilation_h + 1,
        .band_w = (s.OW - 1) * s.stride_w + (s.KW - 1) * s.dilation_w + 1,
        .column_panels = {},
    };
    for (index_t kh = 0; kh < s.KH; ++kh) {
        const index_t row = kh * s.dilation_h * group.band_w * group.pitch;
        if (narrow) {
            for (index_t j = 0; j < s.KW * C; j += NR)
                group.column_panels.push_back(
                    {row + j, std::min(NR, s.KW * C - j), j % C, kh, j / C});
            continue;
        }
        for (index_t kw = 0; kw < s.KW; ++kw) {
            for (index_t panel = 0; panel < group.channel_panels; ++panel)
                group.column_panels.push_back(
                    {panel * group.b_panel() + row + kw * s.dilation_w * NR,
                     std::min(NR, C - panel * NR), panel * NR, kh, kw});
        }
    }
    return group;
}

// Panel `p` of A for a segment.
template <typename T>
void copy_grad_output(const Group<T>& g, const Segment& segment, index_t p, T* a) {
    const ConvShape& s = g.s;
    const index_t MR = g.kernel.MR, pixels = s.OH * s.OW;
    const T* from = g.grad_output + segment.n * s.OC * pixels + p * MR * pixels + segment.oh * s.OW;
    for (index_t i = 0; i < segment.images; ++i) {
        g.kernel.pack_a(std::min(MR, g.OC - p * MR), segment.rows * s.OW, from + i * s.OC * pixels,
                        pixels, 1, g.a_image(), a + p * g.a_panel() + i * g.a_image());
    }
}

// Panel `p` of B for a segment: the input rows that it needs, zeros around the image included.
template <typename T>
void copy_input(const Group<T>& g, const Segment& segment, index_t p, T* b) {
    const ConvShape& s = g.s;
    const index_t plane = s.H * s.W;
    const index_t channels = g.narrow ? g.C : std::min(g.pitch, g.C - p * g.pitch);
    const index_t first_h = segment.oh * s.stride_h - s.pad_top;
    // Columns of the padded image that hold image columns 0 .. W, as far as they are needed.
    const index_t left = std::min(s.pad_left, g.band_w);
    const index_t width = std::min(s.W, g.band_w - left);
    T* panel = b + p * g.b_panel();
    for (index_t i = 0; i < segment.images; ++i) {
        const T* image = g.input + (segment.n + i) * s.C * plane + p * g.pitch * plane;
        T* to = panel + i * g.b_image();
        for (index_t row = 0; row < g.band_h; ++row, to += g.band_w * g.pitch) {
            const index_t h = first_h + row;
            const bool outside = h < 0 || h >= s.H;
            const index_t zeros = outside ? g.band_w : left;
            std::fill_n(to, zeros * g.pitch, T(0));
            if (outside) continue;
            T* pixels = to + left * g.pitch;
            if (g.narrow) {
                g.kernel.transpose(channels, width, image + h * s.W, plane, pixels, g.pitch);
            } else {
                g.kernel.pack_b(width, channels, image + h * s.W, 1, plane, g.pitch * width,
                                pixels);
            }
            std::fill_n(pixels + width * g.pitch, (g.band_w - left - width) * g.pitch, T(0));
        }
    }
    std::fill_n(panel + segment.images * g.b_image(), g.kernel.NR, T(0));
}

// Adds a segment's part to the tiles of column panels [first, end), all output channels. Tiles lie
// one after another in `sums`, those of a column panel together.
template <typename T>
void add_segment(const Group<T>& g, const Segment& segment, index_t first, index_t end, const T* a,
                 const T* b, const index_t* offset, bool accumulate, T* sums) {
    const ConvShape& s = g.s;
    const index_t MR = g.kernel.MR, NR = g.kernel.NR;
    const KLoop k{.steps = segment.images * segment.rows * s.OW, .a_k = MR, .b_offset = offset};
    const Epilogue<T> epilogue{.accumulate = accumulate};
    for (index_t j = first; j < end; ++j) {
        const T* column = b + g.column_panels[static_cast<size_t>(j)].offset;
        for (index_t p = 0; p < g.oc_panels; ++p) {
            g.kernel.gemm(k, a + p * g.a_panel(), column, sums + (j * g.oc_panels + p) * MR * NR,
                          NR, epilogue);
        }
    }
}

// Where the pixels of a segment lie in B.
template <typename T>
void find_offsets(const Group<T>& g, index_t* offset) {
    const ConvShape& s = g.s;
    for (index_t image = 0; image < g.segment_images; ++image)
        for (index_t row = 0; row < g.segment_rows; ++row)
            for (index_t col = 0; col < s.OW; ++col)
                *offset++ = image * g.b_image() +
                            (row * s.stride_h * g.band_w + col * s.stride_w) * g.pitch;
}

// The sums, tile by tile, to grad_weight's (oc, c, kh, kw).
template <typename T>
void scatter(const Group<T>& g, index_t j, const T* sums) {
    const ConvShape& s = g.s;
    const ColumnPanel& panel = g.column_panels[static_cast<size_t>(j)];
    const index_t NR = g.kernel.NR, area = s.KH * s.KW;
    const T* tile = sums + j * g.oc_panels * g.kernel.MR * NR;
    for (index_t oc = 0; oc < g.OC; ++oc, tile += NR) {
        index_t c = panel.c, kw = panel.kw;
        for (index_t lane = 0; lane < panel.count; ++lane) {
            g.grad_weight[(oc * g.C + c) * area + panel.kh * s.KW + kw] = tile[lane];
            if (++c == g.C) {  // only the narrow layout comes here with lanes left
                c = 0;
                ++kw;
            }
        }
    }
}

template <typename T>
std::vector<Segment> all_segments(const Group<T>& g) {
    std::vector<Segment> segments;
    for (index_t n = 0; n < g.s.N; n += g.segment_images) {
        for (index_t oh = 0; oh < g.s.OH; oh += g.segment_rows)
            segments.push_back({n, std::min(g.segment_images, g.s.N - n), oh,
                                std::min(g.segment_rows, g.s.OH - oh)});
    }
    return segments;
}

template <typename T>
void run_group(const Group<T>& g) {
    const ConvShape& s = g.s;
    const auto columns = static_cast<index_t>(g.column_panels.size());
    const std::vector<Segment> segments = all_segments(g);
    const auto count = static_cast<index_t>(segments.size());
    const index_t segment_size = g.a_size() + g.b_size();
    const index_t chunk =
        std::clamp<index_t>(kChunkBytes / (segment_size * index_t{sizeof(T)}), 1, count);
    const AlignedBuffer<T> copies(chunk * segment_size);
    const AlignedBuffer<T> sums(columns * g.oc_panels * g.kernel.MR * g.kernel.NR);
    const AlignedBuffer<index_t> offset(g.segment_images * g.segment_rows * s.OW);
    find_offsets(g, offset.data());
    const index_t task_columns = ceil_div(columns, std::min(columns, kTasks));
    const index_t tasks = ceil_div(columns, task_columns);

    for (index_t first = 0; first < count; first += chunk) {
        const index_t in_chunk = std::min(chunk, count - first);
        const auto a_of = [&](index_t i) { return copies.data() + i * segment_size; };
        const auto b_of = [&](index_t i) { return a_of(i) + g.a_size(); };
        const index_t panels = g.oc_panels + g.channel_panels;
        parallel_for(in_chunk * panels, static_cast<double>(in_chunk * segment_size),
                     [&](index_t task) {
                         const index_t i = task / panels, p = task % panels;
                         const Segment& segment = segments[static_cast<size_t>(first + i)];
                         if (p < g.oc_panels) {
                             copy_grad_output(g, segment, p, a_of(i));
                         } else {
                             copy_input(g, segment, p - g.oc_panels, b_of(i));
                         }
                     });
        const double multiply_adds =
            static_cast<double>(in_chunk * g.segment_images * g.segment_rows * s.OW) *
            static_cast<double>(g.OC * g.C * s.KH * s.KW);
        parallel_for(tasks, arithmetic_nanoseconds(multiply_adds), [&](index_t task) {
            const index_t begin = task * task_columns;
            const index_t end = std::min(begin + task_columns, columns);
            for (index_t i = 0; i < in_chunk; ++i) {
                add_segment(g, segments[static_cast<size_t>(first + i)], begin, end, a_of(i),
                            b_of(i), offset.data(), first + i > 0, sums.data());
            }
        });
    }
    for (index_t j = 0; j < columns; ++j) scatter(g, j, sums.data());
}

}  // namespace

template <typename T>
void conv_backward_weight(const ConvShape& s, const T* grad_output, const T* input,
                          T* grad_weight) {
    const index_t weights = s.OC * (s.C / s.G) * s.KH * s.KW;
    if (weights == 0) return;
    if (s.N * s.OH * s.OW == 0) {
        std::fill_n(grad_weight, weights, T(0));
        return;
    }
    const Kernels<T>& kernel = kernels<T>();
    // Groups are independent; with one group this is a plain call, and run_group's own loops run in
    // parallel.
    parallel_for(s.G, arithmetic_nanoseconds(s.multiply_adds()), [&](index_t index) {
        run_group(make_group(kernel, s, index, grad_output, input, grad_weight));
    });
}

template void conv_backward_weight(const ConvShape&, const float*, const float*, float*);
template void conv_backward_weight(const ConvShape&, const double*, const double*, double*);

}  // namespace pyconv::implicit_gemm
