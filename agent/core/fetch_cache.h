// Things that are fetched once however many threads want them, and kept while there is room.
#pragma once

#include <condition_variable>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "common/base/result.h"

namespace roamstead::agent {

// What was used longest ago goes first; one thing alone may be larger than the room. Thread-safe.
template <class Value>
class FetchCache {
 public:
  using Pointer = std::shared_ptr<const Value>;
  struct Fetched {
    Pointer value;
    std::uint64_t cost = 0;
  };

  explicit FetchCache(std::uint64_t most_cost) : most_cost_(most_cost) {}

  // Null when it is not kept.
  Pointer find(const std::string& key) {
    std::lock_guard lock(mutex_);
    return find_locked(key);
  }

  // `fetch() -> Result<Fetched>` is called without a lock, by one of the threads that want it; when it fails,
  // each of the others tries by itself.
  template <class Fetch>
  Result<Pointer> get(const std::string& key, Fetch fetch) {
    {
      std::unique_lock lock(mutex_);
      for (;;) {
        if (auto found = find_locked(key)) return found;
        if (fetching_.emplace(key, true).second) break;
        changed_.wait(lock);
      }
    }
    Result<Fetched> fetched = fetch();
    std::lock_guard lock(mutex_);
    fetching_.erase(key);
    changed_.notify_all();
    if (!fetched) return fail(std::move(fetched).error());
    put_locked(key, *fetched);
    return std::move(fetched->value);
  }

  void put(const std::string& key, Fetched fetched) {
    std::lock_guard lock(mutex_);
    put_locked(key, fetched);
  }

  void remove(const std::string& key) {
    std::lock_guard lock(mutex_);
    remove_locked(key);
  }

 private:
  struct Kept {
    Fetched fetched;
    std::list<std::string>::iterator place;
  };

  Pointer find_locked(const std::string& key) {
    auto found = kept_.find(key);
    if (found == kept_.end()) return nullptr;
    used_.splice(used_.begin(), used_, found->second.place);
    return found->second.fetched.value;
  }

  void put_locked(const std::string& key, const Fetched& fetched) {
    remove_locked(key);
    used_.push_front(key);
    kept_[key] = {fetched, used_.begin()};
    cost_ += fetched.cost;
    while (cost_ > most_cost_ && used_.size() > 1) remove_locked(std::string(used_.back()));
  }

  void remove_locked(const std::string& key) {
    auto found = kept_.find(key);
    if (found == kept_.end()) return;
    cost_ -= found->second.fetched.cost;
    used_.erase(found->second.place);
    kept_.erase(found);
  }

  const std::uint64_t most_cost_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t cost_ = 0;
  std::list<std::string> used_;  // the last used first
  std::unordered_map<std::string, Kept> kept_;
  std::unordered_map<std::string, bool> fetching_;
};

}  // namespace roamstead::agent
