# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""im2col and col2im as a course teaches them: loops over a zero-padded image.

columns[n, (c, kh, kw), (oh, ow)] = padded[n, c, oh*stride + kh, ow*stride + kw]

im2col copies every pixel to each filter tap that meets it; col2im, its adjoint, adds it back. With the
columns in memory a convolution is one matrix product an image; see course.py.
"""

from cython cimport floating


def im2col(floating[:, :, :, ::1] padded, floating[:, :, ::1] columns,
           Py_ssize_t KH, Py_ssize_t KW, Py_ssize_t OH, Py_ssize_t OW, Py_ssize_t stride):
    """Overwrite columns (N, C*KH*KW, OH*OW) with the patches of padded (N, C, H, W)."""
    cdef Py_ssize_t N = padded.shape[0], C = padded.shape[1]
    cdef Py_ssize_t n, c, kh, kw, oh, ow, row
    with nogil:
        for n in range(N):
            for c in range(C):
                for kh in range(KH):
                    for kw in range(KW):
                        row = (c * KH + kh) * KW + kw
                        for oh in range(OH):
                            for ow in range(OW):
                                columns[n, row, oh * OW + ow] = padded[
                                    n, c, oh * stride + kh, ow * stride + kw]


def col2im(floating[:, :, ::1] columns, floating[:, :, :, ::1] padded,
           Py_ssize_t KH, Py_ssize_t KW, Py_ssize_t OH, Py_ssize_t OW, Py_ssize_t stride):
    """Add the patches in columns (N, C*KH*KW, OH*OW) to padded (N, C, H, W)."""
    cdef Py_ssize_t N = padded.shape[0], C = padded.shape[1]
    cdef Py_ssize_t n, c, kh, kw, oh, ow, row
    with nogil:
        for n in range(N):
            for c in range(C):
                for kh in range(KH):
                    for kw in range(KW):
                        row = (c * KH + kh) * KW + kw
                        for oh in range(OH):
                            for ow in range(OW):
                                padded[n, c, oh * stride + kh, ow * stride + kw] += columns[
                                    n, row, oh * OW + ow]
