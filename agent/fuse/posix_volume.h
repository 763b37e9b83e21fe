// A mounted volume: NTFS through ntfs-3g (mounted with streams_interface=windows), or, for tests, any
// directory.
//
// On ntfs-3g the inode number is the MFT record number; Windows metadata goes through its system.ntfs_*
// attributes. On another file system there are no alternate streams, Windows attributes or settable creation
// times.
#pragma once

#include <mutex>
#include <set>

#include "agent/core/profile_volume.h"
#include "agent/fuse/file_descriptor.h"
#include "agent/scan/scan_source.h"

namespace roamstead::agent {

// The descriptor is read-write for files, and any for directories.
class PosixHandle final : public VolumeHandle {
 public:
  // `item` stands for the file when `descriptor` is one of its alternate streams; empty otherwise.
  PosixHandle(FileDescriptor descriptor, FileDescriptor item, std::string stream, std::uint64_t record,
              bool ntfs)
      : descriptor_(std::move(descriptor)),
        item_(std::move(item)),
        stream_(std::move(stream)),
        record_(record),
        ntfs_(ntfs) {}

  std::uint64_t record() const override { return record_; }
  const std::string& stream() const override { return stream_; }
  Result<std::size_t> read(std::uint64_t offset, MutableByteView out) override;
  Result<void> write(std::uint64_t offset, ByteView data) override;
  Result<void> truncate(std::uint64_t size_bytes) override;
  Result<std::uint64_t> size() override;
  Result<void> sync() override;
  Result<ItemTimes> times() override;
  Result<void> set_times(const ItemTimes& times) override;
  int descriptor() const { return descriptor_.get(); }

 private:
  const FileDescriptor& item() const { return item_ ? item_ : descriptor_; }

  FileDescriptor descriptor_;
  FileDescriptor item_;
  std::string stream_;
  std::uint64_t record_;
  bool ntfs_;
};

class PosixVolume final : public ProfileVolume, public ScanSource {
 public:
  // `directory` is the mount point (or the directory); links point below `profile_root`. Refuses an ntfs-3g
  // mount without alternate streams.
  static Result<std::unique_ptr<PosixVolume>> attach(const std::string& directory,
                                                     const std::string& profile_root);

  bool is_ntfs() const { return ntfs_; }
  int root() const { return root_.get(); }

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

  // A program changed a name, or something of an item, in the folder with this record: told by whoever let
  // it, after it was done.
  void note_changed(std::uint64_t folder);

  // ScanSource: posix_scan.cpp. ntfs-3g shows no sequence numbers. What changed is what note_changed() was
  // told: changes that pass by the mount are not known here.
  std::optional<std::set<std::uint64_t>> changed_folders() override;
  Result<std::vector<ScannedItem>> list_to_scan(const std::string& path) override;
  Result<ScannedItem> look(const std::string& path) override;
  Result<ItemDetails> details(const std::string& path) override;
  Result<std::unique_ptr<VolumeHandle>> open_to_read(const std::string& path,
                                                     const std::string& stream) override;

 private:
  Result<void> add_ntfs_details(const std::string& path, ItemDetails& details) const;
  PosixVolume(std::string directory, std::string profile_root, FileDescriptor root, bool ntfs)
      : directory_(std::move(directory)),
        profile_root_(std::move(profile_root)),
        root_(std::move(root)),
        ntfs_(ntfs) {}
  Result<extract::ItemIdentity> stage_link(const std::string& path, const profile::Entry& entry);
  Result<FileDescriptor> make_item(const std::string& path, const profile::Entry& entry);
  Result<void> set_metadata(const FileDescriptor& item, const std::string& path, const profile::Entry& entry);

  std::string directory_;
  std::string profile_root_;
  FileDescriptor root_;
  bool ntfs_;
  std::mutex changed_mutex_;  // what follows
  std::set<std::uint64_t> changed_;
  bool heard_all_ = true;
};

}  // namespace roamstead::agent
