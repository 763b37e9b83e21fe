// The layout of regf files ("hives") as the Windows kernel writes them, versions 1.3 to 1.6. Source: the
// published "Windows registry file format specification" (msuhanov/regf); what it leaves open is noted where
// it matters. Offsets of cells are relative to the first hive bin, which follows the base block.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/bytes.h"

namespace roamstead::registry {

inline constexpr std::uint32_t kBaseBlockBytes = 4096;
inline constexpr std::size_t kSectorBytes = 512;  // what Windows writes at once
inline constexpr std::uint32_t kBinHeaderBytes = 32;
inline constexpr std::uint32_t kPageBytes = 4096;         // bins are whole pages
inline constexpr std::uint32_t kNoCell = 0xFFFFFFFF;      // "none" in fields that hold the offset of a cell
inline constexpr std::uint32_t kMaxBinsBytes = 1u << 31;  // Windows' limit of a hive
inline constexpr std::uint32_t kMaxDepth = 512;           // Windows' limit of nested keys
inline constexpr std::uint32_t kMaxNameUnits = 255;       // of a key, in UTF-16 units
inline constexpr std::uint32_t kMaxValueNameUnits = 16383;
// Data longer than this is kept in pieces of this size under a `db` cell where the minor version is above 3.
inline constexpr std::uint32_t kBigDataPiece = 16344;
inline constexpr std::uint32_t kResidentData = 0x80000000;  // bit of a value's data size
inline constexpr std::uint32_t kMaxResidentBytes = 4;

namespace nk {  // a key
inline constexpr std::uint32_t kFlags = 2, kWritten = 4, kParent = 16, kSubkeyCount = 20, kVolatileCount = 24,
                               kSubkeys = 28, kVolatileSubkeys = 32, kValueCount = 36, kValues = 40,
                               kSecurity = 44, kClass = 48, kMaxSubkeyName = 52, kMaxSubkeyClass = 56,
                               kMaxValueName = 60, kMaxValueData = 64, kNameBytes = 72, kClassBytes = 74,
                               kName = 76;
inline constexpr std::uint16_t kFlagHiveExit = 0x02, kFlagRoot = 0x04, kFlagNoDelete = 0x08, kFlagLink = 0x10,
                               kFlagLatin1Name = 0x20;
}  // namespace nk

namespace vk {  // a value
inline constexpr std::uint32_t kNameBytes = 2, kDataBytes = 4, kData = 8, kType = 12, kFlags = 16, kName = 20;
inline constexpr std::uint16_t kFlagLatin1Name = 0x01;
}  // namespace vk

namespace sk {  // a security descriptor
inline constexpr std::uint32_t kNext = 4, kPrevious = 8, kReferences = 12, kSize = 16, kDescriptor = 20;
}  // namespace sk

enum class ValueType : std::uint32_t {
  none = 0,
  string = 1,
  expand_string = 2,
  binary = 3,
  dword = 4,
  dword_big_endian = 5,
  link = 6,
  multi_string = 7,
  resource_list = 8,
  full_resource_descriptor = 9,
  resource_requirements_list = 10,
  qword = 11,
};
// "REG_SZ"; "0x00000123" for types without a name, which are kept as they are (SAM stores counts in them).
std::string type_name(std::uint32_t type);
// The reverse; any case, also plain numbers.
Result<std::uint32_t> parse_type_name(std::string_view text);

inline constexpr std::uint32_t kPrimaryFile = 0;
inline constexpr std::uint32_t kOldLogFile = 1;  // DIRT: a bitmap of dirty 512-byte pages (to Windows 8)
inline constexpr std::uint32_t kNewLogFile = 6;  // HvLE: a list of entries (from Windows 8.1 on)

// The header of a hive and, shortened to one sector, of its logs.
struct BaseBlock {
  std::uint32_t sequence_1 = 0;     // written before a change reaches the file
  std::uint32_t sequence_2 = 0;     // written after it; the hive is dirty while they differ
  std::uint64_t written_100ns = 0;  // since 1601; not kept up since Windows 8.1
  std::uint32_t major_version = 0;
  std::uint32_t minor_version = 0;
  std::uint32_t file_type = kPrimaryFile;
  std::uint32_t file_format = 0;
  std::uint32_t root_cell = kNoCell;
  std::uint32_t bins_bytes = 0;
  std::uint32_t clustering = 0;  // sector size / 512
  // Bit 0: transactions are pending or expected (set on every SYSTEM and SOFTWARE hive since Vista).
  std::uint32_t flags = 0;
  std::string file_name;  // the end of the path it was loaded from
  bool checksum_valid = false;

  bool dirty() const { return !checksum_valid || sequence_1 != sequence_2; }
  bool fast_leaf_only() const { return minor_version <= 4; }  // `lh` and `db` came with 1.5 and 1.4
  bool has_big_data() const { return minor_version > 3; }
};

// `file` holds at least 512 bytes; only the signature is demanded, judging the rest is the caller's work.
Result<BaseBlock> parse_base_block(ByteView file);
std::uint32_t base_block_checksum(ByteView file);
// Writes both sequence numbers and the checksum.
void seal_base_block(MutableByteView file, std::uint32_t sequence);

// "2012-04-07T12:34:56.1234567Z"; "" for 0.
std::string time_text(std::uint64_t filetime_100ns);

}  // namespace roamstead::registry
