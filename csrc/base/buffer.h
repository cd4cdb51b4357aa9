// SPDX-License-Identifier: BSD-3-Clause
// 64-byte-aligned memory that is recycled instead of returned to the system.
//
// A fresh large block costs a page fault per 4 KiB when it is first written, which for a
// memory-bound layer is as long as the layer itself. Freed blocks are therefore kept and handed
// out again, the large ones cut and joined as sizes ask (heap.h). Small sizes are rounded up to one of four classes
// per power of two (at most 25 % more), and nothing is keyed by shape.
//
// Bound: with `peak` the largest number of bytes that were ever in use at the same time,
//     retained <= (peak - live) + kRetainedSlack,
// that is, memory held never exceeds the real peak by more than kRetainedSlack. The longest unused
// large blocks are given back first, then the small ones. release_memory() gives everything back and forgets the peak.
#pragma once

#include <new>
#include <utility>

#include "base/types.h"

namespace pyconv {

inline constexpr size_t kCacheLine = 64;
inline constexpr index_t kRetainedSlack = index_t{64} << 20;

// Never returns nullptr: throws std::bad_alloc. `bytes` may be 0.
void* acquire_block(index_t bytes);
// `bytes` as given to acquire_block. nullptr is ignored. Callable from any thread.
void release_block(void* block, index_t bytes) noexcept;

void release_memory() noexcept;

struct MemoryInfo {
    index_t live;      // bytes in use
    index_t retained;  // bytes kept for reuse
    index_t peak;      // largest `live` since the start or the last release_memory()
};
MemoryInfo memory_info() noexcept;

// Scratch memory for `size` values of T, uninitialised; returned at the end of the scope.
template <typename T>
class AlignedBuffer {
  public:
    AlignedBuffer() = default;
    explicit AlignedBuffer(index_t size)
        : data_(size == 0 ? nullptr : static_cast<T*>(acquire_block(size * index_t{sizeof(T)}))),
          size_(size) {}
    AlignedBuffer(AlignedBuffer&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
    AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        return *this;
    }
    ~AlignedBuffer() { release_block(data_, size_ * index_t{sizeof(T)}); }

    T* data() const { return data_; }
    index_t size() const { return size_; }

  private:
    T* data_ = nullptr;
    index_t size_ = 0;
};

}  // namespace pyconv
