// The fixed part of a VHDX file: file identifier, the two headers, the two region tables.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "common/base/byte_range.h"
#include "common/base/guid.h"
#include "common/os/file.h"

namespace roamstead::vdisk::vhdx {

inline constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
inline constexpr std::size_t kHeaderBytes = 4096;
inline constexpr std::array<std::uint64_t, 2> kHeaderOffsets = {64 * 1024, 128 * 1024};
inline constexpr std::size_t kRegionTableBytes = 64 * 1024;
inline constexpr std::array<std::uint64_t, 2> kRegionTableOffsets = {192 * 1024, 256 * 1024};
inline constexpr std::uint64_t kFirstRegionOffset = kMiB;

struct Header {
  std::uint64_t sequence = 0;
  Guid file_write_guid;
  Guid data_write_guid;
  Guid log_guid;  // zero: the log is empty
  std::uint32_t log_bytes = 0;
  std::uint64_t log_offset = 0;

  bool operator==(const Header&) const = default;
};

struct CurrentHeader {
  Header header;
  std::size_t slot = 0;  // 0 or 1: which of the copies it is
  // Whether this copy was written without a flush since; the other one, one older, is durable then.
  bool unsynced = false;
};

struct Regions {
  ByteRange bat;
  ByteRange metadata;
  std::vector<ByteRange> all;  // with the log and the first MiB; disjoint, within the file
};

// Whether the file begins with the VHDX signature.
Result<bool> has_signature(const os::File& file);
Bytes encode_file_identifier();

// Whether one of the two copies (slot 0 or 1) has the right signature and checksum.
Result<bool> header_copy_is_valid(const os::File& file, std::size_t slot);
// The valid header with the higher sequence number.
Result<CurrentHeader> read_header(const os::File& file);
Bytes encode_header(const Header& header);
// Writes `next` (its sequence number is set here) over both copies, the older first, with a flush after that
// one: `next` is durable then. The flush of the other copy is left to whoever flushes next, at the latest to
// the next update: at every moment one of them is valid. `current` becomes what is now in the file.
Result<void> update_header(os::File& file, CurrentHeader& current, Header next);

// One of the two copies (0 or 1); nothing when it is not valid.
Result<std::optional<Bytes>> read_region_copy(const os::File& file, std::size_t copy);
// From the first valid of the two tables. An unknown required region is ErrorCode::unsupported.
Result<Regions> read_regions(const os::File& file, const Header& header);
Bytes encode_region_table(ByteRange bat, ByteRange metadata);

}  // namespace roamstead::vdisk::vhdx
