/* SPDX-License-Identifier: BSD-3-Clause
 *
 * pyconv's kernels for C and C++, without NumPy and without the GIL.
 *
 *     #include <Python.h>
 *     #include <pyconv.h>
 *
 *     const pyconv_api *api = pyconv_import();       // with the GIL; NULL: a Python error is set
 *     if (api->conv2d_float(&shape, input, weight, NULL, output) != PYCONV_OK)
 *         puts(api->last_error());
 *
 * All arrays are contiguous, in the order that the comments give, and an output overlaps no input. Sizes are
 * checked before anything is written. Threads, memory and results are those of pyconv.functional.
 */
#ifndef PYCONV_H
#define PYCONV_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Grows when something changes; what is there keeps its place. */
#define PYCONV_API_VERSION 1

/* What every function returns. A PYCONV_INTERRUPTED call has set a Python error, KeyboardInterrupt as a rule. */
enum { PYCONV_OK = 0, PYCONV_VALUE_ERROR = 1, PYCONV_MEMORY_ERROR = 2, PYCONV_INTERRUPTED = 3 };

/* input (N, C, H, W), weight (OC, C / groups, KH, KW), bias (OC), output (N, OC, OH, OW). */
typedef struct pyconv_conv2d {
    int64_t N, C, H, W, OC, KH, KW;
    int64_t stride_h, stride_w;
    int64_t pad_top, pad_bottom, pad_left, pad_right;
    int64_t dilation_h, dilation_w;
    int64_t groups;
} pyconv_conv2d;

/* input (N, C, H, W), output and indices (N, C, OH, OW). Averages have no dilation: 1. */
typedef struct pyconv_pool2d {
    int64_t N, C, H, W, KH, KW;
    int64_t stride_h, stride_w;
    int64_t pad_top, pad_bottom, pad_left, pad_right;
    int64_t dilation_h, dilation_w;
    int32_t ceil_mode, count_include_pad;
} pyconv_pool2d;

/* C (M, N) = alpha * A (M, K) B (K, N) + beta * C. Rows lie lda, ldb and ldc values apart; transposed, A is
 * stored as (K, M) and B as (N, K). bias, and the indices of max_pool2d, may be NULL. */
#define PYCONV_FUNCTIONS(T, type)                                                                  \
    int (*gemm_##type)(int trans_a, int trans_b, int64_t M, int64_t N, int64_t K, T alpha,         \
                       const T *a, int64_t lda, const T *b, int64_t ldb, T beta, T *c,             \
                       int64_t ldc);                                                               \
    int (*conv2d_##type)(const pyconv_conv2d *shape, const T *input, const T *weight,              \
                         const T *bias, T *output);                                                \
    int (*conv2d_backward_input_##type)(const pyconv_conv2d *shape, const T *grad_output,          \
                                        const T *weight, T *grad_input);                           \
    int (*conv2d_backward_weight_##type)(const pyconv_conv2d *shape, const T *grad_output,         \
                                         const T *input, T *grad_weight);                          \
    int (*max_pool2d_##type)(const pyconv_pool2d *shape, const T *input, T *output,                \
                             int32_t *indices);                                                    \
    int (*max_pool2d_backward_##type)(const pyconv_pool2d *shape, const T *grad_output,            \
                                      const int32_t *indices, T *grad_input);                      \
    int (*avg_pool2d_##type)(const pyconv_pool2d *shape, const T *input, T *output);               \
    int (*avg_pool2d_backward_##type)(const pyconv_pool2d *shape, const T *grad_output,            \
                                      T *grad_input);

typedef struct pyconv_api {
    int32_t version;
    /* What was wrong in the last call of this thread that failed. */
    const char *(*last_error)(void);
    int (*conv2d_output_size)(const pyconv_conv2d *shape, int64_t *OH, int64_t *OW);
    int (*pool2d_output_size)(const pyconv_pool2d *shape, int64_t *OH, int64_t *OW);
    PYCONV_FUNCTIONS(float, float)
    PYCONV_FUNCTIONS(double, double)
} pyconv_api;

#ifdef Py_PYTHON_H
/* The functions of the installed pyconv. */
static inline const pyconv_api *pyconv_import(void) {
    const pyconv_api *api = (const pyconv_api *)PyCapsule_Import("pyconv._core._c_api", 0);
    if (api != NULL && api->version < PYCONV_API_VERSION) {
        PyErr_SetString(PyExc_ImportError, "pyconv_import: the installed pyconv is older than pyconv.h");
        return NULL;
    }
    return api;
}
#endif

#ifdef __cplusplus
}
#endif

#endif
