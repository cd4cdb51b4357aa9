// SPDX-License-Identifier: BSD-3-Clause
// Overflow-checked arithmetic on sizes.
//
// Shapes come from users and from files. Every product and sum of sizes that feeds an allocation
// or a loop bound goes through these three functions, so that a size that does not fit raises
// instead of wrapping round to a small number.
#pragma once

#include <initializer_list>
#include <span>

#include "base/error.h"
#include "base/types.h"

namespace pyconv {

// No array that pyconv makes or reads may be larger than this many bytes. Half the address space
// of today's machines: leaves head-room so that rounding up a size can not overflow either.
inline constexpr index_t kMaxBytes = index_t{1} << 46;

inline index_t checked_add(const char* function, const char* argument, index_t a, index_t b) {
    index_t sum = 0;
    check(!__builtin_add_overflow(a, b, &sum), function, ": ", argument, " is too large, got ", a,
          " + ", b, "; expected less than 2^63");
    return sum;
}

inline index_t checked_mul(const char* function, const char* argument, index_t a, index_t b) {
    index_t product = 0;
    check(!__builtin_mul_overflow(a, b, &product), function, ": ", argument, " is too large, got ",
          a, " * ", b, "; expected less than 2^63");
    return product;
}

// The number of elements of an array: sizes >= 0, at most kMaxBytes / 8 elements.
inline index_t checked_elements(const char* function, const char* argument,
                                std::span<const index_t> shape) {
    index_t elements = 1;
    bool fits = true;
    for (const index_t size : shape) {
        check(size >= 0, function, ": ", argument, " has a negative size, got shape ",
              shape_text(shape), "; expected sizes >= 0");
        fits = fits && !__builtin_mul_overflow(elements, size, &elements);
        fits = fits && elements <= kMaxBytes / 8;
    }
    // An array without elements is small, whatever its other sizes are.
    for (const index_t size : shape)
        if (size == 0) return 0;
    check(fits, function, ": ", argument, " is too large, got shape ", shape_text(shape),
          "; expected at most ", kMaxBytes / 8, " elements");
    return elements;
}
inline index_t checked_elements(const char* function, const char* argument,
                                std::initializer_list<index_t> shape) {
    return checked_elements(function, argument, {shape.begin(), shape.size()});
}

constexpr index_t ceil_div(index_t a, index_t b) { return (a + b - 1) / b; }
constexpr index_t round_up(index_t a, index_t b) { return ceil_div(a, b) * b; }

}  // namespace pyconv
