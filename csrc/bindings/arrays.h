// SPDX-License-Identifier: BSD-3-Clause
// NumPy arrays in, NumPy arrays out: every check on an array that memory safety rests on.
//
// An input may have any strides and any alignment and is copied when the kernels could not read it
// as it lies; its dtype is never converted. `out` is never copied: what can not be written in place
// raises. Arrays are taken as plain objects, not as py::array_t, whose conversions are silent and
// do not ask for alignment.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "base/checked.h"
#include "base/error.h"
#include "bindings/gil.h"

namespace pyconv::bindings {

namespace py = pybind11;

using Shape = std::vector<index_t>;

inline Shape shape_of(const py::array& array) {
    return {array.shape(), array.shape() + array.ndim()};
}

inline ShapeText shape_text(const py::array& array) {
    return {array.shape(), static_cast<size_t>(array.ndim())};
}
using pyconv::shape_text;

template <typename T>
constexpr const char* dtype_name() {
    if constexpr (std::is_same_v<T, float>) return "float32";
    if constexpr (std::is_same_v<T, double>) return "float64";
    if constexpr (std::is_same_v<T, int32_t>) return "int32";
    if constexpr (std::is_same_v<T, int64_t>) return "int64";
}

// The object as an array of whatever dtype. Throws TypeFault for anything that is not a plain
// ndarray; a masked array is refused, since its mask would be ignored.
py::array as_array(const char* function, const char* name, const py::handle& object);

template <typename T>
bool has_dtype(const py::array& array) {
    const py::dtype dtype = array.dtype();
    return dtype.num() == py::dtype::of<T>().num() && dtype.byteorder() != '>' &&
           dtype.byteorder() != '<';
}

// An array whose values can be read at data(), contiguous and aligned.
template <typename T>
class Input {
  public:
    // `given` is what the caller passed: kept to compare its memory with that of `out`.
    Input(py::array given, py::array readable)
        : given_(std::move(given)), readable_(std::move(readable)) {}
    const T* data() const { return static_cast<const T*>(readable_.data()); }
    const py::array& given() const { return given_; }

  private:
    py::array given_, readable_;
};

py::array contiguous(const py::array& array);

// Throws TypeFault unless `array` holds T. `first` is the name of the argument that decided on T.
template <typename T>
void check_dtype(const char* function, const char* name, const py::array& array,
                 const char* first = nullptr) {
    if (has_dtype<T>(array)) return;
    const auto got = py::str(array.dtype()).cast<std::string>();
    if (first != nullptr)
        throw TypeFault(
            join(function, ": ", name, " is ", got, " but ", first, " is ", dtype_name<T>()));
    throw TypeFault(join(function, ": ", name, " has dtype ", got, "; expected ", dtype_name<T>()));
}

inline bool has_shape(const py::array& array, const Shape& shape) {
    return std::equal(shape.begin(), shape.end(), array.shape(), array.shape() + array.ndim());
}

template <typename T>
Input<T> input_array(const char* function, const char* name, const py::handle& object,
                     const Shape& shape, const char* first = nullptr) {
    py::array array = as_array(function, name, object);
    check_dtype<T>(function, name, array, first);
    check(has_shape(array, shape), function, ": ", name, " has shape ", shape_text(array),
          "; expected ", shape_text(shape));
    py::array readable = contiguous(array);
    return {std::move(array), std::move(readable)};
}

// As input_array, or nullptr for None.
template <typename T>
class OptionalInput {
  public:
    OptionalInput(const char* function, const char* name, const py::handle& object,
                  const Shape& shape, const char* first) {
        if (!object.is_none()) input_.emplace(input_array<T>(function, name, object, shape, first));
    }
    const T* data() const { return input_ ? input_->data() : nullptr; }
    const py::array* given() const { return input_ ? &input_->given() : nullptr; }

  private:
    std::optional<Input<T>> input_;
};

// The sizes of an array that must have `Axes` axes; ("four: (N, C, H, W)" and the like in `axes`).
template <size_t Axes>
std::array<index_t, Axes> sizes_of(const char* function, const char* name, const py::array& array,
                                   const char* axes) {
    check(array.ndim() == static_cast<index_t>(Axes), function, ": ", name, " has ", array.ndim(),
          " axes, got shape ", shape_text(array), "; expected ", axes);
    std::array<index_t, Axes> result{};
    for (size_t d = 0; d < Axes; ++d) result[d] = array.shape(static_cast<index_t>(d));
    return result;
}
inline std::array<index_t, 4> shape4(const char* function, const char* name, const py::array& array,
                                     const char* axes) {
    return sizes_of<4>(function, name, array, axes);
}
inline std::array<index_t, 2> shape2(const char* function, const char* name, const py::array& array,
                                     const char* axes) {
    return sizes_of<2>(function, name, array, axes);
}

// An uninitialised array; large ones come from recycled blocks (base/buffer.h).
py::array new_array(const py::dtype& dtype, const Shape& shape);

// Whether `out` may be one of the inputs: all of it, element for element. For maps, which read a value no
// later than they write it.
enum class Overlap { Never, InPlace };
inline constexpr Overlap kInPlace = Overlap::InPlace;

// What `out` must be, apart from its dtype; `inputs` may hold nullptr.
void check_out(const char* function, const py::array& out, const Shape& shape,
               std::initializer_list<const py::array*> inputs, Overlap overlap);

// `out` as it is, checked, or a new array when it is None.
template <typename T>
py::array output_array(const char* function, const py::handle& out, const Shape& shape,
                       std::initializer_list<const py::array*> inputs,
                       Overlap overlap = Overlap::Never) {
    if (out.is_none()) return new_array(py::dtype::of<T>(), shape);
    py::array array = as_array(function, "out", out);
    check_dtype<T>(function, "out", array);
    check_out(function, array, shape, inputs, overlap);
    return array;
}

template <typename T>
T* data_of(py::array& array) {
    return static_cast<T*>(array.mutable_data());
}

// Calls body(T()) for the float type of `array`, the argument called `name`.
template <typename Body>
auto dispatch_float(const char* function, const char* name, const py::array& array, Body&& body) {
    if (has_dtype<float>(array)) return body(float());
    if (has_dtype<double>(array)) return body(double());
    throw TypeFault(join(function, ": ", name, " has dtype ",
                         py::str(array.dtype()).cast<std::string>(),
                         "; expected native float32 or float64"));
}

}  // namespace pyconv::bindings
