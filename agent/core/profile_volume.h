// The volume a desktop keeps the profile on, as the core sees it. Paths are WTF-8, relative to the volume's
// root, separated by '/'. Implementations: agent/fuse/posix_volume (a mounted volume, ntfs-3g on Linux).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/extract/provenance.h"
#include "common/os/file.h"
#include "common/profile/entry.h"

namespace roamstead::agent {

struct ItemTimes {
  std::uint64_t created_100ns = 0;  // since 1601; 0 where the volume does not keep it
  std::uint64_t written_100ns = 0;
};

struct VolumeItem {
  std::string name;
  std::uint64_t record = 0;  // identifies the item on this volume while it exists
  bool directory = false;
  std::uint64_t size_bytes = 0;
};

// One stream of a file ("" is the unnamed one), or a directory, held open: it stays the same item when that
// is renamed. Reads and writes of different ranges may run concurrently.
class VolumeHandle {
 public:
  virtual ~VolumeHandle() = default;

  virtual std::uint64_t record() const = 0;
  // The NTFS file reference: record and sequence number, as far as the volume tells.
  virtual std::uint64_t file_number() const { return record(); }
  virtual const std::string& stream() const = 0;

  virtual Result<std::size_t> read(std::uint64_t offset, MutableByteView out) = 0;  // fewer only at the end
  virtual Result<void> write(std::uint64_t offset, ByteView data) = 0;
  virtual Result<void> truncate(std::uint64_t size_bytes) = 0;
  virtual Result<std::uint64_t> size() = 0;
  virtual Result<void> sync() = 0;
  // Of the item, all its streams together.
  virtual Result<ItemTimes> times() = 0;
  virtual Result<void> set_times(const ItemTimes& times) = 0;
};

// Thread-safe.
class ProfileVolume {
 public:
  virtual ~ProfileVolume() = default;

  // Ordinary files on the volume, for the journal.
  virtual os::FileSystem& files() = 0;
  virtual std::string native_path(const std::string& path) const = 0;

  virtual Result<std::unique_ptr<VolumeHandle>> open(const std::string& path, const std::string& stream) = 0;
  virtual Result<VolumeItem> stat(const std::string& path) = 0;  // ErrorCode::not_found
  virtual Result<VolumeItem> stat_child(VolumeHandle& directory, const std::string& name) = 0;
  virtual Result<std::vector<VolumeItem>> list(const std::string& path) = 0;
  virtual Result<void> make_directories(const std::string& path) = 0;
  // Makes an item with the entry's metadata, size and alternate streams, all content zero.
  virtual Result<extract::ItemIdentity> stage(const std::string& path, const profile::Entry& entry) = 0;
  // Gives a staged item its name in `directory`; ErrorCode::exists when the name is taken.
  virtual Result<void> publish(const std::string& staged, VolumeHandle& directory,
                               const std::string& name) = 0;
  virtual Result<void> rename(const std::string& from,
                              const std::string& to) = 0;  // ErrorCode::exists likewise
  // Fine when it is not there. A tree may have a million files: between two of them `go_on` is asked, and
  // whether all is gone is the answer.
  using GoOn = std::function<bool()>;
  virtual Result<bool> remove_tree_while(const GoOn& go_on, const std::string& path) = 0;
  Result<void> remove_tree(const std::string& path) {
    RS_TRY(const bool gone, remove_tree_while([] { return true; }, path));
    (void)gone;
    return {};
  }
  // Everything written so far is on stable storage.
  virtual Result<void> sync() = 0;
};

}  // namespace roamstead::agent
