// SPDX-License-Identifier: BSD-3-Clause
// The integer types that everything above uses.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pyconv {

// Every size, index, offset and stride: 64-bit and signed, so that differences need no care.
using index_t = std::ptrdiff_t;
static_assert(sizeof(index_t) == 8, "pyconv needs a 64-bit platform");

}  // namespace pyconv
