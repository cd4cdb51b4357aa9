// SPDX-License-Identifier: BSD-3-Clause
// The functions of pyconv.h: no array objects and no GIL, the same checks and the same ops.
#include <pyconv.h>

#include <new>
#include <string>

#include "base/checked.h"
#include "bindings/module.h"
#include "ops/conv.h"
#include "ops/gemm.h"
#include "ops/pool2d.h"

namespace pyconv::bindings {
namespace {

thread_local std::string last_error;

// Keeps the message, or without memory for it none.
void remember(const char* function, const char* message) noexcept {
    try {
        last_error.assign(function).append(message);
    } catch (const std::bad_alloc&) {
        last_error.clear();
    }
}

// Runs `body`; an exception becomes a code and a message.
template <typename Body>
int guarded(const char* function, Body&& body) noexcept {
    try {
        body();
        return PYCONV_OK;
    } catch (const py::error_already_set& error) {
        // Ctrl-C between two tasks. The Python error waits for whoever takes the GIL next.
        const py::gil_scoped_acquire gil;
        py::error_already_set again(error);
        again.restore();
        remember("", "interrupted");
        return PYCONV_INTERRUPTED;
    } catch (const std::bad_alloc&) {
        remember(function, ": out of memory");
        return PYCONV_MEMORY_ERROR;
    } catch (const std::exception& error) {
        remember("", error.what());
        return PYCONV_VALUE_ERROR;
    }
}

void check_pointer(const char* function, const char* name, const void* pointer, bool wanted) {
    check(pointer != nullptr || !wanted, function, ": ", name, " is NULL; expected an array");
}

ConvShape shape_of(const char* function, const pyconv_conv2d* s) {
    check_pointer(function, "shape", s, true);
    check(s->groups >= 1, function, ": groups is out of range, got ", s->groups,
          "; expected at least 1");
    const Shape4 input = {s->N, s->C, s->H, s->W};
    const Shape4 weight = {s->OC, s->C / s->groups, s->KH, s->KW};
    const Pair stride = {s->stride_h, s->stride_w}, dilation = {s->dilation_h, s->dilation_w};
    const std::array<Pair, 2> padding = {
        {{s->pad_top, s->pad_bottom}, {s->pad_left, s->pad_right}}};
    return ConvShape::make(function, input, weight, stride, padding, dilation, s->groups);
}

Pool2dShape shape_of(const char* function, const pyconv_pool2d* s, bool average = false) {
    check_pointer(function, "shape", s, true);
    check(!average || (s->dilation_h == 1 && s->dilation_w == 1), function,
          ": dilation is not 1, got (", s->dilation_h, ", ", s->dilation_w,
          "); expected none for averages");
    return Pool2dShape::make(function, {s->N, s->C, s->H, s->W},
                             {.kernel_size = {s->KH, s->KW},
                              .stride = {s->stride_h, s->stride_w},
                              .padding = {.top = s->pad_top,
                                          .bottom = s->pad_bottom,
                                          .left = s->pad_left,
                                          .right = s->pad_right},
                              .dilation = {s->dilation_h, s->dilation_w},
                              .ceil_mode = s->ceil_mode != 0,
                              .count_include_pad = s->count_include_pad != 0});
}

int conv2d_output_size(const pyconv_conv2d* shape, int64_t* OH, int64_t* OW) noexcept {
    return guarded("conv2d", [&] {
        const ConvShape s = shape_of("conv2d", shape);
        *OH = s.OH;
        *OW = s.OW;
    });
}

int pool2d_output_size(const pyconv_pool2d* shape, int64_t* OH, int64_t* OW) noexcept {
    return guarded("pool2d", [&] {
        const Pool2dShape s = shape_of("pool2d", shape);
        *OH = s.OH;
        *OW = s.OW;
    });
}

// A stored matrix of rows x cols, `step` apart.
void check_matrix(const char* name, const void* data, index_t rows, index_t cols, index_t step) {
    check(step >= cols, "gemm: ld", name, " is too small, got ", step, "; expected at least ",
          cols);
    checked_elements("gemm", name, {rows, step});
    check_pointer("gemm", name, data, rows * cols > 0);
}

template <typename T>
int gemm(int trans_a, int trans_b, int64_t M, int64_t N, int64_t K, T alpha, const T* a,
         int64_t lda, const T* b, int64_t ldb, T beta, T* c, int64_t ldc) noexcept {
    return guarded("gemm", [&] {
        for (const auto& [name, size] : {std::pair("M", M), std::pair("N", N), std::pair("K", K)})
            check(size >= 0, "gemm: ", name, " is negative, got ", size);
        check_matrix("a", a, trans_a ? K : M, trans_a ? M : K, lda);
        check_matrix("b", b, trans_b ? N : K, trans_b ? K : N, ldb);
        check_matrix("c", c, M, N, ldc);
        pyconv::gemm<T>({.M = M,
                         .N = N,
                         .K = K,
                         .a = a,
                         .a_row = trans_a ? 1 : lda,
                         .a_col = trans_a ? lda : 1,
                         .b = b,
                         .b_row = trans_b ? 1 : ldb,
                         .b_col = trans_b ? ldb : 1,
                         .c = c,
                         .c_row = ldc,
                         .alpha = alpha,
                         .beta = beta});
    });
}

template <typename T>
int conv2d(const pyconv_conv2d* shape, const T* input, const T* weight, const T* bias,
           T* output) noexcept {
    const char* function = "conv2d";
    return guarded(function, [&] {
        const ConvShape s = shape_of(function, shape);
        const index_t outputs = s.N * s.OC * s.output_plane();
        check_pointer(function, "input", input, s.N * s.C * s.input_plane() > 0);
        check_pointer(function, "weight", weight, s.OC * s.C * s.taps() > 0);
        check_pointer(function, "output", output, outputs > 0);
        pyconv::conv<T>(s, input, weight, {.bias = bias}, ConvAlgorithm::Auto, output);
    });
}

template <typename T>
int conv2d_backward_input(const pyconv_conv2d* shape, const T* grad_output, const T* weight,
                          T* grad_input) noexcept {
    const char* function = "conv2d_backward_input";
    return guarded(function, [&] {
        const ConvShape s = shape_of(function, shape);
        check_pointer(function, "grad_output", grad_output, s.N * s.OC * s.output_plane() > 0);
        check_pointer(function, "weight", weight, s.OC * s.C * s.taps() > 0);
        check_pointer(function, "grad_input", grad_input, s.N * s.C * s.input_plane() > 0);
        pyconv::conv_backward_input<T>(s, grad_output, weight, nullptr, Activation::None,
                                       ConvAlgorithm::Auto, grad_input);
    });
}

template <typename T>
int conv2d_backward_weight(const pyconv_conv2d* shape, const T* grad_output, const T* input,
                           T* grad_weight) noexcept {
    const char* function = "conv2d_backward_weight";
    return guarded(function, [&] {
        const ConvShape s = shape_of(function, shape);
        check_pointer(function, "grad_output", grad_output, s.N * s.OC * s.output_plane() > 0);
        check_pointer(function, "input", input, s.N * s.C * s.input_plane() > 0);
        check_pointer(function, "grad_weight", grad_weight, s.OC * s.C * s.taps() > 0);
        pyconv::conv_backward_weight<T>(s, grad_output, input, ConvAlgorithm::Auto, grad_weight);
    });
}

// Checks the arrays of a pooling function: those of the size of its input, and of its output.
void check_planes(const char* function, const Pool2dShape& s, const char* input_name,
                  const void* input, const char* output_name, const void* output) {
    check_pointer(function, input_name, input, s.N * s.C * s.H * s.W > 0);
    check_pointer(function, output_name, output, s.N * s.C * s.OH * s.OW > 0);
}

template <typename T>
int max_pool2d(const pyconv_pool2d* shape, const T* input, T* output, int32_t* indices) noexcept {
    const char* function = "max_pool2d";
    return guarded(function, [&] {
        const Pool2dShape s = shape_of(function, shape);
        check_planes(function, s, "input", input, "output", output);
        pyconv::max_pool2d<T>(s, input, output, indices);
    });
}

template <typename T>
int max_pool2d_backward(const pyconv_pool2d* shape, const T* grad_output, const int32_t* indices,
                        T* grad_input) noexcept {
    const char* function = "max_pool2d_backward";
    return guarded(function, [&] {
        const Pool2dShape s = shape_of(function, shape);
        check_planes(function, s, "grad_input", grad_input, "grad_output", grad_output);
        check_planes(function, s, "grad_input", grad_input, "indices", indices);
        pyconv::max_pool2d_backward<T>(function, s.input_shape(), s.output_shape(), grad_output,
                                       indices, grad_input);
    });
}

template <typename T>
int avg_pool2d(const pyconv_pool2d* shape, const T* input, T* output) noexcept {
    const char* function = "avg_pool2d";
    return guarded(function, [&] {
        const Pool2dShape s = shape_of(function, shape, true);
        check_planes(function, s, "input", input, "output", output);
        pyconv::avg_pool2d<T>(s, 0, input, output);
    });
}

template <typename T>
int avg_pool2d_backward(const pyconv_pool2d* shape, const T* grad_output, T* grad_input) noexcept {
    const char* function = "avg_pool2d_backward";
    return guarded(function, [&] {
        const Pool2dShape s = shape_of(function, shape, true);
        check_planes(function, s, "grad_input", grad_input, "grad_output", grad_output);
        pyconv::avg_pool2d_backward<T>(s, 0, grad_output, grad_input);
    });
}

#define PYCONV_FILL(T)                                                                        \
    .gemm_##T = gemm<T>, .conv2d_##T = conv2d<T>,                                             \
    .conv2d_backward_input_##T = conv2d_backward_input<T>,                                    \
    .conv2d_backward_weight_##T = conv2d_backward_weight<T>, .max_pool2d_##T = max_pool2d<T>, \
    .max_pool2d_backward_##T = max_pool2d_backward<T>, .avg_pool2d_##T = avg_pool2d<T>,       \
    .avg_pool2d_backward_##T = avg_pool2d_backward<T>

constexpr pyconv_api kApi = {
    .version = PYCONV_API_VERSION,
    .last_error = [] { return last_error.c_str(); },
    .conv2d_output_size = conv2d_output_size,
    .pool2d_output_size = pool2d_output_size,
    PYCONV_FILL(float),
    PYCONV_FILL(double),
};

}  // namespace

void def_c_api(py::module_& m) { m.attr("_c_api") = py::capsule(&kApi, "pyconv._core._c_api"); }

}  // namespace pyconv::bindings
