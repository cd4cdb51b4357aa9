// SPDX-License-Identifier: BSD-3-Clause
#include "base/buffer.h"

#include <bit>
#include <cstdlib>
#include <mutex>
#include <vector>

#include "base/checked.h"
#include "base/fork.h"

namespace pyconv {
namespace {

struct FreeBlock {
    void* data;
    index_t bytes;
};

// The oldest block is at the front. A training step holds some hundred blocks at most, so a linear
// search from the most recent one costs less than a page fault.
struct Recycler {
    std::mutex mutex;
    std::vector<FreeBlock> blocks;
    MemoryInfo info{0, 0, 0};
};

// Leaked on purpose: arrays may outlive static destruction.
Recycler& recycler() {
    static Recycler* instance = [] {
        auto* made = new Recycler;
        hold_across_fork(made->mutex);
        return made;
    }();
    return *instance;
}

// Made when the library is loaded: a fork() during its first use would leave it half made.
[[maybe_unused]] const Recycler& made_early = recycler();

// Rounds up to the next of four steps per power of two; at least one cache line.
index_t size_class(index_t bytes) {
    const auto wanted = static_cast<uint64_t>(bytes < 64 ? 64 : bytes);
    const uint64_t step = std::bit_floor(wanted) / 4;
    const index_t rounded = round_up(static_cast<index_t>(wanted), static_cast<index_t>(step));
    return round_up(rounded, index_t{kCacheLine});
}

// Takes the blocks that the bound no longer allows off the list; the caller frees them unlocked.
std::vector<FreeBlock> take_excess(Recycler& r) {
    std::vector<FreeBlock> excess;
    const index_t limit = r.info.peak - r.info.live + kRetainedSlack;
    size_t count = 0;
    while (r.info.retained > limit) r.info.retained -= r.blocks[count++].bytes;
    if (count > 0) {
        const auto end = r.blocks.begin() + static_cast<index_t>(count);
        excess.assign(r.blocks.begin(), end);
        r.blocks.erase(r.blocks.begin(), end);
    }
    return excess;
}

void free_all(const std::vector<FreeBlock>& blocks) {
    for (const FreeBlock& block : blocks) std::free(block.data);
}

}  // namespace

void* acquire_block(index_t bytes) {
    if (bytes < 0 || bytes > kMaxBytes) throw std::bad_alloc();
    const index_t rounded = size_class(bytes);
    Recycler& r = recycler();
    void* data = nullptr;
    std::vector<FreeBlock> excess;
    {
        const std::lock_guard lock(r.mutex);
        for (size_t i = r.blocks.size(); i-- > 0;) {
            if (r.blocks[i].bytes != rounded) continue;
            data = r.blocks[i].data;
            r.blocks.erase(r.blocks.begin() + static_cast<index_t>(i));
            r.info.retained -= rounded;
            break;
        }
        r.info.live += rounded;
        if (r.info.live > r.info.peak) r.info.peak = r.info.live;
        if (data == nullptr) excess = take_excess(r);
    }
    free_all(excess);
    if (data == nullptr) data = std::aligned_alloc(kCacheLine, static_cast<size_t>(rounded));
    if (data == nullptr) {
        // Memory that is only kept for later may be what is missing now.
        release_memory();
        data = std::aligned_alloc(kCacheLine, static_cast<size_t>(rounded));
    }
    if (data == nullptr) {
        const std::lock_guard lock(r.mutex);
        r.info.live -= rounded;
        r.info.peak = r.info.live;
        throw std::bad_alloc();
    }
    return data;
}

void release_block(void* block, index_t bytes) noexcept {
    if (block == nullptr) return;
    const index_t rounded = size_class(bytes);
    Recycler& r = recycler();
    std::vector<FreeBlock> excess;
    try {
        const std::lock_guard lock(r.mutex);
        r.info.live -= rounded;
        r.blocks.push_back({block, rounded});
        r.info.retained += rounded;
        excess = take_excess(r);
    } catch (const std::bad_alloc&) {
        // No room even for the list entry: give the block back at once.
        std::free(block);
        return;
    }
    free_all(excess);
}

void release_memory() noexcept {
    Recycler& r = recycler();
    std::vector<FreeBlock> blocks;
    {
        const std::lock_guard lock(r.mutex);
        blocks.swap(r.blocks);
        r.info.retained = 0;
        r.info.peak = r.info.live;
    }
    free_all(blocks);
}

MemoryInfo memory_info() noexcept {
    Recycler& r = recycler();
    const std::lock_guard lock(r.mutex);
    return r.info;
}

}  // namespace pyconv
