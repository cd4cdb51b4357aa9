# SPDX-License-Identifier: BSD-3-Clause
# cython: boundscheck=False, wraparound=False, embedsignature=False, freethreading_compatible=True
"""The kernels for extensions in Cython: ``from pyconv cimport cython_api``. See docs/backends.md."""

from libc.stdint cimport int32_t, int64_t


cdef extern from "pyconv.h" nogil:
    ctypedef struct pyconv_api:
        const char* (*last_error)() noexcept nogil
        int (*conv2d_output_size)(const pyconv_conv2d*, int64_t*, int64_t*) noexcept nogil
        int (*pool2d_output_size)(const pyconv_pool2d*, int64_t*, int64_t*) noexcept nogil
        int (*gemm_float)(int, int, int64_t, int64_t, int64_t, float, const float*,
            int64_t, const float*, int64_t, float, float*, int64_t) noexcept nogil
        int (*conv2d_float)(const pyconv_conv2d*, const float*, const float*, const float*,
            float*) noexcept nogil
        int (*conv2d_backward_input_float)(const pyconv_conv2d*, const float*, const
            float*, float*) noexcept nogil
        int (*conv2d_backward_weight_float)(const pyconv_conv2d*, const float*, const
            float*, float*) noexcept nogil
        int (*max_pool2d_float)(const pyconv_pool2d*, const float*, float*, int32_t*) noexcept nogil
        int (*max_pool2d_backward_float)(const pyconv_pool2d*, const float*, const
            int32_t*, float*) noexcept nogil
        int (*avg_pool2d_float)(const pyconv_pool2d*, const float*, float*) noexcept nogil
        int (*avg_pool2d_backward_float)(const pyconv_pool2d*, const float*, float*) noexcept nogil
        int (*gemm_double)(int, int, int64_t, int64_t, int64_t, double, const double*,
            int64_t, const double*, int64_t, double, double*, int64_t) noexcept nogil
        int (*conv2d_double)(const pyconv_conv2d*, const double*, const double*, const
            double*, double*) noexcept nogil
        int (*conv2d_backward_input_double)(const pyconv_conv2d*, const double*, const
            double*, double*) noexcept nogil
        int (*conv2d_backward_weight_double)(const pyconv_conv2d*, const double*, const
            double*, double*) noexcept nogil
        int (*max_pool2d_double)(const pyconv_pool2d*, const double*, double*, int32_t*) noexcept nogil
        int (*max_pool2d_backward_double)(const pyconv_pool2d*, const double*, const
            int32_t*, double*) noexcept nogil
        int (*avg_pool2d_double)(const pyconv_pool2d*, const double*, double*) noexcept nogil
        int (*avg_pool2d_backward_double)(const pyconv_pool2d*, const double*, double*) noexcept nogil
    const pyconv_api* pyconv_import() except NULL with gil

    int PYCONV_OK, PYCONV_MEMORY_ERROR, PYCONV_INTERRUPTED


cdef const pyconv_api* api = pyconv_import()


cdef int checked(int code) except -1 nogil:
    """Raise what a call that failed leaves to say."""
    if code == PYCONV_OK:
        return 0
    with gil:
        if code == PYCONV_INTERRUPTED:
            return -1  # with its error set
        raise (MemoryError if code == PYCONV_MEMORY_ERROR else ValueError)(api.last_error().decode())


cdef pyconv_conv2d conv2d_shape(
    int64_t N, int64_t C, int64_t H, int64_t W, int64_t OC, int64_t KH, int64_t KW,
    int64_t stride=1, int64_t padding=0, int64_t dilation=1, int64_t groups=1) noexcept nogil:
    return pyconv_conv2d(N, C, H, W, OC, KH, KW, stride, stride, padding, padding, padding,
                         padding, dilation, dilation, groups)


cdef pyconv_pool2d pool2d_shape(
    int64_t N, int64_t C, int64_t H, int64_t W, int64_t KH, int64_t KW,
    int64_t stride=1, int64_t padding=0) noexcept nogil:
    return pyconv_pool2d(N, C, H, W, KH, KW, stride, stride, padding, padding, padding, padding,
                         1, 1, 0, 1)


cdef int conv2d_output_size(const pyconv_conv2d* shape, int64_t* OH, int64_t* OW) except -1 nogil:
    return checked(api.conv2d_output_size(shape, OH, OW))


cdef int pool2d_output_size(const pyconv_pool2d* shape, int64_t* OH, int64_t* OW) except -1 nogil:
    return checked(api.pool2d_output_size(shape, OH, OW))


cdef int gemm_float(
    bint trans_a, bint trans_b, int64_t M, int64_t N, int64_t K, float alpha, const float*
    a, int64_t lda, const float* b, int64_t ldb, float beta, float* c, int64_t ldc) except -1 nogil:
    return checked(api.gemm_float(trans_a, trans_b, M, N, K, alpha, a, lda, b, ldb, beta, c, ldc))


cdef int conv2d_float(
    const pyconv_conv2d* shape, const float* input, const float* weight, const float* bias,
    float* output) except -1 nogil:
    return checked(api.conv2d_float(shape, input, weight, bias, output))


cdef int conv2d_backward_input_float(
    const pyconv_conv2d* shape, const float* grad_output, const float* weight, float*
    grad_input) except -1 nogil:
    return checked(api.conv2d_backward_input_float(shape, grad_output, weight, grad_input))


cdef int conv2d_backward_weight_float(
    const pyconv_conv2d* shape, const float* grad_output, const float* input, float*
    grad_weight) except -1 nogil:
    return checked(api.conv2d_backward_weight_float(shape, grad_output, input, grad_weight))


cdef int max_pool2d_float(
    const pyconv_pool2d* shape, const float* input, float* output, int32_t* indices) except -1 nogil:
    return checked(api.max_pool2d_float(shape, input, output, indices))


cdef int max_pool2d_backward_float(
    const pyconv_pool2d* shape, const float* grad_output, const int32_t* indices, float*
    grad_input) except -1 nogil:
    return checked(api.max_pool2d_backward_float(shape, grad_output, indices, grad_input))


cdef int avg_pool2d_float(
    const pyconv_pool2d* shape, const float* input, float* output) except -1 nogil:
    return checked(api.avg_pool2d_float(shape, input, output))


cdef int avg_pool2d_backward_float(
    const pyconv_pool2d* shape, const float* grad_output, float* grad_input) except -1 nogil:
    return checked(api.avg_pool2d_backward_float(shape, grad_output, grad_input))


cdef int gemm_double(
    bint trans_a, bint trans_b, int64_t M, int64_t N, int64_t K, double alpha, const double*
    a, int64_t lda, const double* b, int64_t ldb, double beta, double* c, int64_t ldc) except -1 nogil:
    return checked(api.gemm_double(trans_a, trans_b, M, N, K, alpha, a, lda, b, ldb, beta, c, ldc))


cdef int conv2d_double(
    const pyconv_conv2d* shape, const double* input, const double* weight, const double*
    bias, double* output) except -1 nogil:
    return checked(api.conv2d_double(shape, input, weight, bias, output))


cdef int conv2d_backward_input_double(
    const pyconv_conv2d* shape, const double* grad_output, const double* weight, double*
    grad_input) except -1 nogil:
    return checked(api.conv2d_backward_input_double(shape, grad_output, weight, grad_input))


cdef int conv2d_backward_weight_double(
    const pyconv_conv2d* shape, const double* grad_output, const double* input, double*
    grad_weight) except -1 nogil:
    return checked(api.conv2d_backward_weight_double(shape, grad_output, input, grad_weight))


cdef int max_pool2d_double(
    const pyconv_pool2d* shape, const double* input, double* output, int32_t* indices) except -1 nogil:
    return checked(api.max_pool2d_double(shape, input, output, indices))


cdef int max_pool2d_backward_double(
    const pyconv_pool2d* shape, const double* grad_output, const int32_t* indices, double*
    grad_input) except -1 nogil:
    return checked(api.max_pool2d_backward_double(shape, grad_output, indices, grad_input))


cdef int avg_pool2d_double(
    const pyconv_pool2d* shape, const double* input, double* output) except -1 nogil:
    return checked(api.avg_pool2d_double(shape, input, output))


cdef int avg_pool2d_backward_double(
    const pyconv_pool2d* shape, const double* grad_output, double* grad_input) except -1 nogil:
    return checked(api.avg_pool2d_backward_double(shape, grad_output, grad_input))


cdef int mismatch(str function, str name, tuple got, tuple expected) except -1:
    raise ValueError(f"{function}: {name} has the wrong shape, got {got}; expected {expected}")


# The same on views. One without values has no first: its pointer is not read.
cdef int gemm(
    real alpha, const real[:, ::1] a, const real[:, ::1] b, real beta, real[:, ::1] c,
    bint trans_a=False, bint trans_b=False) except -1 nogil:
    cdef int64_t M = a.shape[1 if trans_a else 0], K = a.shape[0 if trans_a else 1]
    cdef int64_t N = b.shape[0 if trans_b else 1]
    if b.shape[1 if trans_b else 0] != K:
        with gil:
            mismatch("gemm", "b", (b.shape[0], b.shape[1]), (N, K) if trans_b else (K, N))
    if c.shape[0] != M or c.shape[1] != N:
        with gil:
            mismatch("gemm", "c", (c.shape[0], c.shape[1]), (M, N))
    if real is float:
        return gemm_float(trans_a, trans_b, M, N, K, alpha, &a[0, 0], a.shape[1], &b[0, 0],
                          b.shape[1], beta, &c[0, 0], N)
    else:
        return gemm_double(trans_a, trans_b, M, N, K, alpha, &a[0, 0], a.shape[1], &b[0, 0],
                           b.shape[1], beta, &c[0, 0], N)


# A view and the four sizes that it should have.
cdef int check_view(
    const char* function, const char* name, const Py_ssize_t* got,
    int64_t a, int64_t b, int64_t c, int64_t d) except -1 nogil:
    if got[0] == a and got[1] == b and got[2] == c and got[3] == d:
        return 0
    with gil:
        mismatch(function.decode(), name.decode(), (got[0], got[1], got[2], got[3]), (a, b, c, d))


cdef int conv2d(
    const pyconv_conv2d* s, const real[:, :, :, ::1] input, const real[:, :, :, ::1] weight,
    real[:, :, :, ::1] output, const real[::1] bias=None) except -1 nogil:
    cdef int64_t OH = 0, OW = 0
    conv2d_output_size(s, &OH, &OW)
    check_view("conv2d", "input", &input.shape[0], s.N, s.C, s.H, s.W)
    check_view("conv2d", "weight", &weight.shape[0], s.OC, s.C // s.groups, s.KH, s.KW)
    check_view("conv2d", "output", &output.shape[0], s.N, s.OC, OH, OW)
    if bias is not None and bias.shape[0] != s.OC:
        with gil:
            mismatch("conv2d", "bias", (bias.shape[0],), (s.OC,))
    cdef const real* first = NULL if bias is None else &bias[0]
    if real is float:
        return conv2d_float(s, &input[0, 0, 0, 0], &weight[0, 0, 0, 0], first, &output[0, 0, 0, 0])
    else:
        return conv2d_double(s, &input[0, 0, 0, 0], &weight[0, 0, 0, 0], first, &output[0, 0, 0, 0])


cdef int conv2d_backward_input(
    const pyconv_conv2d* s, const real[:, :, :, ::1] grad_output, const real[:, :, :, ::1]
    weight, real[:, :, :, ::1] grad_input) except -1 nogil:
    cdef int64_t OH = 0, OW = 0
    conv2d_output_size(s, &OH, &OW)
    check_view("conv2d_backward_input", "grad_output", &grad_output.shape[0], s.N, s.OC, OH, OW)
    check_view("conv2d_backward_input", "weight", &weight.shape[0], s.OC, s.C // s.groups, s.KH, s.KW)
    check_view("conv2d_backward_input", "grad_input", &grad_input.shape[0], s.N, s.C, s.H, s.W)
    if real is float:
        return conv2d_backward_input_float(s, &grad_output[0, 0, 0, 0], &weight[0, 0, 0, 0],
                                           &grad_input[0, 0, 0, 0])
    else:
        return conv2d_backward_input_double(s, &grad_output[0, 0, 0, 0], &weight[0, 0, 0, 0],
                                            &grad_input[0, 0, 0, 0])


cdef int conv2d_backward_weight(
    const pyconv_conv2d* s, const real[:, :, :, ::1] grad_output, const real[:, :, :, ::1]
    input, real[:, :, :, ::1] grad_weight) except -1 nogil:
    cdef int64_t OH = 0, OW = 0
    conv2d_output_size(s, &OH, &OW)
    check_view("conv2d_backward_weight", "grad_output", &grad_output.shape[0], s.N, s.OC, OH, OW)
    check_view("conv2d_backward_weight", "input", &input.shape[0], s.N, s.C, s.H, s.W)
    check_view("conv2d_backward_weight", "grad_weight", &grad_weight.shape[0], s.OC, s.C // s.groups, s.KH, s.KW)
    if real is float:
        return conv2d_backward_weight_float(s, &grad_output[0, 0, 0, 0], &input[0, 0, 0, 0],
                                            &grad_weight[0, 0, 0, 0])
    else:
        return conv2d_backward_weight_double(s, &grad_output[0, 0, 0, 0], &input[0, 0, 0, 0],
                                             &grad_weight[0, 0, 0, 0])


cdef int max_pool2d(
    const pyconv_pool2d* s, const real[:, :, :, ::1] input, real[:, :, :, ::1] output,
    int32_t[:, :, :, ::1] indices) except -1 nogil:
    cdef int64_t OH = 0, OW = 0
    pool2d_output_size(s, &OH, &OW)
    check_view("max_pool2d", "input", &input.shape[0], s.N, s.C, s.H, s.W)
    check_view("max_pool2d", "output", &output.shape[0], s.N, s.C, OH, OW)
    if indices is not None:
        check_view("max_pool2d", "indices", &indices.shape[0], s.N, s.C, OH, OW)
    cdef int32_t* first = NULL if indices is None else &indices[0, 0, 0, 0]
    if real is float:
        return max_pool2d_float(s, &input[0, 0, 0, 0], &output[0, 0, 0, 0], first)
    else:
        return max_pool2d_double(s, &input[0, 0, 0, 0], &output[0, 0, 0, 0], first)


cdef int max_pool2d_backward(
    const pyconv_pool2d* s, const real[:, :, :, ::1] grad_output, const int32_t[:, :, :,
    ::1] indices, real[:, :, :, ::1] grad_input) except -1 nogil:
    cdef int64_t OH = 0, OW = 0
    pool2d_output_size(s, &OH, &OW)
    check_view("max_pool2d_backward", "grad_output", &grad_output.shape[0], s.N, s.C, OH, OW)
    check_view("max_pool2d_backward", "indices", &indices.shape[0], s.N, s.C, OH, OW)
    check_view("max_pool2d_backward", "grad_input", &grad_input.shape[0], s.N, s.C, s.H, s.W)
    if real is float:
        return max_pool2d_backward_float(s, &grad_output[0, 0, 0, 0], &indices[0, 0, 0, 0],
                                         &grad_input[0, 0, 0, 0])
    else:
        return max_pool2d_backward_double(s, &grad_output[0, 0, 0, 0], &indices[0, 0, 0, 0],
                                          &grad_input[0, 0, 0, 0])


cdef int avg_pool2d(
    const pyconv_pool2d* s, const real[:, :, :, ::1] input, real[:, :, :, ::1] output) except -1 nogil:
    cdef int64_t OH = 0, OW = 0
    pool2d_output_size(s, &OH, &OW)
    check_view("avg_pool2d", "input", &input.shape[0], s.N, s.C, s.H, s.W)
    check_view("avg_pool2d", "output", &output.shape[0], s.N, s.C, OH, OW)
    if real is float:
        return avg_pool2d_float(s, &input[0, 0, 0, 0], &output[0, 0, 0, 0])
    else:
        return avg_pool2d_double(s, &input[0, 0, 0, 0], &output[0, 0, 0, 0])


cdef int avg_pool2d_backward(
    const pyconv_pool2d* s, const real[:, :, :, ::1] grad_output, real[:, :, :, ::1]
    grad_input) except -1 nogil:
    cdef int64_t OH = 0, OW = 0
    pool2d_output_size(s, &OH, &OW)
    check_view("avg_pool2d_backward", "grad_output", &grad_output.shape[0], s.N, s.C, OH, OW)
    check_view("avg_pool2d_backward", "grad_input", &grad_input.shape[0], s.N, s.C, s.H, s.W)
    if real is float:
        return avg_pool2d_backward_float(s, &grad_output[0, 0, 0, 0], &grad_input[0, 0, 0, 0])
    else:
        return avg_pool2d_backward_double(s, &grad_output[0, 0, 0, 0], &grad_input[0, 0, 0, 0])
