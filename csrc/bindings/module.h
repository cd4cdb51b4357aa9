// SPDX-License-Identifier: BSD-3-Clause
// One def_*() per op: what each file of this folder adds to the module.
#pragma once

#include "bindings/arrays.h"

namespace pyconv::bindings {

void def_runtime(py::module_& m);
void def_gemm(py::module_& m);
void def_conv(py::module_& m);
void def_pool2d(py::module_& m);
void def_pool2d_variants(py::module_& m);
void def_activation(py::module_& m);
void def_channels(py::module_& m);
void def_softmax(py::module_& m);
void def_batch_norm(py::module_& m);
void def_normalization(py::module_& m);
void def_optimizer(py::module_& m);
void def_c_api(py::module_& m);

}  // namespace pyconv::bindings
