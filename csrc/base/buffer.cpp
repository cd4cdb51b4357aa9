// SPDX-License-Identifier: BSD-3-Clause
#include "base/buffer.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <mutex>
#include <vector>

#include "base/checked.h"
#include "base/fork.h"
#include "base/heap.h"
#include "base/pause.h"

namespace pyconv {
namespace {

// Larger blocks come from the heap: there are few of them at a time, and it takes a fraction of a microsecond. Under
// AddressSanitizer none do, which then watches the borders of each.
#ifdef __SANITIZE_ADDRESS__
constexpr index_t kListedBytes = kMaxBytes;
#else
constexpr index_t kListedBytes = index_t{64} << 10;
#endif

struct FreeBlock {
    void* data;
    index_t bytes;
};

// The oldest block is at the front. A training step holds some hundred small blocks at most, so a linear
// search from the most recent one costs less than a page fault.
struct Recycler {
    std::mutex mutex;
    std::vector<FreeBlock> blocks;
    index_t listed = 0;  // bytes of `blocks`
    Heap heap;
    index_t live = 0, peak = 0;

    index_t retained() const { return listed + heap.resident(); }
};

// The lock is held for a fraction of a microsecond, and who sleeps for it is woken after fifty: two threads that take
// and give back their scratch at every task would spend as much time asleep as at work.
std::unique_lock<std::mutex> lock_briefly(std::mutex& mutex) {
    for (int spins = 0; spins < 1000; ++spins) {
        if (mutex.try_lock()) return std::unique_lock(mutex, std::adopt_lock);
        pause_cpu();
    }
    return std::unique_lock(mutex);
}

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

// What is set aside for `bytes`: up to the next of four steps per power of two, at least one cache line; of the
// heap, whole pages.
index_t rounded_up(index_t bytes) {
    if (bytes > kListedBytes) return round_up(bytes, Heap::kPage);
    const auto wanted = static_cast<uint64_t>(bytes < 64 ? 64 : bytes);
    const uint64_t step = std::bit_floor(wanted) / 4;
    const index_t rounded = round_up(static_cast<index_t>(wanted), static_cast<index_t>(step));
    return round_up(rounded, index_t{kCacheLine});
}

// Takes the blocks that the bound no longer allows off the list; the caller frees them unlocked.
std::vector<FreeBlock> take_excess(Recycler& r) {
    std::vector<FreeBlock> excess;
    const index_t limit = r.peak - r.live + kRetainedSlack;
    if (r.retained() <= limit) return excess;
    r.heap.shrink(std::max(limit - r.listed, index_t{0}));
    size_t count = 0;
    while (r.retained() > limit) r.listed -= r.blocks[count++].bytes;
    const auto end = r.blocks.begin() + static_cast<index_t>(count);
    excess.assign(r.blocks.begin(), end);
    r.blocks.erase(r.blocks.begin(), end);
    return excess;
}

void free_all(const std::vector<FreeBlock>& blocks) {
    for (const FreeBlock& block : blocks) std::free(block.data);
}

// The most recent block of this size on the list, or nullptr.
void* take_listed(Recycler& r, index_t rounded) {
    for (size_t i = r.blocks.size(); i-- > 0;) {
        if (r.blocks[i].bytes != rounded) continue;
        void* data = r.blocks[i].data;
        r.blocks.erase(r.blocks.begin() + static_cast<index_t>(i));
        r.listed -= rounded;
        return data;
    }
    return nullptr;
}

// A block that was free, or new memory; nullptr if there is none.
void* try_acquire(index_t rounded) {
    Recycler& r = recycler();
    const bool listed = rounded <= kListedBytes;
    void* data = nullptr;
    std::vector<FreeBlock> excess;
    {
        const auto lock = lock_briefly(r.mutex);
        data = listed ? take_listed(r, rounded) : r.heap.take(rounded);
        const bool found = data != nullptr;
        if (!found && !listed) data = r.heap.take_from_new_region(rounded);
        if (listed || data != nullptr) r.live += rounded;
        r.peak = std::max(r.peak, r.live);
        if (!found) excess = take_excess(r);
    }
    free_all(excess);
    if (!listed || data != nullptr) return data;
    data = std::aligned_alloc(kCacheLine, static_cast<size_t>(rounded));
    if (data == nullptr) {
        const auto lock = lock_briefly(r.mutex);
        r.live -= rounded;
    }
    return data;
}

}  // namespace

void* acquire_block(index_t bytes) {
    if (bytes < 0 || bytes > kMaxBytes) throw std::bad_alloc();
    const index_t rounded = rounded_up(bytes);
    void* data = try_acquire(rounded);
    if (data == nullptr) {
        // Memory that is only kept for later may be what is missing now.
        release_memory();
        data = try_acquire(rounded);
    }
    if (data == nullptr) throw std::bad_alloc();
    return data;
}

void release_block(void* block, index_t bytes) noexcept {
    if (block == nullptr) return;
    const index_t rounded = rounded_up(bytes);
    Recycler& r = recycler();
    std::vector<FreeBlock> excess;
    try {
        const auto lock = lock_briefly(r.mutex);
        r.live -= rounded;
        if (rounded <= kListedBytes) {
            r.blocks.push_back({block, rounded});
            r.listed += rounded;
        } else {
            r.heap.give(block, rounded);
        }
        excess = take_excess(r);
    } catch (const std::bad_alloc&) {
        // No room even for the list entry: give the block back at once, or what it has of memory.
        if (rounded <= kListedBytes) {
            std::free(block);
        } else {
            Heap::abandon(block, rounded);
        }
        return;
    }
    free_all(excess);
}

void release_memory() noexcept {
    Recycler& r = recycler();
    std::vector<FreeBlock> blocks;
    {
        const auto lock = lock_briefly(r.mutex);
        blocks.swap(r.blocks);
        r.listed = 0;
        r.heap.shrink(0);
        r.peak = r.live;
    }
    free_all(blocks);
}

MemoryInfo memory_info() noexcept {
    Recycler& r = recycler();
    const auto lock = lock_briefly(r.mutex);
    return {.live = r.live, .retained = r.retained(), .peak = r.peak};
}

}  // namespace pyconv
