// Rules of profiles as administrators write them: TOML (docs/format-rules.md).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/profile/rules.h"

namespace roamstead::config {

inline constexpr std::size_t kMostRulesFileBytes = 1u << 20;

struct RulesFile {
  bool defaults = false;  // the rules that ship with Roamstead come first
  std::vector<profile::Rule> rules;
};

// ErrorCode::invalid_argument: the message has a line for each problem, "SOURCE:LINE: what; what to do".
Result<RulesFile> parse_rules_file(std::string_view text, const std::string& source);

// The rules that ship with Roamstead, with a reason for each, and the file they stand in.
const std::vector<profile::Rule>& default_rules();
std::string_view default_rules_text();

// One after the other, so that the profile's have the last word; those that ship come first, once, where
// either wants them. Both texts may be "".
Result<profile::Rules> effective_rules(std::string_view pool_text, std::string_view profile_text);

}  // namespace roamstead::config
