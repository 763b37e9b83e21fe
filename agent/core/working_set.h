// What programs touch first after a log-in: learnt here, where a program's wish can be told from the
// background's, and fetched ahead at the next log-in.
#pragma once

#include <atomic>
#include <chrono>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "agent/core/profile_volume.h"
#include "common/wire/working_set.h"

namespace roamstead::agent {

class Loader;
class RegistryLoader;

// Keeps the order of first touches, within wire's bounds: what comes after they are reached is not among what
// is needed first. Thread-safe; costs an atomic load once it is over.
class WorkingSetLearner {
 public:
  using Clock = std::chrono::steady_clock;

  void start(std::chrono::milliseconds time);
  void directory(const profile::ProfilePath& path);
  void file(const profile::ProfilePath& path, std::uint64_t size_bytes);
  void key(const profile::ProfilePath& hive, const profile::KeyPath& key);

  // The time is over, or the bounds are reached, and nobody has taken what was learnt.
  bool is_over() const { return learning_ && (full_ || Clock::now() >= until_); }
  // Ends it. What was learnt, once.
  std::vector<wire::WorkingItem> take();

 private:
  void note(wire::WorkingItem item, std::uint64_t content_bytes);

  std::atomic<bool> learning_{false};
  std::atomic<bool> full_{false};
  Clock::time_point until_;  // set before learning_
  std::mutex mutex_;
  std::set<std::pair<std::string, std::string>> seen_;
  std::vector<wire::WorkingItem> items_;
  std::size_t name_bytes_ = 0;
  std::uint64_t content_bytes_ = 0;
};

// Several threads, so that the way to the coordinator is not waited for once an item. What is not there (any
// more), or fails, is left to who wants it. Programs' own loads come first as they always do.
class Prefetch {
 public:
  Prefetch(Loader& loader, RegistryLoader& registry, ProfileVolume& volume, std::string profile_root)
      : loader_(loader), registry_(registry), volume_(volume), root_(std::move(profile_root)) {}
  ~Prefetch() { stop(); }

  // Once. Items come from the coordinator: those that break the bounds are left out, all of them.
  void start(std::vector<wire::WorkingItem> items);
  void stop();
  std::uint64_t done() const { return done_; }
  std::uint64_t total() const { return items_.size(); }
  bool finished() const { return running_ == 0; }

 private:
  void run();
  void run_ahead();
  Result<void> fetch(const wire::WorkingItem& item);
  Result<void> fetch_file(const std::string& path);

  Loader& loader_;
  RegistryLoader& registry_;
  ProfileVolume& volume_;
  const std::string root_;
  std::vector<wire::WorkingItem> items_;
  std::atomic<std::size_t> next_{0};
  std::atomic<std::uint64_t> done_{0};
  std::atomic<std::uint64_t> content_bytes_{0};
  std::atomic<bool> stopping_{false};
  std::atomic<int> running_{0};
  std::vector<std::thread> threads_;
};

}  // namespace roamstead::agent
