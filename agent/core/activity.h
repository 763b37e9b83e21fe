// When did a program last wait for the coordinator? Background work waits for quiet moments.
#pragma once

#include <atomic>
#include <chrono>

namespace roamstead::agent {

class Activity {
 public:
  using Clock = std::chrono::steady_clock;
  static double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  }

  class Foreground {
   public:
    explicit Foreground(Activity& activity) : activity_(activity) { ++activity_.running_; }
    ~Foreground() {
      activity_.last_ = Clock::now().time_since_epoch().count();
      --activity_.running_;
    }
    Foreground(const Foreground&) = delete;
    Foreground& operator=(const Foreground&) = delete;

   private:
    Activity& activity_;
  };

  bool waited_for() const { return running_ != 0; }
  bool idle_for(std::chrono::milliseconds quiet) const {
    if (running_ != 0) return false;
    return Clock::now() - Clock::time_point(Clock::duration(last_.load())) >= quiet;
  }

 private:
  std::atomic<int> running_{0};
  std::atomic<Clock::rep> last_{0};
};

}  // namespace roamstead::agent
