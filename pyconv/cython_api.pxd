# SPDX-License-Identifier: BSD-3-Clause
# What other extensions cimport. Pointers: contiguous arrays, as pyconv.h says. Views: the same, with their
# shapes checked against `shape`. Every function can be called without the GIL and raises by itself.
from libc.stdint cimport int32_t, int64_t

cdef extern from "pyconv.h" nogil:
    ctypedef struct pyconv_conv2d:
        int64_t N, C, H, W, OC, KH, KW
        int64_t stride_h, stride_w
        int64_t pad_top, pad_bottom, pad_left, pad_right
        int64_t dilation_h, dilation_w
        int64_t groups

    ctypedef struct pyconv_pool2d:
        int64_t N, C, H, W, KH, KW
        int64_t stride_h, stride_w
        int64_t pad_top, pad_bottom, pad_left, pad_right
        int64_t dilation_h, dilation_w
        int32_t ceil_mode, count_include_pad

ctypedef fused real:
    float
    double

# The same padding, stride and dilation along both axes; change the fields of the result for others.
cdef pyconv_conv2d conv2d_shape(
    int64_t N, int64_t C, int64_t H, int64_t W, int64_t OC, int64_t KH, int64_t KW,
    int64_t stride=*, int64_t padding=*, int64_t dilation=*, int64_t groups=*) noexcept nogil
cdef pyconv_pool2d pool2d_shape(
    int64_t N, int64_t C, int64_t H, int64_t W, int64_t KH, int64_t KW,
    int64_t stride=*, int64_t padding=*) noexcept nogil

cdef int conv2d_output_size(const pyconv_conv2d* shape, int64_t* OH, int64_t* OW) except -1 nogil
cdef int pool2d_output_size(const pyconv_pool2d* shape, int64_t* OH, int64_t* OW) except -1 nogil

cdef int gemm_float(
    bint trans_a, bint trans_b, int64_t M, int64_t N, int64_t K, float alpha, const float*
    a, int64_t lda, const float* b, int64_t ldb, float beta, float* c, int64_t ldc) except -1 nogil
cdef int conv2d_float(
    const pyconv_conv2d* shape, const float* input, const float* weight, const float* bias,
    float* output) except -1 nogil
cdef int conv2d_backward_input_float(
    const pyconv_conv2d* shape, const float* grad_output, const float* weight, float*
    grad_input) except -1 nogil
cdef int conv2d_backward_weight_float(
    const pyconv_conv2d* shape, const float* grad_output, const float* input, float*
    grad_weight) except -1 nogil
cdef int max_pool2d_float(
    const pyconv_pool2d* shape, const float* input, float* output, int32_t* indices) except -1 nogil
cdef int max_pool2d_backward_float(
    const pyconv_pool2d* shape, const float* grad_output, const int32_t* indices, float*
    grad_input) except -1 nogil
cdef int avg_pool2d_float(
    const pyconv_pool2d* shape, const float* input, float* output) except -1 nogil
cdef int avg_pool2d_backward_float(
    const pyconv_pool2d* shape, const float* grad_output, float* grad_input) except -1 nogil
cdef int gemm_double(
    bint trans_a, bint trans_b, int64_t M, int64_t N, int64_t K, double alpha, const double*
    a, int64_t lda, const double* b, int64_t ldb, double beta, double* c, int64_t ldc) except -1 nogil
cdef int conv2d_double(
    const pyconv_conv2d* shape, const double* input, const double* weight, const double*
    bias, double* output) except -1 nogil
cdef int conv2d_backward_input_double(
    const pyconv_conv2d* shape, const double* grad_output, const double* weight, double*
    grad_input) except -1 nogil
cdef int conv2d_backward_weight_double(
    const pyconv_conv2d* shape, const double* grad_output, const double* input, double*
    grad_weight) except -1 nogil
cdef int max_pool2d_double(
    const pyconv_pool2d* shape, const double* input, double* output, int32_t* indices) except -1 nogil
cdef int max_pool2d_backward_double(
    const pyconv_pool2d* shape, const double* grad_output, const int32_t* indices, double*
    grad_input) except -1 nogil
cdef int avg_pool2d_double(
    const pyconv_pool2d* shape, const double* input, double* output) except -1 nogil
cdef int avg_pool2d_backward_double(
    const pyconv_pool2d* shape, const double* grad_output, double* grad_input) except -1 nogil

# On views, for either type. `indices` may be None.
cdef int gemm(
    real alpha, const real[:, ::1] a, const real[:, ::1] b, real beta, real[:, ::1] c,
    bint trans_a=*, bint trans_b=*) except -1 nogil
cdef int conv2d(
    const pyconv_conv2d* s, const real[:, :, :, ::1] input, const real[:, :, :, ::1] weight,
    real[:, :, :, ::1] output, const real[::1] bias=*) except -1 nogil
cdef int conv2d_backward_input(
    const pyconv_conv2d* s, const real[:, :, :, ::1] grad_output, const real[:, :, :, ::1]
    weight, real[:, :, :, ::1] grad_input) except -1 nogil
cdef int conv2d_backward_weight(
    const pyconv_conv2d* s, const real[:, :, :, ::1] grad_output, const real[:, :, :, ::1]
    input, real[:, :, :, ::1] grad_weight) except -1 nogil
cdef int max_pool2d(
    const pyconv_pool2d* s, const real[:, :, :, ::1] input, real[:, :, :, ::1] output,
    int32_t[:, :, :, ::1] indices) except -1 nogil
cdef int max_pool2d_backward(
    const pyconv_pool2d* s, const real[:, :, :, ::1] grad_output, const int32_t[:, :, :,
    ::1] indices, real[:, :, :, ::1] grad_input) except -1 nogil
cdef int avg_pool2d(
    const pyconv_pool2d* s, const real[:, :, :, ::1] input, real[:, :, :, ::1] output) except -1 nogil
cdef int avg_pool2d_backward(
    const pyconv_pool2d* s, const real[:, :, :, ::1] grad_output, real[:, :, :, ::1]
    grad_input) except -1 nogil
