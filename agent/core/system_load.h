// How busy the machine is, so that what nobody waits for can wait: a port to the operating system, and the
// decision made of it.
#pragma once

#include <chrono>
#include <optional>
#include <string_view>

#include "common/base/result.h"

namespace roamstead::agent {

// Since the reading before; shares of 0 to 1. Without a value: this system does not say, or it is the first
// reading.
struct SystemLoad {
  std::optional<double> processor;  // of all processors' time, what others than this process worked
  std::optional<double> disk;       // of the time, what the disk was busy or somebody waited for it
  bool saves_battery = false;       // its user, or Windows, wants little done now
};

class LoadPort {
 public:
  virtual ~LoadPort() = default;
  virtual Result<SystemLoad> read() = 0;  // cheap; on one thread
};

enum class LoadReason { none, processor, disk, battery };
std::string_view to_string(LoadReason reason);  // "", "load: processor", …

// Pauses when the machine was busy at two readings in a row, goes on when it was quiet at three: what is
// between the limits changes nothing. A machine that is never quiet gets a breather every few minutes, since
// what is not loaded is not protected by the fill (docs/agent.md). Not thread-safe.
class LoadJudge {
 public:
  using Clock = std::chrono::steady_clock;
  struct Limits {
    double busy = 0.85, quiet = 0.6;            // processor
    double disk_busy = 0.7, disk_quiet = 0.35;  // high, since the fill itself keeps the disk busy
    int busy_readings = 2, quiet_readings = 3;
    std::chrono::seconds most_paused{300}, breather{20};
  };
  LoadJudge() = default;
  explicit LoadJudge(const Limits& limits) : limits_(limits) {}

  // Why to pause from now on; none: go on.
  LoadReason judge(const SystemLoad& load, Clock::time_point now);

 private:
  LoadReason busy(const SystemLoad& load) const;
  bool quiet(const SystemLoad& load) const;

  const Limits limits_{};
  LoadReason reason_ = LoadReason::none;
  int in_a_row_ = 0;
  Clock::time_point paused_since_{}, breathing_until_{};
};

}  // namespace roamstead::agent
