// The hives of a version as `profile registry` verbs look for and show them.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "coordinator/cli/profile_version.h"

namespace roamstead::cli {

// Those at the two known places, in whatever case.
Result<std::vector<profile::ProfilePath>> hives_of(const repository::Tree& tree);
// By its path in the profile, or its name alone, in any case. ErrorCode::not_found says which there are.
Result<profile::ProfilePath> find_hive(const repository::Tree& tree, const std::string& wanted);

// Names separated by '\' as in Windows; nobody is refused for a '\' too many at an end.
Result<profile::KeyPath> parse_key(std::string_view text);
// All parts of an answer.
Result<void> visit_keys(const repository::Tree& tree, const profile::ProfilePath& hive,
                        const profile::KeyPath& key, profile::KeyScope scope,
                        const std::function<Result<void>(const profile::KeyState&)>& visit);
// A value's data; of one that is not inline the first bytes, at most so many.
Result<Bytes> data_of(const repository::Tree& tree, const profile::ProfilePath& hive,
                      const profile::KeyPath& key, const profile::RegistryValue& value,
                      std::uint64_t most_bytes);

std::string shown_name(const std::string& value_name);  // "(default)" for ""
// For a row of text the first bytes; with --json all, as an object.
struct ShownValue {
  std::string text;
  nlohmann::json object;
};
Result<ShownValue> show(const Context& context, const repository::Tree& tree,
                        const profile::ProfilePath& hive, const profile::KeyPath& key,
                        const profile::RegistryValue& value);

// profile registry diff: of one hive, or of all when `hive` is "".
Result<void> diff_registry(const Context& context, const OpenTrees& open, const std::string& hive);

}  // namespace roamstead::cli
