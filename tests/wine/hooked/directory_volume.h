// A profile volume in a folder of Windows', for the test of the hook: names, content and times. (The agent's
// own is agent/win/win_volume, which wants NTFS.)
#pragma once

#include "agent/core/profile_volume.h"

namespace roamstead::agent::testing {

class DirectoryVolume final : public ProfileVolume {
 public:
  explicit DirectoryVolume(std::string folder) : folder_(std::move(folder)) {}  // "C:\volume"

  os::FileSystem& files() override { return os::real_file_system(); }
  std::string native_path(const std::string& path) const override { return folder_ + "/" + path; }
  Result<std::unique_ptr<VolumeHandle>> open(const std::string& path, const std::string& stream) override;
  Result<VolumeItem> stat(const std::string& path) override;
  Result<VolumeItem> stat_child(VolumeHandle& directory, const std::string& name) override;
  Result<std::vector<VolumeItem>> list(const std::string& path) override;
  Result<void> make_directories(const std::string& path) override {
    return files().make_directories(native_path(path));
  }
  Result<extract::ItemIdentity> stage(const std::string& path, const profile::Entry& entry) override;
  Result<void> publish(const std::string& staged, VolumeHandle& directory, const std::string& name) override;
  Result<void> rename(const std::string& from, const std::string& to) override;
  Result<bool> remove_tree_while(const GoOn& go_on, const std::string& path) override;
  Result<void> sync() override { return {}; }

 private:
  const std::string folder_;
};

}  // namespace roamstead::agent::testing
