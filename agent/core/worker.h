// A thread of the agent with a name, a bell and an end.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "common/base/thread_stack.h"

namespace roamstead::agent {

// The owner calls stop() (the destructor does too) before anything the thread uses goes.
class Worker {
 public:
  Worker() = default;
  ~Worker() { stop(); }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  void start(std::function<void()> run) {
    stopping_ = false;
    thread_ = std::thread([run = std::move(run)] {
      release_unused_stack();
      run();
    });
  }
  void stop() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
      changed_.notify_all();
    }
    if (thread_.joinable()) thread_.join();
  }
  void ring() {
    std::lock_guard lock(mutex_);
    rung_ = true;
    changed_.notify_all();
  }
  bool stopping() const {
    std::lock_guard lock(mutex_);
    return stopping_;
  }
  // Sleeps until the bell or the end: for whoever is told of all there is to do; false when the thread shall
  // end. A bell rung before is heard.
  bool wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return rung_ || stopping_; });
    rung_ = false;
    return !stopping_;
  }
  // The same, or until the time is over.
  bool sleep(std::chrono::milliseconds time) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, time, [&] { return rung_ || stopping_; });
    rung_ = false;
    return !stopping_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool rung_ = false;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace roamstead::agent
