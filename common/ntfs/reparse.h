// Reparse points: what their tags mean ([MS-FSCC] 2.1.2), as text for people.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "common/base/bytes.h"

namespace roamstead::ntfs {

inline constexpr std::uint32_t kMountPointTag = 0xA000'0003;
inline constexpr std::uint32_t kSymlinkTag = 0xA000'000C;
inline constexpr std::uint32_t kCloudTag = 0x9000'001A;  // 0x9000X01A, X from 0 to F
// FILE_ATTRIBUTE_RECALL_ON_DATA_ACCESS: not all of the file's bytes are on the volume. Windows sets it,
// programs cannot.
inline constexpr std::uint32_t kRecallOnDataAccess = 0x0040'0000;

// Whether the Cloud Files filter answers for the file: its unnamed stream has zeros where nothing was
// brought.
constexpr bool is_cloud_tag(std::uint32_t tag) { return (tag & ~0xF000u) == kCloudTag; }

struct ReparseDescription {
  std::string name;  // "junction", "symbolic link", "WOF" …; "tag 0x…" of those that are not known
  bool microsoft = false;
  bool name_surrogate = false;  // stands for another place
  bool damaged = false;         // the data are not what the tag says; `fields` holds what could be read
  // "substitute" and "print" of links, "algorithm" of WOF, "package", "target" of app links …
  std::vector<std::pair<std::string, std::string>> fields;

  // "junction: substitute \??\C:\a, print C:\a"
  std::string to_string() const;
};

// `data` is what follows the 8-byte header (after the GUID where the tag is not Microsoft's). Never fails;
// reads within `data` only.
ReparseDescription describe_reparse(std::uint32_t tag, ByteView data);

}  // namespace roamstead::ntfs
