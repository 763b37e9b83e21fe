// Lets writers of the profile pass freely, and a snapshot hold them all back for a moment. Programs can be
// refused for good: the profile was handed over to another desktop.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>

#include "common/base/result.h"

namespace roamstead::agent {

// Passing is shared, holding exclusive; a waiting holder stops new passers, so that a busy profile cannot
// starve it. Take the gate before any item's mutex, and never while waiting for the network.
class Gate {
 public:
  class Pass {
   public:
    explicit Pass(Gate& gate) : gate_(gate) { gate_.enter(); }
    ~Pass() { gate_.leave(); }
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;

   private:
    Gate& gate_;
  };
  class Hold {
   public:
    explicit Hold(Gate& gate) : gate_(gate) { gate_.close(); }
    ~Hold() { gate_.open(); }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

   private:
    Gate& gate_;
  };

  // Set while holding, so that a snapshot shows all that programs were told is done. What the agent itself
  // loads still passes. Asked after passing.
  void refuse_programs(bool refuse) { refuses_programs_ = refuse; }
  bool refuses_programs() const { return refuses_programs_; }
  Result<void> check_program() const {
    if (!refuses_programs_) return {};
    return fail(ErrorCode::denied, "the profile can only be read here: it is open on another desktop");
  }

 private:
  void enter() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return holders_ == 0; });
    ++passing_;
  }
  void leave() {
    std::lock_guard lock(mutex_);
    if (--passing_ == 0) changed_.notify_all();
  }
  void close() {
    std::unique_lock lock(mutex_);
    ++holders_;
    changed_.wait(lock, [&] { return passing_ == 0 && !held_; });
    held_ = true;
  }
  void open() {
    std::lock_guard lock(mutex_);
    --holders_;
    held_ = false;
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  int passing_ = 0;
  int holders_ = 0;  // holding or waiting to
  bool held_ = false;
  std::atomic<bool> refuses_programs_{false};
};

}  // namespace roamstead::agent
