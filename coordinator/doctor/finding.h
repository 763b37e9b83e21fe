// What `roamstead doctor` says: each thing it looked at, how it is, and under which event's id more is said.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/base/event.h"

namespace roamstead::doctor {

enum class Health { ok, warn, fail };
std::string_view to_string(Health health);

struct Finding {
  std::string check;  // "storage", "clock"
  Health health = Health::ok;
  std::string text;            // what was found
  std::optional<Event> event;  // of what is not ok: what it means and what to do
};

inline Finding good(std::string check, std::string text) {
  return {std::move(check), Health::ok, std::move(text), {}};
}
inline Finding doubtful(std::string check, Event event, std::string text) {
  return {std::move(check), Health::warn, std::move(text), event};
}
inline Finding bad(std::string check, Event event, std::string text) {
  return {std::move(check), Health::fail, std::move(text), event};
}

// The worst of them; ok when there are none.
Health worst(const std::vector<Finding>& findings);

}  // namespace roamstead::doctor
