// SPDX-License-Identifier: BSD-3-Clause
// The extension pyconv._core: a table of contents.
#include "bindings/module.h"

#include "base/error.h"

PYBIND11_MODULE(_core, m, pybind11::mod_gil_not_used()) {
    using namespace pyconv::bindings;
    m.doc() = "The kernels of pyconv. Use pyconv.functional: this module's interface may change.";
    py::register_exception_translator([](std::exception_ptr error) {
        try {
            if (error) std::rethrow_exception(error);
        } catch (const pyconv::TypeFault& fault) {
            py::set_error(PyExc_TypeError, fault.what());
        }
    });
    def_runtime(m);
    def_gemm(m);
    def_conv(m);
    def_pool2d(m);
    def_pool2d_variants(m);
    def_activation(m);
    def_channels(m);
    def_softmax(m);
    def_batch_norm(m);
    def_normalization(m);
    def_optimizer(m);
    def_c_api(m);
}
