// Token buckets: so much a second, and so much at once.
#pragma once

#include <algorithm>
#include <chrono>
#include <map>
#include <string>

namespace roamstead::server {

// Not thread-safe.
class TokenBucket {
 public:
  using Clock = std::chrono::steady_clock;

  TokenBucket(double per_second, double burst) : per_second_(per_second), burst_(burst), level_(burst) {}

  // Takes one if there is one.
  bool take(Clock::time_point now) {
    fill(now);
    if (level_ < 1) return false;
    level_ -= 1;
    return true;
  }
  // Takes one that may come later: how long to wait for it.
  Clock::duration take_and_wait(Clock::time_point now) {
    fill(now);
    level_ -= 1;
    if (level_ >= 0) return {};
    return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(-level_ / per_second_));
  }
  bool full(Clock::time_point now) const { return level_at(now) >= burst_; }

 private:
  double level_at(Clock::time_point now) const {
    if (last_ == Clock::time_point{}) return level_;
    return std::min(burst_, level_ + per_second_ * std::chrono::duration<double>(now - last_).count());
  }
  void fill(Clock::time_point now) {
    level_ = level_at(now);
    last_ = now;
  }

  double per_second_;
  double burst_;
  double level_;
  Clock::time_point last_{};
};

// A bucket for each of many keys, and one for all of them. Not thread-safe.
class RateLimiter {
 public:
  using Clock = TokenBucket::Clock;
  static constexpr std::size_t kMaxKeys = 4096;

  RateLimiter(double per_second, double burst, double all_per_second, double all_burst)
      : per_second_(per_second), burst_(burst), all_(all_per_second, all_burst) {}

  bool admit(const std::string& key, Clock::time_point now) {
    auto it = buckets_.find(key);
    if (it == buckets_.end()) {
      if (buckets_.size() >= kMaxKeys)
        std::erase_if(buckets_, [&](const auto& each) { return each.second.full(now); });
      // Still so many that ask: then only the common bucket counts.
      if (buckets_.size() >= kMaxKeys) return all_.take(now);
      it = buckets_.emplace(key, TokenBucket(per_second_, burst_)).first;
    }
    return it->second.take(now) && all_.take(now);
  }

 private:
  double per_second_;
  double burst_;
  TokenBucket all_;
  std::map<std::string, TokenBucket> buckets_;
};

}  // namespace roamstead::server
