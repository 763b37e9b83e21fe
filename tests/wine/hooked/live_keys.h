// A simulation of how keys reach a user's registry: a hive whose root is a key of HKEY_CURRENT_USER, changed
// at once instead of when it is saved, without classes, security and times. For the test of the hook, which
// looks at who waits for what.
#pragma once

#include "agent/core/profile_volume.h"
#include "agent/core/registry_port.h"

namespace roamstead::agent::testing {

class LiveKeysPort final : public RegistryPort {
 public:
  // `root`: below HKEY_CURRENT_USER.
  LiveKeysPort(ProfileVolume& volume, std::string root) : volume_(volume), root_(std::move(root)) {}

  Result<std::unique_ptr<MountedHive>> mount(const std::string& path, const profile::Entry& file) override;
  Result<std::unique_ptr<MountedHive>> make(const std::string& path, const profile::Entry& file,
                                            const profile::KeyEntry& root) override;

 private:
  ProfileVolume& volume_;
  const std::string root_;
};

}  // namespace roamstead::agent::testing
