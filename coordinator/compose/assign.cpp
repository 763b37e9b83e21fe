#include "coordinator/compose/assign.h"

#include <algorithm>
#include <charconv>

#include "coordinator/compose/pool_spec.h"
#include "coordinator/compose/spec_reader.h"

namespace roamstead::compose {
namespace {

constexpr const char* kNumber = "{n}";

bool same_computer(const std::string& a, const std::string& b) {
  const auto small = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [&](char x, char y) { return small(x) == small(y); });
}

}  // namespace

void read_assign(SpecTable& table, PoolSpec& spec) {
  AssignRule rule;
  table.require("profile");
  table.text("desktop", [&](const std::string& value) -> Result<void> {
    const auto& pattern = spec.clones;
    const auto around = pattern.before.size() + pattern.after.size();
    std::uint64_t number = 0;
    if (value.size() > around) {
      const auto* begin = value.data() + pattern.before.size();
      std::from_chars(begin, value.data() + value.size() - pattern.after.size(), number);
    }
    if (number >= spec.first_number && number - spec.first_number < spec.count) {
      rule.desktop = spec.clone_name(number - spec.first_number);
      if (same_computer(rule.desktop, value)) return {};
    }
    return fail(ErrorCode::invalid_argument, "'" + value + "' is no desktop of this pool");
  });
  table.text("profile", [&](const std::string& value) -> Result<void> {
    if (value.empty()) return fail(ErrorCode::invalid_argument, "expected a profile's name");
    rule.profile = value;
    return {};
  });
  if (rule.desktop.empty() && rule.profile.find(kNumber) == std::string::npos)
    table.note_at("profile", "for every desktop of the pool expected a name with {n}, or say 'desktop'");
  spec.assign.rules.push_back(std::move(rule));
}

void read_prewarm(SpecTable& table, PoolSpec& spec) {
  constexpr std::uint64_t kMegabyte = 1u << 20, kMostMegabytes = 60;
  auto megabytes = spec.assign.prewarm_bytes / kMegabyte;
  table.number("megabytes", 0, kMostMegabytes, megabytes);
  spec.assign.prewarm_bytes = megabytes * kMegabyte;
}

std::vector<std::string> profiles_of(const PoolSpec& spec, std::uint64_t index) {
  std::vector<std::string> profiles;
  const auto number = std::to_string(spec.first_number + index);
  for (const auto& rule : spec.assign.rules) {
    if (rule.desktop.empty()) {
      auto profile = rule.profile;
      for (std::size_t at = 0; (at = profile.find(kNumber, at)) != std::string::npos; at += number.size())
        profile.replace(at, std::string(kNumber).size(), number);
      profiles.push_back(std::move(profile));
    } else if (rule.desktop == spec.clone_name(index)) {
      profiles.push_back(rule.profile);
    }
  }
  return profiles;
}

}  // namespace roamstead::compose
