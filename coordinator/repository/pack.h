// The pack format: a header, then records back to back. Encoding and bounded parsing only; files are
// pack_store's. Format: docs/format-repository.md.
#pragma once

#include <functional>
#include <optional>

#include "coordinator/repository/object.h"

namespace roamstead::repository {

inline constexpr std::size_t kPackHeaderBytes = 64;
inline constexpr std::size_t kRecordHeaderBytes = 72;

// Identifies a pack: the folder's writer epoch and the number within it, both from 1.
struct PackNumber {
  std::uint64_t epoch = 0;
  std::uint32_t number = 0;
  auto operator<=>(const PackNumber&) const = default;
};

struct PackHeader {
  Guid repository;
  PackNumber pack;
  Guid mark;  // random: tells this pack from another that got the same number when storage was set back
};
Bytes encode_pack_header(const PackHeader& header);
Result<PackHeader> parse_pack_header(ByteView bytes);

struct RecordHeader {
  ObjectType type = ObjectType::chunk;
  bool compressed = false;
  ObjectId id;
  Guid profile;                        // whose key seals it; zero: the repository's
  std::uint32_t payload_bytes = 0;     // sealed, as they follow the header
  std::uint32_t content_bytes = 0;     // unsealed and decompressed
  std::uint32_t payload_checksum = 0;  // CRC-32C

  std::uint64_t record_bytes() const { return kRecordHeaderBytes + std::uint64_t{payload_bytes}; }
};
void append_record(Bytes& out, const RecordHeader& header, ByteView payload);
// Of the first kRecordHeaderBytes of a record. Checks magic, checksum, and that the sizes are possible.
Result<RecordHeader> parse_record_header(ByteView bytes);

// Where a record lies.
struct Location {
  PackNumber pack;
  std::uint64_t offset = 0;  // of the record's header
  RecordHeader header;
};

}  // namespace roamstead::repository
