// The metadata region of a VHDX file: what kind of disk it is and who its parent is.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/vdisk/vhdx_header.h"

namespace roamstead::vdisk::vhdx {

// Key and value texts that lead to the parent, in file order.
class ParentLocator {
 public:
  std::optional<std::string> get(std::string_view key) const;
  std::optional<Guid> get_guid(std::string_view key) const;  // nothing when it is not one
  void set(const std::string& key, const std::string& value);
  void set_guid(const std::string& key, const Guid& value);  // "{lower case}"
  void erase(std::string_view key);

  static Result<ParentLocator> parse(ByteView item);
  Bytes encode() const;

 private:
  std::vector<std::pair<std::string, std::string>> entries_;
};

// Keys of the format …
inline constexpr std::string_view kParentLinkage = "parent_linkage";
inline constexpr std::string_view kParentLinkage2 = "parent_linkage2";
inline constexpr std::string_view kRelativePath = "relative_path";
inline constexpr std::string_view kVolumePath = "volume_path";
inline constexpr std::string_view kAbsolutePath = "absolute_win32_path";
// … and ours, there only while a merge is under way (docs/format-vhdx-use.md).
inline constexpr std::string_view kMergingChild =
    "roamstead_merging_child";  // on the lower layer: the upper one's id
inline constexpr std::string_view kMergedPath =
    "roamstead_merged_path";  // on the upper: the lower's path, to be removed
inline constexpr std::string_view kMergedId = "roamstead_merged_id";  // and its id

struct Metadata {
  std::uint32_t block_bytes = 0;
  bool leave_allocated = false;  // a fixed disk
  bool has_parent = false;
  std::uint64_t virtual_bytes = 0;
  Guid disk_id;  // copied from parent to child
  std::uint32_t logical_sector_bytes = 512;
  std::uint32_t physical_sector_bytes = 4096;
  ParentLocator locator;         // with a parent
  std::uint64_t locator_at = 0;  // where it was read, in the file
};

inline constexpr std::uint64_t kMaxVirtualBytes = std::uint64_t{64} << 40;
inline constexpr std::uint32_t kSectorBytes = 512;  // of the file, and the least a disk may have

// Checks every item; an unknown required one is ErrorCode::unsupported.
Result<Metadata> read_metadata(const os::File& file, ByteRange region);
// A whole region of 1 MiB (only the part that is not zero).
Bytes encode_metadata(const Metadata& metadata);
struct MetadataChange {
  std::uint64_t offset = 0;  // in the file
  Bytes content;
};
// What has to be written for another parent locator: it goes into free space of the region, then the table's
// entry leads to it (32 bytes within a sector).
Result<std::vector<MetadataChange>> change_locator(const os::File& file, ByteRange region,
                                                   const ParentLocator& locator);

}  // namespace roamstead::vdisk::vhdx
