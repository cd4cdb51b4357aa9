// SPDX-License-Identifier: BSD-3-Clause
// Overflow-checked arithmetic on sizes.
//
// Shapes come from users and from files. Every product and sum of sizes that feeds an allocation
// or a loop bound goes through these three functions, so that a size that does not fit raises
// instead of wrapping round to a small number.
#pragma once

#include <initializer_list>

#include "base/error.h"
#include "base/types.h"

namespace pyconv {

// No array that pyconv makes or reads may be larger than this many bytes. Half the address space
// of today's machines: leaves head-room so that rounding up a size can not overflow either.
inline constexpr index_t kMaxBytes = index_t{1} << 46;

inline index_t checked_add(const char* function, index_t a, index_t b) {
    index_t sum = 0;
    check(!__builtin_add_overflow(a, b, &sum), function, ": sizes are too large, ", a, " + ", b,
          " overflows 64 bits");
    return sum;
}

inline index_t checked_mul(const char* function, index_t a, index_t b) {
    index_t product = 0;
    check(!__builtin_mul_overflow(a, b, &product), function, ": sizes are too large, ", a, " * ", b,
          " overflows 64 bits");
    return product;
}

// The number of elements of an array with non-negative sizes; at most kMaxBytes / 8 of them.
inline index_t checked_elements(const char* function, const char* argument,
                                std::initializer_list<index_t> shape) {
    index_t elements = 1;
    bool empty = false;
    for (const index_t size : shape) empty = empty || size == 0;
    if (empty) return 0;
    for (const index_t size : shape) {
        check(!__builtin_mul_overflow(elements, size, &elements) && elements <= kMaxBytes / 8,
              function, ": ", argument, " is too large, got shape ", shape_text(shape),
              "; expected at most ", kMaxBytes / 8, " elements");
    }
    return elements;
}

constexpr index_t ceil_div(index_t a, index_t b) { return (a + b - 1) / b; }
constexpr index_t round_up(index_t a, index_t b) { return ceil_div(a, b) * b; }

}  // namespace pyconv
