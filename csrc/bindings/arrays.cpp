// SPDX-License-Identifier: BSD-3-Clause
#include "bindings/arrays.h"

#include <memory>

#include "base/buffer.h"

namespace pyconv::bindings {
namespace {

// Below this NumPy's own allocator is faster, and page faults are not the cost.
constexpr index_t kRecycledBytes = 16384;

// The memory an array spans, whatever its strides.
struct Span {
    uintptr_t begin, end;
};
Span span_of(const py::array& array) {
    auto begin = reinterpret_cast<uintptr_t>(array.data());
    uintptr_t end = begin;
    if (array.size() == 0) return {begin, begin};
    for (index_t d = 0; d < array.ndim(); ++d) {
        const index_t reach = (array.shape(d) - 1) * array.strides(d);
        (reach < 0 ? begin : end) += static_cast<uintptr_t>(reach);
    }
    return {begin, end + static_cast<uintptr_t>(array.itemsize())};
}

}  // namespace

py::array as_array(const char* function, const char* name, const py::handle& object) {
    if (!py::isinstance<py::array>(object)) {
        throw TypeFault(join(function, ": ", name, " is not an array, got ",
                             Py_TYPE(object.ptr())->tp_name, "; expected numpy.ndarray"));
    }
    const bool plain = py::type::handle_of(object).ptr() ==
                       reinterpret_cast<PyObject*>(py::detail::npy_api::get().PyArray_Type_);
    if (!plain && py::isinstance(object, py::module_::import("numpy.ma").attr("MaskedArray"))) {
        throw TypeFault(join(function, ": ", name,
                             " is a masked array, whose mask would be ignored; expected "
                             "numpy.ndarray (use .filled())"));
    }
    return py::reinterpret_borrow<py::array>(object);
}

py::array contiguous(const py::array& array) {
    using Api = py::detail::npy_api;
    constexpr int kNeeded = Api::NPY_ARRAY_C_CONTIGUOUS_ | Api::NPY_ARRAY_ALIGNED_;
    if ((array.flags() & kNeeded) == kNeeded) return array;
    PyObject* copy = Api::get().PyArray_FromAny_(array.ptr(), nullptr, 0, 0,
                                                 kNeeded | Api::NPY_ARRAY_ENSUREARRAY_, nullptr);
    if (copy == nullptr) throw py::error_already_set();
    return py::reinterpret_steal<py::array>(copy);
}

py::array new_array(const py::dtype& dtype, const Shape& shape) {
    index_t elements = 1;
    for (const index_t size : shape) elements *= size;  // checked where the shape was made
    const index_t bytes = elements * dtype.itemsize();
    if (bytes < kRecycledBytes) return py::array(dtype, shape);

    struct Block {
        void* data;
        index_t bytes;
        ~Block() { release_block(data, bytes); }
    };
    auto block = std::make_unique<Block>(acquire_block(bytes), bytes);
    const py::capsule owner(block.get(), [](void* held) { delete static_cast<Block*>(held); });
    return py::array(dtype, shape, block.release()->data, owner);
}

void check_out(const char* function, const py::array& out, const Shape& shape,
               std::initializer_list<const py::array*> inputs, Overlap overlap) {
    using Api = py::detail::npy_api;
    check(has_shape(out, shape), function, ": out has shape ", shape_text(out), "; expected ",
          shape_text(shape));
    check(out.writeable(), function, ": out is read-only; expected a writeable array");
    constexpr int kNeeded = Api::NPY_ARRAY_C_CONTIGUOUS_ | Api::NPY_ARRAY_ALIGNED_;
    check((out.flags() & kNeeded) == kNeeded, function,
          ": out is not C-contiguous and aligned; expected memory that can be written in place");
    const Span own = span_of(out);
    for (const py::array* input : inputs) {
        if (input == nullptr) continue;
        const Span other = span_of(*input);
        const bool same = input->data() == out.data() && (input->flags() & kNeeded) == kNeeded &&
                          has_shape(*input, shape);
        if (same && overlap == Overlap::InPlace) continue;
        check(own.end <= other.begin || other.end <= own.begin, function,
              ": out overlaps an input; expected memory of its own");
    }
}

}  // namespace pyconv::bindings
