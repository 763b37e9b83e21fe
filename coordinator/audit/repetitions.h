// Keeps a flood of events from filling the disk: decides which are written in full, and counts the rest.
// Not thread-safe.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "coordinator/audit/audit_log.h"

namespace roamstead::audit {

class Repetitions {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  static constexpr std::size_t kMaxKeys = 16384;

  explicit Repetitions(const Options& options) : options_(options) {}

  // Whether the event is to be written.
  bool admit(const Record& record, const std::string& time, TimePoint now);
  // An event that was admitted, but for which there was no room.
  void lost() { ++unrecorded_; }
  // Summaries of the windows that are over; of all with `everything`.
  std::vector<Record> collect(TimePoint now, bool everything);

 private:
  struct Counted {
    TimePoint since;
    std::size_t written = 0;
    std::uint64_t left_out = 0;
    Record last;
    std::string last_time;
  };

  const Options& options_;
  std::map<std::string, Counted> keys_;
  TimePoint window_since_{};
  std::size_t refusals_ = 0;      // written in this window
  std::uint64_t unrecorded_ = 0;  // beyond all bounds, so not even counted by kind
};

}  // namespace roamstead::audit
