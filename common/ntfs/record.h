// MFT records: update sequence (fixups), header, attributes. Views point into the record's bytes.
#pragma once

#include <optional>
#include <vector>

#include "common/base/bytes.h"
#include "common/ntfs/volume.h"

namespace roamstead::ntfs {

// Attribute types that are read here.
enum AttributeType : std::uint32_t {
  kStandardInformation = 0x10,
  kAttributeList = 0x20,
  kFileName = 0x30,
  kObjectId = 0x40,
  kSecurityDescriptor = 0x50,
  kVolumeName = 0x60,
  kVolumeInformation = 0x70,
  kData = 0x80,
  kIndexRoot = 0x90,
  kIndexAllocation = 0xA0,
  kBitmap = 0xB0,
  kReparsePoint = 0xC0,
  kEaInformation = 0xD0,
  kEa = 0xE0,
  kLoggedUtilityStream = 0x100,
};

inline FileReference to_reference(std::uint64_t raw) {
  return {raw & 0xFFFF'FFFF'FFFFull, static_cast<std::uint16_t>(raw >> 48)};
}

// Checks that every 512-byte sector of the structure ends in its update sequence number and puts the real
// bytes back; ErrorCode::corrupt ("torn") when not. Whatever the sector size of the device, the stride is 512
// bytes.
Result<void> apply_fixups(MutableByteView structure);

struct RecordHeader {
  std::uint16_t sequence = 0;
  std::uint16_t link_count = 0;
  std::uint32_t first_attribute = 0;
  std::uint32_t bytes_in_use = 0;
  bool in_use = false;
  bool directory = false;
  std::optional<FileReference> base;  // of an extension record
};

// `record` with fixups applied or not: no field of the header ends a sector. `number` is compared with the
// number in the record where there is one.
Result<RecordHeader> parse_record_header(ByteView record, std::uint64_t number);

struct AttributeView {
  std::uint32_t type = 0;
  std::uint16_t flags = 0;
  std::uint16_t id = 0;
  std::uint32_t offset = 0;  // in the record
  bool resident = true;
  ByteView name;   // UTF-16LE
  ByteView value;  // resident: the value; else the mapping pairs
  // Only when not resident. The sizes mean something only where lowest_vcn is 0.
  std::uint64_t lowest_vcn = 0;
  std::uint64_t cluster_count = 0;
  std::uint64_t size_bytes = 0;
  std::uint64_t valid_bytes = 0;
  std::uint64_t allocated_bytes = 0;
  unsigned compression_unit_shift = 0;  // clusters of a compression unit, as a power of two; 0: none

  bool compressed() const { return (flags & 0x00FF) != 0; }
  bool encrypted() const { return (flags & 0x4000) != 0; }
  bool sparse() const { return (flags & 0x8000) != 0; }
};

// All attributes, each within the record; `out` is emptied first. The record must have its fixups applied.
Result<void> parse_attributes(ByteView record, const RecordHeader& header, std::vector<AttributeView>& out);

}  // namespace roamstead::ntfs
