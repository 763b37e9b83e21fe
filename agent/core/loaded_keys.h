// Keys as they came from the coordinator, checked, on their way into a desktop's hives.
#pragma once

#include <chrono>
#include <map>
#include <vector>

#include "agent/core/registry_port.h"
#include "common/wire/coordinator_link.h"

namespace roamstead::agent {

// What one question about a key brought: the key complete; each of the others below a complete one; parents
// first. Values that are not inline have their data in `large`.
struct LoadedKeys {
  profile::KeyPath top;
  std::vector<profile::KeyState> keys;
  std::map<std::pair<std::string, std::string>, Bytes> large;  // key and value as in `keys`
  std::uint64_t bytes = 0;                                     // of names and data, about

  const Bytes& data_of(const profile::KeyState& key, const profile::RegistryValue& value) const {
    return value.is_inline() ? value.data : large.at({key.path.text(), value.name});
  }
};

// Asks until all parts are there. ErrorCode::protocol when the answer contradicts itself. `ask` makes each
// call, again while the coordinator is away.
class KeySource {
 public:
  KeySource(wire::CoordinatorLink& link, const Guid& session_secret, std::chrono::milliseconds patience)
      : link_(link), session_secret_(session_secret), patience_(patience) {}

  Result<LoadedKeys> fetch(const profile::ProfilePath& hive, const profile::KeyPath& key,
                           profile::KeyScope scope);

 private:
  Result<void> fetch_data(const profile::ProfilePath& hive, LoadedKeys& loaded);
  Result<Bytes> fetch_value(const profile::ProfilePath& hive, const profile::KeyPath& key,
                            const profile::RegistryValue& value);

  wire::CoordinatorLink& link_;
  const Guid session_secret_;
  const std::chrono::milliseconds patience_;
};

// Puts what was loaded into the hive that programs use. What they made stays: values that are there win, keys
// that were deleted do not come back. Returns what of it the desktop has now, for the base hive.
Result<std::vector<profile::KeyState>> merge_loaded(MountedHive& live, const LoadedKeys& loaded);

}  // namespace roamstead::agent
