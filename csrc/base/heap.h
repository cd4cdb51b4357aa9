// SPDX-License-Identifier: BSD-3-Clause
// Blocks of any size, cut from large regions of memory and joined again when they are free.
//
// A network's activations come in many sizes, few of which live at the same time: joined, the memory of those that
// are gone serves those to come, where a list of blocks of fixed sizes would keep some of each. The regions
// are made of huge pages where the system has them: a plane of one channel is often on a page of 4 KiB of
// its own, and a convolution that reads hundreds of them waits for the translation of their addresses.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <utility>

#include "base/types.h"

namespace pyconv {

// Not safe for use by several threads at a time.
class Heap {
  public:
    // Blocks are whole pages, so that the memory of each can be returned by itself.
    static constexpr index_t kPage = index_t{4} << 10;

    // Sizes are multiples of kPage. The smallest free block that has room, or nullptr.
    void* take(index_t bytes);
    // From a new region: nullptr if there is no memory.
    void* take_from_new_region(index_t bytes);
    void give(void* block, index_t bytes);
    // Returns the memory of a block for which there is no room in the lists below.
    static void abandon(void* block, index_t bytes) noexcept;

    // Bytes of free blocks that have been written to and not been returned to the system since.
    index_t resident() const { return resident_; }
    // Returns the memory of the longest unused free blocks to the system until that is at most `limit`.
    void shrink(index_t limit);

  private:
    struct Free {
        index_t bytes, resident;
        uint64_t freed;  // when, in blocks freed
    };
    using Blocks = std::map<char*, Free>;

    void insert(char* block, const Free& free);
    Free remove(Blocks::iterator block);
    void release(Blocks::iterator block);

    Blocks free_;                                  // by address
    std::set<std::pair<index_t, char*>> by_size_;  // the same
    std::map<char*, index_t> regions_;             // and their sizes
    index_t resident_ = 0;
    uint64_t clock_ = 0;
};

}  // namespace pyconv
