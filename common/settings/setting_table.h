// The agent's settings: names, types, ranges, and which of them a coordinator may send. One table for the
// agent, which takes them (agent/desktop/agent_settings.h), and the coordinator, which checks what an
// administrator writes (coordinator/config/agent_settings_file.h).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"

namespace roamstead::settings {

struct Setting {
  enum class Type { text, texts, number };
  std::string_view name;
  Type type = Type::text;
  std::string_view meaning;                 // a sentence without its full stop
  std::uint64_t least = 0, most = 0;        // of a number
  std::vector<std::string_view> choices{};  // of a text; none: any
  // Whether a coordinator may send it. Never what names programs, paths, disks, addresses or identities, nor
  // what lets a desktop lose what is its own: who has taken over a coordinator shall not have its desktops.
  bool from_coordinator = false;
};

// In the order of docs/agent.md.
std::span<const Setting> setting_table();
// Without regard to case. Null: there is none.
const Setting* find_setting(std::string_view name);

// ErrorCode::invalid_argument, saying what is expected.
Result<void> check_text(const Setting& setting, std::string_view text);
Result<void> check_number(const Setting& setting, std::uint64_t number);

}  // namespace roamstead::settings
