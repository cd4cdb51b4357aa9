// SPDX-License-Identifier: BSD-3-Clause
// Checked errors: what a caller did wrong, in one sentence.
//
// Every message reads `<function>: <argument> <what is wrong>, got <value>; expected <value>`. The
// bindings turn std::invalid_argument into ValueError, TypeFault into TypeError and std::bad_alloc
// into MemoryError.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/types.h"

namespace pyconv {

// A wrong type (a dtype, a non-array), as opposed to a wrong value.
struct TypeFault : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// "(8, 3, 32, 32)", and "(8,)" for one axis: as Python prints a tuple.
inline std::string shape_text(const std::vector<index_t>& shape) {
    std::ostringstream text;
    text << '(';
    for (size_t i = 0; i < shape.size(); ++i) text << (i ? ", " : "") << shape[i];
    text << (shape.size() == 1 ? ",)" : ")");
    return text.str();
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
