// User data disks on the host. One is formatted for a pool, in memory; each desktop's is a copy of what is
// not zero there, with identifiers of its own. They depend on no other disk. A disk in its place holds, for
// all we know, what somebody keeps there: it is used as it is or refused, but never written or replaced.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/volume/partition.h"
#include "coordinator/compose/pool_spec.h"

namespace roamstead::compose {

// On the host; "" for a pool whose desktops have none.
std::string data_disk_path(const PoolSpec& spec, const std::string& clone);
// Of those clones the disks that are there.
Result<std::vector<std::string>> data_disks_there(os::FileSystem& files, const PoolSpec& spec,
                                                  const std::vector<std::string>& clones);

// As Windows keeps it for a drive letter in SYSTEM\MountedDevices: of a GPT "DMIO:ID:" and the partition's
// GUID, of an MBR the disk's signature and the partition's first byte.
Bytes drive_letter_data(const UserDiskSpec& spec, const volume::TableIds& ids);

// The unit: which letter the disk has in Windows.
struct UnitContext;
struct CloneFacts;
struct OwnEdits;
Result<void> own_user_disk(const UnitContext& context, const CloneFacts& clone, OwnEdits& edits);

class DataDisks {
 public:
  // For pools without user disks too. Formats, where that is wanted; ErrorCode::unavailable: mkntfs is not
  // installed. `spec` must outlive it.
  static Result<DataDisks> open(os::FileSystem& files, const PoolSpec& spec);

  // ErrorCode::exists when a disk is there for one of the clones and the specification does not say that such
  // a one is to be used.
  static Result<void> refuse_existing(os::FileSystem& files, const PoolSpec& spec,
                                      const std::vector<std::string>& clones);

  // A clone's disk: taken away again with this object, if it was made with it, until keep() is called.
  class Provided {
   public:
    Provided(os::FileSystem* files, std::string path, std::optional<volume::TableIds> ids)
        : files_(files), path_(std::move(path)), ids_(ids) {}
    Provided(Provided&& other) noexcept
        : files_(std::exchange(other.files_, nullptr)), path_(std::move(other.path_)), ids_(other.ids_) {}
    Provided& operator=(Provided&&) = delete;
    ~Provided();
    void keep() { files_ = nullptr; }
    const std::optional<volume::TableIds>& ids() const { return ids_; }  // of a formatted one

   private:
    os::FileSystem* files_;  // null: kept, or not made here
    std::string path_;
    std::optional<volume::TableIds> ids_;
  };
  // Makes it, durable, or uses the one that is there: of an earlier desktop, or of an attempt that was
  // interrupted.
  Result<Provided> provide(const std::string& clone) const;

 private:
  struct Piece {
    std::uint64_t offset = 0;  // within the partition
    Bytes content;
  };
  class Recorder;

  DataDisks(os::FileSystem& files, const PoolSpec& spec) : files_(files), spec_(spec) {}
  Result<void> make(const std::string& path, const volume::TableIds& ids) const;
  Result<void> write(vdisk::BlockDevice& disk, const volume::TableIds& ids) const;
  Result<volume::TableIds> read_ids(const std::string& path) const;

  os::FileSystem& files_;
  const PoolSpec& spec_;
  std::vector<Piece> pieces_;  // of a formatted partition
  std::uint64_t partition_bytes_ = 0;
};

// Fine when there is none.
Result<void> remove_data_disk(os::FileSystem& files, const PoolSpec& spec, const std::string& clone);

}  // namespace roamstead::compose
