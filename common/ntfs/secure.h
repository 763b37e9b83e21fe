// $Secure: the security descriptors that files share by id.
#pragma once

#include <mutex>
#include <unordered_map>

#include "common/ntfs/directory.h"

namespace roamstead::ntfs {

// Thread-safe.
class SecureStore {
 public:
  // `sds` is the stream $SDS, `ids` the index $SII of record 9.
  SecureStore(const vdisk::BlockDevice& device, const Geometry& geometry, StreamInfo sds, IndexAttributes ids)
      : device_(device), geometry_(geometry), sds_(std::move(sds)), ids_(std::move(ids)) {}

  // ErrorCode::not_found when the index has no such id; ErrorCode::corrupt when neither copy of the
  // descriptor is intact.
  Result<Bytes> descriptor(std::uint32_t id) const;

 private:
  struct Place {
    std::uint32_t hash = 0;
    std::uint64_t offset = 0;
    std::uint32_t size_bytes = 0;  // with the 20-byte header
  };
  Result<Place> find(std::uint32_t id) const;
  Result<Bytes> read_copy(std::uint32_t id, const Place& place, std::uint64_t offset) const;

  const vdisk::BlockDevice& device_;
  const Geometry& geometry_;
  StreamInfo sds_;
  IndexAttributes ids_;
  mutable std::mutex mutex_;
  mutable std::unordered_map<std::uint32_t, Bytes> known_;
  mutable std::size_t known_bytes_ = 0;
};

}  // namespace roamstead::ntfs
