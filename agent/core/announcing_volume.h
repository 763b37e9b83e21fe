// A volume whose files the service does not open unnoticed: names of open files stand in the state map, so
// that programs that cannot share a file with the loader wait for it instead of being told that somebody else
// has it. Where the operating system has no share modes nobody needs this.
#pragma once

#include <atomic>

#include "agent/core/profile_volume.h"
#include "agent/core/state_map_writer.h"

namespace roamstead::agent {

// The volume and, once set, the map must outlive this and its handles.
class AnnouncingVolume final : public ProfileVolume {
 public:
  AnnouncingVolume(ProfileVolume& volume, std::string profile_root)
      : volume_(volume), prefix_(std::move(profile_root) + "/") {}
  // Null: nobody is told. Not while handles are open.
  void announce_in(StateMapWriter* map) { map_ = map; }

  os::FileSystem& files() override { return volume_.files(); }
  std::string native_path(const std::string& path) const override { return volume_.native_path(path); }
  Result<std::unique_ptr<VolumeHandle>> open(const std::string& path, const std::string& stream) override;
  Result<VolumeItem> stat(const std::string& path) override { return volume_.stat(path); }
  Result<VolumeItem> stat_child(VolumeHandle& directory, const std::string& name) override;
  Result<std::vector<VolumeItem>> list(const std::string& path) override { return volume_.list(path); }
  Result<void> make_directories(const std::string& path) override { return volume_.make_directories(path); }
  Result<extract::ItemIdentity> stage(const std::string& path, const profile::Entry& entry) override {
    return volume_.stage(path, entry);
  }
  Result<void> publish(const std::string& staged, VolumeHandle& directory, const std::string& name) override;
  Result<void> rename(const std::string& from, const std::string& to) override {
    return volume_.rename(from, to);
  }
  Result<bool> remove_tree_while(const GoOn& go_on, const std::string& path) override {
    return volume_.remove_tree_while(go_on, path);
  }
  Result<void> sync() override { return volume_.sync(); }

 private:
  ProfileVolume& volume_;
  const std::string prefix_;  // of paths in the profile
  std::atomic<StateMapWriter*> map_{nullptr};
};

}  // namespace roamstead::agent
