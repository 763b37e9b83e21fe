// One rule of a profile (rules.h): what it does, and to what.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"

namespace roamstead::profile {

inline constexpr std::size_t kMostPatternBytes = 4096;
inline constexpr std::size_t kMostPatternNames = 64;
inline constexpr std::size_t kMostAlternatives = 256;  // that one pattern's braces make
inline constexpr std::uint64_t kAnySize = ~std::uint64_t{0};

enum class RuleAction : std::uint8_t {
  include,          // saved after all
  exclude,          // neither saved nor brought to the desktop
  local_only,       // the same, but kept on the desktop for the user's next log-in there
  at_logout,        // saved at log-out only, not by snapshots in the session
  preload,          // loaded before programs run
  background,       // loaded in the background, in the order of such rules, before what no rule names
  on_demand,        // loaded when it is touched, never in the background
  max_size,         // files beyond it are not saved, and reported
  exclude_process,  // a process that never makes anything be loaded
};
std::string_view to_string(RuleAction action);  // "local-only", as in text forms
// ErrorCode::invalid_argument lists what there is, and names the nearest.
Result<RuleAction> parse_rule_action(std::string_view text);

struct Rule {
  RuleAction action = RuleAction::include;
  std::string pattern;  // normalised by normalise_rule(): "AppData/Local/Temp", "HKCU\Software\X", "a.exe"
  std::optional<std::string> value;  // of a registry pattern: only values of this name in the keys that match
  std::uint64_t most_bytes = kAnySize;  // of max_size
  std::string reason;                   // for people; no part of the canonical form

  bool is_registry() const {
    return pattern.size() > 3 && pattern[4] == '\\' && pattern.rfind("HKCU", 0) == 0;
  }
};

// Names of folders expanded, separators as ours. ErrorCode::invalid_argument: what no pattern can be.
Result<Rule> normalise_rule(Rule rule);

// The names of a normalised pattern, without HKCU, one list for each of the alternatives in its braces.
Result<std::vector<std::vector<std::string>>> pattern_names(const Rule& rule);

// The folder, or the item, that a normalised pattern of files names before its first wildcard; "" the root.
std::string literal_folder(std::string_view pattern);

// A line of the canonical form (docs/format-rules.md), with its end or without.
std::string canonical_line(const Rule& rule);
Result<Rule> parse_canonical_line(std::string_view line);

}  // namespace roamstead::profile
