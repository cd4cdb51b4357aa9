// SPDX-License-Identifier: BSD-3-Clause
// Arrays of many images joined along their channels, and cut apart again.
#pragma once

#include <span>

#include "base/types.h"

namespace pyconv {

// Some channels of all images, which lie one behind the other.
template <typename T>
struct ChannelPart {
    T* data;
    index_t size;  // values of one image
};

// The first values of each image of `joined` come from the first part, the next from the second, and so on.
template <typename T>
void join_channels(index_t images, std::span<const ChannelPart<const T>> parts, T* joined);

// The reverse.
template <typename T>
void split_channels(index_t images, const T* joined, std::span<const ChannelPart<T>> parts);

}  // namespace pyconv
