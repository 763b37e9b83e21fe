// How far a desktop's first start is: state.json (docs/format-firstboot.md). Written on the desktop, read
// there and by the coordinator from the desktop's disk.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"

namespace roamstead::firstboot {

// restarting is of all steps only.
enum class Status : std::uint8_t { running, restarting, done, failed };
std::string_view to_string(Status status);

struct StepState {
  std::string name;
  std::uint32_t attempts = 0;  // begun
  Status status = Status::running;
  std::optional<std::uint32_t> exit;  // of the last attempt
  std::string error;                  // where there is no exit status
  std::string began, ended;           // of the last attempt: "2026-11-22T19:00:00Z"; "" not yet
};

struct State {
  Status status = Status::running;
  std::uint32_t restarts = 0;
  std::string error;             // that is no step's
  std::vector<StepState> steps;  // that have begun
};

std::string state_json(const State& state);
Result<State> parse_state(std::string_view text, const std::string& source);

}  // namespace roamstead::firstboot
