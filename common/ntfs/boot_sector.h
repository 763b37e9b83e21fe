// The boot sector: an NTFS volume's geometry.
#pragma once

#include "common/base/bytes.h"

namespace roamstead::ntfs {

inline constexpr std::size_t kBootSectorBytes =
    512;  // the part that says something, whatever the sector size

// All sizes are powers of two and agree with each other; both LCNs lie within the volume.
struct Geometry {
  std::uint32_t sector_bytes = 0;
  std::uint32_t cluster_bytes = 0;
  std::uint32_t record_bytes = 0;  // of an MFT record
  std::uint32_t index_bytes = 0;   // of an index block, by default
  std::uint64_t volume_bytes = 0;
  std::uint64_t cluster_count = 0;
  std::uint64_t mft_lcn = 0;
  std::uint64_t mirror_lcn = 0;
};

// ErrorCode::unsupported for what is another file system by name, ErrorCode::corrupt for what is not valid.
Result<Geometry> parse_boot_sector(ByteView sector, std::uint64_t device_bytes);

}  // namespace roamstead::ntfs
