// The fixed structures of a VHD file, by Microsoft's "Virtual Hard Disk Image Format Specification" 1.0.
// Everything is big-endian; sectors have 512 bytes.
//
// A structure is kept as its bytes, so that what we do not know survives when it is written again.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "common/base/byte_range.h"
#include "common/base/guid.h"
#include "common/os/file.h"
#include "common/vdisk/layer.h"

namespace roamstead::vdisk::vhd {

inline constexpr std::uint32_t kSectorBytes = 512;
inline std::uint64_t whole_sectors(std::uint64_t bytes) {  // rounded up
  return (bytes + kSectorBytes - 1) / kSectorBytes * kSectorBytes;
}
inline constexpr std::uint64_t kFooterBytes = 512;
inline constexpr std::uint64_t kHeaderBytes = 1024;
inline constexpr std::uint64_t kUsualHeaderOffset = 512;
inline constexpr std::uint32_t kNoBlock = 0xffffffff;
inline constexpr std::uint64_t kMaxVirtualBytes = std::uint64_t{2040} << 30;
inline constexpr std::uint32_t kDefaultBlockBytes = 2u << 20;
inline constexpr std::uint32_t kMinBlockBytes = kSectorBytes;
inline constexpr std::uint32_t kMaxBlockBytes = 1u << 30;

enum class DiskType : std::uint32_t { fixed = 2, dynamic = 3, differencing = 4 };

// What a guest under Virtual PC sees of a disk.
struct Geometry {
  std::uint16_t cylinders = 0;
  std::uint8_t heads = 0;
  std::uint8_t sectors = 0;

  // By the specification's appendix.
  static Geometry of(std::uint64_t virtual_bytes);
  std::uint64_t total_bytes() const { return std::uint64_t{cylinders} * heads * sectors * kSectorBytes; }
  bool operator==(const Geometry&) const = default;
};

struct Footer {
  std::array<std::byte, kFooterBytes> bytes{};

  static Footer make(DiskType type, std::uint64_t virtual_bytes, const Guid& id, std::uint32_t now);
  bool has_cookie() const { return as_text(ByteView(bytes).first(8)) == "conectix"; }
  bool checksum_is_right() const;

  std::uint32_t format_version() const { return load_be<std::uint32_t>(bytes, 12); }
  std::uint64_t data_offset() const { return load_be<std::uint64_t>(bytes, 16); }
  std::string creator() const { return std::string(as_text(ByteView(bytes).subspan(28, 4))); }
  std::uint64_t current_bytes() const { return load_be<std::uint64_t>(bytes, 48); }
  Geometry geometry() const;
  std::uint32_t type() const { return load_be<std::uint32_t>(bytes, 60); }
  // The 16 bytes as the file has them. Windows writes them in the byte order of its GUIDs, other programs as
  // they like; they are compared, never interpreted.
  Guid id() const { return Guid::from(ByteView(bytes).subspan(68, 16)); }
  bool saved_state() const { return bytes[84] != std::byte{0}; }

  // Each makes the checksum right again.
  void set_data_offset(std::uint64_t offset);
  void set_id(const Guid& id);
  void seal();

  bool operator==(const Footer&) const = default;
};

struct Locator {
  std::uint32_t code = 0;
  Bytes data;
  ByteRange place;  // in the file
};
inline constexpr std::size_t kLocators = 8;
constexpr std::uint32_t locator_code(const char (&text)[5]) {
  std::uint32_t code = 0;
  for (int i = 0; i < 4; ++i) code = code << 8 | static_cast<unsigned char>(text[i]);
  return code;
}
inline constexpr std::uint32_t kRelativeUnicode = locator_code("W2ru");
inline constexpr std::uint32_t kAbsoluteUnicode = locator_code("W2ku");
inline constexpr std::uint32_t kRelativeAnsi = locator_code("Wi2r");
inline constexpr std::uint32_t kAbsoluteAnsi = locator_code("Wi2k");
inline constexpr std::uint32_t kMacUrl = locator_code("MacX");
// Ours, there only while a merge is under way (docs/format-vhd-use.md).
inline constexpr std::uint32_t kMergeNotes = locator_code("Rstd");

// The header of a dynamic or differencing disk.
struct Header {
  std::array<std::byte, kHeaderBytes> bytes{};

  static Header make(std::uint64_t table_offset, std::uint32_t entries, std::uint32_t block_bytes);
  bool has_cookie() const { return as_text(ByteView(bytes).first(8)) == "cxsparse"; }
  bool checksum_is_right() const;

  std::uint64_t table_offset() const { return load_be<std::uint64_t>(bytes, 16); }
  std::uint32_t entries() const { return load_be<std::uint32_t>(bytes, 28); }
  std::uint32_t block_bytes() const { return load_be<std::uint32_t>(bytes, 32); }
  Guid parent_id() const { return Guid::from(ByteView(bytes).subspan(40, 16)); }
  // The parent file's modification time, seconds since 1970; nothing when it is not recorded.
  std::optional<std::int64_t> parent_modified() const;
  std::string parent_name() const;
  ByteRange locator_place(std::size_t index) const;  // by its data's length: the space is not reliable
  std::uint32_t locator_code_at(std::size_t index) const {
    return load_be<std::uint32_t>(bytes, 576 + index * 24);
  }

  // seal() afterwards
  void set_parent(const Guid& id, const std::string& name, std::optional<std::int64_t> modified = {});
  void set_locator(std::size_t index, std::uint32_t code, ByteRange place);
  void seal();

  bool operator==(const Header&) const = default;
};

// Seconds from 1970 to 2000, where VHD's clock begins.
inline constexpr std::int64_t kEpoch2000 = 946'684'800;

// Which footer counts: the one at the end (512 bytes, or 511 as old Virtual PC wrote), else its copy at the
// file's start.
struct FoundFooter {
  Footer footer;
  std::uint64_t offset = 0;   // of the footer at the end; the file's size when that is lost
  bool at_end = true;         // false: only the copy was good
  bool copy_is_equal = true;  // of a dynamic or differencing disk
  bool short_footer = false;  // 511 bytes
};
Result<FoundFooter> read_footer(const os::File& file, bool ignore_checksum);
// Whether the file ends, or begins, with a footer that has the right checksum.
Result<bool> has_footer(const os::File& file);

// Whether the checks of a header that need nothing but the file hold: cookie, checksum, block size, table
// within the file and as large as the disk needs.
Result<Header> read_header(const os::File& file, const Footer& footer, bool ignore_checksum);

// The disk's size. The footer's number counts, as it does for Hyper-V; its geometry, which Virtual PC went by
// and which is never larger where it is not at its limit, only when the file cannot hold that many.
Result<std::uint64_t> virtual_bytes(const os::File& file, const FoundFooter& found, const Header* header);

// Locators that lie within the file and are no longer than kMaxLocatorBytes; others are left out.
inline constexpr std::uint64_t kMaxLocatorBytes = 64 * 1024;
std::vector<Locator> read_locators(const os::File& file, const Header& header);
// The text of one, as UTF-8, separated as the file has it.
std::string locator_text(const Locator& locator);

// `header_at`: the header's place in the file.
ParentReference parent_reference(const std::string& child_path, const Header& header, std::uint64_t header_at,
                                 const std::vector<Locator>& locators);
Lineage to_lineage(const Header& header, const std::vector<Locator>& locators);
// The locators of a child with this lineage: a relative path and, while there are any, the merge's notes.
// Locators of `before` with other codes stay while the parent's path stays.
Result<std::vector<Locator>> to_locators(const Lineage& lineage, const std::vector<Locator>& before,
                                         const std::string& path_before);

// What the file says of itself; its block table is not read.
Result<LayerDescription> describe(const os::File& file, const std::string& path,
                                  bool ignore_checksum = false);

}  // namespace roamstead::vdisk::vhd
