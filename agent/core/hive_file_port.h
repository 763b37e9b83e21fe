// Hives as files on the profile's volume.
//
// A file is read whole, recovered from its logs where it is dirty, and changed in memory. It is saved as a
// new file in the staging directory, flushed and renamed over the old one: whoever is interrupted leaves the
// old hive or the new one. (Staging lies on the same volume and outside the profile, so that no snapshot
// takes an unfinished file for a program's.) Programs may write to or replace the file at any time: nothing
// is kept from one mount to the next, and what changed between mount and save is not overwritten.
#pragma once

#include <functional>

#include "agent/core/profile_volume.h"
#include "agent/core/registry_port.h"
#include "common/registry/editor.h"

namespace roamstead::agent {

class HiveFilePort final : public RegistryPort {
 public:
  // `new_staging_path` gives a path in the staging directory that was never used; thread-safe. The volume
  // must outlive this and every hive.
  HiveFilePort(ProfileVolume& volume, std::function<std::string()> new_staging_path)
      : volume_(volume), new_staging_path_(std::move(new_staging_path)) {}

  Result<std::unique_ptr<MountedHive>> mount(const std::string& path, const profile::Entry& file) override;
  Result<std::unique_ptr<MountedHive>> make(const std::string& path, const profile::Entry& file,
                                            const profile::KeyEntry& root) override;

  // The hive as its file and logs have it.
  Result<registry::Editor> read(const std::string& path);
  // Changes the file as a whole: `change` edits it and says whether it did. Errors as of mount() and save().
  Result<bool> edit(const std::string& path, const profile::Entry& file,
                    const std::function<Result<bool>(registry::Editor&)>& change);

 private:
  ProfileVolume& volume_;
  const std::function<std::string()> new_staging_path_;
};

}  // namespace roamstead::agent
