#include "common/ntfs/reparse.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/base/guid.h"
#include "common/base/text.h"
#include "common/ntfs/wof.h"

namespace roamstead::ntfs {
namespace {

struct TagName {
  std::uint32_t tag;
  const char* name;
};
// Names are those of ntifs.h without IO_REPARSE_TAG_, but for the common ones.
constexpr TagName kTagNames[] = {
    {kMountPointTag, "junction"},
    {kSymlinkTag, "symbolic link"},
    {kWofTag, "WOF"},
    {0x8000'001B, "app execution link"},
    {0x8000'0013, "deduplicated"},
    {0xA000'001D, "WSL symbolic link"},
    {0x8000'0023, "Unix socket"},
    {0x8000'0024, "WSL FIFO"},
    {0x8000'0025, "WSL character device"},
    {0x8000'0026, "WSL block device"},
    {0xC000'0004, "HSM"},
    {0x8000'0005, "drive extender"},
    {0x8000'0006, "HSM2"},
    {0x8000'0007, "SIS"},
    {0x8000'0008, "WIM mount"},
    {0x8000'0009, "CSV"},
    {0x8000'000A, "DFS"},
    {0x8000'0012, "DFSR"},
    {0x8000'0014, "NFS"},
    {0x8000'0015, "file placeholder"},
    {0xC000'0014, "APPXSTRM"},
    {0x8000'0016, "DFM"},
    {0x8000'0018, "WCI"},
    {0x9000'1018, "WCI"},
    {0xA000'0027, "WCI link"},
    {0xA000'1027, "WCI link"},
    {0xA000'001F, "WCI tombstone"},
    {0xA000'0019, "global reparse"},
    {0x9000'001C, "projected file system"},
    {0xA000'0022, "projected file system tombstone"},
    {0x8000'001E, "StorageSync"},
    {0x9000'0027, "StorageSync folder"},
    {0x8000'0020, "unhandled"},
    {0x8000'0021, "OneDrive"},
    {0xC000'0020, "AF_UNIX"},
};
constexpr std::uint32_t kAppLinkTag = 0x8000'001B;
constexpr std::uint32_t kWslLinkTag = 0xA000'001D;
constexpr std::uint32_t kDedupTag = 0x8000'0013;
constexpr std::uint32_t kMicrosoft = 0x8000'0000;
constexpr std::uint32_t kSurrogate = 0x2000'0000;

// A name of `length` bytes at `offset` of `names`.
bool add_name(ReparseDescription& out, const char* field, ByteView names, std::size_t offset,
              std::size_t length) {
  if (offset > names.size() || length > names.size() - offset || length % 2 != 0) return false;
  out.fields.emplace_back(field, utf16le_to_wtf8(names.subspan(offset, length)));
  return true;
}

// MOUNT_POINT_REPARSE_BUFFER and SYMBOLIC_LINK_REPARSE_BUFFER: four numbers (and flags), then the names.
bool add_link(ReparseDescription& out, ByteView data, bool symbolic) {
  const std::size_t head = symbolic ? 12 : 8;
  if (data.size() < head) return false;
  const auto names = data.subspan(head);
  const auto field = [&](std::size_t at) { return load_le<std::uint16_t>(data, at); };
  const bool substitute = add_name(out, "substitute", names, field(0), field(2));
  const bool print = add_name(out, "print", names, field(4), field(6));
  if (symbolic) out.fields.emplace_back("relative", load_le<std::uint32_t>(data, 8) & 1 ? "yes" : "no");
  return substitute && print;
}

// A version, then strings that end in a zero each: package, entry point, target, kind.
bool add_app_link(ReparseDescription& out, ByteView data) {
  static constexpr const char* kFields[] = {"package", "entry point", "target", "kind"};
  if (data.size() < 4) return false;
  std::size_t at = 4;
  for (const auto* field : kFields) {
    const auto start = at;
    while (at + 2 <= data.size() && load_le<std::uint16_t>(data, at) != 0) at += 2;
    if (at + 2 > data.size()) return start != 4 && start == data.size();  // the later ones may be missing
    out.fields.emplace_back(field, utf16le_to_wtf8(data.subspan(start, at - start)));
    at += 2;
  }
  return true;
}

bool add_wof(ReparseDescription& out, ByteView data) {
  const auto algorithm = parse_wof(data);
  if (algorithm) {
    out.fields.emplace_back("algorithm", to_string(*algorithm));
    return true;
  }
  out.fields.emplace_back("content", algorithm.error().message);
  return algorithm.error().code == ErrorCode::unsupported;
}

// The minifilter's own, versioned data: only what can be told without it.
bool add_cloud(ReparseDescription& out, std::uint32_t tag, ByteView data) {
  out.fields.emplace_back("provider bits", fmt::format("{}", (tag >> 12) & 15));
  if (data.size() >= 8 && as_text(data.subspan(4, 4)) == "FeRp") out.fields.emplace_back("format", "FeRp");
  return true;
}

bool add_wsl_link(ReparseDescription& out, ByteView data) {
  if (data.size() < 4) return false;
  std::string target(as_text(data.subspan(4)));
  if (!is_wtf8(target)) return false;
  out.fields.emplace_back("target", std::move(target));
  return true;
}

bool add_fields(ReparseDescription& out, std::uint32_t tag, ByteView data) {
  switch (tag) {
    case kMountPointTag:
      return add_link(out, data, false);
    case kSymlinkTag:
      return add_link(out, data, true);
    case kWofTag:
      return add_wof(out, data);
    case kAppLinkTag:
      return add_app_link(out, data);
    case kWslLinkTag:
      return add_wsl_link(out, data);
    case kDedupTag:
      out.fields.emplace_back("content",
                              "in the chunk store of data deduplication (System Volume Information/Dedup)");
      return true;
    default:
      return is_cloud_tag(tag) ? add_cloud(out, tag, data) : true;
  }
}

}  // namespace

std::string ReparseDescription::to_string() const {
  std::string text = name;
  for (std::size_t i = 0; i < fields.size(); ++i)
    text += (i == 0 ? ": " : ", ") + fields[i].first + ' ' + fields[i].second;
  if (damaged) text += " (damaged)";
  return text;
}

ReparseDescription describe_reparse(std::uint32_t tag, ByteView data) {
  ReparseDescription out;
  out.microsoft = (tag & kMicrosoft) != 0;
  out.name_surrogate = (tag & kSurrogate) != 0;
  const auto* known = std::find_if(std::begin(kTagNames), std::end(kTagNames),
                                   [&](const TagName& each) { return each.tag == tag; });
  out.name = is_cloud_tag(tag)              ? "cloud file"
             : known != std::end(kTagNames) ? known->name
                                            : fmt::format("tag 0x{:08x}", tag);
  out.damaged = !add_fields(out, tag, data);
  return out;
}

}  // namespace roamstead::ntfs
