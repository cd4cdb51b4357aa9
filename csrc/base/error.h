// SPDX-License-Identifier: BSD-3-Clause
// Checked errors: what a caller did wrong, in one sentence.
//
// Every message reads `<function>: <argument> <what is wrong>, got <value>; expected <value>`. The
// bindings turn std::invalid_argument into ValueError, TypeFault into TypeError and std::bad_alloc
// into MemoryError.
#pragma once

#include <initializer_list>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>

#include "base/types.h"

namespace pyconv {

// A wrong type (a dtype, a non-array), as opposed to a wrong value.
struct TypeFault : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Sizes that print as Python prints a tuple: "(8, 3, 32, 32)", "(8,)". A view, formatted only when
// a message is really made: checks run at every call, and their text must cost nothing.
struct ShapeText {
    const index_t* sizes;
    size_t count;

    friend std::ostream& operator<<(std::ostream& stream, const ShapeText& shape) {
        stream << '(';
        for (size_t i = 0; i < shape.count; ++i) stream << (i ? ", " : "") << shape.sizes[i];
        return stream << (shape.count == 1 ? ",)" : ")");
    }
};
inline ShapeText shape_text(std::span<const index_t> shape) { return {shape.data(), shape.size()}; }
// The list must outlive the view: write it in the same expression as the check.
inline ShapeText shape_text(std::initializer_list<index_t> shape) {
    return {shape.begin(), shape.size()};
}

template <typename... Parts>
std::string join(const Parts&... parts) {
    std::ostringstream text;
    (text << ... << parts);
    return text.str();
}

// Throws std::invalid_argument (ValueError) with the parts joined, unless `condition` holds.
template <typename... Parts>
void check(bool condition, const Parts&... parts) {
    if (!condition) [[unlikely]]
        throw std::invalid_argument(join(parts...));
}

template <typename... Parts>
void check_type(bool condition, const Parts&... parts) {
    if (!condition) [[unlikely]]
        throw TypeFault(join(parts...));
}

}  // namespace pyconv
