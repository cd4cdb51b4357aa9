// SPDX-License-Identifier: BSD-3-Clause
#include "base/heap.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>

#include "base/checked.h"

namespace pyconv {
namespace {

constexpr index_t kHugePage = index_t{2} << 20;
// Address space: memory is used only where it is written to.
constexpr index_t kRegionBytes = index_t{32} << 20;

char* new_region(index_t bytes) {
    void* data = std::aligned_alloc(static_cast<size_t>(kHugePage), static_cast<size_t>(bytes));
#ifdef MADV_HUGEPAGE
    if (data != nullptr) madvise(data, static_cast<size_t>(bytes), MADV_HUGEPAGE);
#endif
    return static_cast<char*>(data);
}

}  // namespace

void* Heap::take(index_t bytes) {
    const auto found = by_size_.lower_bound({bytes, nullptr});
    if (found == by_size_.end()) return nullptr;
    char* block = found->second;
    const Free free = remove(free_.find(block));
    // Which part of it was written to is not known.
    if (const index_t rest = free.bytes - bytes; rest > 0)
        insert(block + bytes, {rest, std::min(free.resident, rest), free.freed});
    return block;
}

void* Heap::take_from_new_region(index_t bytes) {
    const index_t wanted = round_up(bytes, kHugePage);
    index_t size = std::max(wanted, kRegionBytes);
    char* region = new_region(size);
    if (region == nullptr && size > wanted) region = new_region(size = wanted);
    if (region == nullptr) return nullptr;
    regions_.emplace(region, size);
    insert(region, {size, 0, clock_});
    return take(bytes);
}

void Heap::give(void* data, index_t bytes) {
    char* block = static_cast<char*>(data);
    Free free{bytes, bytes, ++clock_};
    // Regions may lie side by side, but are given back one by one.
    const auto region = std::prev(regions_.upper_bound(block));
    auto after = free_.lower_bound(block);
    if (after != free_.begin()) {
        const auto before = std::prev(after);
        if (before->first + before->second.bytes == block && before->first >= region->first) {
            block = before->first;
            const Free joined = remove(before);
            free.bytes += joined.bytes;
            free.resident += joined.resident;
        }
    }
    if (after != free_.end() && after->first == block + free.bytes &&
        after->first < region->first + region->second) {
        const Free joined = remove(after);
        free.bytes += joined.bytes;
        free.resident += joined.resident;
    }
    insert(block, free);
}

void Heap::abandon(void* block, index_t bytes) noexcept {
    madvise(block, static_cast<size_t>(bytes), MADV_DONTNEED);
}

void Heap::shrink(index_t limit) {
    while (resident_ > limit) {
        auto oldest = free_.end();
        for (auto block = free_.begin(); block != free_.end(); ++block)
            if (block->second.resident > 0 &&
                (oldest == free_.end() || block->second.freed < oldest->second.freed))
                oldest = block;
        release(oldest);
    }
}

// Returns the memory of a free block to the system, and a region that is free as a whole altogether.
void Heap::release(Blocks::iterator block) {
    char* data = block->first;
    const auto region = regions_.find(data);
    if (region != regions_.end() && region->second == block->second.bytes) {
        remove(block);
        regions_.erase(region);
        std::free(data);
        return;
    }
    abandon(data, block->second.bytes);
    resident_ -= block->second.resident;
    block->second.resident = 0;
}

void Heap::insert(char* block, const Free& free) {
    by_size_.emplace(free.bytes, block);
    free_.emplace(block, free);
    resident_ += free.resident;
}

Heap::Free Heap::remove(Blocks::iterator block) {
    const Free free = block->second;
    by_size_.erase({free.bytes, block->first});
    free_.erase(block);
    resident_ -= free.resident;
    return free;
}

}  // namespace pyconv
