// SPDX-License-Identifier: BSD-3-Clause
// What convolutions derive from one weight, packed or transformed: kept by the owner of the weight, a layer,
// from one call to the next, and cleared by it when the weight changes.
#pragma once

#include <array>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "base/types.h"

namespace pyconv {

class WeightCache {
  public:
    // Everything that the derived form depends on, besides the weight: who made it, for which table of
    // kernels (and so element type and instruction set), and sizes.
    struct Key {
        enum class Maker { TapGemm, TapPixelRows, Winograd } maker;
        const void* kernels;
        std::array<index_t, 5> sizes;
        friend bool operator==(const Key&, const Key&) = default;
    };

    // What is kept under `key`, else the result of make(), which is then kept. Without a cache, just that.
    template <typename Make>
    static auto get(WeightCache* cache, const Key& key, Make&& make) {
        using Value = decltype(make());
        if (cache != nullptr)
            if (auto found = cache->find(key)) return std::static_pointer_cast<const Value>(found);
        const auto made = std::make_shared<const Value>(make());
        if (cache != nullptr) cache->keep(key, made);
        return made;
    }

    void clear() {
        const std::lock_guard lock(mutex_);
        entries_.clear();
    }

  private:
    // A layer that sees images of many sizes: few of them ask for different forms.
    static constexpr size_t kMaxEntries = 4;

    std::shared_ptr<const void> find(const Key& key) {
        const std::lock_guard lock(mutex_);
        for (const auto& [kept, value] : entries_)
            if (kept == key) return value;
        return nullptr;
    }
    void keep(const Key& key, std::shared_ptr<const void> value) {
        const std::lock_guard lock(mutex_);
        if (entries_.size() == kMaxEntries) entries_.erase(entries_.begin());
        entries_.emplace_back(key, std::move(value));
    }

    std::mutex mutex_;
    std::vector<std::pair<Key, std::shared_ptr<const void>>> entries_;
};

}  // namespace pyconv
