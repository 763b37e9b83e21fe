// An NTFS volume as Windows has it. Everything is opened relative to the volume's root, one name after the
// other, and never through a junction or link: what a program puts into its profile leads nobody elsewhere.
//
// An item's record is the record number in its NTFS file id; the id's sequence number goes into the identity
// that stage() gives. Files of more than 64 KiB are staged sparse, so that what is not loaded takes no room.
// Under Wine (a volume of ntfs-3g, reached by a drive letter) item ids are bare record numbers.
//
// Needs an administrator's or the system's rights: privileges for backup and restore are used, so that what
// users deny the system can be loaded and set.
#pragma once

#include <mutex>

#include "agent/core/profile_volume.h"
#include "agent/win/base/handle.h"
#include "agent/win/item_port.h"
#include "agent/win/scan_port.h"
#include "agent/win/usn_journal.h"

namespace roamstead::agent {

class WinVolume final : public ProfileVolume, public ScanSource {
 public:
  struct Options {
    std::string drive = "C:";
    std::string profile_root;                          // links point below it
    std::string agent_root = "ProgramData/Roamstead";  // only administrators change what is in it
    std::string default_security;  // SDDL, of items whose entry has none; "": what the folder they are staged
                                   // in gives
  };
  // Refuses what is not NTFS.
  static Result<std::unique_ptr<WinVolume>> attach(const Options& options);

  os::FileSystem& files() override { return os::real_file_system(); }
  std::string native_path(const std::string& path) const override;
  Result<std::unique_ptr<VolumeHandle>> open(const std::string& path, const std::string& stream) override;
  Result<VolumeItem> stat(const std::string& path) override;
  Result<VolumeItem> stat_child(VolumeHandle& directory, const std::string& name) override;
  Result<std::vector<VolumeItem>> list(const std::string& path) override;
  Result<void> make_directories(const std::string& path) override;
  Result<extract::ItemIdentity> stage(const std::string& path, const profile::Entry& entry) override;
  Result<void> publish(const std::string& staged, VolumeHandle& directory, const std::string& name) override;
  Result<void> rename(const std::string& from, const std::string& to) override;
  Result<bool> remove_tree_while(const GoOn& go_on, const std::string& path) override;
  Result<void> sync() override;

  // ScanSource: win_scan.cpp. What changed is what the volume's change journal says, where it has one.
  std::optional<std::set<std::uint64_t>> changed_folders() override;
  Result<std::vector<ScannedItem>> list_to_scan(const std::string& path) override;
  Result<ScannedItem> look(const std::string& path) override;
  Result<ItemDetails> details(const std::string& path) override;
  Result<std::unique_ptr<VolumeHandle>> open_to_read(const std::string& path,
                                                     const std::string& stream) override;

  // A folder, made where it is missing, with the owner and the access list that `sddl` says, for itself and,
  // as inherited ones, for what is in it.
  Result<void> protect(const std::string& path, const std::string& sddl);

 private:
  using Directory = std::shared_ptr<win::Handle>;
  struct Place {  // a name in an open directory
    Directory directory;
    std::wstring name;
  };

  WinVolume() = default;
  Result<Directory> open_directory(const std::string& path, bool make);
  Result<Place> find_place(const std::string& path);
  Result<VolumeItem> stat_place(HANDLE directory, const std::wstring& name);
  Result<win::Handle> make_item(const Place& place, const profile::Entry& entry, const std::string& path);
  Result<void> rename_place(const Place& from, HANDLE directory, const std::string& name);
  Result<bool> remove_below(const GoOn& go_on, HANDLE directory, const std::wstring& name, int depth);
  Result<std::vector<VolumeItem>> list_open(HANDLE directory, const std::string& what);
  void forget_directories();

  Options options_;
  Bytes default_security_;
  Directory root_;
  std::unique_ptr<ItemPort> items_;
  std::unique_ptr<ScanPort> scan_;
  std::unique_ptr<UsnJournal> journal_;  // opened when it is first asked

  std::mutex mutex_;  // the directory of the agent's own that was opened last
  std::string kept_path_;
  Directory kept_;
};

}  // namespace roamstead::agent
