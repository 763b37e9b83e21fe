// The shared storage: packs in a folder per writer epoch, and who may write.
//
//   packs/00000007/claim          made exclusively: this epoch is taken
//   packs/00000007/accepted       how far the packs of all older epochs count; written before the first pack
//   packs/00000007/00001.pack
//
// Fencing. A writer makes its bytes durable, then looks whether a newer claim exists, and only then tells
// anybody. A successor makes its claim first and measures the older packs afterwards. So whatever the old
// writer acknowledged lies within what the successor accepted, and bytes it appends later count for nobody.
// (The shared file system must show a new name to other hosts at once; NFS does for exclusive creation and
// uncached directory reads.) The `accepted` file of the highest epoch that has one rules.
#pragma once

#include <map>
#include <memory>
#include <mutex>

#include "common/os/file.h"
#include "coordinator/repository/pack.h"

namespace roamstead::repository {

// Bytes of each older pack that count.
using AcceptedLengths = std::map<PackNumber, std::uint64_t>;

// Thread-safe.
class PackStore {
 public:
  PackStore(os::FileSystem& files, std::string repository_directory, Guid repository);

  // All epochs with a folder, ascending.
  Result<std::vector<std::uint64_t>> epochs() const;
  // The next epoch, taken exclusively and durably. ErrorCode::busy when others keep being faster.
  Result<std::uint64_t> claim_epoch();
  // Whether an epoch above `epoch` has been claimed.
  Result<bool> superseded(std::uint64_t epoch) const;

  struct Accepted {
    std::uint64_t by_epoch = 0;  // 0: no successor has ever recorded anything
    AcceptedLengths lengths;
  };
  Result<Accepted> accepted() const;
  Result<void> record_accepted(std::uint64_t by_epoch, const AcceptedLengths& lengths);

  // Pack files in an epoch's folder, ascending.
  Result<std::vector<PackNumber>> packs_of(std::uint64_t epoch) const;

  std::string pack_path(PackNumber pack) const;  // for messages, too
  std::string epoch_directory(std::uint64_t epoch) const;

  // An open pack for reading, kept open; its header checked.
  Result<std::shared_ptr<os::File>> open_pack(PackNumber pack) const;
  // The mark in the pack's header.
  Result<Guid> mark(PackNumber pack) const;
  // A new pack with its header written, not yet durable.
  Result<std::shared_ptr<os::File>> create_pack(PackNumber pack);

  // The record's header and sealed payload. Errors name pack and offset.
  Result<RecordHeader> read_header(PackNumber pack, std::uint64_t offset) const;
  Result<Bytes> read_payload(PackNumber pack, std::uint64_t offset, const RecordHeader& header) const;

  os::FileSystem& files() const { return files_; }
  const Guid& repository() const { return repository_; }

 private:
  std::string packs_directory() const;
  struct OpenPack {
    std::shared_ptr<os::File> file;  // shared with reads in progress
    Guid mark;
  };
  Result<OpenPack> open(PackNumber pack) const;

  os::FileSystem& files_;
  std::string directory_;
  Guid repository_;
  mutable std::mutex mutex_;
  mutable std::map<PackNumber, OpenPack> open_;
};

}  // namespace roamstead::repository
