// Brings to the volume, in quiet moments, what programs were shown before it was there.
#pragma once

#include <deque>
#include <mutex>
#include <string>

#include "agent/core/preview.h"
#include "agent/core/profile_volume.h"
#include "agent/core/worker.h"

namespace roamstead::agent {

class Loader;

// In the order in which it was touched. Gives way to programs, but never for longer than kLongestWait. Keeps
// kMostWaiting things in mind: what is touched beyond is fetched again when it is wanted again. Thread-safe.
class Settler {
 public:
  Settler(Loader& loader, ProfileVolume& volume, std::string profile_root)
      : loader_(loader), volume_(volume), root_(std::move(profile_root)) {}
  ~Settler() { stop(); }

  void start();
  void stop() { worker_.stop(); }
  void add(const Touched& touched);
  std::size_t waiting() const;

 private:
  static constexpr std::size_t kMostWaiting = 16'384;
  static constexpr std::chrono::milliseconds kQuiet{300};
  static constexpr std::chrono::seconds kLongestWait{5};

  void run();
  bool give_way();
  Result<void> settle(const Touched& touched);

  Loader& loader_;
  ProfileVolume& volume_;
  const std::string root_;
  mutable std::mutex mutex_;
  std::deque<Touched> waiting_;
  Worker worker_;
};

}  // namespace roamstead::agent
