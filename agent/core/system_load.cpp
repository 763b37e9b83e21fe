#include "agent/core/system_load.h"

namespace roamstead::agent {

std::string_view to_string(LoadReason reason) {
  switch (reason) {
    case LoadReason::none:
      return "";
    case LoadReason::processor:
      return "load: processor";
    case LoadReason::disk:
      return "load: disk";
    case LoadReason::battery:
      return "load: battery saver";
  }
  return "unknown";
}

LoadReason LoadJudge::busy(const SystemLoad& load) const {
  if (load.saves_battery) return LoadReason::battery;
  if (load.processor && *load.processor >= limits_.busy) return LoadReason::processor;
  if (load.disk && *load.disk >= limits_.disk_busy) return LoadReason::disk;
  return LoadReason::none;
}

bool LoadJudge::quiet(const SystemLoad& load) const {
  return !load.saves_battery && (!load.processor || *load.processor <= limits_.quiet) &&
         (!load.disk || *load.disk <= limits_.disk_quiet);
}

LoadReason LoadJudge::judge(const SystemLoad& load, Clock::time_point now) {
  if (reason_ == LoadReason::none) {
    if (now < breathing_until_) return reason_;
    const auto found = busy(load);
    in_a_row_ = found == LoadReason::none ? 0 : in_a_row_ + 1;
    if (in_a_row_ < limits_.busy_readings) return reason_;
    reason_ = found;
    paused_since_ = now;
    in_a_row_ = 0;
    return reason_;
  }
  in_a_row_ = quiet(load) ? in_a_row_ + 1 : 0;
  const bool too_long = now - paused_since_ >= limits_.most_paused;
  if (in_a_row_ < limits_.quiet_readings && !too_long) return reason_;
  if (too_long) breathing_until_ = now + limits_.breather;
  reason_ = LoadReason::none;
  in_a_row_ = 0;
  return reason_;
}

}  // namespace roamstead::agent
